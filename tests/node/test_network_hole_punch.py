"""Direct connections through two routers: what is agreed, proved, given up; with real ones: tests/network/test_nat."""

from collections.abc import AsyncIterator

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node.addresses import Address
from node.hole_punch import PAUSES, PROTOCOL, Consent, HolePunch, Proposal, _meeting, _prove
from node.memory_network import MemoryNetwork, open_memory_hub
from node.network import RequestFailed
from node.reachability import Standing
from tests.node.loopback import LOOPBACK, opened

PATIENCE = 60
SECRET = "5" * 64
TOPIC = "/peerboard/test/1"


class Arranged(HolePunch):
    """Dials nobody: gives a socket that was put there, or none in time."""

    def __init__(self, network: MemoryNetwork, seen_at: str) -> None:
        self.dialled: list[tuple[float, Address]] = []
        self.joined: list[tuple[str, bool]] = []
        self.socket: trio.SocketStream | None = None
        network.reach.reachability.standing = Standing.PRIVATE
        network.reach.reachability.seen_at = seen_at
        super().__init__(network, network.reach.reachability, self._note)

    async def _note(self, peer: str, stream: trio.SocketStream, calling: bool) -> None:
        await stream.aclose()
        self.joined.append((peer, calling))

    async def _dial(self, other: Address) -> trio.SocketStream:
        self.dialled.append((trio.current_time(), other))
        if self.socket is None:
            await trio.sleep_forever()
        return self.socket


def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    one, other = trio.socket.socketpair()
    return trio.SocketStream(one), trio.SocketStream(other)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Arranged, Arranged]]:
    """Who is called through a relay, and the caller, both behind routers; they try to meet."""
    async with (
        open_memory_hub() as hub,
        hub.open("relay", relay=True) as relay,
        hub.open("called", hidden=True) as called,
        hub.open("caller", hidden=True) as caller,
        trio.open_nursery() as nursery,
    ):
        at_called, at_caller = Arranged(called, "11.0.0.2"), Arranged(caller, "11.0.0.3")
        nursery.start_soon(at_called.run)
        nursery.start_soon(at_caller.run)
        await called.connect(relay.addresses[0])
        await caller.connect(relay.addresses[0])
        await called.reserve("relay")
        await caller.connect(f"{relay.addresses[0]}/p2p-circuit/p2p/called")
        yield at_called, at_caller
        nursery.cancel_scope.cancel()


async def test_both_dial_at_once_and_whoever_was_asked_is_the_caller(
    ends: tuple[Arranged, Arranged], autojump_clock: MockClock
) -> None:
    called, caller = ends
    called.socket, caller.socket = pair()
    await trio.sleep(PAUSES[0] + 1)
    assert [address for _, address in called.dialled] == [Address("11.0.0.3", 4001, "caller")]
    assert [address for _, address in caller.dialled] == [Address("11.0.0.2", 4001, "called")]
    assert (called.joined, caller.joined) == ([("caller", False)], [("called", True)])


async def test_what_cannot_be_is_given_up_after_three_tries_and_harms_nothing(
    ends: tuple[Arranged, Arranged], autojump_clock: MockClock
) -> None:
    called, caller = ends
    before = called._network.peers(), caller._network.peers()
    await trio.sleep(2 * sum(PAUSES))
    assert len(called.dialled) == len(caller.dialled) == len(PAUSES)
    assert called.joined == caller.joined == []
    assert (called._network.peers(), caller._network.peers()) == before


async def test_nobody_who_can_be_dialled_or_does_not_know_is_asked(
    ends: tuple[Arranged, Arranged], autojump_clock: MockClock
) -> None:
    called, caller = ends
    called._reachability.standing = Standing.PUBLIC
    caller._reachability.seen_at = ""
    await trio.sleep(sum(PAUSES))
    assert called._network.traffic.requested == caller._network.traffic.requested == 0
    called._reachability.standing = Standing.PRIVATE
    await called._propose("caller")
    assert called.dialled == []


async def test_nobody_makes_a_node_dial_without_a_relayed_connection_of_its_own_making(
    ends: tuple[Arranged, Arranged], autojump_clock: MockClock
) -> None:
    called, caller = ends
    theirs = Proposal("/ip4/11.0.0.3/tcp/4001/p2p/caller", SECRET, now=True)
    answer = await caller._network.request("called", PROTOCOL, msgspec.json.encode(theirs))
    assert msgspec.json.decode(answer, type=Consent) == Consent("")
    stranger = Proposal("/ip4/11.0.0.2/tcp/22/p2p/called", SECRET, now=True)
    answer = await called._network.request("caller", PROTOCOL, msgspec.json.encode(stranger))
    assert msgspec.json.decode(answer, type=Consent) == Consent("")
    for junk in (b"", b"{}", b'{"address": "x", "secret": "x", "now": true}', b"\xff"):
        with pytest.raises(RequestFailed):
            await called._network.request("caller", PROTOCOL, junk)
    assert called.dialled == caller.dialled == []


OWN = Address("11.0.0.2", 4001, "me")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "junk",
        "/ip4/11.0.0.3/tcp/4001/p2p/somebody",
        "/ip4/11.0.0.3/tcp/1023/p2p/peer",
        "/ip4/11.0.0.3/udp/4001/quic-v1/p2p/peer",
        "/ip4/11.0.0.2/tcp/4001/p2p/peer",
        "/ip4/127.0.0.1/tcp/4001/p2p/peer",
        "/ip4/192.168.1.1/tcp/4001/p2p/peer",
        "/ip4/11.0.0.3/tcp/4001/p2p/relay/p2p-circuit/p2p/peer",
    ],
)
def test_where_a_peer_cannot_be_nobody_dials(text: str) -> None:
    assert _meeting(text, "peer", OWN) is None
    assert _meeting("/ip4/11.0.0.3/tcp/1024/p2p/peer", "peer", OWN) == Address("11.0.0.3", 1024, "peer")


@given(st.binary(max_size=100))
async def test_only_who_knows_the_secret_is_met(said: bytes) -> None:
    async def say(stream: trio.SocketStream) -> None:
        await stream.send_all(said)
        await stream.send_eof()

    ours, theirs = pair()
    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(say, theirs)
        assert not await _prove(ours, SECRET, True)


@pytest.mark.parametrize(
    ("secret", "calling", "met"), [(SECRET, False, True), ("6" * 64, False, False), (SECRET, True, False)]
)
async def test_two_ends_meet_with_one_secret_and_two_parts(
    autojump_clock: MockClock, secret: str, calling: bool, met: bool
) -> None:
    outcomes: list[bool] = []

    async def prove(stream: trio.SocketStream, secret: str, calling: bool) -> None:
        outcomes.append(await _prove(stream, secret, calling))

    ours, theirs = pair()
    async with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(prove, ours, SECRET, True)
            nursery.start_soon(prove, theirs, secret, calling)
        assert outcomes == [met, met]
        assert not await _prove(ours, SECRET, True)  # silence


async def test_a_socket_takes_the_relayed_connections_place() -> None:
    async def echo(peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return body

    async with (
        opened("relay", LOOPBACK, relay=True) as relay,
        opened("called", LOOPBACK) as called,
        opened("caller", LOOPBACK) as caller,
    ):
        for end in (called, caller):
            await end.connect(relay.addresses[0])
        await called.reserve(relay.peer)
        await caller.connect(f"{relay.addresses[0]}/p2p-circuit/p2p/{called.peer}")
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener, called.subscribe(TOPIC, lambda data: True) as heard, trio.open_nursery() as nursery:
            ours = await trio.open_tcp_stream(*listener.socket.getsockname())
            nursery.start_soon(called._replace, caller.peer, await listener.accept(), False)
            nursery.start_soon(caller._replace, called.peer, ours, True)
        for end, other in ((called, caller), (caller, called)):
            (between,) = [peer for peer in end.peers() if peer.peer == other.peer]
            assert not between.relayed
            assert not between.outbound  # it can be dialled by nobody else
        called.serve("/echo/1", echo)
        assert await caller.request(called.peer, "/echo/1", b"word") == b"word"
        assert called.peer not in {address.rpartition("/")[2] for address in caller.reach.known()}
        async with called.subscribe(TOPIC, lambda data: True) as heard:
            await caller.await_audience(TOPIC)
            await caller.publish(TOPIC, b"word")
            assert (await heard.receive()).data == b"word"

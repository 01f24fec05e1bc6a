"""What every `Network` promises, asked of the in-memory one and of libp2p over real sockets on loopback."""

import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

import pytest
import trio

from node import libp2p_requests
from node.libp2p_network import open_libp2p_network
from node.memory_network import MemoryHub, open_memory_hub
from node.network import (
    MESSAGE_MAXIMUM,
    REQUEST_MAXIMUM,
    REQUESTS_PER_PEER,
    RESPONSE_MAXIMUM,
    Gossip,
    Network,
    PeerChange,
    Reason,
    RequestFailed,
    Unreachable,
)

TOPIC = "/peerboard/test/1"
ECHO = "/peerboard/echo/1"
PATIENCE = 30


def anything(data: bytes) -> bool:
    return True


class World(Protocol):
    """Opens networks that can reach each other; the same name is the same node at the same address."""

    def open(self, name: str, *, relay: bool = False) -> AbstractAsyncContextManager[Network]: ...


class MemoryWorld:
    def __init__(self, hub: MemoryHub) -> None:
        self._hub = hub

    @asynccontextmanager
    async def open(self, name: str, *, relay: bool = False) -> AsyncIterator[Network]:
        async with self._hub.open(name, relay=relay) as network:
            yield network


class Libp2pWorld:
    def __init__(self, listen: str) -> None:
        self.listen = listen
        self._places: dict[str, str] = {}

    @asynccontextmanager
    async def open(self, name: str, *, relay: bool = False) -> AsyncIterator[Network]:
        listen = self._places.get(name, self.listen)
        async with open_libp2p_network(hashlib.sha256(name.encode()).digest(), [listen], relay=relay) as network:
            self._places[name] = network.addresses[0].partition("/p2p/")[0]
            yield network


LISTEN = {"tcp": "/ip4/127.0.0.1/tcp/0", "quic": "/ip4/127.0.0.1/udp/0/quic-v1"}


@pytest.fixture(params=["memory", *LISTEN])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    with trio.fail_after(2 * PATIENCE):
        if request.param in LISTEN:
            yield Libp2pWorld(LISTEN[request.param])
        else:
            async with open_memory_hub() as hub:
                yield MemoryWorld(hub)


@asynccontextmanager
async def chain(world: World, *names: str) -> AsyncIterator[list[Network]]:
    """Networks that are each connected to the next one only."""
    async with AsyncExitStack() as stack:
        networks = [await stack.enter_async_context(world.open(name)) for name in names]
        for one, other in itertools.pairwise(networks):
            await one.connect(other.addresses[0])
        yield networks


async def next_change(changes: trio.MemoryReceiveChannel[PeerChange]) -> PeerChange:
    with trio.fail_after(PATIENCE):
        return await changes.receive()


async def next_message(messages: trio.MemoryReceiveChannel[Gossip]) -> bytes:
    with trio.fail_after(PATIENCE):
        return (await messages.receive()).data


async def test_an_address_names_the_peer_and_connecting_tells_both_sides(world: World) -> None:
    async with world.open("a") as a, world.open("b") as b, a.changes() as at_a, b.changes() as at_b:
        assert b.addresses
        assert all(address.endswith(f"/p2p/{b.peer}") for address in b.addresses)
        assert await a.connect(b.addresses[0]) == b.peer
        assert await next_change(at_a) == PeerChange(b.peer, joined=True)
        assert await next_change(at_b) == PeerChange(a.peer, joined=True)
        (seen_by_a,) = a.peers()
        (seen_by_b,) = b.peers()
        assert seen_by_a.peer == b.peer
        assert seen_by_a.outbound
        assert b.addresses[0] == f"{seen_by_a.address}/p2p/{b.peer}"
        assert seen_by_b.peer == a.peer
        assert not seen_by_b.outbound
        assert seen_by_b.address.split("/")[:3] == a.addresses[0].split("/")[:3]
        assert seen_by_a.since <= trio.current_time()


async def test_connecting_again_changes_nothing(world: World) -> None:
    async with chain(world, "a", "b") as (a, b):
        assert await a.connect(b.addresses[0]) == b.peer
        assert len(a.peers()) == 1


async def test_changes_begin_with_who_is_there(world: World) -> None:
    async with chain(world, "a", "b") as (a, b), a.changes() as changes:
        assert await next_change(changes) == PeerChange(b.peer, joined=True)


@pytest.mark.parametrize(
    "address", ["", "junk", "/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1/p2p/", "/ip4/127.0.0.1/tcp/1/p2p/x"]
)
async def test_an_address_that_leads_nowhere_is_unreachable(world: World, address: str) -> None:
    async with world.open("a") as a:
        with pytest.raises(Unreachable) as failure:
            await a.connect(address)
        assert str(failure.value).endswith(".")


async def test_a_node_that_is_gone_is_unreachable_and_reachable_when_it_is_back(world: World) -> None:
    async with world.open("a") as a:
        async with world.open("b") as b:
            address = b.addresses[0]
        with pytest.raises(Unreachable):
            await a.connect(address)
        async with world.open("b") as b:
            assert await a.connect(address) == b.peer


async def test_the_own_address_is_unreachable(world: World) -> None:
    async with world.open("a") as a:
        with pytest.raises(Unreachable):
            await a.connect(a.addresses[0])


async def test_another_peer_id_at_the_address_is_unreachable(world: World) -> None:
    async with world.open("a") as a, world.open("b") as b, world.open("c") as c:
        place = b.addresses[0].partition("/p2p/")[0]
        with pytest.raises(Unreachable):
            await a.connect(f"{place}/p2p/{c.peer}")
        assert a.peers() == ()


async def test_disconnecting_and_closing_are_seen_by_the_other_side(world: World) -> None:
    async with world.open("a") as a, a.changes() as changes:
        async with world.open("b") as b:
            await a.connect(b.addresses[0])
            assert (await next_change(changes)).joined
            await b.disconnect(a.peer)
            assert await next_change(changes) == PeerChange(b.peer, joined=False)
            assert a.peers() == ()
            await a.connect(b.addresses[0])
            assert (await next_change(changes)).joined
        assert await next_change(changes) == PeerChange(b.peer, joined=False)
        assert a.peers() == ()
        await a.disconnect("nobody")


async def test_a_message_reaches_every_subscriber_once_and_not_its_publisher(world: World) -> None:
    async with (
        chain(world, "a", "b", "c") as (a, b, c),
        a.subscribe(TOPIC, anything) as at_a,
        b.subscribe(TOPIC, anything) as at_b,
        c.subscribe(TOPIC, anything) as at_c,
    ):
        await b.await_audience(TOPIC, 2)
        await a.await_audience(TOPIC)
        await c.await_audience(TOPIC)
        for number in range(5):
            await a.publish(TOPIC, b"from a %d" % number)
        assert {await next_message(at_c) for _ in range(5)} == {b"from a %d" % number for number in range(5)}
        await c.publish(TOPIC, b"from c")
        assert await next_message(at_a) == b"from c"
        assert {await next_message(at_b) for _ in range(6)} == {
            *(b"from a %d" % n for n in range(5)),
            b"from c",
        }
        assert a.traffic.published == 5
        assert c.traffic.delivered == 5


async def test_the_sender_is_the_neighbour(world: World) -> None:
    async with (
        chain(world, "a", "b", "c") as (a, b, c),
        a.subscribe(TOPIC, anything),
        b.subscribe(TOPIC, anything),
        c.subscribe(TOPIC, anything) as at_c,
    ):
        await b.await_audience(TOPIC, 2)
        await a.await_audience(TOPIC)
        await a.publish(TOPIC, b"hello")
        with trio.fail_after(PATIENCE):
            assert await at_c.receive() == Gossip(b"hello", b.peer)


async def test_the_same_bytes_again_are_not_delivered_again(world: World) -> None:
    async with (
        chain(world, "a", "b") as (a, b),
        a.subscribe(TOPIC, anything) as at_a,
        b.subscribe(TOPIC, anything) as at_b,
    ):
        await a.await_audience(TOPIC)
        await b.await_audience(TOPIC)
        await a.publish(TOPIC, b"one")
        assert await next_message(at_b) == b"one"
        await a.publish(TOPIC, b"one")
        await b.publish(TOPIC, b"one")
        await a.publish(TOPIC, b"two")
        await b.publish(TOPIC, b"three")
        assert await next_message(at_b) == b"two"
        assert await next_message(at_a) == b"three"


async def test_the_same_bytes_on_another_topic_are_another_message(world: World) -> None:
    async with (
        chain(world, "a", "b") as (a, b),
        b.subscribe(TOPIC, anything) as first,
        b.subscribe(TOPIC + "/other", anything) as second,
    ):
        await a.await_audience(TOPIC)
        await a.await_audience(TOPIC + "/other")
        await a.publish(TOPIC, b"same")
        await a.publish(TOPIC + "/other", b"same")
        assert await next_message(first) == b"same"
        assert await next_message(second) == b"same"


async def test_what_a_validator_refuses_is_neither_delivered_nor_relayed(world: World) -> None:
    def strict(data: bytes) -> bool:
        if data == b"trap":
            raise RuntimeError
        return data != b"bad"

    async with (
        chain(world, "a", "b", "c") as (a, b, c),
        a.subscribe(TOPIC, anything),
        b.subscribe(TOPIC, strict) as at_b,
        c.subscribe(TOPIC, anything) as at_c,
    ):
        await b.await_audience(TOPIC, 2)
        await a.await_audience(TOPIC)
        await a.publish(TOPIC, b"bad")
        await a.publish(TOPIC, b"trap")
        await a.publish(TOPIC, b"good")
        assert await next_message(at_b) == b"good"
        assert await next_message(at_c) == b"good"
        assert b.traffic.rejected == 2
        assert c.traffic.delivered == 1


async def test_what_is_not_admitted_goes_no_further_and_is_held_against_nobody(world: World) -> None:
    async with (
        chain(world, "a", "b", "c") as (a, b, c),
        a.subscribe(TOPIC, anything),
        b.subscribe(TOPIC, anything, admit=lambda data: not data.startswith(b"much")) as at_b,
        c.subscribe(TOPIC, anything) as at_c,
    ):
        await b.await_audience(TOPIC, 2)
        await a.await_audience(TOPIC)
        for number in range(40):  # as many invalid ones would silence their sender
            await a.publish(TOPIC, b"much %d" % number)
        await a.publish(TOPIC, b"good")
        assert await next_message(at_b) == b"good"
        assert await next_message(at_c) == b"good"
        assert (b.traffic.ignored, b.traffic.rejected) == (40, 0)
        assert c.traffic.delivered == 1


async def test_publishing_what_the_own_validator_refuses_or_too_much_is_a_mistake(
    world: World,
) -> None:
    async with world.open("a") as a, a.subscribe(TOPIC, lambda data: data != b"bad"):
        with pytest.raises(ValueError, match="refuses"):
            await a.publish(TOPIC, b"bad")
        with pytest.raises(ValueError, match="longer"):
            await a.publish(TOPIC, bytes(MESSAGE_MAXIMUM + 1))
        await a.publish(TOPIC, b"nobody hears this")


async def test_the_longest_message_travels(world: World) -> None:
    async with chain(world, "a", "b") as (a, b), b.subscribe(TOPIC, anything) as at_b:
        await a.await_audience(TOPIC)
        await a.publish(TOPIC, bytes(MESSAGE_MAXIMUM))
        assert await next_message(at_b) == bytes(MESSAGE_MAXIMUM)


async def test_a_slow_subscriber_loses_the_oldest_messages(world: World) -> None:
    async with (
        chain(world, "a", "b", "c") as (a, b, c),
        b.subscribe(TOPIC, anything, queue=2) as slow,
        c.subscribe(TOPIC, anything) as fast,
    ):
        await a.await_audience(TOPIC)
        await b.await_audience(TOPIC)
        messages = [b"%d" % number for number in range(6)]
        for message in messages:
            await a.publish(TOPIC, message)
            assert await next_message(fast) == message
        assert [await next_message(slow), await next_message(slow)] == messages[-2:]
        assert b.traffic.dropped == 4


async def test_one_subscriber_a_topic_and_leaving_makes_room(world: World) -> None:
    async with chain(world, "a", "b") as (a, b):
        async with a.subscribe(TOPIC, anything) as first:
            with pytest.raises(ValueError, match="already"):
                async with a.subscribe(TOPIC, anything):
                    pass
            await b.await_audience(TOPIC)
        assert [message async for message in first] == []
        async with a.subscribe(TOPIC, anything) as second:
            await b.await_audience(TOPIC)
            await b.publish(TOPIC, b"hello")
            assert await next_message(second) == b"hello"


async def test_a_request_is_answered(world: World) -> None:
    async def answer(peer: str, body: bytes) -> bytes:
        return peer.encode() + b" said " + body

    async with chain(world, "a", "b") as (a, b):
        a.serve(ECHO, answer)
        b.serve(ECHO, answer)
        assert await a.request(b.peer, ECHO, b"hello") == a.peer.encode() + b" said hello"
        assert await b.request(a.peer, ECHO, b"") == b.peer.encode() + b" said "
        assert (a.traffic.requested, a.traffic.served) == (1, 1)
        with pytest.raises(ValueError, match="already"):
            a.serve(ECHO, answer)


async def test_requests_and_responses_up_to_the_limits_and_not_beyond(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = RESPONSE_MAXIMUM
    if isinstance(world, Libp2pWorld) and world.listen == LISTEN["quic"]:
        longest = RESPONSE_MAXIMUM // 16  # QUIC takes ten seconds of CPU for the longest; the limit is kept elsewhere
        monkeypatch.setattr(libp2p_requests, "RESPONSE_MAXIMUM", longest)

    async def large(peer: str, body: bytes) -> bytes:
        return bytes(longest + int(body[:1] == b"+"))

    async with chain(world, "a", "b") as (a, b):
        b.serve(ECHO, large)
        assert len(await a.request(b.peer, ECHO, bytes(REQUEST_MAXIMUM), timeout=PATIENCE)) == longest
        with pytest.raises(RequestFailed) as failure:
            await a.request(b.peer, ECHO, b"+", timeout=PATIENCE)
        assert failure.value.reason == Reason.TOO_LARGE
        with pytest.raises(ValueError, match="longer"):
            await a.request(b.peer, ECHO, bytes(REQUEST_MAXIMUM + 1))


async def test_each_way_a_request_fails_has_its_reason(world: World) -> None:
    async def fail(peer: str, body: bytes) -> bytes:
        raise RuntimeError

    async def hang(peer: str, body: bytes) -> bytes:
        return await trio.sleep_forever()

    async def echo(peer: str, body: bytes) -> bytes:
        return body

    async def reason(client: Network, peer: str, protocol: str, timeout: float) -> Reason:  # noqa: ASYNC109
        with pytest.raises(RequestFailed) as failure:
            await client.request(peer, protocol, b"", timeout=timeout)
        assert str(failure.value).endswith(".")
        return failure.value.reason

    async with chain(world, "a", "b") as (a, b):
        b.serve("/peerboard/fail/1", fail)
        b.serve("/peerboard/hang/1", hang)
        b.serve(ECHO, echo)
        assert await reason(a, "nobody", ECHO, PATIENCE) == Reason.NOT_CONNECTED
        assert await reason(a, b.peer, "/peerboard/none/1", PATIENCE) == Reason.UNSUPPORTED
        assert await reason(a, b.peer, "/peerboard/fail/1", PATIENCE) == Reason.RESET
        assert await reason(a, b.peer, "/peerboard/hang/1", 0.2) == Reason.TIMED_OUT
        assert await a.request(b.peer, ECHO, b"still well") == b"still well"


async def test_a_peer_that_goes_ends_the_requests_to_it(world: World) -> None:
    asked = trio.Event()
    reasons: list[Reason] = []

    async def hang(peer: str, body: bytes) -> bytes:
        asked.set()
        return await trio.sleep_forever()

    async def ask(a: Network, peer: str) -> None:
        with pytest.raises(RequestFailed) as failure:
            await a.request(peer, ECHO, b"", timeout=PATIENCE)
        reasons.append(failure.value.reason)

    async with world.open("a") as a, trio.open_nursery() as nursery:  # noqa: SIM117  b goes first
        async with world.open("b") as b:
            b.serve(ECHO, hang)
            await a.connect(b.addresses[0])
            nursery.start_soon(ask, a, b.peer)
            await asked.wait()
    assert reasons == [Reason.RESET]


async def test_a_request_given_up_at_any_moment_harms_no_other(world: World) -> None:
    async def echo(peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return body

    async def ask(a: Network, peer: str) -> None:
        await a.request(peer, ECHO, bytes(1000), timeout=PATIENCE)

    async with chain(world, "a", "b") as (a, b):
        b.serve(ECHO, echo)
        before = a.peers(), b.peers()
        for turns in range(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, a, b.peer)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        assert await a.request(b.peer, ECHO, b"well", timeout=PATIENCE) == b"well"
        assert (a.peers(), b.peers()) == before


async def test_requests_beyond_the_limit_wait_for_their_turn(world: World) -> None:
    under_way = most = 0

    async def count(peer: str, body: bytes) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await trio.lowlevel.checkpoint()
        under_way -= 1
        return body

    answers: set[bytes] = set()

    async def ask(a: Network, peer: str, number: int) -> None:
        answers.add(await a.request(peer, ECHO, b"%d" % number, timeout=PATIENCE))

    async with chain(world, "a", "b") as (a, b):
        b.serve(ECHO, count)
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(ask, a, b.peer, number)
    assert answers == {b"%d" % number for number in range(40)}
    assert most <= REQUESTS_PER_PEER


async def test_a_restarted_node_is_the_same_peer_and_its_messages_count(world: World) -> None:
    async with world.open("a") as a, a.subscribe(TOPIC, anything) as at_a:
        names = set()
        for life in range(2):
            async with world.open("b") as b, b.subscribe(TOPIC, anything):
                names.add(b.peer)
                await b.connect(a.addresses[0])
                await b.await_audience(TOPIC)
                for number in range(3):
                    await b.publish(TOPIC, b"life %d message %d" % (life, number))
                received = {await next_message(at_a) for _ in range(3)}
                assert received == {b"life %d message %d" % (life, number) for number in range(3)}
        assert len(names) == 1


@asynccontextmanager
async def around(world: World) -> AsyncIterator[tuple[Network, Network, Network]]:
    """A relay and two networks connected to it, of which the first holds a reservation."""
    async with world.open("relay", relay=True) as relay, world.open("a") as a, world.open("b") as b:
        await a.connect(relay.addresses[0])
        await b.connect(relay.addresses[0])
        assert await a.reserve(relay.peer) >= 60
        yield relay, a, b


def circuit(relay: Network, peer: str) -> str:
    return f"{relay.addresses[0]}/p2p-circuit/p2p/{peer}"


async def test_a_peer_is_reached_through_a_relay(world: World) -> None:
    async def echo(peer: str, body: bytes) -> bytes:
        return peer.encode() + body

    async with around(world) as (relay, a, b):
        assert (a.relays, b.relays, relay.relayed) == ((relay.peer,), (), (a.peer,))
        async with a.changes() as at_a, a.subscribe(TOPIC, anything) as heard, b.subscribe(TOPIC, anything):
            assert await b.connect(circuit(relay, a.peer)) == a.peer
            assert await next_change(at_a) == PeerChange(relay.peer, joined=True)
            assert await next_change(at_a) == PeerChange(b.peer, joined=True)
            assert [peer.relayed for peer in b.peers()] == [peer.relayed for peer in a.peers()] == [False, True]
            assert [peer.outbound for peer in a.peers()] == [True, False]
            a.serve(ECHO, echo)
            body = bytes(200_000)
            assert await b.request(a.peer, ECHO, body, timeout=PATIENCE) == b.peer.encode() + body
            await b.await_audience(TOPIC)
            await b.publish(TOPIC, b"the relay takes no part in this topic")
            assert await next_message(heard) == b"the relay takes no part in this topic"
            await b.connect(circuit(relay, a.peer))
            assert len(b.peers()) == 2


async def test_a_circuit_ends_with_its_relay(world: World) -> None:
    async with around(world) as (relay, a, b):
        await b.connect(circuit(relay, a.peer))
        async with b.changes() as at_b, relay.changes() as at_relay:
            assert {(await next_change(at_b)).peer for _ in range(2)} == {relay.peer, a.peer}
            await a.disconnect(relay.peer)
            assert await next_change(at_b) == PeerChange(a.peer, joined=False)
            while await next_change(at_relay) != PeerChange(a.peer, joined=False):
                pass
        assert relay.relayed == a.relays == ()
        with pytest.raises(Unreachable):
            await b.connect(circuit(relay, a.peer))


async def test_no_circuit_without_a_reservation_and_none_from_who_is_no_relay(world: World) -> None:
    async with around(world) as (relay, a, b):
        with pytest.raises(Unreachable):
            await a.connect(circuit(relay, b.peer))
        with pytest.raises(Unreachable):
            await a.connect(circuit(relay, a.peer))
        with pytest.raises(RequestFailed) as failure:
            await relay.reserve(a.peer)
        assert failure.value.reason == Reason.UNSUPPORTED
        assert len(relay.peers()) == 2
        with pytest.raises(RequestFailed):
            await a.reserve(b.peer)


async def test_a_direct_connection_takes_the_place_of_a_relayed_one(world: World) -> None:
    async with around(world) as (relay, a, b), a.subscribe(TOPIC, anything) as heard, b.subscribe(TOPIC, anything):
        await b.connect(circuit(relay, a.peer))
        await b.await_audience(TOPIC)
        nowhere = f"{relay.addresses[0].partition('/p2p/')[0]}/p2p/{a.peer}"
        with pytest.raises(Unreachable):
            await b.connect(nowhere)
        assert [peer.relayed for peer in b.peers()] == [False, True]
        assert await b.connect(a.addresses[0]) == a.peer
        assert [peer.relayed for peer in b.peers()] == [False, False]
        await b.await_audience(TOPIC)
        await b.publish(TOPIC, b"word")
        assert await next_message(heard) == b"word"


async def test_whether_a_peer_answers_is_found_without_a_connection(world: World) -> None:
    async with world.open("a") as a, world.open("b") as b, a.changes() as at_a, b.changes() as at_b:
        assert await a.answers(b.addresses[0])
        place = b.addresses[0].partition("/p2p/")[0]
        assert not await a.answers(f"{place}/p2p/{a.peer}x")
        assert not await a.answers(f"{a.addresses[0].partition('/p2p/')[0]}/p2p/{b.peer}")
        assert not await a.answers("junk")
        for network, changes in ((a, at_a), (b, at_b)):
            while network.peers():  # a handshake of QUIC is a connection for a moment
                await next_change(changes)

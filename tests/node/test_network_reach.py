"""Redialling, and peers telling each other of peers, under a mock clock; the rules on what is told."""

from contextlib import AsyncExitStack

import msgspec
import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node.addresses import LENGTH_MAXIMUM, Reachable, parse, reachable
from node.memory_network import MemoryHub, MemoryNetwork
from node.network import RequestFailed
from node.reach import PEERS, STAY_SECONDS, Named
from tests.node.living_networks import BOOTSTRAP, living

PARTS = ["", "ip4", "ip6", "1.2.3.4", "::1", "fe80::1%x", "tcp", "0", "1", "65536", "p2p", "a"]


async def until_peers(network: MemoryNetwork, count: int) -> None:
    async with network.changes() as changes:
        while len(network.peers()) < count:
            await changes.receive()


async def test_an_address_that_is_down_at_the_start_is_warned_of_once_and_reached_later(
    memory_hub: MemoryHub, autojump_clock: MockClock
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with living(memory_hub, "a", BOOTSTRAP) as a:
            await trio.sleep(3600)
            assert [entry["log_level"] for entry in logs] == ["warning"]
            async with living(memory_hub, "bootstrap"):
                with trio.fail_after(2.01):
                    await until_peers(a, 1)


async def test_a_dropped_peer_is_back_within_two_seconds_of_its_return(
    memory_hub: MemoryHub, autojump_clock: MockClock
) -> None:
    async with living(memory_hub, "a", BOOTSTRAP) as a:
        for absence in (0.1, 5, 500):
            async with living(memory_hub, "bootstrap"):
                with trio.fail_after(2.01):
                    await until_peers(a, 1)
                await trio.sleep(20)
            assert a.peers() == ()
            await trio.sleep(absence)


async def test_a_peer_that_hangs_up_at_once_is_not_dialled_in_a_busy_loop(
    memory_hub: MemoryHub, autojump_clock: MockClock
) -> None:
    async with (
        living(memory_hub, "a", BOOTSTRAP),
        memory_hub.open("bootstrap") as bootstrap,
        bootstrap.changes() as changes,
    ):
        dials = 0
        with trio.move_on_after(60):
            async for change in changes:
                if change.joined:
                    dials += 1
                    await bootstrap.disconnect(change.peer)
        assert 20 < dials < 80


async def live_until(memory_hub: MemoryHub, name: str, end: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
    async with living(memory_hub, name):
        task_status.started()
        await end.wait()


async def test_nodes_that_know_only_the_bootstrap_outlive_it(memory_hub: MemoryHub, autojump_clock: MockClock) -> None:
    end = trio.Event()
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        await nursery.start(live_until, memory_hub, "bootstrap", end)
        nodes = [await stack.enter_async_context(living(memory_hub, f"n{number}", BOOTSTRAP)) for number in range(5)]
        with trio.fail_after(60):
            for node in nodes:
                await until_peers(node, 5)
        end.set()
        await trio.sleep(30)
        assert all(len(node.peers()) == 4 for node in nodes)


async def test_no_more_peers_than_desired_are_dialled(memory_hub: MemoryHub, autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(living(memory_hub, "bootstrap"))
        nodes = [await stack.enter_async_context(living(memory_hub, f"n{number}", BOOTSTRAP)) for number in range(30)]
        await trio.sleep(300)
        for node in nodes:
            assert len(node.peers()) >= 8
            assert sum(peer.outbound for peer in node.peers()) <= 8


async def test_whoever_is_crowded_lets_one_go_who_was_there_for_long_and_needs_no_relay(
    memory_hub: MemoryHub, autojump_clock: MockClock
) -> None:
    async with (
        memory_hub.open("bootstrap", relay=True) as bootstrap,
        memory_hub.open("first") as first,
        memory_hub.open("second") as second,
        memory_hub.open("third") as third,
        trio.open_nursery() as nursery,
    ):
        bootstrap.reach._crowd = 3
        nursery.start_soon(bootstrap.keep_connected, ())
        await first.connect(BOOTSTRAP)
        await first.reserve("bootstrap")
        for other in (second, third):
            await trio.sleep(STAY_SECONDS / 2 - 1)
            assert len(bootstrap.peers()) < 3
            await other.connect(BOOTSTRAP)
        await trio.sleep(1)
        assert len(bootstrap.peers()) == 3  # nobody but who needs the relay was there for long
        await trio.sleep(STAY_SECONDS / 2 + 2)
        assert [peer.peer for peer in bootstrap.peers()] == ["first", "third"]
        await trio.sleep(STAY_SECONDS)
        assert len(bootstrap.peers()) == 2
        nursery.cancel_scope.cancel()


async def ask(asker: MemoryNetwork, peer: str, *named: str) -> tuple[str, ...]:
    answer = await asker.request(peer, PEERS, msgspec.json.encode(Named(named)))
    return msgspec.json.decode(answer, type=Named).addresses


async def test_only_what_is_confirmed_is_told(memory_hub: MemoryHub, autojump_clock: MockClock) -> None:
    async with memory_hub.open("bootstrap") as bootstrap, memory_hub.open("a") as a, memory_hub.open("b") as b:
        await a.connect(BOOTSTRAP)
        await b.connect(BOOTSTRAP)
        assert await ask(b, "bootstrap") == ()
        stranger = "/ip4/10.9.9.9/tcp/4001/p2p/a"
        other = f"{a.place}/p2p/someone"
        assert await ask(a, "bootstrap", stranger, other, "junk") == ()
        assert await ask(b, "bootstrap") == ()
        assert await ask(a, "bootstrap", *a.addresses) == ()
        assert await ask(b, "bootstrap") == a.addresses
        await a.disconnect("bootstrap")
        assert await ask(b, "bootstrap") == ()
        await bootstrap.connect(a.addresses[0])
        assert await ask(b, "bootstrap") == a.addresses


async def test_private_addresses_are_told_only_by_who_has_one_and_to_who_is_near(
    memory_hub: MemoryHub, autojump_clock: MockClock
) -> None:
    async with memory_hub.open("bootstrap") as bootstrap, memory_hub.open("a") as a, memory_hub.open("b") as b:
        await a.connect(BOOTSTRAP)
        await b.connect(BOOTSTRAP)
        await ask(a, "bootstrap", *a.addresses)
        b.place = "/ip4/8.8.8.8/tcp/4001"
        await b.disconnect("bootstrap")
        await b.connect(BOOTSTRAP)
        assert await ask(b, "bootstrap") == ()
        b.place = "/ip4/10.0.0.3/tcp/4001"
        await b.disconnect("bootstrap")
        await b.connect(BOOTSTRAP)
        assert await ask(b, "bootstrap") == a.addresses
        bootstrap.addresses = ("/ip4/9.9.9.9/tcp/4001/p2p/bootstrap",)
        assert await ask(b, "bootstrap") == ()


@pytest.mark.parametrize(
    "body", [b"", b"junk", b"[]", b'{"addresses": 5}', b'{"addresses": [' + b'"a",' * 99 + b'"a"]}']
)
async def test_malformed_questions_and_answers_do_no_harm(
    memory_hub: MemoryHub, autojump_clock: MockClock, body: bytes
) -> None:
    async def answer(peer: str, question: bytes) -> bytes:
        return body

    async with memory_hub.open("bootstrap") as bootstrap, living(memory_hub, "a", BOOTSTRAP) as a:
        bootstrap._requests._handlers[PEERS] = answer
        await until_peers(a, 1)
        with pytest.raises(RequestFailed):
            await bootstrap.request("a", PEERS, body)
        await trio.sleep(60)
        assert len(a.peers()) == 1


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", Reachable.MACHINE),
        ("::1", Reachable.MACHINE),
        ("0.0.0.0", Reachable.MACHINE),
        ("255.255.255.255", Reachable.MACHINE),
        ("224.0.0.1", Reachable.MACHINE),
        ("10.1.2.3", Reachable.SITE),
        ("192.168.1.1", Reachable.SITE),
        ("169.254.1.1", Reachable.SITE),
        ("100.64.0.1", Reachable.SITE),
        ("fd00::1", Reachable.SITE),
        ("8.8.8.8", Reachable.WORLD),
        ("2606:4700::1111", Reachable.WORLD),
    ],
)
def test_how_far_an_address_reaches(host: str, expected: Reachable) -> None:
    assert reachable(host) == expected


@given(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    st.integers(1, 65535),
    st.from_regex(r"\A[A-Za-z0-9]{1,64}\Z"),
)
def test_an_address_that_parses_gives_itself_back(host: object, port: int, peer: str) -> None:
    family = "ip6" if ":" in str(host) else "ip4"
    text = f"/{family}/{host}/tcp/{port}/p2p/{peer}"
    address = parse(text)
    assert address is not None
    assert address.text == text
    assert address.reachable in Reachable
    for other in (text.replace("/tcp/", "/udp/").replace("/p2p/", "/quic-v1/p2p/"), f"{text}/p2p-circuit/p2p/b"):
        address = parse(other)
        assert address is not None
        assert address.text == other


@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from(
                ["", "ip4", "ip6", "1.2.3.4", "::1", "tcp", "udp", "quic-v1", "1", "65536", "p2p", "p2p-circuit", "a"]
            )
        ).map("/".join),
    )
)
def test_anything_else_is_none_or_an_address_and_never_an_error(text: str) -> None:
    address = parse(text)
    assert address is None or parse(address.text) == address


def test_overlong_addresses_are_none() -> None:
    assert parse("/ip4/1.2.3.4/tcp/1/p2p/" + "a" * LENGTH_MAXIMUM) is None

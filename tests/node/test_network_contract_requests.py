"""What every `Network` promises of requests, asked of the in-memory one and of libp2p over real sockets."""

import pytest
import trio

from node import libp2p_requests
from node.network import REQUEST_MAXIMUM, REQUESTS_PER_PEER, RESPONSE_MAXIMUM, Network, Reason, RequestFailed
from tests.node.network_worlds import ECHO, LISTEN, PATIENCE, Libp2pWorld, World, chain


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

"""What is changed in py-libp2p 0.8.1's connections, streams and frames, beside what it replaces.

As in test_network_hardening.py: the stock behaviour is the reason, asserted here too.
"""

import hashlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node import hardening, hardening_speed, hardening_streams
from node.libp2p_network import Libp2pNetwork, open_libp2p_network
from node.network import RequestFailed
from tests.node.loopback import LOOPBACK, opened

# isort: split
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.peer.id import ID

TOPIC = "/peerboard/test/1"


async def echo(peer: str, body: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return body


@pytest.fixture(params=["direct", "relayed"])
async def link(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Libp2pNetwork, Libp2pNetwork]]:
    """Two networks that are connected, one of them serving an echo."""
    async with opened("a", LOOPBACK) as a, opened("b", LOOPBACK) as b:
        b.serve("/echo/1", echo)
        if request.param == "direct":
            await a.connect(b.addresses[0])
            yield a, b
            return
        seed = hashlib.sha256(b"relay").digest()
        async with open_libp2p_network(seed, [LOOPBACK], relay=True) as relay:
            for end in (a, b):
                await end.connect(relay.addresses[0])
            await b.reserve(relay.peer)
            await a.connect(f"{relay.addresses[0]}/p2p-circuit/p2p/{b.peer}")
            yield a, b


async def write_while_cancelled(network: Libp2pNetwork, peer: str, length: int) -> None:
    stream = await network.host.new_stream(ID.from_string(peer), ["/echo/1"])
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.write(bytes(length))
    await stream.reset()


@pytest.mark.parametrize("length", [1, 100_000])
async def test_a_cancelled_writer_leaves_the_connection_to_the_others(
    link: tuple[Libp2pNetwork, Libp2pNetwork], length: int
) -> None:
    """_write_whole, CircuitConnection."""
    a, b = link
    before = a.peers()
    await write_while_cancelled(a, b.peer, length)
    assert await a.request(b.peer, "/echo/1", b"well") == b"well"
    assert a.peers() == before


async def test_a_stock_writer_that_is_cancelled_breaks_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without _write_whole."""
    monkeypatch.setattr(TrioTCPStream, "write", hardening_streams._stock_write)
    async with opened("a", LOOPBACK) as a, opened("b", LOOPBACK) as b, a.changes() as changes:
        b.serve("/echo/1", echo)
        await a.connect(b.addresses[0])
        assert (await changes.receive()).joined
        await write_while_cancelled(a, b.peer, 1)
        with pytest.raises(RequestFailed):
            await a.request(b.peer, "/echo/1", b"well")
        assert not (await changes.receive()).joined


async def test_a_write_that_is_stuck_when_it_is_cancelled_ends_the_connection(autojump_clock: MockClock) -> None:
    """_write_whole."""
    ours, theirs = trio.socket.socketpair()
    with theirs:
        stream = TrioTCPStream(trio.SocketStream(ours))
        with trio.move_on_after(60) as scope:
            await stream.write(bytes(10_000_000))  # nobody reads at the other end
        assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(scope.deadline + hardening_streams.FINISH_SECONDS)
        with pytest.raises(ConnectionClosedError):
            await stream.write(b"more")


async def test_whoever_is_cancelled_while_opening_a_stream_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """_open_whole."""

    async def opening(connection: SwarmConn) -> None:
        stream = await connection.new_stream()
        with trio.CancelScope(shield=True):
            await stream.reset()

    async def left_behind(connection: SwarmConn) -> int:
        """How many places are taken after openings that were cancelled each one turn later than the one before."""
        places = connection.muxed_conn.stream_backlog_semaphore
        free: int = places.value
        for turns in range(8):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(opening, connection)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        return free - int(places.value)

    async with opened("a", LOOPBACK) as a, opened("b", LOOPBACK) as b:
        await a.connect(b.addresses[0])
        (connection,) = a._swarm.connections[ID.from_string(b.peer)]
        assert await left_behind(connection) == 0
        monkeypatch.setattr(SwarmConn, "new_stream", hardening_streams._stock_new_stream)
        assert await left_behind(connection) > 0


async def test_window_updates_come_by_the_half_window() -> None:
    """_send_batched_window_update."""

    async def count(update: Any) -> int:
        async with opened("a", LOOPBACK) as a, opened("b", LOOPBACK) as b:
            await a.connect(b.addresses[0])
            taken = trio.Event()

            async def read(stream: Any) -> None:
                updates = 0

                async def counted(increment: int, skip_lock: bool = False) -> None:
                    nonlocal updates
                    updates += 1

                muxed = stream.muxed_stream
                muxed.send_window_update = counted
                for _ in range(200):
                    await muxed.conn.read_stream(muxed.stream_id, 1)
                    await update(muxed, bytes_read=1)
                counts.append(updates)
                taken.set()

            counts: list[int] = []
            b.host.set_stream_handler("/count/1", read)
            stream = await a.host.new_stream(ID.from_string(b.peer), ["/count/1"])
            await stream.write(bytes(200))
            await taken.wait()
            return counts[0]

    assert await count(hardening_speed._send_batched_window_update) == 0
    assert await count(hardening_speed._stock_window_update) >= 200


async def test_a_free_lock_costs_no_turn_and_a_taken_one_waits() -> None:
    """QuickLock."""
    ours, stock = hardening.QuickLock(), trio.Lock()
    with trio.CancelScope() as scope:
        scope.cancel()
        async with ours:
            pass
    assert not scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel()
        async with stock:
            pass
    assert scope.cancelled_caught
    order: list[str] = []

    async def second() -> None:
        async with ours:
            order.append("second")

    async with trio.open_nursery() as nursery, ours:
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked()
        order.append("first")
    assert order == ["first", "second"]


class Counted:
    """A socket stream that counts how often it is read from."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.reads = 0

    async def receive_some(self, n: int | None = None) -> bytes:
        self.reads += 1
        taken, self._data = self._data[:n], self._data[n:] if n else b""
        return taken


async def test_reading_ahead_gives_the_same_bytes_in_fewer_calls() -> None:
    """_read_ahead."""
    data = random.Random(1).randbytes(5000)
    ours, stock = Counted(data), Counted(data)
    for below, read in ((ours, hardening_speed._read_ahead), (stock, hardening_speed._stock_read)):
        stream = TrioTCPStream(below)
        received = b""
        while piece := await read(stream, 100):
            assert len(piece) <= 100
            received += piece
        assert received == data
    assert (ours.reads, stock.reads) == (2, 51)

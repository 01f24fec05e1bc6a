"""Each deviation from py-libp2p 0.8.1 beside what it replaces: the stock behaviour is the reason, asserted here too.

So a release that mends a defect fails the assertion on the stock behaviour, and the deviation can go. Deviations whose
absence shows only on a live host under attack are in test_network_attacks.py, those that the contract depends on
(content ids, closed listeners, dials after a failure, one's own messages) in test_network_contract.py.
"""

import hashlib
import importlib.util
import random
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node import hardening, hardening_speed, hardening_streams
from node.hardening_gossip import DEGREE_HIGH
from node.libp2p_network import INBOUND, OUTBOUND, Libp2pNetwork, open_libp2p_network
from node.network import RequestFailed, Unreachable

# isort: split
from google.protobuf.message import DecodeError
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.host.basic_host import BasicHost
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V12, GossipSub
from libp2p.pubsub.mcache import MessageCache
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.score import PeerScorer, ScoreParams
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID
from libp2p.tools.anyio_service import Service, background_trio_service
from libp2p.tools.anyio_service.trio_manager import TrioManager
from libp2p.tools.timed_cache.last_seen_cache import LastSeenCache
from libp2p.utils import encode_varint_prefixed

TOPIC = "/peerboard/test/1"
LOOPBACK = "/ip4/127.0.0.1/tcp/0"


@asynccontextmanager
async def opened(name: str) -> AsyncIterator[Libp2pNetwork]:
    with trio.fail_after(60):
        async with open_libp2p_network(hashlib.sha256(name.encode()).digest(), [LOOPBACK]) as network:
            yield network


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_another_release_is_refused() -> None:
    hardening.require_release(hardening.LIBP2P)
    with pytest.raises(ImportError, match=r"0\.9\.0 is installed.*0\.8\.1"):
        hardening.require_release("0.9.0")


def really_installed(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.loader is not cast(object, hardening.FastecdsaStandIn)


@pytest.mark.skipif(really_installed("fastecdsa"), reason="fastecdsa itself is installed here")
def test_libp2p_imports_without_fastecdsa() -> None:
    stock = run("import libp2p")
    assert "fastecdsa" in stock.stderr
    ours = run(
        "import node.hardening, libp2p.crypto.ecc as ecc\n"
        "try: ecc.create_new_key_pair('P-256')\n"
        "except NotImplementedError as error: print(error)"
    )
    assert "not supported" in ours.stdout, ours.stderr


def test_a_connection_prints_nothing_and_leaves_the_root_logger_alone() -> None:
    code = """
import logging, trio
from node.libp2p_network import open_libp2p_network
async def main():
    async with open_libp2p_network(bytes(32), ["/ip4/127.0.0.1/tcp/0"]) as a:
        async with open_libp2p_network(bytes([1]) * 32, ["/ip4/127.0.0.1/tcp/0"]) as b:
            await a.connect(b.addresses[0])
trio.run(main)
assert not logging.getLogger().handlers
assert not logging.getLogger("libp2p.pubsub").isEnabledFor(logging.ERROR)
"""
    ours = run(code)
    assert (ours.returncode, ours.stdout, ours.stderr) == (0, "", "")
    undone = "import libp2p.network.connection.swarm_connection as stock; stock.logging = logging\ntrio.run"
    assert run(code.replace("trio.run", undone)).returncode == 1


async def test_noise_is_all_that_is_offered() -> None:
    """noise_only."""
    stock = new_host(key_pair=create_new_key_pair(bytes(32))).get_network()
    assert PLAINTEXT_PROTOCOL_ID in stock.upgrader.security_multistream.transports
    async with opened("a") as a:
        assert list(a._swarm.upgrader.security_multistream.transports) == ["/noise"]


class Fragile(Service):  # type: ignore[misc]
    """A service one of whose tasks fails."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self.lived = False

    async def run(self) -> None:
        self.manager.run_task(self._work)
        await trio.testing.wait_all_tasks_blocked()
        self.lived = True
        self.manager.cancel()


async def fail() -> None:
    raise RuntimeError("one peer's trouble")


async def test_a_failing_task_ends_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """_run_contained_task."""
    ours = Fragile(fail)
    async with background_trio_service(ours) as manager:
        await manager.wait_finished()
    assert ours.lived
    monkeypatch.setattr(TrioManager, "run_task", hardening_streams._run_task)
    stock = Fragile(fail)
    with pytest.raises(ExceptionGroup):
        async with background_trio_service(stock) as manager:
            await manager.wait_finished()
    assert not stock.lived


async def test_a_task_that_comes_too_late_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """_schedule_unless_closed."""
    service = Fragile(trio.lowlevel.checkpoint)
    async with background_trio_service(service) as manager:
        await manager.wait_finished()
    manager.run_task(trio.lowlevel.checkpoint)
    monkeypatch.setattr(TrioManager, "_schedule_task", hardening_streams._schedule_task)
    with pytest.raises(Exception, match=r"stop|closed|running"):
        manager.run_task(trio.lowlevel.checkpoint)


async def test_nobody_is_dialled_unasked() -> None:
    """NoAutoConnector."""
    async with opened("a") as a, opened("b") as b:
        a._swarm.peerstore.add_addrs(ID.from_string(b.peer), b.host.get_transport_addrs(), 600)
        await a._swarm.auto_connector.maybe_connect()
        assert a.peers() == ()
        stock = AutoConnector(swarm=a._swarm)
        await stock.start()
        async with a.changes() as changes:
            await stock.maybe_connect()
            assert (await changes.receive()).peer == b.peer


async def test_a_failed_dial_does_not_bar_the_next() -> None:
    """forget_failed_dial."""
    async with opened("a") as a:
        async with opened("b") as b:
            address = b.addresses[0]
            peer = ID.from_string(b.peer)
        with pytest.raises(Unreachable):
            await a.connect(address)
        assert a._swarm._negative_peer_cache.is_blocked(str(peer))
        hardening.forget_failed_dial(a._swarm, peer)
        assert not a._swarm._negative_peer_cache.is_blocked(str(peer))


async def echo(peer: str, body: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return body


@pytest.fixture(params=["direct", "relayed"])
async def link(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Libp2pNetwork, Libp2pNetwork]]:
    """Two networks that are connected, one of them serving an echo."""
    async with opened("a") as a, opened("b") as b:
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
    async with opened("a") as a, opened("b") as b, a.changes() as changes:
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

    async with opened("a") as a, opened("b") as b:
        await a.connect(b.addresses[0])
        (connection,) = a._swarm.connections[ID.from_string(b.peer)]
        assert await left_behind(connection) == 0
        monkeypatch.setattr(SwarmConn, "new_stream", hardening_streams._stock_new_stream)
        assert await left_behind(connection) > 0


async def test_window_updates_come_by_the_half_window() -> None:
    """_send_batched_window_update."""

    async def count(update: Any) -> int:
        async with opened("a") as a, opened("b") as b:
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


def test_the_cache_knows_messages_by_our_ids() -> None:
    """ContentCache."""
    message = rpc_pb2.Message(data=b"x", topicIDs=[TOPIC], from_id=b"1", seqno=b"1")
    ours, stock = hardening.ContentCache(), MessageCache(3, 5)
    for cache in (ours, stock):
        cache.put(message)
        cache.put(message)
    assert ours.window(TOPIC) == [hardening.content_id(message)]
    assert stock.window(TOPIC) != ours.window(TOPIC)
    assert ours.take(hardening.content_id(message), ID(b"a")) is message
    assert ours.take(hardening.content_id(message), ID(b"a")) is None
    assert ours.take(hardening.content_id(message), ID(b"b")) is message
    for _ in range(5):
        ours.shift()
    assert ours.take(hardening.content_id(message), ID(b"c")) is None


async def test_what_is_remembered_is_bounded_and_has_no_thread(autojump_clock: MockClock) -> None:
    """Remembered."""
    threads = threading.active_count()
    ours = hardening.Remembered(120, most=3)
    assert threading.active_count() == threads
    stock = LastSeenCache(120)
    assert threading.active_count() == threads + 1
    stock.stop()
    assert [ours.add(bytes([number])) for number in range(5)] == [True] * 5
    assert [ours.has(bytes([number])) for number in range(5)] == [False, False, True, True, True]
    assert not ours.add(bytes([4]))
    await trio.sleep(121)
    assert not ours.has(bytes([4]))
    ours.sweep()
    assert ours.length() == 0


async def test_a_host_leaves_no_thread_behind() -> None:
    async with opened("a"):
        pass
    threads = threading.active_count()
    for name in "bcd":
        async with opened(name):
            pass
    assert threading.active_count() <= threads


async def test_peers_in_back_off_are_offered_what_they_missed() -> None:
    """GuardedGossip._handle_topic_heartbeat."""
    async with opened("a") as a:
        router = a.pubsub.router
        peer = ID(b"\x12\x20" + bytes(32))
        a.pubsub.peer_topics[TOPIC] = {peer}
        router.peer_protocol[peer] = PROTOCOL_ID_V12
        router.mcache.put(rpc_pb2.Message(data=b"x", topicIDs=[TOPIC]))
        router._add_back_off(peer, TOPIC, False)
        ours: Any = defaultdict(dict)
        router._handle_topic_heartbeat(TOPIC, set(), peers_to_gossip=ours)
        stock: Any = defaultdict(dict)
        GossipSub._handle_topic_heartbeat(router, TOPIC, set(), peers_to_gossip=stock)
        assert list(ours) == [peer]
        assert not stock


def test_the_mesh_takes_everyone_who_may_connect() -> None:
    """GuardedGossip: beyond D_high peers are pruned and backed off, and some end up in no mesh at all."""
    assert DEGREE_HIGH >= INBOUND + OUTBOUND


def test_scores_have_an_effect() -> None:
    """score_parameters."""
    peer = ID(b"a")
    ours, stock = PeerScorer(hardening.score_parameters()), PeerScorer(ScoreParams())
    for scorer in (ours, stock):
        for _ in range(10):
            scorer.on_invalid_message(peer, TOPIC)
            scorer.penalize_behavior(peer, 10)
    assert not ours.allow_publish(peer, [TOPIC])
    assert stock.allow_publish(peer, [TOPIC])
    for _ in range(90):
        ours.on_heartbeat()
    assert ours.allow_publish(peer, [TOPIC])


async def test_recent_messages_go_through_the_queue() -> None:
    """GuardedGossip.send_recent_messages: one writer a stream."""
    async with opened("a") as a, opened("b") as b, b.subscribe(TOPIC, lambda data: True) as heard:
        await a.publish(TOPIC, b"before anybody came")
        await a.connect(b.addresses[0])
        with trio.fail_after(30):
            assert (await heard.receive()).data == b"before anybody came"
        assert type(a.pubsub.router).send_recent_messages is not GossipSub.send_recent_messages


async def test_a_registered_peer_has_room_and_is_in_the_mesh_at_once() -> None:
    """GuardedPubsub._handle_new_peer, for a peer whose subscription came before."""
    async with (
        opened("a") as a,
        opened("b") as b,
        a.subscribe(TOPIC, lambda data: True),
        b.subscribe(TOPIC, lambda data: True),
    ):
        await a.connect(b.addresses[0])
        await a.await_audience(TOPIC)
        peer, pubsub = ID.from_string(b.peer), a.pubsub
        found = {}
        for name, register in (("ours", hardening.GuardedPubsub), ("stock", Pubsub)):
            del pubsub.peers[peer]
            pubsub.peer_queues.pop(peer).close()
            del pubsub.router.peer_protocol[peer]
            pubsub.router.mesh[TOPIC].clear()
            await register._handle_new_peer(pubsub, peer)
            found[name] = (pubsub.peer_queues[peer]._queue.max_size, peer in pubsub.router.mesh[TOPIC])
        assert found == {"ours": (1024, True), "stock": (32, False)}


async def test_a_peer_hears_of_what_is_subscribed_to_while_it_is_greeted(monkeypatch: pytest.MonkeyPatch) -> None:
    """GuardedPubsub._handle_new_peer."""
    async with opened("a") as a, opened("b") as b, b.subscribe(TOPIC, lambda data: True):
        await a.connect(b.addresses[0])
        await a.await_audience(TOPIC)
        peer, pubsub = ID.from_string(b.peer), a.pubsub
        greeting: list[str] = []
        stock_hello, stock_write = pubsub.get_hello_packet, NetStream.write

        async def write(stream: Any, data: bytes) -> None:
            if greeting:
                await pubsub.subscribe(greeting.pop())
            await stock_write(stream, data)

        async def heard_after(register: type[Pubsub], topic: str) -> bool:
            def hello() -> rpc_pb2.RPC:
                greeting.append(topic)
                return cast(rpc_pb2.RPC, stock_hello())

            del pubsub.peers[peer]
            pubsub.peer_queues.pop(peer).close()
            del pubsub.router.peer_protocol[peer]
            with monkeypatch.context() as patch:
                patch.setattr(NetStream, "write", write)
                patch.setattr(pubsub, "get_hello_packet", hello)
                await register._handle_new_peer(pubsub, peer)
            async with a.subscribe(f"after {topic}", lambda data: True):
                await b.await_audience(f"after {topic}")
                return b.audience(topic) == 1

        assert await heard_after(hardening.GuardedPubsub, "ours")
        assert not await heard_after(Pubsub, "stock")


class Pieces:
    """A stream that gives bytes in given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def read(self, n: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def collect(pieces: list[bytes]) -> list[bytes]:
    frames: list[bytes] = []

    async def main() -> None:
        reader = hardening.FrameReader(Pieces(pieces))
        while True:
            frames.append(await reader.next())

    with pytest.raises(hardening.MalformedFrame):
        trio.run(main)
    return frames


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_frames_come_out_however_they_are_cut(frames: list[bytes], data: st.DataObject) -> None:
    """FrameReader."""
    wire = b"".join(encode_varint_prefixed(frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert collect([piece for piece in pieces if piece]) == frames


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8))
def test_junk_is_frames_or_malformed(pieces: list[bytes]) -> None:
    """FrameReader."""
    collect(pieces)


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guards that keep one peer's trouble from the rest."""
    monkeypatch.setattr(hardening.GuardedHost, "_swarm_stream_handler", BasicHost._swarm_stream_handler)
    monkeypatch.setattr(TrioManager, "run_task", hardening_streams._run_task)


async def test_without_the_guard_a_failing_handler_ends_the_host(stock: None) -> None:
    """GuardedHost._swarm_stream_handler; with it: test_a_failing_stream_handler_ends_its_stream_only."""

    async def handler(stream: Any) -> None:
        raise ZeroDivisionError

    async def scene() -> None:
        async with opened("a") as a, opened("b") as b:
            b.host.set_stream_handler("/fail/1", handler)
            await a.connect(b.addresses[0])
            await a.host.new_stream(ID.from_string(b.peer), ["/fail/1"])
            await trio.sleep_forever()

    with pytest.raises(ZeroDivisionError):
        await scene()


async def test_without_the_guard_a_random_frame_ends_the_host(stock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """GuardedPubsub.continuously_read_stream; with it: test_random_frames."""
    monkeypatch.setattr(hardening.GuardedPubsub, "continuously_read_stream", Pubsub.continuously_read_stream)

    async def scene() -> None:
        async with opened("a") as a, opened("b") as b:
            await a.connect(b.addresses[0])
            stream = await a.host.new_stream(ID.from_string(b.peer), [PROTOCOL_ID_V12])
            await stream.write(encode_varint_prefixed(b"\xff" * 200))
            await trio.sleep_forever()

    with pytest.raises(DecodeError):
        await scene()


@pytest.mark.parametrize("attack", ["junk key", "validator"])
async def test_without_the_guard_a_message_ends_the_host(stock: None, attack: str) -> None:
    """GuardedPubsub.push_msg; with it: test_a_junk_key, test_a_validator_that_raises_and_topics_none_or_two."""
    hashed = b"\x12\x20" + bytes(32)
    junk = rpc_pb2.Message(data=b"x", topicIDs=[TOPIC], from_id=hashed, seqno=b"1", signature=b"s", key=b"\xffjunk")

    def judge(sender: ID, message: Any) -> bool:
        raise ZeroDivisionError

    async with opened("a") as a:
        pubsub = Pubsub(a.host, GossipSub([PROTOCOL_ID_V12], 8, 6, 12), strict_signing=attack == "junk key")
        pubsub.set_topic_validator(TOPIC, judge, is_async_validator=False)
        with pytest.raises(DecodeError if attack == "junk key" else ZeroDivisionError):
            await pubsub.push_msg(ID(b"a"), junk)
        pubsub.seen_messages.stop()

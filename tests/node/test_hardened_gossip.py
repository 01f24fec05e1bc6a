"""What is changed in py-libp2p 0.8.1's gossip, beside what it replaces.

As in test_network_hardening.py: the stock behaviour is the reason, asserted here too.
"""

import threading
from collections import defaultdict
from typing import Any, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node import hardening
from node.hardening_gossip import DEGREE_HIGH
from node.libp2p_network import INBOUND, OUTBOUND
from tests.node.loopback import LOOPBACK, met, opened

# isort: split
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V12, GossipSub
from libp2p.pubsub.mcache import MessageCache
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.score import PeerScorer, ScoreParams
from libp2p.tools.timed_cache.last_seen_cache import LastSeenCache
from libp2p.utils import encode_varint_prefixed

TOPIC = "/peerboard/test/1"


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
    async with opened("a", LOOPBACK):
        pass
    threads = threading.active_count()
    for name in "bcd":
        async with opened(name, LOOPBACK):
            pass
    assert threading.active_count() <= threads


async def test_peers_in_back_off_are_offered_what_they_missed() -> None:
    """GuardedGossip._handle_topic_heartbeat."""
    async with opened("a", LOOPBACK) as a:
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
    async with opened("a", LOOPBACK) as a, opened("b", LOOPBACK) as b, b.subscribe(TOPIC, lambda data: True) as heard:
        await a.publish(TOPIC, b"before anybody came")
        await a.connect(b.addresses[0])
        with trio.fail_after(30):
            assert (await heard.receive()).data == b"before anybody came"
        assert type(a.pubsub.router).send_recent_messages is not GossipSub.send_recent_messages


async def test_a_registered_peer_has_room_and_is_in_the_mesh_at_once() -> None:
    """GuardedPubsub._handle_new_peer, for a peer whose subscription came before."""
    async with met(TOPIC) as (a, b):
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
    async with met(TOPIC) as (a, b):
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

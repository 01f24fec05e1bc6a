"""A live host under attack: whatever a peer sends, the node lives, serves others, and stays within bounds.

Each of these ends the process, loses messages or takes memory without bound when the deviation that it names is taken
away from `node.hardening`.
"""

import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio

from node.hardening import BUFFERED_PER_CONNECTION, STREAMS_PER_CONNECTION, content_id
from node.libp2p_network import Libp2pNetwork, open_libp2p_network
from node.network import REQUEST_MAXIMUM, PeerChange, RequestFailed

# isort: split
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import PUBSUB_SIGNING_PREFIX
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.utils import encode_varint_prefixed

TOPIC = "/peerboard/test/1"
ECHO = "/peerboard/echo/1"
MESHSUB = "/meshsub/1.2.0"
PATIENCE = 30


@asynccontextmanager
async def opened(name: str) -> AsyncIterator[Libp2pNetwork]:
    async with open_libp2p_network(hashlib.sha256(name.encode()).digest(), ["/ip4/127.0.0.1/tcp/0"]) as network:

        async def echo(peer: str, body: bytes) -> bytes:
            return body

        network.serve(ECHO, echo)
        yield network


class Scene:
    """A victim, an attacker and a friend, both connected to the victim; victim and friend subscribe."""

    def __init__(self, victim: Libp2pNetwork, attacker: Libp2pNetwork, friend: Libp2pNetwork, heard: Any) -> None:
        self.victim, self.attacker, self.friend, self.heard = victim, attacker, friend, heard

    async def stream(self, protocol: str = MESHSUB) -> Any:
        return await self.attacker.host.new_stream(ID.from_string(self.victim.peer), [protocol])

    async def send(self, rpc: Any) -> None:
        stream = await self.stream()
        await stream.write(encode_varint_prefixed(rpc.SerializeToString()))

    async def rejoin(self) -> None:
        """The attacker connects again if it was thrown out."""
        await self.attacker.connect(self.victim.addresses[0])

    def message(self, data: bytes, **fields: Any) -> Any:
        """A message that the attacker signed properly, with some fields replaced afterwards."""
        host = self.attacker.host
        message = rpc_pb2.Message(
            data=data, topicIDs=[TOPIC], from_id=host.get_id().to_bytes(), seqno=hashlib.sha256(data).digest()[:8]
        )
        message.signature = host.get_private_key().sign(PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString())
        message.MergeFrom(rpc_pb2.Message(**fields))
        return message

    async def alive(self) -> None:
        """The friend's requests are answered and its messages arrive."""
        word = random.randbytes(16)
        with trio.fail_after(PATIENCE):
            assert await self.friend.request(self.victim.peer, ECHO, word, timeout=PATIENCE) == word
            await self.friend.publish(TOPIC, word)
            async for message in self.heard:
                if message.data == word:
                    return


def judge(data: bytes) -> bool:
    if data.startswith(b"trap"):
        raise RuntimeError("a bug in the validator")
    return not data.startswith(b"bad")


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    with trio.fail_after(4 * PATIENCE):
        async with opened("victim") as victim, opened("attacker") as attacker, opened("friend") as friend:
            await attacker.connect(victim.addresses[0])
            await friend.connect(victim.addresses[0])
            async with victim.subscribe(TOPIC, judge) as heard, friend.subscribe(TOPIC, lambda data: True):
                await friend.await_audience(TOPIC)
                await attacker.await_audience(TOPIC)
                yield Scene(victim, attacker, friend, heard)


async def test_random_frames(scene: Scene) -> None:
    """GuardedPubsub.continuously_read_stream."""
    dice = random.Random(1)
    async with scene.victim.changes() as changes:
        for _ in range(10):
            await scene.rejoin()
            stream = await scene.stream()
            await stream.write(encode_varint_prefixed(b"\xff" + dice.randbytes(199)))
            while await changes.receive() != PeerChange(scene.attacker.peer, joined=False):
                pass
    await scene.alive()


@pytest.mark.parametrize("junk", [b"\xff" * 10, b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"])
async def test_impossible_lengths(scene: Scene, junk: bytes) -> None:
    """FrameReader."""
    stream = await scene.stream()
    async with scene.victim.changes() as changes:
        await stream.write(junk)
        while await changes.receive() != PeerChange(scene.attacker.peer, joined=False):
            pass
    await scene.alive()


async def test_a_junk_key(scene: Scene) -> None:
    """GuardedPubsub.push_msg: a peer id that holds no key, and a key that cannot be decoded."""
    hashed = b"\x12\x20" + bytes(32)
    message = rpc_pb2.Message(data=b"x", topicIDs=[TOPIC], from_id=hashed, seqno=b"1", signature=b"s", key=b"\xffjunk")
    await scene.send(rpc_pb2.RPC(publish=[message]))
    await scene.send(rpc_pb2.RPC(publish=[scene.message(b"y", from_id=b"", key=b"\x08\x63")]))
    await scene.alive()
    assert scene.victim.traffic.delivered == 1


async def test_a_validator_that_raises_and_topics_none_or_two(scene: Scene) -> None:
    """Libp2pNetwork._accept, GuardedPubsub.push_msg."""
    nowhere, twice = scene.message(b"nowhere"), scene.message(b"twice", topicIDs=["other"])
    del nowhere.topicIDs[:]
    await scene.send(rpc_pb2.RPC(publish=[scene.message(b"trap"), nowhere, twice]))
    await scene.alive()
    assert scene.victim.traffic.rejected == 1
    assert scene.victim.traffic.delivered == 1


async def test_a_forged_copy_does_not_suppress_the_message(scene: Scene) -> None:
    """GuardedPubsub.push_msg: remembered only after the signature."""
    forged = scene.message(b"word")
    forged.signature = bytes(64)
    await scene.send(rpc_pb2.RPC(publish=[forged]))
    await scene.alive()
    await scene.friend.publish(TOPIC, b"word")
    with trio.fail_after(PATIENCE):
        assert (await scene.heard.receive()).data == b"word"


async def test_ten_thousand_streams(scene: Scene) -> None:
    """GuardedHost: streams per connection."""
    (connection,) = scene.attacker._swarm.get_connections(ID.from_string(scene.victim.peer))
    # The attacker does not keep to its own limit on open streams.
    connection.muxed_conn.stream_backlog_semaphore = trio.Semaphore(20_000)
    with suppress(MuxedStreamError):  # a slow victim hears no answer to its pings among all this, and hangs up
        for _ in range(10_000):
            await connection.muxed_conn.open_stream()
    await scene.alive()
    for held in scene.victim._swarm.get_connections(ID.from_string(scene.attacker.peer)):
        # A few more were accepted and wait for their turn to be reset.
        assert len(held.get_streams()) <= STREAMS_PER_CONNECTION + 16


async def test_an_oversize_request(scene: Scene) -> None:
    """Libp2pNetwork._handle."""
    stream = await scene.stream(ECHO)
    await stream.write((REQUEST_MAXIMUM + 1).to_bytes(4, "big") + bytes(1000))
    with pytest.raises(StreamError):
        await stream.read(1000)
    await scene.alive()


async def test_a_flood_of_valid_messages_is_cut_off(scene: Scene) -> None:
    """GuardedGossip.admits and score_parameters."""
    flood = [scene.message(b"%d" % number) for number in range(5000)]
    stream = await scene.stream()
    for start in range(0, len(flood), 50):
        await stream.write(encode_varint_prefixed(rpc_pb2.RPC(publish=flood[start : start + 50]).SerializeToString()))
    await scene.alive()
    assert scene.victim.traffic.delivered < 2000
    assert not scene.victim.pubsub.router.scorer.allow_publish(ID.from_string(scene.attacker.peer), [TOPIC])


async def test_invalid_messages_silence_their_sender(scene: Scene) -> None:
    """score_parameters."""
    await scene.send(rpc_pb2.RPC(publish=[scene.message(b"bad %d" % number) for number in range(30)]))
    await scene.send(rpc_pb2.RPC(publish=[scene.message(b"now good")]))
    await scene.alive()
    assert 5 <= scene.victim.traffic.rejected < 10
    assert scene.victim.traffic.delivered == 1


async def test_an_author_that_says_too_much_costs_its_relay_nothing(scene: Scene) -> None:
    """GuardedPubsub.push_msg."""
    topic, admitted = TOPIC + "/limited", trio.Event()

    def admit(data: bytes) -> bool:
        if data == b"last":
            admitted.set()
        return False

    attacker = ID.from_string(scene.attacker.peer)
    async with scene.victim.subscribe(topic, lambda data: True, admit=admit):
        await scene.attacker.await_audience(topic)
        for number in range(50):
            await scene.attacker.publish(topic, b"%d" % number)
        await scene.attacker.publish(topic, b"last")
        await admitted.wait()
    assert scene.victim.pubsub.router.scorer.score(attacker, [topic]) >= 0
    assert (scene.victim.traffic.ignored, scene.victim.traffic.rejected) == (51, 0)


async def test_who_asks_all_the_time_waits_and_others_do_not(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests._handle."""
    monkeypatch.setattr("node.libp2p_requests.REQUESTS_AT_ONCE", 3.0)
    monkeypatch.setattr("node.libp2p_requests.REQUESTS_A_SECOND", 0.001)
    for _ in range(3):
        assert await scene.attacker.request(scene.victim.peer, ECHO, b"x", timeout=PATIENCE) == b"x"
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with suppress(RequestFailed):
                await scene.attacker.request(scene.victim.peer, ECHO, b"x", timeout=PATIENCE)
            raise AssertionError("the fourth was answered")

        nursery.start_soon(ask)
        await scene.alive()
        nursery.cancel_scope.cancel()


async def test_one_message_asked_for_a_thousand_times_is_given_once(scene: Scene) -> None:
    """GuardedGossip.handle_iwant."""
    await scene.alive()
    (identity,) = scene.victim.pubsub.router.mcache.window(TOPIC)
    attacker = ID.from_string(scene.attacker.peer)
    given: list[int] = []
    router = scene.victim.pubsub.router
    router.send_rpc = lambda peer, rpc, priority=False: given.append(len(rpc.publish))
    for _ in range(3):
        await router.handle_iwant(rpc_pb2.ControlIWant(messageIDs=[identity] * 1000), attacker)
    del router.send_rpc
    assert given == [1]


async def test_offers_are_taken_up_within_bounds(scene: Scene) -> None:
    """GuardedGossip.handle_ihave."""
    attacker = ID.from_string(scene.attacker.peer)
    asked: list[int] = []
    router = scene.victim.pubsub.router
    router.send_rpc = lambda peer, rpc, priority=False: asked.append(len(rpc.control.iwant[0].messageIDs))
    offered = [hashlib.sha256(b"%d" % number).digest() for number in range(20_000)]
    await router.handle_ihave(rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=offered), attacker)
    await router.handle_ihave(rpc_pb2.ControlIHave(topicID="else", messageIDs=offered), attacker)
    del router.send_rpc
    assert asked == [512]


async def test_a_prune_for_unknown_topics_and_with_addresses_leaves_nothing(scene: Scene) -> None:
    """GuardedGossip.handle_prune."""
    attacker = ID.from_string(scene.attacker.peer)
    router = scene.victim.pubsub.router
    for number in range(100):
        await router.handle_prune(rpc_pb2.ControlPrune(topicID=f"topic {number}", backoff=2**40), attacker)
    await router.handle_prune(
        rpc_pb2.ControlPrune(topicID=TOPIC, backoff=2**40, peers=[rpc_pb2.PeerInfo(peerID=b"x")]), attacker
    )
    assert set(router.back_off) == {TOPIC}
    assert router.back_off[TOPIC][attacker] < 2**40


async def test_endless_topic_names_are_not_remembered(scene: Scene) -> None:
    """GuardedPubsub.handle_subscription."""
    long = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid="t" * 100_000 + str(number)) for number in range(5)]
    many = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"t{number}") for number in range(1000)]
    await scene.send(rpc_pb2.RPC(subscriptions=long))
    await scene.send(rpc_pb2.RPC(subscriptions=many))
    await scene.alive()
    topics = scene.victim.pubsub.peer_topics
    assert max(map(len, topics)) <= 256
    assert len(topics) <= 66


async def test_a_peer_that_ignores_its_window_is_thrown_out(scene: Scene) -> None:
    """BoundedYamux._read_data_body."""

    async def never_read(stream: Any) -> None:
        await trio.sleep_forever()

    scene.victim.host.set_stream_handler("/never/1", never_read)
    stream = await scene.stream("/never/1")
    stream.muxed_stream.send_window = 1 << 30
    async with scene.victim.changes() as changes:
        with suppress(StreamError):
            for _ in range(2 * BUFFERED_PER_CONNECTION // 50_000):
                await stream.write(bytes(50_000))
        while await changes.receive() != PeerChange(scene.attacker.peer, joined=False):
            pass
    await scene.alive()


async def test_a_failing_stream_handler_ends_its_stream_only(scene: Scene) -> None:
    """GuardedHost._swarm_stream_handler."""

    async def fail(stream: Any) -> None:
        raise RuntimeError("a bug in a handler")

    scene.victim.host.set_stream_handler("/fail/1", fail)
    with pytest.raises(RequestFailed):
        await scene.attacker.request(scene.victim.peer, "/fail/1", b"")
    await scene.alive()


async def test_a_burst_of_own_messages_arrives_whole(scene: Scene) -> None:
    """GuardedPubsub.publish: one's own rate limit does not drop them."""
    sent = {b"burst %d" % number for number in range(300)}
    for data in sorted(sent):
        await scene.friend.publish(TOPIC, data)
    with trio.fail_after(PATIENCE):
        assert {(await scene.heard.receive()).data for _ in range(300)} == sent


async def test_no_delivery_is_kept_for_ever(scene: Scene) -> None:
    """GuardedGossip.relay."""
    await scene.friend.publish(TOPIC, b"word")
    with trio.fail_after(PATIENCE):
        await scene.heard.receive()
    for node in (scene.friend, scene.victim):
        assert not node.pubsub.router.recent_message_deliveries


def test_the_id_is_of_topic_and_content_alone() -> None:
    """content_id."""
    one = rpc_pb2.Message(data=b"x", topicIDs=["a"], from_id=b"1", seqno=b"1")
    other = rpc_pb2.Message(data=b"x", topicIDs=["a"], from_id=b"2", seqno=b"2")
    elsewhere = rpc_pb2.Message(data=b"x", topicIDs=["b"], from_id=b"1", seqno=b"1")
    assert content_id(one) == content_id(other) == hashlib.sha256(b"a\0x").digest()
    assert content_id(elsewhere) != content_id(one)

"""Deviations from py-libp2p 0.8.1 in publish and subscribe: reading frames, judging messages, writing.

`docs/upstream.md` has each as a report.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import structlog
import trio

import node.hardening_import  # noqa: F401  comes before libp2p

# isort: split
from libp2p.crypto.keys import PublicKey
from libp2p.peer.id import ID, MAX_INLINE_KEY_LENGTH
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import PUBSUB_SIGNING_PREFIX, Pubsub
from libp2p.pubsub.validators import signature_validator
from libp2p.utils import encode_varint_prefixed

from node.hardening_gossip import GuardedGossip, Remembered, content_id
from node.subscriptions import Verdict

log = structlog.get_logger(__name__)

FRAME_MAXIMUM = 1024 * 1024
READ_BYTES = 64 * 1024
WRITE_BYTES = 256 * 1024
OUTBOUND_FRAMES = 1024
SUBSCRIPTIONS_PER_PEER = 64
TOPIC_LENGTH = 256
AUTHORS_REMEMBERED = 1024


Judge = Callable[[str, bytes, str], Verdict]


class MalformedFrame(Exception):
    """A peer sent bytes on a gossip stream that are no frame."""


class FrameReader:
    """Splits a stream into length-prefixed frames.

    Replaces: `read_varint_prefixed_bytes_limited`. Reason: that one reads the length byte by byte, each
    byte a round through the muxer with its locks and, before `_send_batched_window_update`, a frame of its
    own on the wire.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def next(self) -> bytes:
        """The next frame. Raises `MalformedFrame`, or what the stream raises when it ends."""
        while True:
            frame = self._cut()
            if frame is not None:
                return frame
            chunk = await self._stream.read(READ_BYTES)
            if not chunk:
                raise MalformedFrame("the stream ended inside a frame")
            self._buffer += chunk

    def _cut(self) -> bytes | None:
        length = shift = 0
        for position, byte in enumerate(self._buffer[:4]):
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if length > FRAME_MAXIMUM:
                    raise MalformedFrame(f"a frame of {length} bytes")
                end = position + 1 + length
                if len(self._buffer) < end:
                    return None
                frame = bytes(self._buffer[position + 1 : end])
                del self._buffer[:end]
                return frame
        if len(self._buffer) >= 4:
            raise MalformedFrame("a length of more than four bytes")
        return None


class GuardedPubsub(Pubsub):  # type: ignore[misc]
    """Publish and subscribe that survives its neighbours.

    `judge(topic, data, forwarder)` is asked once for each new message on a subscribed topic.
    `heard()` is called when a peer subscribes or becomes writable.
    """

    router: GuardedGossip
    seen_messages: Any

    def __init__(
        self,
        host: Any,
        router: GuardedGossip,
        *,
        judge: Judge,
        heard: Callable[[], None],
        message_maximum: int,
        remembered_seconds: float,
    ) -> None:
        super().__init__(
            host,
            router,
            strict_signing=True,
            msg_id_constructor=content_id,
            max_inbound_rpc_size=FRAME_MAXIMUM,
            max_subscriptions_per_peer=SUBSCRIPTIONS_PER_PEER,
            max_subscriptions_per_rpc=SUBSCRIPTIONS_PER_PEER,
        )
        self.seen_messages.stop()
        self.seen_messages = Remembered(remembered_seconds)
        self._judge = judge
        self._heard = heard
        self._message_maximum = message_maximum

    async def continuously_read_stream(self, stream: Any) -> None:
        """Read frames until the stream ends; what is no frame ends the connection.

        Replaces: the method of that name. Reasons: a frame that is no protobuf message raises DecodeError
        into the service's nursery and ends the process; each message starts a task without bound; the
        signed peer record of every frame is verified, twice.
        """
        peer = stream.muxed_conn.peer_id
        reader = FrameReader(stream)
        try:
            while self.manager.is_running:
                await self._take_frame(peer, await reader.next())
        except MalformedFrame as error:
            log.warning("a peer sent a malformed gossip frame; it is disconnected", peer=str(peer), error=str(error))
            await self.host.disconnect(peer)

    async def _take_frame(self, peer: ID, frame: bytes) -> None:
        rpc = rpc_pb2.RPC()
        try:
            rpc.ParseFromString(frame)
        except Exception as error:
            raise MalformedFrame(f"no protobuf message: {error}") from error
        for subscription in rpc.subscriptions[:SUBSCRIPTIONS_PER_PEER]:
            self.handle_subscription(peer, subscription)
        for message in rpc.publish:
            await self.push_msg(peer, message)
        if rpc.HasField("control"):
            await self.router.handle_rpc(rpc, peer)

    async def push_msg(self, msg_forwarder: ID, msg: Any) -> None:
        """Judge a message, then deliver and relay it.

        Replaces: the method of that name. Reasons: an exception in a validator, or in decoding the attached
        key, ends the process; a rejected message is formatted whole for the log; the rate limit comes after
        delivery.
        """
        if len(msg.topicIDs) != 1:
            self.router.scorer.penalize_behavior(msg_forwarder, 1.0)
            return
        topic = msg.topicIDs[0]
        if topic not in self.subscribed_topics_receive:
            return
        identity = content_id(msg)
        self.router.note_copy(identity, msg_forwarder)
        if self.seen_messages.has(identity) or msg.from_id == self.my_id.to_bytes():
            return
        if not self.router.admits(msg_forwarder, topic, len(msg.data)):
            return
        if len(msg.data) > self._message_maximum or not _signed(msg):
            self.router.scorer.on_invalid_message(msg_forwarder, topic)
            return
        # Only now: a copy with a bad signature must not suppress the good one. A refusal is for the content alone.
        self.seen_messages.add(identity)
        verdict = self._judge(topic, bytes(msg.data), str(msg_forwarder))
        if verdict is Verdict.ACCEPTED:
            self.router.scorer.on_first_delivery(msg_forwarder, topic)
            self.router.relay(msg, identity, forwarder=msg_forwarder)
        elif verdict is Verdict.REFUSED:
            self.router.scorer.on_invalid_message(msg_forwarder, topic)
        await trio.lowlevel.checkpoint()

    async def publish(self, topic_id: str | list[str], data: bytes) -> None:
        """Sign and send one's own message, unless the same bytes were met already.

        Replaces: the method of that name. Reasons: it delivers to oneself, counts against one's own rate
        limit, and numbers messages from the clock's second on, so that numbers come twice after a restart.
        """
        if not isinstance(topic_id, str):
            raise TypeError("one topic at a time")
        message = rpc_pb2.Message(
            data=data,
            topicIDs=[topic_id],
            from_id=self.my_id.to_bytes(),
            seqno=time.time_ns().to_bytes(8, "big"),
        )
        identity = content_id(message)
        if self.seen_messages.has(identity):
            return
        key = self.host.get_private_key()
        message.signature = key.sign(PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString())
        message.key = self.host.get_public_key().serialize()
        self.seen_messages.add(identity)
        self.router.relay(message, identity, forwarder=None)
        await trio.lowlevel.checkpoint()

    def handle_subscription(self, origin_id: ID, sub_message: Any) -> None:
        """Note a subscription, to topics of a sensible length.

        Replaces: the method of that name. Reason: the number of topics is bounded, their length is not.
        """
        if len(sub_message.topicid) > TOPIC_LENGTH:
            self.router.scorer.penalize_behavior(origin_id, 1.0)
            return
        super().handle_subscription(origin_id, sub_message)
        self._heard()

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """Register a peer, with room for bursts, and take it into the meshes of topics that it named before.

        Replaces: the method of that name. Reasons: 32 frames wait for a peer at most, and more are dropped
        without a word; a subscription that comes before the registration leads to no mesh until the next
        heartbeat; and what this node subscribes to while the first frame is written, the peer never hears of.
        """
        known, before = peer_id in self.peers, set(self.topic_ids)
        await super()._handle_new_peer(peer_id)
        if known or peer_id not in self.peers:
            return
        queue = self.peer_queues[peer_id]
        queue._queue.max_size = OUTBOUND_FRAMES
        for topic in before ^ set(self.topic_ids):
            queue.push(self._build_announce_rpc(topic, subscribe=topic in self.topic_ids)[0])
        for topic in [topic for topic, peers in self.peer_topics.items() if peer_id in peers]:
            await self.router.on_peer_subscribed(peer_id, topic)
        self._heard()

    async def handle_sending_messages(self, peer_id: ID, stream: Any, queue: Any) -> None:
        """Write what waits for a peer, many frames at once.

        Replaces: the method of that name. Reasons: it serialises each message for each peer and writes each
        frame by itself, encrypted by itself.
        """
        try:
            while (item := await queue.pop()) is not None:
                waiting = bytearray(_bytes(item))
                while len(waiting) < WRITE_BYTES and (item := queue._queue.pop()) is not None:
                    waiting += _bytes(item)
                await stream.write(bytes(waiting))
        except Exception as error:
            log.debug("a peer cannot be written to", peer=str(peer_id), error=repr(error))
            if self.peers.get(peer_id) is stream:
                self._handle_dead_peer(peer_id)


def _bytes(item: Any) -> bytes:
    return item if isinstance(item, bytes) else bytes(encode_varint_prefixed(item.SerializeToString()))


def _signed(message: Any) -> bool:
    """Whether the author's signature holds; junk in the attached key is a no."""
    try:
        if len(message.from_id) > MAX_INLINE_KEY_LENGTH or (key := _inline_key(message.from_id)) is None:
            return bool(signature_validator(message))
        signed = rpc_pb2.Message(
            data=message.data, topicIDs=message.topicIDs, from_id=message.from_id, seqno=message.seqno
        )
        return bool(key.verify(PUBSUB_SIGNING_PREFIX.encode() + signed.SerializeToString(), message.signature))
    except Exception:
        return False


@functools.lru_cache(maxsize=AUTHORS_REMEMBERED)
def _inline_key(author: bytes) -> PublicKey | None:
    """The public key that a peer id consists of, if it does.

    Stands before: `signature_validator`. Reason: it takes the key apart and puts the id together again for each
    message, which takes as long as the check itself.
    """
    key = ID(author).extract_public_key()
    return key if key is not None and ID.from_pubkey(key) == ID(author) else None

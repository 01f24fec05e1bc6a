"""Deviations from py-libp2p 0.8.1 in gossip: what is relayed to whom, remembered, and given on request.

`docs/upstream.md` has each as a report.
"""

import hashlib
import time
from collections import defaultdict
from typing import Any

import trio

import node.hardening_import  # noqa: F401  comes before libp2p
from node.allowances import NEIGHBOUR, Allowance
from node.hardening_relay import HOLD_SECONDS, Withheld, speaks_first

# isort: split
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, PROTOCOL_ID_V12, GossipSub
from libp2p.pubsub.mcache import CacheEntry, MessageCache
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.score import ScoreParams, TopicScoreParams
from libp2p.pubsub.utils import safe_bytes_from_hex
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.utils import encode_varint_prefixed

HEARTBEAT_SECONDS = 1
HISTORY = 5
WINDOW = 3
DEGREE, DEGREE_LOW, DEGREE_HIGH = 8, 6, 64
LAZY_PEERS, LAZY_SHARE = 6, 0.25
IDS_PER_REQUEST = 512
BACK_OFF_MAXIMUM = 300


def content_id(message: Any) -> bytes:
    """SHA-256 of the topic, a zero byte and the data: the same words are one message, whoever publishes them again.

    Replaces: sender and sequence number. Reason: sequence numbers begin again at the clock's second, so
    that after a crash the first messages of the new life were taken for old ones. The topic belongs to it,
    or a message that is replayed on another topic would suppress the one on its own.
    """
    return hashlib.sha256(message.topicIDs[0].encode() + b"\0" + message.data).digest()


class Remembered:
    """The ids of messages met in the last `seconds`, bounded in number.

    Replaces: `LastSeenCache`. Reason: that one starts a thread for each instance and never ends it, and has
    no bound.
    """

    def __init__(self, seconds: float, most: int = 100_000) -> None:
        self._seconds = seconds
        self._most = most
        self._until: dict[bytes, float] = {}

    def has(self, identity: bytes) -> bool:
        """Whether it was met, and not too long ago."""
        return self._until.get(identity, 0.0) > trio.current_time()

    def add(self, identity: bytes) -> bool:
        """Remember it from now on. Returns whether it was unknown."""
        known = self.has(identity)
        self._until.pop(identity, None)
        self._until[identity] = trio.current_time() + self._seconds
        while len(self._until) > self._most:
            del self._until[next(iter(self._until))]
        return not known

    def sweep(self) -> None:
        """Forget what is too old."""
        now = trio.current_time()
        for identity in [known for known, until in self._until.items() if until <= now]:
            del self._until[identity]

    def stop(self) -> None:
        """Nothing to stop."""

    def length(self) -> int:
        """How many are held."""
        return len(self._until)


class ContentCache(MessageCache):  # type: ignore[misc]
    """Recent messages by `content_id`, and who got each on request.

    Replaces: `MessageCache`. Reason: that one has its own id function, so that with any other message id
    the ids that are offered (IHAVE) are none that a neighbour knows, and every message is fetched twice.
    """

    def __init__(self) -> None:
        super().__init__(WINDOW, HISTORY)
        self._takers: dict[bytes, set[ID]] = {}

    def put(self, msg: Any, identity: bytes | None = None) -> None:
        """Add a message, with its id where that is known, to the newest window."""
        identity = identity or content_id(msg)
        if identity not in self.msgs:
            self.msgs[identity] = msg
            self.history[0].append(CacheEntry(identity, msg.topicIDs))

    def take(self, identity: bytes, taker: ID) -> Any | None:
        """The message, once for each taker."""
        message = self.msgs.get(identity)
        takers = self._takers.setdefault(identity, set()) if message is not None else set()
        if taker in takers:
            return None
        takers.add(taker)
        return message

    def shift(self) -> None:
        """Begin a new window and drop the oldest."""
        super().shift()
        self._takers = {identity: takers for identity, takers in self._takers.items() if identity in self.msgs}


def score_parameters() -> ScoreParams:
    """Scoring that punishes: invalid messages and floods lead to silence within seconds and are forgiven in a minute.

    Replaces: the default weights of zero and thresholds of minus infinity, with which no score has any
    effect.
    """
    return ScoreParams(
        p4_invalid_messages=TopicScoreParams(weight=10, cap=20, decay=0.95),
        p5_behavior_penalty_weight=1,
        p5_behavior_penalty_decay=0.9,
        publish_threshold=-50,
        gossip_threshold=-20,
        graylist_threshold=-100,
        accept_px_threshold=0,
    )


class GuardedGossip(GossipSub):  # type: ignore[misc]
    """A gossip router that isolates nobody, forgets what is past, and answers within bounds."""

    def __init__(self) -> None:
        super().__init__(
            # Not 1.3: its topic observation lets a peer name any number of topics, all remembered.
            protocols=[PROTOCOL_ID_V12, PROTOCOL_ID_V11],
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            # Above the cap on connections: pruned peers are backed off for a minute, and with a small bound some
            # node of a full mesh ends up with no neighbour at all.
            degree_high=DEGREE_HIGH,
            gossip_window=WINDOW,
            gossip_history=HISTORY,
            heartbeat_initial_delay=0.1,
            heartbeat_interval=HEARTBEAT_SECONDS,
            # It stretches the heartbeat to a minute when traffic is low.
            adaptive_gossip_enabled=False,
            # It prunes for the sake of three different addresses, which a network on one machine never has.
            eclipse_protection_enabled=False,
            # It limits this node's own messages as well, and only after they were delivered: see `admits`.
            spam_protection_enabled=False,
            score_params=score_parameters(),
        )
        self.mcache = ContentCache()
        self.dropped = 0
        self._allowances: dict[ID, Allowance] = {}
        self._withheld = Withheld()

    async def run(self) -> None:
        """Run until cancelled."""
        self.manager.run_daemon_task(self._send_withheld)
        await super().run()

    async def _send_withheld(self) -> None:
        while self.manager.is_running:
            for peer, frames in (await self._withheld.overdue()).items():
                self._queue(peer, frames)

    def _queue(self, peer: ID, frame: bytes) -> None:
        queue = self.pubsub.peer_queues.get(peer) if self.pubsub else None
        if queue is not None and not queue.push(frame):
            self.dropped += 1

    def note_copy(self, identity: bytes, forwarder: ID) -> None:
        """A neighbour sent this message, so it need not be sent to it."""
        self._withheld.drop(identity, forwarder)

    def admits(self, forwarder: ID, topic: str, size: int) -> bool:
        """Whether a message from this neighbour may cost anything now.

        Replaces: `_check_spam_protection`. Reason: that one limits a neighbour to ten messages a second,
        the node itself too, and drops after delivery, so that the message is lost for all who are behind
        this node.
        """
        if not self.scorer.allow_publish(forwarder, [topic]):
            return False
        allowance = self._allowances.get(forwarder)
        if allowance is None:
            allowance = self._allowances[forwarder] = Allowance(NEIGHBOUR)
        if allowance.spend(size):
            return True
        self.scorer.penalize_behavior(forwarder, 1.0)
        return False

    def relay(self, message: Any, identity: bytes, *, forwarder: ID | None) -> None:
        """Send a message on: one's own to every subscriber, a neighbour's to the mesh.

        Replaces: `GossipSub.publish`. Reasons: it builds, copies and measures an RPC for each neighbour
        instead of writing bytes once; attaches a signed peer record, rebuilt and verified, to every
        message; sends IDONTWANT for each, which costs more than the duplicate of a small message; keeps
        every delivery's time for ever; takes a restarted node's first messages for equivocation; queues
        messages for peers that may never subscribe; and sends every message over each link of the mesh in
        both directions, where between near neighbours `speaks_first` tells which of the two sends it at once.
        Own messages go to all subscribers (flood publishing, GossipSub 1.1), so that the first hop needs no mesh.
        """
        topic = message.topicIDs[0]
        self.mcache.put(message, identity)
        if self.pubsub is None:
            return
        frame = encode_varint_prefixed(rpc_pb2.RPC(publish=[message]).SerializeToString())
        if forwarder is None:
            for peer in tuple(self.pubsub.peer_topics.get(topic, ())):
                if self.scorer.allow_publish(peer, [topic]):
                    self._queue(peer, frame)
            return
        origin = ID(message.from_id)
        later = []
        for peer in tuple(self.mesh.get(topic, ())):
            if peer in (forwarder, origin) or not self.scorer.allow_publish(peer, [topic]):
                continue
            if speaks_first(self.pubsub.my_id, peer, identity) or not self._is_near(peer):
                self._queue(peer, frame)
            else:
                later.append(peer)
        self._withheld.hold(identity, frame, later)

    def _is_near(self, peer: ID) -> bool:
        """Whether a copy that the neighbour sends now is here before its frame would be held no more."""
        stream = self.pubsub.peers.get(peer) if self.pubsub else None
        connection = stream.muxed_conn if stream is not None else None
        return isinstance(connection, Yamux) and 0 < connection.rtt() < HOLD_SECONDS

    def remove_peer(self, peer_id: ID) -> None:
        """Forget a neighbour."""
        super().remove_peer(peer_id)
        self._allowances.pop(peer_id, None)

    async def send_recent_messages(self, peer_id: ID, topic: str) -> None:
        """Queue the current window for a new subscriber.

        Replaces: the method of that name. Reason: it writes to the stream beside the task that empties the
        queue, and two writers of more than one frame each garble the stream.
        """
        queue = self.pubsub.peer_queues.get(peer_id) if self.pubsub else None
        if queue is None:
            return
        for identity in self.mcache.window(topic):
            message = self.mcache.take(identity, peer_id)
            if message is not None:
                queue.push(encode_varint_prefixed(rpc_pb2.RPC(publish=[message]).SerializeToString()))

    async def handle_rpc(self, rpc: Any, sender_peer_id: ID) -> None:
        """Handle control messages, and no signed peer record: it was verified again for every RPC."""
        rpc.ClearField("senderRecord")
        await super().handle_rpc(rpc, sender_peer_id)

    async def handle_ihave(self, ihave_msg: Any, sender_peer_id: ID) -> None:
        """Ask for what is unknown, on topics that this node takes part in, at most `IDS_PER_REQUEST` at once.

        Replaces: the method of that name. Reason: it asks for every id of any topic, 30,000 in one frame.
        """
        if self.pubsub is None or ihave_msg.topicID not in self.mesh:
            return
        if not self._check_ihave_rate_limit(sender_peer_id, ihave_msg.topicID):
            return
        offered = (safe_bytes_from_hex(identity) for identity in ihave_msg.messageIDs[:IDS_PER_REQUEST])
        wanted = [known for known in offered if known is not None and not self.pubsub.seen_messages.has(known)]
        if wanted:
            await self.emit_iwant(wanted, sender_peer_id)

    async def handle_iwant(self, iwant_msg: Any, sender_peer_id: ID) -> None:
        """Give each message at most once to each neighbour.

        Replaces: the method of that name. Reason: an id that is named n times is answered n times: one
        frame of a mebibyte asks for 30,000 copies of the largest message, two gigabytes.
        """
        if not self._check_iwant_rate_limit(sender_peer_id):
            return
        packet = rpc_pb2.RPC()
        for wire in iwant_msg.messageIDs[:IDS_PER_REQUEST]:
            identity = safe_bytes_from_hex(wire)
            message = self.mcache.take(identity, sender_peer_id) if identity is not None else None
            if message is not None:
                packet.publish.append(message)
        if packet.publish:
            self.send_rpc(sender_peer_id, packet)

    async def handle_idontwant(self, idontwant_msg: Any, sender_peer_id: ID) -> None:
        """Ignored: `relay` does not ask, and the ids would be kept at whatever length they come in."""

    async def handle_prune(self, prune_msg: Any, sender_peer_id: ID) -> None:
        """Leave the peer alone for a while, on topics that this node takes part in.

        Replaces: the method of that name. Reason: it keeps a back-off for any topic and any length of time
        that a peer names, and dials whatever addresses come with the message.
        """
        if prune_msg.topicID not in self.mesh:
            return
        prune_msg.ClearField("peers")
        prune_msg.backoff = min(prune_msg.backoff, BACK_OFF_MAXIMUM)
        await super().handle_prune(prune_msg, sender_peer_id)

    def _handle_topic_heartbeat(
        self,
        topic: str,
        current_peers: set[ID],
        is_fanout: bool = False,
        peers_to_gossip: defaultdict[ID, dict[str, list[bytes]]] | None = None,
    ) -> tuple[set[ID], bool]:
        """Offer recent ids to subscribers outside the mesh.

        Replaces: the method of that name where it chooses whom to offer to. Reason: it leaves out peers in
        prune back-off, the very ones that are in nobody's mesh, so that they hear nothing at all.
        """
        if peers_to_gossip is None:
            kept, ended = super()._handle_topic_heartbeat(topic, current_peers, is_fanout)
            return kept, ended
        offered = self.mcache.window(topic)
        if offered and self.pubsub is not None and topic in self.pubsub.peer_topics:
            count = max(LAZY_PEERS, int(LAZY_SHARE * len(self.pubsub.peer_topics[topic])))
            for peer in self._get_in_topic_gossipsub_peers_from_minus(topic, count, current_peers, False):
                peers_to_gossip[peer][topic] = offered[-IDS_PER_REQUEST:]
        return current_peers, False

    def _periodic_security_cleanup(self) -> None:
        super()._periodic_security_cleanup()
        for topic, peers in list(self.back_off.items()):
            now = int(time.time())
            self.back_off[topic] = {peer: until for peer, until in peers.items() if until > now}
        if self.pubsub is not None:
            self.pubsub.seen_messages.sweep()

"""What one node subscribes to: how a message on a topic is judged, who hears it, and the counts of both."""

import enum
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import trio
from msgspec import Struct

from node.mailbox import Mailbox
from node.network import MESSAGE_MAXIMUM, Admission, Gossip, Traffic, Validator

log = structlog.get_logger(__name__)


class Verdict(enum.Enum):
    """What becomes of a new message: relayed; held against its forwarder; or neither."""

    ACCEPTED = enum.auto()
    REFUSED = enum.auto()
    IGNORED = enum.auto()


class _Topic(Struct):
    validate: Validator
    admit: Admission
    mailbox: Mailbox[Gossip]


class Subscriptions:
    """The topics of one node, each with its validator, its admission and its one reader."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._counts = Counter[str]()

    def __contains__(self, topic: str) -> bool:
        return topic in self._topics

    def __iter__(self) -> Iterator[str]:
        return iter(self._topics)

    def traffic(self, *, requested: int, served: int) -> Traffic:
        """What was counted here, beside the network's own counts."""
        waiting = sum(topic.mailbox.dropped for topic in self._topics.values())
        return Traffic(
            published=self._counts["published"],
            delivered=self._counts["delivered"],
            rejected=self._counts["rejected"],
            dropped=self._counts["dropped"] + waiting,
            requested=requested,
            served=served,
            ignored=self._counts["ignored"],
        )

    @contextmanager
    def open(
        self, topic: str, validate: Validator, admit: Admission, queue: int
    ) -> Iterator[trio.MemoryReceiveChannel[Gossip]]:
        """Take messages of that topic, of which at most `queue` wait. Raises ValueError if it is taken already."""
        if topic in self._topics:
            raise ValueError(f"{topic} has a subscriber already")
        with Mailbox[Gossip](queue) as mailbox:
            self._topics[topic] = _Topic(validate, admit, mailbox)
            try:
                yield mailbox.channel
            finally:
                del self._topics[topic]
                self._counts["dropped"] += mailbox.dropped

    def check_own(self, topic: str, data: bytes) -> None:
        """Raises ValueError for a message that must not be published: too long, or refused by the own validator."""
        joined = self._topics.get(topic)
        if len(data) > MESSAGE_MAXIMUM:
            raise ValueError(f"a message of {len(data)} bytes is longer than the {MESSAGE_MAXIMUM} that travel")
        if joined and not joined.validate(data):
            raise ValueError(f"the own validator of {topic} refuses this message")

    def published(self) -> None:
        """Count a message of one's own."""
        self._counts["published"] += 1

    def judge(self, topic: str, data: bytes, forwarder: str) -> Verdict:
        """Judge a new message of another peer, and hand it to the reader if it is accepted."""
        joined = self._topics.get(topic)
        if joined is None:
            return Verdict.IGNORED
        try:
            valid = joined.validate(data)
        except Exception:
            log.exception("a validator failed; the message is rejected", topic=topic)
            valid = False
        if not valid:
            self._counts["rejected"] += 1
            return Verdict.REFUSED
        if not joined.admit(data):
            self._counts["ignored"] += 1
            return Verdict.IGNORED
        self._counts["delivered"] += 1
        joined.mailbox.put(Gossip(data, forwarder))
        return Verdict.ACCEPTED

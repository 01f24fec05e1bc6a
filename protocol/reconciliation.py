"""Two peers find out which messages each lacks, in bytes that grow with the difference and not with the sets.

Range-based set reconciliation, negentropy protocol version 1, over items (epoch, id): the one who asks sends
fingerprints of ranges; where they differ, ranges are split until a list of ids costs less than fingerprints. The one
who answers keeps no state between messages. A fingerprint is the first 16 bytes of SHA-256 over the sum of the ids
(little-endian, modulo 2^256) and their number, so that the sums of all prefixes give any range's at once.

A peer may lie about what it has, and can only waste the time that its caller gives it: bound rounds and seconds there.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Set
from itertools import accumulate, pairwise
from typing import NamedTuple

from protocol.reconciliation_format import (
    EPOCH_BYTES,
    FINGERPRINT_BYTES,
    ID_BYTES,
    INFINITY,
    KEY_BYTES,
    MAX_EPOCH,
    START,
    VERSION,
    Range,
    UnknownVersion,
    Writer,
    number,
    parse,
    shortest_bound,
)

FRAME_LIMIT = 128 * 1024
MIN_FRAME_LIMIT = 4096
MASK = 2**256 - 1

# A bound takes 43 bytes at most. Kept free for the end: a skip, and one fingerprint of all that is left.
RESERVED = (43 + 1) + (43 + 1 + FINGERPRINT_BYTES)
BESIDE_IDS = (43 + 1) + (43 + 1 + 10)  # a skip before a list, and the list's bound, mode and count

# Of the wire format these are free choices, each side's own; measured by benchmarks/reconciliation.py.
BUCKETS = 8
MAX_LISTED = 4

Compare = Callable[[list[bytes], int, int], None]
"""Takes the other side's ids of a range, and which of our items, from and to, lie in it."""


class ItemSet:
    """A sealed set of items (epoch, id): sorted, with the sum of the ids of every prefix.

    An id has one epoch, the one that its message names. Raises `ValueError` for what is no item.
    """

    def __init__(self, items: Iterable[tuple[int, bytes]]) -> None:
        try:
            self._keys = sorted({epoch.to_bytes(EPOCH_BYTES, "big") + identity for epoch, identity in items})
        except OverflowError:
            raise ValueError(f"an epoch is a number from 0 to {MAX_EPOCH}") from None
        if not set(map(len, self._keys)) <= {KEY_BYTES}:
            raise ValueError(f"an id has {ID_BYTES} bytes")
        if self._keys and self._keys[-1] >= INFINITY:
            raise ValueError(f"an epoch is a number from 0 to {MAX_EPOCH}")
        identities = [key[EPOCH_BYTES:] for key in self._keys]
        if len(set(identities)) != len(identities):
            raise ValueError("an id has one epoch, and here one has two")
        numbers = (int.from_bytes(identity, "little") for identity in identities)
        self._sums = list(accumulate(numbers, initial=0))

    def __len__(self) -> int:
        return len(self._keys)

    def ids(self, lower: int, upper: int) -> list[bytes]:
        """The ids of the items lower … upper − 1, in order of epoch, then id."""
        return [key[EPOCH_BYTES:] for key in self._keys[lower:upper]]

    def index(self, bound: bytes, lower: int = 0) -> int:
        """How many items lie below a bound of 40 bytes, where at least `lower` do."""
        return bisect_left(self._keys, bound, lower)

    def bound(self, index: int) -> bytes:
        """The shortest bound between item index − 1 and item index, both of which there are."""
        return shortest_bound(self._keys[index - 1], self._keys[index])

    def fingerprint(self, lower: int, upper: int) -> bytes:
        """The fingerprint of the items lower … upper − 1."""
        total = (self._sums[upper] - self._sums[lower]) & MASK
        content = total.to_bytes(ID_BYTES, "little") + number(upper - lower)
        return hashlib.sha256(content).digest()[:FINGERPRINT_BYTES]


class Step(NamedTuple):
    """What came out of one message: the reply (None at the end), ids to offer the other side, ids to ask it for.

    No id comes twice in one talk.
    """

    reply: bytes | None
    have: list[bytes]
    need: list[bytes]


class Reconciler:
    """The side that asks. `refused` are ids that it does not want even if the other side has them.

    One object is good for one talk: send `initiate()`, then the reply of each `reconcile(answer)` until there is
    none. No message is longer than `frame_limit` bytes (4,096 at least); what does not fit comes in later rounds.
    """

    def __init__(self, items: ItemSet, frame_limit: int = FRAME_LIMIT, refused: Set[bytes] = frozenset()) -> None:
        self._items = items
        self._frame_limit = _checked(frame_limit)
        self._refused = refused
        self._told: set[bytes] = set()

    def initiate(self) -> bytes:
        """The first message."""
        writer = Writer()
        for piece in _split(self._items, 0, len(self._items), INFINITY):
            writer.write(piece)
        return bytes(writer.data)

    def reconcile(self, message: bytes) -> Step:
        """Take the other side's answer. Raises `InvalidMessage`, and nothing else."""
        have: list[bytes] = []
        need: list[bytes] = []

        def compare(theirs: list[bytes], lower: int, upper: int) -> None:
            ours = self._items.ids(lower, upper)
            listed, held = set(theirs), set(ours)
            have.extend(identity for identity in ours if identity not in listed)
            need.extend(identity for identity in theirs if identity not in held and identity not in self._refused)

        reply = _answer(self._items, parse(message), self._frame_limit, compare)
        return Step(reply if len(reply) > 1 else None, self._news(have), self._news(need))

    def _news(self, ids: list[bytes]) -> list[bytes]:
        """Those not told before: what did not fit into a message is asked for again with settled ranges beside it."""
        news = [identity for identity in dict.fromkeys(ids) if identity not in self._told]
        self._told.update(news)
        return news


def respond(items: ItemSet, message: bytes, frame_limit: int = FRAME_LIMIT) -> bytes:
    """The answer of the side that is asked; it keeps nothing. Raises `InvalidMessage`, and nothing else.

    A message of another version of this protocol is answered with this version's byte alone.
    """
    _checked(frame_limit)
    try:
        ranges = parse(message)
    except UnknownVersion as error:
        if error.version & 0xF0 != VERSION & 0xF0:
            raise
        return bytes((VERSION,))
    return _answer(items, ranges, frame_limit, None)


def _answer(items: ItemSet, ranges: list[Range], frame_limit: int, compare: Compare | None) -> bytes:
    """The answer to ranges. Lists of ids go to `compare`; without it they are answered with ours."""
    draft = _Draft(items, frame_limit)
    for item in ranges:
        if not draft.treat(item, compare):
            draft.leave_the_rest(max(other.bound for other in ranges if other.content is not None))
            break
    return bytes(draft.writer.data)


class _Draft:
    """An answer in the making: it speaks of all items below `index`, which are those below `bound`."""

    def __init__(self, items: ItemSet, frame_limit: int) -> None:
        self.writer = Writer()
        self._items = items
        self._limit = frame_limit - RESERVED
        self._index, self._bound, self._skipping = 0, START, False

    def treat(self, item: Range, compare: Compare | None) -> bool:
        """Answer one more range. False where the answer to it, or to all of it, does not fit any more."""
        lower, upper = self._index, self._items.index(item.bound, self._index)
        if isinstance(item.content, list):
            if compare is not None:
                compare(item.content, lower, upper)
            elif upper - lower != len(item.content) or set(self._items.ids(lower, upper)) != set(item.content):
                return self._list(upper, item.bound)
        elif item.content is not None and item.content != self._items.fingerprint(lower, upper):
            return self._say(_split(self._items, lower, upper, item.bound), upper)
        self._index, self._bound, self._skipping = upper, item.bound, True
        return True

    def leave_the_rest(self, bound: bytes) -> None:
        """One fingerprint of all below `bound` that the answer does not speak of: the other side comes back to it."""
        if self._skipping:
            self.writer.write(Range(self._bound))
        end = self._items.index(bound, self._index)
        self.writer.write(Range(bound, self._items.fingerprint(self._index, end)))

    def _list(self, upper: int, bound: bytes) -> bool:
        room = self._limit - len(self.writer.data) - BESIDE_IDS
        end = min(upper, self._index + max(0, room) // ID_BYTES)
        if end == self._index < upper:
            return False
        last = bound if end == upper else self._items.bound(end)
        return self._say([Range(last, self._items.ids(self._index, end))], end) and end == upper

    def _say(self, pieces: list[Range], upper: int) -> bool:
        mark = self.writer.mark()
        for piece in [Range(self._bound), *pieces] if self._skipping else pieces:
            self.writer.write(piece)
        if len(self.writer.data) > self._limit:
            self.writer.back_to(mark)
            return False
        self._index, self._bound, self._skipping = upper, pieces[-1].bound, False
        return True


def _split(items: ItemSet, lower: int, upper: int, bound: bytes) -> list[Range]:
    """What to say of a range that differs: its ids if they are few, else the fingerprints of equal parts."""
    count = upper - lower
    if count <= MAX_LISTED:
        return [Range(bound, items.ids(lower, upper))]
    parts = min(BUCKETS, count)
    ends = [lower + count * part // parts for part in range(parts + 1)]
    return [
        Range(bound if end == upper else items.bound(end), items.fingerprint(start, end))
        for start, end in pairwise(ends)
    ]


def _checked(frame_limit: int) -> int:
    if frame_limit < MIN_FRAME_LIMIT:
        raise ValueError(f"a frame limit of {frame_limit} bytes, and it must be at least {MIN_FRAME_LIMIT}")
    return frame_limit

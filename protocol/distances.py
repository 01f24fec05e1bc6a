"""How far fingerprints lie apart: exactly what `fingerprint` defines, for all of them at once.

Python computes with integers of thousands of bits as quickly as with short ones. So the values of several fingerprints
are read as one integer, three bytes a value as they are encoded. Every second value is blanked, so that each of the
others has a lane of six bytes to itself, and one subtraction takes all of these from their counterparts; then the
values that were blanked.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache

from protocol.fingerprint import BYTES_PER_QUESTION, BYTES_PER_VALUE, VALUES_PER_QUESTION

VALUE_BITS = 8 * BYTES_PER_VALUE
LANE_BITS = 2 * VALUE_BITS
"""Room for a value (24 bits), for the sum of a question's 16, and on top for one bit that guards the lane."""
LANES_PER_QUESTION = VALUES_PER_QUESTION // 2


class _Lanes:
    """The constants for so many questions' lanes."""

    def __init__(self, questions: int) -> None:
        every = (1 << LANE_BITS * LANES_PER_QUESTION * questions) // ((1 << LANE_BITS) - 1)
        self.ones = every
        self.values = every * ((1 << VALUE_BITS) - 1)
        self.guards = every << LANE_BITS - 1
        self.below_guards = self.guards - self.ones
        self.size = BYTES_PER_QUESTION * questions
        self.sums = struct.Struct(">" + f"{BYTES_PER_QUESTION - 4}xI" * questions)

    def apart(self, first: int, second: int) -> int:
        """The absolute difference in each lane.

        A lane keeps its guard where the first is not less. Else it has borrowed the guard: its other bits are the two's
        complement of the difference.
        """
        difference = (first | self.guards) - second
        kept = difference & self.guards
        borrowed = self.below_guards ^ (kept - (kept >> LANE_BITS - 1))
        return (difference ^ kept ^ borrowed) + (borrowed & self.ones)


def distances(reference: bytes, fingerprints: Sequence[bytes]) -> list[tuple[int, int]]:
    """From one fingerprint to each of several of its length (as they are encoded): in all, and the worst question's."""
    each = len(reference) // BYTES_PER_QUESTION
    if not each:
        return [(0, 0)] * len(fingerprints)
    lanes = _lanes(each * len(fingerprints))
    ours = int.from_bytes(reference * len(fingerprints), "big")
    theirs = int.from_bytes(b"".join(fingerprints), "big")
    gaps = lanes.apart(ours & lanes.values, theirs & lanes.values)
    gaps += lanes.apart(ours >> VALUE_BITS & lanes.values, theirs >> VALUE_BITS & lanes.values)
    added = 1
    while added < LANES_PER_QUESTION:  # pairs, then pairs of pairs, until a question's last lane has the sum of all
        gaps += gaps >> added * LANE_BITS
        added *= 2
    questions = lanes.sums.unpack(gaps.to_bytes(lanes.size, "big"))
    parts = [questions[start : start + each] for start in range(0, len(questions), each)]
    return list(zip(map(sum, parts), map(max, parts), strict=True))


def values(fingerprint: bytes) -> tuple[int, ...]:
    """All values of a fingerprint in a row."""
    wide = bytearray(len(fingerprint) // BYTES_PER_VALUE * 4)
    for place in range(BYTES_PER_VALUE):
        wide[place + 1 :: 4] = fingerprint[place::BYTES_PER_VALUE]
    return struct.unpack(f">{len(wide) // 4}I", wide)


_lanes = lru_cache(maxsize=64)(_Lanes)

"""How far fingerprints lie apart: exactly what `fingerprint` defines, for all of them at once.

Python computes with integers of thousands of bits as quickly as with short ones. So the values of several fingerprints
are read as one integer, three bytes a value as they are encoded, and one subtraction takes all of them from their
counterparts. It needs a bit of each lane to guard it: the highest bit of a value, which no log-probability above
-32,768 has. Where one has it, every second value is blanked, so that each of the others has a lane of six bytes to
itself; then the values that were blanked.
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
    """The constants for so many lanes of so many bits."""

    def __init__(self, lanes: int, bits: int) -> None:
        self.ones = (1 << bits * lanes) // ((1 << bits) - 1)
        self.values = self.ones * ((1 << VALUE_BITS) - 1)
        self.guards = self.ones << bits - 1
        self.below_guards = self.guards - self.ones
        self.guard = bits - 1

    def apart(self, first: int, second: int) -> int:
        """The absolute difference in each lane, where neither has its guard.

        A lane keeps the guard that it is lent where the first is not less. Else it has borrowed the guard: its other
        bits are the two's complement of the difference.
        """
        difference = (first | self.guards) - second
        kept = difference & self.guards
        borrowed = self.below_guards ^ (kept - (kept >> self.guard))
        return (difference ^ kept ^ borrowed) + (borrowed & self.ones)


class _Layout:
    """Where so many questions lie in an integer: with a lane for each value, and with one for every second value."""

    def __init__(self, questions: int) -> None:
        self.narrow = _Lanes(VALUES_PER_QUESTION * questions, VALUE_BITS)
        self.wide = _Lanes(LANES_PER_QUESTION * questions, LANE_BITS)
        self.size = BYTES_PER_QUESTION * questions
        self.sums = struct.Struct(">" + f"{BYTES_PER_QUESTION - 4}xI" * questions)

    def gaps(self, first: int, second: int) -> int:
        """In each wide lane the sum of two values' absolute differences."""
        values = self.wide.values
        if (first | second) & self.narrow.guards:
            return self.wide.apart(first & values, second & values) + self.wide.apart(
                first >> VALUE_BITS & values, second >> VALUE_BITS & values
            )
        gaps = self.narrow.apart(first, second)
        return (gaps & values) + (gaps >> VALUE_BITS & values)


def distances(reference: bytes, fingerprints: Sequence[bytes]) -> tuple[list[int], list[int]]:
    """From one fingerprint to each of several of its length (as they are encoded): in all, and the worst question's."""
    each = len(reference) // BYTES_PER_QUESTION
    if not each:
        return [0] * len(fingerprints), [0] * len(fingerprints)
    layout = _layout(each * len(fingerprints))
    ours = int.from_bytes(reference * len(fingerprints), "big")
    gaps = layout.gaps(ours, int.from_bytes(b"".join(fingerprints), "big"))
    added = 1
    while added < LANES_PER_QUESTION:  # pairs, then pairs of pairs, until a question's last lane has the sum of all
        gaps += gaps >> added * LANE_BITS
        added *= 2
    questions = iter(layout.sums.unpack(gaps.to_bytes(layout.size, "big")))
    parts = list(zip(*[questions] * each, strict=True))
    return list(map(sum, parts)), list(map(max, parts))


def values(fingerprint: bytes) -> tuple[int, ...]:
    """All values of a fingerprint in a row."""
    wide = bytearray(len(fingerprint) // BYTES_PER_VALUE * 4)
    for place in range(BYTES_PER_VALUE):
        wide[place + 1 :: 4] = fingerprint[place::BYTES_PER_VALUE]
    return struct.unpack(f">{len(wide) // 4}I", wide)


_layout = lru_cache(maxsize=64)(_Layout)

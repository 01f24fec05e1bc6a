"""How far fingerprints lie apart: exactly what `fingerprint` defines, for all of them at once.

Python computes with integers of thousands of bits as quickly as with short ones. So the values of several fingerprints
are read as one integer, three bytes a value as they are encoded, and one subtraction takes all of them from their
counterparts. It needs a bit of each lane to guard it: the highest bit of a value, which no log-probability above
-32,768 has. Where one has it, every second value is blanked, so that each of the others has a lane of six bytes to
itself; then the values that were blanked.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache

from protocol.fingerprint import BYTES_PER_VALUE, values_per_question

VALUE_BITS = 8 * BYTES_PER_VALUE
LANE_BITS = 2 * VALUE_BITS
"""Room for a value (24 bits), for the sum of a question's values, and on top for one bit that guards the lane."""
VALUES_PER_LANE = LANE_BITS // VALUE_BITS  # a question has an even number of values


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
    """Where so many questions of so many values lie in an integer.

    With a lane for each value (narrow), and with one for every second value (wide).
    """

    def __init__(self, questions: int, values: int) -> None:
        self.lanes = values // VALUES_PER_LANE
        self.narrow = _Lanes(values * questions, VALUE_BITS)
        self.wide = _Lanes(self.lanes * questions, LANE_BITS)
        self.size = BYTES_PER_VALUE * values * questions
        self.last = struct.Struct(">" + f"{BYTES_PER_VALUE * values - 4}xI" * questions)

    def sums(self, gaps: int) -> Iterator[int]:
        """Of each question, from the gaps in its wide lanes."""
        return iter(self.last.unpack(_added(gaps, self.lanes).to_bytes(self.size, "big")))

    def gaps(self, first: int, second: int) -> int:
        """In each wide lane the sum of two values' absolute differences."""
        values = self.wide.values
        if (first | second) & self.narrow.guards:
            return self.wide.apart(first & values, second & values) + self.wide.apart(
                first >> VALUE_BITS & values, second >> VALUE_BITS & values
            )
        gaps = self.narrow.apart(first, second)
        return (gaps & values) + (gaps >> VALUE_BITS & values)


def _added(gaps: int, lanes: int) -> int:
    """In each lane the sum of so many: its own and those in front of it."""
    if lanes == 1:
        return gaps
    half = lanes // 2
    pairs = _added(gaps, half)
    pairs += pairs >> half * LANE_BITS
    return pairs + (gaps >> (lanes - 1) * LANE_BITS) if lanes % 2 else pairs


def distances(reference: bytes, fingerprints: Sequence[bytes], questions: int) -> tuple[list[int], list[int]]:
    """From the fingerprint of so many questions to each of several: in all, and the worst question's.

    All are as they are encoded, and of the same length.
    """
    if not questions:
        return [0] * len(fingerprints), [0] * len(fingerprints)
    layout = _layout(questions * len(fingerprints), values_per_question(questions))
    ours = int.from_bytes(reference * len(fingerprints), "big")
    gaps = layout.gaps(ours, int.from_bytes(b"".join(fingerprints), "big"))
    parts = list(zip(*[layout.sums(gaps)] * questions, strict=True))
    return list(map(sum, parts)), list(map(max, parts))


def values(fingerprint: bytes) -> tuple[int, ...]:
    """All values of a fingerprint in a row."""
    wide = bytearray(len(fingerprint) // BYTES_PER_VALUE * 4)
    for place in range(BYTES_PER_VALUE):
        wide[place + 1 :: 4] = fingerprint[place::BYTES_PER_VALUE]
    return struct.unpack(f">{len(wide) // 4}I", wide)


_layout = lru_cache(maxsize=64)(_Layout)

"""How far fingerprints lie apart: exactly what `fingerprint` defines, for all of them at once.

Python adds integers of any length as quickly as short ones. So the values of several fingerprints are laid side by
side into one integer, each in a lane of its own, and one subtraction takes every value from its counterpart.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache

from protocol.fingerprint import BYTES_PER_QUESTION, BYTES_PER_VALUE, VALUES_PER_QUESTION

LANE_BYTES = 4
"""Room for a value (24 bits) and for the sum of a question's 16, and on top one bit as the lane's guard."""
LANE_BITS = 8 * LANE_BYTES


def distances(reference: bytes, fingerprints: Sequence[bytes]) -> list[tuple[int, int]]:
    """From one fingerprint to each of several of its length (as they are encoded): in all, and the worst question's."""
    ours, theirs = _lanes(reference) * len(fingerprints), _lanes(b"".join(fingerprints))
    gaps = _absolute(int.from_bytes(ours, "little"), int.from_bytes(theirs, "little"), _guards(len(theirs)))
    each = len(reference) // BYTES_PER_QUESTION
    questions = _question_sums(gaps, each * len(fingerprints))
    parts = [questions[each * index : each * (index + 1)] for index in range(len(fingerprints))]
    return [(sum(part), max(part, default=0)) for part in parts]


def values(fingerprint: bytes) -> tuple[int, ...]:
    """All values of a fingerprint in a row."""
    return struct.unpack(f"<{len(fingerprint) // BYTES_PER_VALUE}I", _lanes(fingerprint))


def _lanes(packed: bytes) -> bytearray:
    """Values of three bytes each, big-endian, as four bytes each, little-endian."""
    wide = bytearray(len(packed) // BYTES_PER_VALUE * LANE_BYTES)
    for place in range(BYTES_PER_VALUE):
        wide[BYTES_PER_VALUE - 1 - place :: LANE_BYTES] = packed[place::BYTES_PER_VALUE]
    return wide


@lru_cache(maxsize=64)
def _guards(size: int) -> int:
    """The highest bit of each lane, in so many bytes."""
    return int.from_bytes((1 << LANE_BITS - 1).to_bytes(LANE_BYTES, "little") * (size // LANE_BYTES), "little")


def _absolute(first: int, second: int, guards: int) -> int:
    """The absolute difference in each lane."""
    return _excess(first, second, guards) + _excess(second, first, guards)


def _excess(first: int, second: int, guards: int) -> int:
    """In each lane by how much the first is greater, else 0: a lane that had to borrow from its guard is blanked."""
    difference = (first | guards) - second
    greater = difference & guards
    return difference & (greater - (greater >> LANE_BITS - 1))


def _question_sums(gaps: int, questions: int) -> tuple[int, ...]:
    """Each question's 16 lanes added up: pairs, then pairs of pairs, until the first lane has the sum of all."""
    lanes = 1
    while lanes < VALUES_PER_QUESTION:
        gaps += gaps >> lanes * LANE_BITS
        lanes *= 2
    first_of_each = f"I{(VALUES_PER_QUESTION - 1) * LANE_BYTES}x"
    size = questions * VALUES_PER_QUESTION * LANE_BYTES
    return struct.unpack("<" + first_of_each * questions, gaps.to_bytes(size, "little"))

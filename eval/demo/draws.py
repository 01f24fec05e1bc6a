"""Numbers that are the same on every machine and in every release of Python: SHA-256 in counter mode.

`random.Random` promises its stream for `random()` only: `choice` and `randint` have changed between releases, and
a question that changes is another benchmark.
"""

import hashlib
import struct
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
_WORD_BITS = 32
_WORDS = struct.Struct(">8I")  # of one SHA-256
HELD_OUT_ONE_IN = 8


class Draws:
    """A stream of draws named by its labels: equal labels, equal draws."""

    def __init__(self, *labels: str | int) -> None:
        self._name = "\x1f".join(str(label) for label in labels)
        self._blocks = 0
        self._words: list[int] = []

    def below(self, bound: int) -> int:
        """An integer from 0 to `bound` - 1; `bound` at most 2^16, where the unevenness is below 2^-16."""
        if not self._words:
            block = hashlib.sha256(f"{self._name}\x1e{self._blocks}".encode()).digest()
            self._words.extend(reversed(_WORDS.unpack(block)))
            self._blocks += 1
        return self._words.pop() * bound >> _WORD_BITS

    def between(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> tuple[T, ...]:
        """`count` of the items, each at most once, in random order."""
        pool = list(items)
        return tuple([pool.pop(self.below(len(pool))) for _ in range(count)])


def held_out(*parts: str | int) -> bool:
    """Whether this combination belongs to the test: one in eight does, decided by its hash alone."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[0] % HELD_OUT_ONE_IN == 0

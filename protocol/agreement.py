"""Which of a task's fingerprints agree pairwise: exactly what `fingerprint` defines, with less work.

Spread and distance are both measured in the same norm: the spread of a vector differs from that of another by at most
their distance, and the distance of two by at most the sum of their distances from a third. So the distances from one
reference mostly settle all pairs; only what they leave open is computed pair by pair.
"""

import itertools
from collections.abc import Sequence

from protocol.cliques import largest_cliques
from protocol.distances import distances, values
from protocol.fingerprint import BYTES_PER_QUESTION, SMALLEST_MEAN_SPREAD, VALUES_PER_QUESTION

Row = list[tuple[int, int]]
"""For each fingerprint: its distance from the reference, and that of the question that is furthest apart."""


class Agreement:
    """Fingerprints (as they are encoded, all of the same length) in canonical order, by index."""

    def __init__(self, fingerprints: Sequence[bytes], tolerance: int) -> None:
        self._fingerprints = fingerprints
        self._tolerance = tolerance
        self._questions = len(fingerprints[0]) // BYTES_PER_QUESTION if fingerprints else 0
        self._least = SMALLEST_MEAN_SPREAD * self._questions * VALUES_PER_QUESTION
        self._rows: dict[int, Row] = {}
        self._spreads: dict[int, int] = {}

    def largest(self, count: int) -> tuple[int, ...]:
        """The largest set of the first `count` that agree pairwise.

        Ties: least total distance, then canonical order. A set of one agrees with itself only if it has entropy.
        """
        for reference in range(count):
            row = self._row(reference)
            bound = self._tolerance * self._spread(reference)
            near = [index for index in range(count) if 1000 * row[index][0] <= bound]
            if 2 * len(near) <= count or not self._surely_agree(reference, near):
                continue
            if all(self._surely_apart(reference, near, index) for index in range(count) if index not in near):
                return tuple(near)  # everybody else agrees with none of these, and is in the minority
        return self._searched(count)

    def joining(self, indexes: Sequence[int], members: Sequence[int]) -> list[int]:
        """Those who agree with every one of `members`, which agree pairwise."""
        for reference in members:
            if reference in self._rows and self._surely_agree(reference, [*members, *indexes]):
                return list(indexes)
        return [index for index in indexes if self._joins(index, members)]

    def _joins(self, index: int, members: Sequence[int]) -> bool:
        for reference in members:
            if reference in self._rows:
                if self._surely_agree(reference, [*members, index]):
                    return True
                if self._surely_apart(reference, members, index):
                    return False
        return all(self.agree(index, member) for member in members)

    def agree(self, first: int, second: int) -> bool:
        """Two of them, by the definition."""
        smaller = min(self._spread(first), self._spread(second))
        total, worst = self._row(first)[second]
        return self._questions > 0 and self._within(total, worst, smaller)

    def _within(self, total: int, worst: int, smaller: int) -> bool:
        allowed = self._tolerance * smaller
        return smaller >= self._least and 1000 * total <= allowed and 2000 * self._questions * worst <= 3 * allowed

    def _surely_agree(self, reference: int, group: Sequence[int]) -> bool:
        """All pairs of the group agree, as far as the distances from the reference can tell."""
        row = self._rows[reference]
        totals = sorted(row[index][0] for index in group)
        worst = sorted(row[index][1] for index in group)
        return self._within(sum(totals[-2:]), sum(worst[-2:]), self._spread(reference) - totals[-1])

    def _surely_apart(self, reference: int, group: Sequence[int], index: int) -> bool:
        """One agrees with none of the group, as far as the distances from the reference can tell."""
        row = self._rows[reference]
        reach = max(row[member][0] for member in group)
        return 1000 * (row[index][0] - reach) > self._tolerance * (self._spread(reference) + reach)

    def _searched(self, count: int) -> tuple[int, ...]:
        joined = [0] * count
        for first, second in itertools.combinations(range(count), 2):
            if self.agree(first, second):
                joined[first] |= 1 << second
                joined[second] |= 1 << first
        if any(joined):
            return min(largest_cliques(joined), key=lambda members: (self._total(members), members))
        return next(((index,) for index in range(count) if self.agree(index, index)), ())

    def _total(self, members: tuple[int, ...]) -> int:
        return sum(self._row(i)[j][0] for i, j in itertools.combinations(members, 2))

    def _row(self, reference: int) -> Row:
        if reference not in self._rows:
            self._rows[reference] = distances(self._fingerprints[reference], self._fingerprints)
        return self._rows[reference]

    def _spread(self, index: int) -> int:
        """Sum of the distances of all values from their upper median."""
        if index not in self._spreads:
            ordered = sorted(values(self._fingerprints[index]))
            half = len(ordered) // 2
            self._spreads[index] = sum(ordered[len(ordered) - half :]) - sum(ordered[:half])
        return self._spreads[index]

"""Which of a task's fingerprints agree pairwise: exactly what `fingerprint` defines, with less work.

Spread and distance are both measured in the same norm: the spread of a vector differs from that of another by at most
their distance, and the distance of two by at most the sum of their distances from a third. So the distances from one
reference mostly settle all pairs; only what they leave open is computed pair by pair. Nor are two values further apart
than both together from the median. So the spread is at least half the distance of a vector from itself, turned by one
value: there each value is in two of the differences.
"""

import itertools
from collections.abc import Sequence

from protocol.cliques import largest_cliques
from protocol.distances import distances, values
from protocol.fingerprint import BYTES_PER_VALUE, SMALLEST_MEAN_SPREAD, single_limit, values_per_question

Row = tuple[list[int], list[int], int]
"""For each fingerprint its distance from the reference; that of the question that is furthest apart; and how large the
reference's spread is at least."""


class Agreement:
    """Fingerprints of so many questions (as they are encoded) in canonical order, by index."""

    def __init__(self, fingerprints: Sequence[bytes], questions: int, tolerance: int) -> None:
        self._fingerprints = fingerprints
        self._tolerance = tolerance
        self._questions = questions
        self._least = SMALLEST_MEAN_SPREAD * questions * values_per_question(questions)
        self._single = single_limit(tolerance, questions)
        self._rows: dict[int, Row] = {}
        self._spreads: dict[int, int] = {}

    def is_unanimous(self) -> bool:
        """Whether all agree pairwise, as far as the distances from the first can tell."""
        if not self._fingerprints:
            return False
        totals, worst, spread = self._row(0)
        return self._all_within(totals, worst, spread) or self._all_within(totals, worst, self._spread(0))

    def largest(self, count: int) -> tuple[int, ...]:
        """The largest set of the first `count` that agree pairwise.

        Ties: least total distance, then canonical order. A set of one agrees with itself only if it has entropy.
        """
        for reference in range(count):
            totals = self._row(reference)[0][:count]
            bound = self._tolerance * self._spread(reference)
            near = [index for index, total in enumerate(totals) if 1000 * total <= bound]
            if 2 * len(near) > count and self._surely_agree(reference, near):
                others = [total for total in totals if 1000 * total > bound]
                if not others or self._surely_apart(reference, near, min(others)):
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
                if self._surely_apart(reference, members, self._row(reference)[0][index]):
                    return False
        return all(self.agree(index, member) for member in members)

    def agree(self, first: int, second: int) -> bool:
        """Two of them, by the definition."""
        smaller = min(self._spread(first), self._spread(second))
        totals, worst, _ = self._row(first)
        return self._questions > 0 and self._within(totals[second], worst[second], smaller)

    def _within(self, total: int, worst: int, smaller: int) -> bool:
        together = smaller >= self._least and 1000 * total <= self._tolerance * smaller
        return together and 2000 * self._questions * worst <= self._single * smaller

    def _surely_agree(self, reference: int, group: Sequence[int]) -> bool:
        """All pairs of the group agree, as far as the distances from the reference can tell."""
        totals, worst, _ = self._rows[reference]
        chosen = [totals[index] for index in group], [worst[index] for index in group]
        return self._all_within(*chosen, self._spread(reference))

    def _all_within(self, totals: list[int], worst: list[int], spread: int) -> bool:
        """All pairs agree whose distances from one vector are these; `spread`: what it has at least."""
        furthest = sorted(totals)[-2:]
        return self._within(sum(furthest), sum(sorted(worst)[-2:]), spread - furthest[-1])

    def _surely_apart(self, reference: int, group: Sequence[int], distance: int) -> bool:
        """Who is so far or further from the reference agrees with none of the group, as far as that can tell."""
        totals = self._rows[reference][0]
        reach = max([totals[member] for member in group])
        return 1000 * (distance - reach) > self._tolerance * (self._spread(reference) + reach)

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
        return sum(self._row(i)[0][j] for i, j in itertools.combinations(members, 2))

    def _row(self, reference: int) -> Row:
        if reference not in self._rows:
            fingerprint = self._fingerprints[reference]
            turned = fingerprint[BYTES_PER_VALUE:] + fingerprint[:BYTES_PER_VALUE]
            totals, worst = distances(fingerprint, [*self._fingerprints, turned], self._questions)
            worst.pop()
            self._rows[reference] = totals, worst, -(-totals.pop() // 2)
        return self._rows[reference]

    def _spread(self, index: int) -> int:
        """Sum of the distances of all values from their upper median."""
        if index not in self._spreads:
            ordered = sorted(values(self._fingerprints[index]))
            half = len(ordered) // 2
            self._spreads[index] = sum(ordered[len(ordered) - half :]) - sum(ordered[:half])
        return self._spreads[index]

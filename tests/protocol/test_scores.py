import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.scores import board, estimate, rank_ranges, undecided, wilson
from protocol.standings import Standing, pack
from protocol.tasks import Subject

intervals = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)).map(lambda pair: (min(pair), max(pair))))


@given(st.integers(1, 5000), st.data())
def test_wilson_is_the_textbook_formula(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    low, high = wilson(Fraction(right, count), Fraction(count))
    p, z = right / count, 1.96
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    assert float(low) == pytest.approx(max(0.0, centre - half), abs=1e-9)
    assert float(high) == pytest.approx(min(1.0, centre + half), abs=1e-9)


@given(st.integers(0, 1000), st.integers(1, 400), st.integers(1, 400))
def test_wilson_is_exactly_what_is_specified(share: int, numerator: int, denominator: int) -> None:
    p, c, z = Fraction(share, 1000), Fraction(numerator, denominator), Fraction(196, 100)
    x = z**2 + 4 * c * p * (1 - p)
    r = Fraction(math.isqrt(math.floor(x * 10**24)), 10**12)
    ends = [(2 * c * p + z**2 + sign * z * r) / (2 * (c + z**2)) for sign in (-1, 1)]
    assert wilson(p, c) == (max(0, min(ends[0], p)), min(1, max(ends[1], p)))


def standing(epochs: list[int], right: int, wrong: int) -> Standing:
    outcomes = (1000,) * right + (0,) * wrong
    places = tuple(range(len(outcomes)))
    return Standing([pack(bytes([epoch]) * 32, epoch, places, outcomes, places, (b"a" * 32,)) for epoch in epochs])


def test_the_most_open_ranking_is_asked_first(new_world: Callable[..., Any]) -> None:
    """One of which next to nothing is known, and two that are known to be apart."""
    benchmarks = new_world().genesis.benchmarks
    by_id = {benchmark.id: benchmark for benchmark in benchmarks}
    (key,) = by_id
    unknown, good, bad = (Subject(name * 32, key) for name in (b"m", b"g", b"b"))
    standings = {good: standing([0], 20, 0), bad: standing([0], 0, 20), unknown: standing([0], 1, 1)}
    ranges = {row.subject: (row.rank_low, row.rank_high) for row in board(by_id, standings)}
    assert ranges == {good: (1, 2), bad: (2, 3), unknown: (1, 3)}
    assert undecided(by_id, standings) == (unknown, bad, good)


def test_a_row_names_the_epoch_of_its_newest_verdict(new_world: Callable[..., Any]) -> None:
    by_id = {benchmark.id: benchmark for benchmark in new_world().genesis.benchmarks}
    (key,) = by_id
    for epochs, newest in (([0], 0), ([3], 3), ([3, 7], 7)):
        (row,) = board(by_id, {Subject(b"m" * 32, key): standing(epochs, 1, 1)})
        assert row.epoch == newest


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300), st.integers(0, 1000))
def test_the_score_lies_in_both_intervals_and_fewer_unknowns_narrow_it(values: list[int], unasked: int) -> None:
    found = estimate(values, len(values) + unasked)
    assert 0 <= found.low <= found.score <= found.high <= 1000
    assert found.low - 1 <= found.fp_low <= found.score <= found.fp_high <= found.high + 1
    if not unasked:
        assert found.fp_low == found.fp_high == found.score, "all questions are asked: nothing is left to chance"


def test_five_questions_say_little() -> None:
    found = estimate([1000, 1000, 0, 0, 1000], 1000)
    assert (found.score, found.low, found.high) == (600, 231, 882)


def test_an_empty_score_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate([], 10)


@given(intervals)
def test_rank_ranges_are_what_the_intervals_allow(found: list[tuple[int, int]]) -> None:
    ranges = rank_ranges(found)
    for (low, high), (best, worst) in zip(found, ranges, strict=True):
        assert 1 <= best <= worst <= len(found)
        assert best - 1 == sum(other > high for other, _ in found)
        assert len(found) - worst == sum(other < low for _, other in found)


@given(intervals)
def test_disjoint_rank_ranges_are_in_the_order_of_the_intervals(found: list[tuple[int, int]]) -> None:
    ranges = rank_ranges(found)
    for one, (_, worst) in zip(found, ranges, strict=True):
        for other, (best, _) in zip(found, ranges, strict=True):
            if worst < best:
                assert one[0] > other[1] or one[1] >= other[1]

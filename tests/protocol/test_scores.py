import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.scores import estimate, rank_ranges, wilson

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

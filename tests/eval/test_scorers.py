"""Extraction and verdicts, by the rules of lm-evaluation-harness."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.scorers import (
    INVALID,
    extract_flexible,
    extract_strict,
    largest,
    lead,
    matches,
    score_flexible,
    score_largest,
    score_mass,
    score_strict,
)

SUMS = st.lists(st.floats(-1000, 0), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        (" 3+4=7\n#### 7", "7", "7"),
        ("#### 1,234.", "1,234.", "1,234."),
        ("#### -5\nor 6", "-5", "6"),
        ("#### 7\n#### 8", "7", "8"),
        ("####7", INVALID, "7"),
        ("#### $7", INVALID, "$7"),
        ("It costs $18.00 in all.", INVALID, "$18.00"),
        ("seven", INVALID, INVALID),
        ("", INVALID, INVALID),
        ("so 12 and 13 of them", INVALID, "13"),
        ("the answer is 5", INVALID, "5"),
    ],
)
def test_extraction(text: str, strict: str, flexible: str) -> None:
    assert extract_strict(text) == strict
    assert extract_flexible(text) == flexible


@pytest.mark.parametrize(
    ("extracted", "reference", "right"),
    [
        ("1,234", "so it is <<1+1=2>>2\n#### 1234", True),
        ("$18.", "#### 18", True),
        ("18.0", "#### 18", False),
        ("-5", "#### -5", True),
        ("5", "#### -5", False),
        (INVALID, "#### 0", False),
        ("ABC", "#### abc", True),
    ],
)
def test_match(extracted: str, reference: str, right: bool) -> None:
    assert matches(extracted, reference) is right


@given(st.text(), st.text())
def test_no_text_breaks_a_scorer(text: str, reference: str) -> None:
    for score in (score_strict, score_flexible):
        assert score(text, reference).outcome in (0, 1000)


@given(st.integers(-(10**9), 10**9), st.text(alphabet="abc .\n"))
def test_a_stated_number_is_always_found(number: int, noise: str) -> None:
    assert score_strict(f"{noise}#### {number}\n{noise}", f"worked out\n#### {number}").outcome == 1000


@given(SUMS)
def test_the_largest_sum_wins_and_the_first_of_equals(sums: list[float]) -> None:
    place = largest(sums)
    assert sums[place] == max(sums)
    assert place == sums.index(max(sums))
    assert lead(sums) >= 0


def test_the_lead_is_over_the_second_and_one_choice_leads_without_end() -> None:
    assert lead([-3.0, -1.0, -1.5]) == 0.5
    assert lead([-3.0]) == math.inf


def test_largest_is_right_only_where_its_label_is() -> None:
    assert score_largest([-1.0, -2.0], [1, 0]) == 1000
    assert score_largest([-1.0, -2.0], [0, 1]) == 0


@given(SUMS, st.data())
def test_mass_is_a_share_and_does_not_mind_a_shift(sums: list[float], data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.integers(0, 1), min_size=len(sums), max_size=len(sums)))
    outcome = score_mass(sums, labels)
    assert 0 <= outcome <= 1000
    assert abs(score_mass([value - 500 for value in sums], labels) - outcome) <= 1
    assert abs(outcome + score_mass(sums, [1 - label for label in labels]) - 1000) <= 1


def test_mass_by_hand() -> None:
    assert score_mass([math.log(0.5), math.log(0.3), math.log(0.2)], [1, 0, 1]) == 700


@given(st.text("#$, 1.\nA", max_size=30), st.text("# 1.A", max_size=12))
def test_what_is_ignored_is_what_the_harness_ignores(extracted: str, reference: str) -> None:
    def bare(text: str) -> str:
        for pattern in (",", r"\$", "(?s).*#### ", r"\.$"):
            text = re.sub(pattern, "", text)
        return text.lower()

    assert matches(extracted, reference) == (bare(extracted) == bare(reference))
    assert matches(extracted, bare(extracted)) == (bare(extracted) == bare(bare(extracted)))

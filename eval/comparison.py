"""Two answers to each of the same questions, compared pair by pair: what an adapter changes, and how surely.

Questions differ in difficulty far more than a model and its adapter do, so that the difference of two scores is known
much better than the scores' own intervals tell, if each question is compared with itself. The arithmetic is on integers
and fractions; numbers are rounded only when they are shown.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import comb, isqrt
from typing import Any

from msgspec import Struct

from eval.scorers import RIGHT

_Z = Fraction(196, 100)  # two-sided 95 %
_PRECISION = 10**12


class Paired(Struct, frozen=True):
    """`gained` questions are answered better than before, `lost` ones worse.

    `difference` of the scores, with a 95 % interval from `low` to `high`, is in shares of all points (-1 to 1).
    `chance` is how likely a split of the changed answers at least as uneven is where the change does neither good nor
    harm: the exact sign test, which for right and wrong answers is McNemar's (1947).
    """

    questions: int
    gained: int
    lost: int
    difference: Fraction
    low: Fraction
    high: Fraction
    chance: Fraction


def paired(before: Sequence[int], after: Sequence[int]) -> Paired:
    """Compares outcomes (0 to 1000) of the same questions in the same order.

    The interval is that of D. G. Bonett and R. M. Price (2012) for paired proportions: one gained and one lost answer
    are added, then it is the usual one; it is as good for partial outcomes. It holds the difference itself even where
    no answer changed. Raises `ValueError` where there is no question, or not the same number.
    """
    changes = [new - old for old, new in zip(before, after, strict=True)]
    count = len(changes)
    if not count:
        raise ValueError("a comparison needs at least one question")
    gained, lost = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    difference = Fraction(sum(changes), RIGHT * count)
    middle = Fraction(sum(changes), RIGHT * (count + 2))
    squares = Fraction(sum(change * change for change in changes), RIGHT * RIGHT) + 2
    variance = (squares / (count + 2) - middle * middle) / (count + 2)
    half = _Z * Fraction(isqrt(variance.numerator * _PRECISION**2 // variance.denominator), _PRECISION)
    return Paired(
        questions=count,
        gained=gained,
        lost=lost,
        difference=difference,
        low=max(Fraction(-1), min(middle - half, difference)),
        high=min(Fraction(1), max(middle + half, difference)),
        chance=_sign_test(gained, lost),
    )


def as_data(found: Paired) -> dict[str, Any]:
    """The comparison as plain data: points of a percentage to two places."""
    return {
        "gained": found.gained,
        "lost": found.lost,
        "difference": round(float(100 * found.difference), 2),
        "low": round(float(100 * found.low), 2),
        "high": round(float(100 * found.high), 2),
        "chance": float(found.chance),
    }


def _sign_test(gained: int, lost: int) -> Fraction:
    changed = gained + lost
    one_side = sum(comb(changed, few) for few in range(min(gained, lost) + 1))
    return min(Fraction(1), Fraction(2 * one_side, 1 << changed))

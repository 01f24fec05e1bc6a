"""The leaderboard: scores with intervals, and ranks that are ranges.

A model's score on a benchmark is the mean of its per-question medians. `low` and `high` are Wilson's 95 % interval for
questions like these (E. B. Wilson, 1927); `fp_low` and `fp_high` are for exactly this data set, where the share that
was asked already narrows the interval (finite population correction). Two models whose intervals overlap share ranks.
All arithmetic is on integers and fractions, so that every node has the same bytes; percentages are in tenths.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import isqrt

from msgspec import Struct

from protocol.definitions import Benchmark
from protocol.lifecycle import TaskState
from protocol.standings import Standing
from protocol.tasks import Subject

Z = Fraction(196, 100)
PRECISION = 10**12


class Row(Struct, frozen=True):
    """One model on one benchmark. Percentages in tenths: 713 is 71.3 %."""

    subject: Subject
    rank_low: int
    rank_high: int
    score: int
    low: int
    high: int
    fp_low: int
    fp_high: int
    questions: int
    runners: int
    newest: TaskState
    epoch: int


class Estimate(Struct, frozen=True):
    """A score with both intervals, in tenths of a percent."""

    score: int
    low: int
    high: int
    fp_low: int
    fp_high: int


def board(benchmarks: Mapping[bytes, Benchmark], standings: Mapping[Subject, Standing]) -> tuple[Row, ...]:
    """All rows with at least one DONE task, by benchmark's name, then ranks, then score downwards, then model id."""
    rows: list[Row] = []
    by_benchmark: dict[bytes, list[tuple[Subject, Standing, dict[int, int]]]] = {}
    for subject, standing in standings.items():
        if answers := standing.answers:
            by_benchmark.setdefault(subject.benchmark, []).append((subject, standing, answers))
    for key, benchmark in benchmarks.items():
        rows += _ranked(by_benchmark.get(key, []), benchmark.dataset.questions)
    names = {key: benchmark.name for key, benchmark in benchmarks.items()}
    rows.sort(
        key=lambda row: (
            names[row.subject.benchmark],
            row.rank_low,
            row.rank_high,
            -row.score,
            row.subject.model,
        )
    )
    return tuple(rows)


def undecided(benchmarks: Mapping[bytes, Benchmark], standings: Mapping[Subject, Standing]) -> tuple[Subject, ...]:
    """Subjects whose rank the data leave open, though questions are left to ask: widest range first.

    Ties: fewest questions first, then by id. Retired benchmarks are not in `benchmarks`.
    """
    open_ranks = [
        (row.rank_low - row.rank_high, row.questions, row.subject)
        for row in board(benchmarks, standings)
        if row.rank_low < row.rank_high and row.questions < benchmarks[row.subject.benchmark].dataset.questions
    ]
    return tuple(subject for _, _, subject in sorted(open_ranks))


def estimate(values: Iterable[int], population: int) -> Estimate:
    """Score and intervals from per-question values (0 to 1000) of a data set of `population` questions.

    Raises `ValueError` without a value.
    """
    answers = list(values)
    count = len(answers)
    if not count:
        raise ValueError("a score needs at least one question")
    mean = Fraction(sum(answers), 1000 * count)
    low, high = wilson(mean, Fraction(count))
    fp_low, fp_high = mean, mean
    if count < population:
        fp_low, fp_high = wilson(mean, Fraction(count * (population - 1), population - count))
    return Estimate(_tenths(mean), _tenths(low), _tenths(high), _tenths(fp_low), _tenths(fp_high))


def wilson(mean: Fraction, count: Fraction) -> tuple[Fraction, Fraction]:
    """Wilson's score interval for a mean in [0, 1] of `count` observations, accurate to 1e-12."""
    square = Z * Z
    radicand = square + 4 * count * mean * (1 - mean)
    root = Fraction(isqrt(radicand.numerator * PRECISION**2 // radicand.denominator), PRECISION)
    middle = 2 * count * mean + square
    below, above = (middle - Z * root) / (2 * (count + square)), (middle + Z * root) / (2 * (count + square))
    return max(Fraction(0), min(below, mean)), min(Fraction(1), max(above, mean))


def rank_ranges(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """For each (low, high) the best and the worst rank that the data allow; 1 is best."""
    lows, highs = sorted(low for low, _ in intervals), sorted(high for _, high in intervals)
    ranges = []
    for low, high in intervals:
        surely_better = len(intervals) - bisect_right(lows, high)
        surely_worse = bisect_left(highs, low)
        ranges.append((1 + surely_better, len(intervals) - surely_worse))
    return ranges


def _ranked(measured: list[tuple[Subject, Standing, dict[int, int]]], population: int) -> list[Row]:
    estimates = [estimate(answers.values(), population) for _, _, answers in measured]
    ranges = rank_ranges([(found.low, found.high) for found in estimates])
    return [
        Row(
            subject,
            *ranks,
            found.score,
            found.low,
            found.high,
            found.fp_low,
            found.fp_high,
            len(answers),
            len(standing.judges),
            standing.newest,
            standing.done_epoch or 0,
        )
        for (subject, standing, answers), found, ranks in zip(measured, estimates, ranges, strict=True)
    ]


def _tenths(share: Fraction) -> int:
    """Tenths of a percent, halves upwards."""
    return int(share * 1000 + Fraction(1, 2))

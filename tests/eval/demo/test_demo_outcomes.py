"""The ladder's recorded scores lie apart, so that a demo network finds their order within three epochs.

What stands beside a rung shows what it should: what a copy in two bits loses, and what an adapter gains.
"""

import hashlib
import itertools
import math
from collections.abc import Iterable
from fractions import Fraction

import pytest

from eval.comparison import Paired, paired
from eval.demo import recorded
from eval.demo.catalogue import MANIFEST, demo_benchmarks, ladder, packaged_models
from protocol.definitions import Benchmark, Model
from protocol.scores import estimate, rank_ranges
from protocol.tasks import question_order

SEEDS = 20
ORDERED_AT_LEAST = 18
EPOCHS = 3
DEPTH = 25

README = MANIFEST.parents[1] / "README.md"
benchmarks = pytest.mark.parametrize("benchmark", demo_benchmarks(), ids=lambda benchmark: benchmark.name)


def _outcomes(benchmark: Benchmark, models: Iterable[Model]) -> dict[str, str]:
    known = recorded.record().outcomes[benchmark.name]
    return {model.name: known[model.name] for model in models}


def _compared(benchmark: str, before: str, after: str) -> Paired:
    known = recorded.record().outcomes[benchmark]
    old, new = ([1000 * int(digit) for digit in known[model][: recorded.SCORED]] for model in (before, after))
    return paired(old, new)


def _true_order(outcomes: dict[str, str]) -> list[str]:
    return [model for _, model in recorded.ranking(outcomes, range(len(next(iter(outcomes.values())))))]


def _asked(benchmark: Benchmark, seed: int, epochs: int) -> list[int]:
    """The questions of the first epochs of a network; later epochs may ask one again, and the board counts it once."""
    beacons = [hashlib.sha256(f"seed {seed} epoch {epoch}".encode()).digest() for epoch in range(epochs)]
    drawn = [
        question_order(beacon, benchmark.dataset.content, benchmark.dataset.questions, DEPTH) for beacon in beacons
    ]
    return sorted(set(itertools.chain.from_iterable(drawn)))


def test_the_record_is_of_the_packaged_files_and_questions() -> None:
    record = recorded.record()
    assert record.manifest == hashlib.sha256(MANIFEST.read_bytes()).hexdigest()
    assert record.contents == {item.name: item.dataset.content.hex() for item in demo_benchmarks()}
    for benchmark in demo_benchmarks():
        outcomes = record.outcomes[benchmark.name]
        assert set(outcomes) == {model.name for model in packaged_models(every=True)}
        assert all(
            len(digits) == benchmark.dataset.questions and set(digits) <= {"0", "1"} for digits in outcomes.values()
        )


@benchmarks
def test_neighbours_are_three_standard_errors_apart(benchmark: Benchmark) -> None:
    scores = sorted(
        (recorded.score(digits) for digits in _outcomes(benchmark, ladder()).values()), key=lambda s: s.share
    )
    for worse, better in itertools.pairwise(scores):
        assert better.share - worse.share >= 3 * math.hypot(better.error, worse.error)


@benchmarks
def test_three_epochs_give_the_full_order_for_eighteen_of_twenty_seeds(benchmark: Benchmark) -> None:
    outcomes = _outcomes(benchmark, ladder())
    ordered = 0
    for seed in range(SEEDS):
        counted = recorded.ranking(outcomes, _asked(benchmark, seed, EPOCHS))
        tied = len({right for right, _ in counted}) < len(counted)
        ordered += not tied and [model for _, model in counted] == _true_order(outcomes)
    assert ordered >= ORDERED_AT_LEAST


@benchmarks
def test_disjoint_rank_ranges_are_never_in_the_wrong_order(benchmark: Benchmark) -> None:
    outcomes = _outcomes(benchmark, packaged_models())
    truth = _true_order(outcomes)
    for seed, epochs in itertools.product(range(SEEDS), (1, EPOCHS)):
        asked = _asked(benchmark, seed, epochs)
        found = [
            estimate([1000 * int(outcomes[model][index]) for index in asked], benchmark.dataset.questions)
            for model in truth
        ]
        ranges = rank_ranges([(each.low, each.high) for each in found])
        for better, worse in itertools.combinations(ranges, 2):
            assert not worse[1] < better[0], (seed, epochs)


def test_a_copy_in_eight_bits_scores_as_its_original_does() -> None:
    for benchmark in demo_benchmarks():
        change = _compared(benchmark.name, "tally-base", "tally-base-q8")
        assert abs(change.difference) <= Fraction(1, 100)


def test_a_copy_in_two_bits_loses_clearly() -> None:
    for benchmark in demo_benchmarks():
        assert _compared(benchmark.name, "tally-tree", "tally-tree-q2").high < 0
    assert _compared("tally-words", "tally-tree", "tally-tree-q2").difference < Fraction(-5, 100)


def test_each_adapter_gains_clearly_where_it_was_trained() -> None:
    for benchmark, adapter, least in (
        ("tally-words", "tally-times", 30),
        ("tally-choice", "tally-times", 15),
        ("tally-choice", "tally-largest*0.3", 5),
    ):
        assert _compared(benchmark, "tally-base", f"tally-base + {adapter}").low > Fraction(least, 100)


def test_the_readme_quotes_the_record() -> None:
    assert recorded.table(recorded.record()) in README.read_text(encoding="utf-8")

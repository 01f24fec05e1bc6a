"""Choices that begin alike share what they begin with, and are worth what they are worth by themselves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

from eval.backends import card, rows_alone
from eval.base import Base
from eval.branches import Tree, trees
from eval.choices import Choices
from eval.context import Context
from eval.demo import catalogue
from eval.engine import Engine
from eval.evaluation import arrangement
from eval.header import read_header
from eval.job import Job
from eval.lanes import plan_lanes, run_lanes
from eval.memory import ContextPlan, plan_context
from eval.modes import FAST, REPRODUCIBLE, SPLIT, TOGETHER, TOGETHER_PLAIN, Layout, layout
from eval.tails import Tail
from protocol import fingerprint
from tests.eval.tiny_models import write_mamba

NAT = 0.02  # a token, of F16 weights: docs/evaluation.md
SHARED = 20
MANY = 8
LISTS = st.lists(st.lists(st.integers(3, 6), min_size=1, max_size=7), min_size=1, max_size=MANY)
PLANS = [
    ContextPlan(cells=1024, sequences=MANY + 4, batch=13, micro_batch=5, rows=12, layout=TOGETHER_PLAIN),
    ContextPlan(cells=1024, sequences=MANY + 4, batch=64, micro_batch=16, rows=12, layout=TOGETHER),
    ContextPlan(cells=1024, sequences=3 * MANY, batch=100, micro_batch=7, rows=90, layout=TOGETHER_PLAIN),
    ContextPlan(cells=2048, sequences=6 * MANY, batch=512, micro_batch=128, rows=400, layout=TOGETHER),
]
Offered = Sequence[Sequence[Sequence[int]]]
ODD = [[[3]], [[3, 4], [3, 4]], [[3], [3, 4], [3, 4, 5], [3, 4, 5]], [[3, 4, 5], [4, 4, 5], [3, 4]], [[5, 5, 5, 5, 5]]]


@pytest.fixture(scope="module")
def base(tiny: Path) -> Base:
    return Base(tiny, read_header(tiny))


def decoded(choices: Sequence[Sequence[int]]) -> set[tuple[int, ...]]:
    """All ways from the prompt that must be decoded, by the definition."""
    return {tuple(choice[:length]) for choice in choices for length in range(1, len(choice))}


def way(tree: Tree, place: int) -> tuple[int, ...]:
    """The tokens down to a place: of each depth the last one before it that belongs to all leaves that it does."""
    found: list[int] = []
    for depth in range(tree.depths[place], -1, -1):
        place = max(
            other
            for other in range(place + 1)
            if tree.depths[other] == depth and tree.first[other] <= tree.first[place]
        )
        found.insert(0, int(tree.tokens[place]))
    return tuple(found)


@given(LISTS)
def test_a_tree_holds_each_common_beginning_once(choices: list[list[int]]) -> None:
    ways = decoded(choices)
    found = trees(choices, coupled=True)
    assert len(found) == bool(ways)
    for tree in found:
        assert sorted(way(tree, place) for place in range(len(tree.tokens))) == sorted(ways)
        ends = [one for one in ways if not any(one == other[:-1] for other in ways)]
        assert tree.leaves == len(ends)
        for leaf in range(tree.leaves):
            (depths,) = (tree.depths[(tree.first <= leaf) & (leaf < tree.first + tree.counts)],)
            assert depths.tolist() == list(range(len(depths))), "each sequence goes on where it was"


@given(LISTS, st.booleans())
def test_every_choice_is_the_sum_of_its_own_tokens(choices: list[list[int]], coupled: bool) -> None:
    found = trees(choices, coupled=coupled)
    terms = {number: (tree, places) for tree in found for number, places in tree.terms.items()}
    assert sorted(terms) == [number for number, choice in enumerate(choices) if len(choice) > 1]
    for number, (tree, looked_up) in terms.items():
        steps = [(way(tree, int(tree.places[each])), int(tree.targets[each])) for each in looked_up]
        choice = choices[number]
        assert steps == [(tuple(choice[:place]), choice[place]) for place in range(1, len(choice))]
    for tree in found:
        assert set(tree.places.tolist()) == set(range(len(tree.tokens))), "a token that nothing is looked up after"
        assert np.all(np.diff(tree.places) >= 0)


@given(LISTS)
def test_what_is_not_coupled_goes_in_lines(choices: list[list[int]]) -> None:
    lines = trees(choices, coupled=False)
    assert [line.tokens.tolist() for line in lines] == [choice[:-1] for choice in choices if len(choice) > 1]
    assert all(line.leaves == 1 and np.all(line.counts == 1) for line in lines)


def test_only_caches_of_one_part_are_coupled() -> None:
    for alone in (True, False):
        for blocks in (True, False):
            assert layout(FAST, rows_alone=alone, blocks=blocks, recurrent=False).coupled
            assert not layout(FAST, rows_alone=alone, blocks=blocks, recurrent=True).coupled
            assert not layout(REPRODUCIBLE, rows_alone=alone, blocks=blocks, recurrent=False).coupled


def asked(offered: Offered, *, tails: bool = False) -> list[Choices]:
    draws = np.random.default_rng(1)
    shared = draws.integers(3, 250, SHARED).tolist()
    found = []
    for choices in offered:
        own = draws.integers(3, 250, int(draws.integers(1, 30))).tolist()
        tail = Tail(fingerprint.tail(draws.bytes(32), range(3, 250), 6)) if tails else None
        found.append(Choices(shared + own, [list(choice) for choice in choices], tail))
    return found


def run(base: Base, questions: Sequence[Choices], plan: ContextPlan) -> int:
    """The number of tokens that were decoded behind the shared ones; every sequence and cell came back."""
    with Context(base.model, plan, 1) as context:
        engine = Engine(context)
        engine.share(questions[0].prompt[:SHARED])
        engine.run(questions, lambda _done, _total, _decoded: None)
        assert engine._free == list(range(1, plan.sequences - plan.layout.flash))
        assert engine._cells + SHARED == plan.for_questions
    return engine.decoded - SHARED


def agree(one: Sequence[Choices], other: Sequence[Choices]) -> None:
    for first, second in zip(one, other, strict=True):
        lengths: NDArray[np.int64] = np.array([len(choice) for choice in first.choices])
        assert np.all(np.abs(first.sums - second.sums) < NAT * lengths)
        if first.tail is not None and second.tail is not None:
            assert first.tail.values is not None
            assert second.tail.values is not None
            assert np.abs(np.subtract(first.tail.values, second.tail.values)).max() < NAT


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offered=st.lists(LISTS, min_size=1, max_size=6), plan=st.sampled_from(PLANS), tails=st.booleans())
@example(offered=ODD, plan=PLANS[0], tails=False)
@example(offered=ODD, plan=PLANS[3], tails=True)
def test_a_tree_gives_what_lines_give(base: Base, offered: Offered, plan: ContextPlan, tails: bool) -> None:
    """However many questions there are, and wherever batches and micro-batches cut them."""
    tree, lines = (asked(offered, tails=tails) for _ in range(2))
    rest = sum(len(question.prompt) - SHARED + 3 * tails for question in tree)
    assert run(base, tree, plan) == rest + sum(len(decoded(choices)) for choices in offered)
    apart = replace(plan, layout=replace(plan.layout, coupled=False))
    assert run(base, lines, apart) == rest + sum(len(choice) - 1 for choices in offered for choice in choices)
    agree(tree, lines)


def drawn(count: int) -> list[list[list[int]]]:
    """Choices of many lengths of which most begin alike."""
    draws = np.random.default_rng(5)
    return [
        [
            [
                *draws.integers(3, 250, 4)[:1].repeat(3).tolist(),
                *draws.integers(3, 5, int(draws.integers(1, 9))).tolist(),
            ]
            for _ in range(int(draws.integers(1, MANY)))
        ]
        + [[7, 7, 7, *draws.integers(3, 5, int(draws.integers(1, 9))).tolist()] for _ in range(4)]
        for _ in range(count)
    ]


@pytest.mark.parametrize("arranged", [TOGETHER, TOGETHER_PLAIN])
def test_planned_cells_and_sequences_are_enough_for_trees(base: Base, arranged: Layout) -> None:
    """As many questions at once as the plan has room for, which it has none to spare of."""
    offered = drawn(20)
    tree, lines = asked(offered, tails=True), asked(offered, tails=True)
    needs = [question.need(SHARED, arranged) for question in tree]
    plan = plan_context(base.header, SHARED, needs, 5, 1 << 33, layout=arranged)
    assert plan.sequences == 1 + sum(sorted(need.sequences for need in needs)[-5:]) + arranged.flash
    run(base, tree, plan)
    apart = replace(arranged, coupled=False)
    without = [question.need(SHARED, apart) for question in lines]
    assert sum(need.cells for need in needs) < sum(need.cells for need in without)
    run(base, lines, plan_context(base.header, SHARED, without, 5, 1 << 33, layout=apart))
    agree(tree, lines)


def test_lanes_grow_the_same_trees(base: Base) -> None:
    offered, found = drawn(12), []
    for lanes in (1, 2, 3):
        questions = asked(offered)
        plan = plan_lanes(base, questions, 2, lanes, 1 << 33, TOGETHER, lanes=lanes)
        count = run_lanes(base.model, plan, (), lambda _done, _total, _decoded: None)
        assert count == SHARED + sum(len(each.prompt) - SHARED + len(decoded(each.choices)) for each in questions)
        found.append(questions)
    for other in found[1:]:
        agree(found[0], other)


def test_a_model_with_recurrent_layers_reads_choices_that_begin_alike_one_by_one(base: Base, tmp_path: Path) -> None:
    """llama.cpp takes no tokens of several sequences for it."""
    path = write_mamba(tmp_path / "mamba.gguf")
    job = Job(str(path), bytes(32), "tally-choice", (0,))
    together, by_one = asked(drawn(3)), [asked(drawn(3))[number : number + 1] for number in range(3)]
    with Base(path, read_header(path)) as recurrent:
        assert arrangement(job, base, together).coupled
        found = arrangement(job, recurrent, together)
        for questions in (together, *by_one):
            plan = plan_lanes(recurrent, questions, 2, 1, 1 << 33, found)
            run_lanes(recurrent.model, plan, (), lambda _done, _total, _decoded: None)
    agree(together, [question for (question,) in by_one])


@pytest.mark.skipif(not rows_alone(card(), read_header(catalogue.MODELS / "tally-base.gguf")), reason="rows depend")
def test_reproducible_choices_are_worth_the_same_bits_beside_what_begins_alike() -> None:
    base = Base(catalogue.MODELS / "tally-base.gguf", read_header(catalogue.MODELS / "tally-base.gguf"))
    choices = drawn(1)[0]
    found = []
    for offered in ([choices], [[choice] for choice in choices]):
        (prompt, *_) = [question.prompt for question in asked([choices])]
        questions = [Choices(prompt, each, None) for each in offered]
        plan = plan_context(base.header, 0, [each.need(0, SPLIT) for each in questions], 9, 1 << 33, layout=SPLIT)
        with Context(base.model, plan, 1) as context:
            Engine(context).run(questions, lambda _done, _total, _decoded: None)
        found.append([value for question in questions for value in question.sums.tolist()])
    assert found[0] == found[1]

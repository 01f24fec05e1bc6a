"""Lanes: the same answers however many there are, one report for all of them, and one end."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.backends import card
from eval.base import Base
from eval.benchmarks import find
from eval.choices import Choices
from eval.client import open_worker
from eval.context import Context, Scaled
from eval.cores import CoreSlots
from eval.demo import catalogue
from eval.division import MOST_LANES
from eval.engine import Engine, Question, Stream
from eval.evaluation import evaluate, open_base
from eval.failing import EvaluationError
from eval.generation import Generation
from eval.header import read_header
from eval.job import FingerprintRequest, Job, Outcome, Progress
from eval.lanes import SHORTEST_PREFIX, LanePlan, common_prefix, deal, plan_lanes, run_lanes
from eval.memory import Need
from eval.modes import FAST, REPRODUCIBLE, SPLIT, TOGETHER, Layout, Mode
from eval.parallel import in_threads
from eval.sandbox import IN_PROCESS, LIMITS, STRONG
from protocol import fingerprint
from protocol.failures import Failure
from tests.eval.sandbox_target import usable

MODEL = catalogue.MODELS / "tally-base.gguf"
PLENTY = 1 << 33
SHARED = 150
pytestmark = pytest.mark.skipif(card() is not None, reason="a graphics card is given one lane")


class Stopped(Exception):
    """What a test's report raises."""


@pytest.fixture(scope="module")
def base() -> Base:
    return Base(MODEL, read_header(MODEL))


def drawn(seed: int, count: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(3, 250, count)]


def questions(base: Base, count: int) -> list[Generation]:
    shared = drawn(0, SHARED)
    return [
        Generation(base.model, shared + drawn(number, 5 + 3 * number), (), 12, None) for number in range(1, count + 1)
    ]


def planned(base: Base, asked: Sequence[Question], threads: int, limit: int = PLENTY) -> LanePlan:
    return plan_lanes(base, asked, 8, threads, limit, TOGETHER)


def quiet(_done: int, _total: int, _decoded: int) -> None:
    """Listens to no report."""


def outcome(mode: Mode, benchmark: str, threads: int, count: int, report: Callable[[Progress], None]) -> Outcome:
    entry = find(benchmark)
    request = FingerprintRequest(b"n" * 32, b"b" * 32, b"m" * 32, entry.definition.dataset.content)
    job = Job(str(MODEL), bytes(32), benchmark, tuple(range(count)), fingerprint=request, threads=threads, mode=mode)
    with open_base(msgspec.structs.replace(job, keep_transcripts=True)) as base:
        return evaluate(msgspec.structs.replace(job, keep_transcripts=True), base, entry.load(None), report)


@pytest.mark.parametrize("benchmark", ["tally-words", "tally-choice"])
def test_outcomes_are_those_of_one_lane(benchmark: str) -> None:
    one, two, many = (outcome(FAST, benchmark, threads, 7, lambda _: None) for threads in (1, 2, MOST_LANES + 3))
    for other in (two, many):
        first, second = (fingerprint.decode(each.fingerprint, 7) for each in (one, other))
        assert fingerprint.agree(first, second, 8)
        for place in range(7):
            assert one.outcomes[place] == other.outcomes[place] or one.near_ties[place] or other.near_ties[place]
        assert other.configuration == one.configuration
        assert other.tokens_in == one.tokens_in


@pytest.mark.parametrize("threads", [1, 2])
def test_tokens_are_counted_as_they_are_decoded(base: Base, threads: int) -> None:
    asked = questions(base, 4)
    plan = planned(base, asked, threads)
    shared = len(plan.prefix)
    own = sum(len(each.prompt) - shared for each in asked)
    decoded = run_lanes(base.model, plan, (), quiet)
    assert decoded == shared + own + sum(len(each.generated) - 1 for each in asked)


def test_what_prompts_share_is_counted_once() -> None:
    found = outcome(FAST, "tally-choice", 1, 5, lambda _: None)
    assert 0 < found.decoded < found.tokens_in


@pytest.mark.parametrize("benchmark", ["tally-words", "tally-choice"])
def test_reproducible_results_are_the_same_bytes_in_any_number_of_lanes(benchmark: str) -> None:
    one, two, three = (outcome(REPRODUCIBLE, benchmark, threads, 7, lambda _: None) for threads in (1, 2, 3))
    for other in (two, three):
        assert other.transcripts == one.transcripts
        assert other.margins == one.margins
        assert other.fingerprint == one.fingerprint


@pytest.mark.parametrize("layout", [TOGETHER, SPLIT])
def test_a_copied_beginning_gives_the_same_bits_as_a_decoded_one(base: Base, layout: Layout) -> None:
    prompt = drawn(0, SHARED)
    asked = [
        Choices(prompt + drawn(number, 9), [drawn(number, 5), drawn(number + 50, 1)], None) for number in (1, 2, 3)
    ]
    plan = plan_lanes(base, asked, 2, 1, PLENTY, layout)
    assert plan.prefix == prompt
    found = []
    with Context(base.model, plan.context, 1) as first, Context(base.model, plan.context, 1) as second:
        decoded, copied = Engine(first), Engine(second)
        decoded.share(plan.prefix)
        copied.share(plan.prefix, first.state(0))
        assert (decoded.decoded, copied.decoded) == (SHARED, 0)
        for engine in (decoded, copied):
            again = [Choices(question.prompt, question.choices, None) for question in asked]
            engine.run(again, quiet)
            found.append([question.sums.tolist() for question in again])
    assert found[0] == found[1]


def test_a_beginning_that_cannot_be_copied_is_decoded(base: Base) -> None:
    plan = planned(base, questions(base, 3), 1)
    with Context(base.model, plan.context, 1) as context:
        engine = Engine(context)
        engine.share(plan.prefix, np.zeros(40, np.uint8))
        assert engine.decoded == SHARED


def test_the_largest_questions_are_dealt_first() -> None:
    needs = [Need(size, 1, size) for size in (1, 1, 1, 3)]
    assert sorted(deal(needs, 2)) == [[0, 1, 2], [3]]


def test_questions_that_need_nothing_are_shared_out_too() -> None:
    assert sorted(map(len, deal([Need(0, 1, 0)] * 6, 3))) == [2, 2, 2]


def test_what_all_prompts_begin_with_leaves_each_a_token() -> None:
    beginning = list(range(SHORTEST_PREFIX))
    assert common_prefix([[*beginning, 1], [*beginning, 2]]) == beginning
    assert common_prefix([[*beginning, 1], [*beginning, 1]]) == beginning
    assert common_prefix([[*beginning, 1], [*beginning, 1, 2], [*beginning, 1, 2, 3]]) == beginning
    assert common_prefix([beginning, beginning]) == [], "one less is too little"
    assert common_prefix([[*beginning, 1]]) == [], "nobody to share it with"
    assert common_prefix([]) == []


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60), st.integers(1, 9))
def test_every_question_is_dealt_once_and_the_work_evenly(cells: list[int], count: int) -> None:
    hands = deal([Need(size, 1, size) for size in cells], count)
    assert sorted(place for hand in hands for place in hand) == list(range(len(cells)))
    assert all(hand == sorted(hand) for hand in hands)
    work = [sum(max(1, cells[place]) for place in hand) for hand in hands]
    assert max(work) - min(work) <= max(1, *cells)
    assert len(cells) < count or all(hands)


def test_a_plan_for_more_threads_than_questions(base: Base) -> None:
    asked = questions(base, 2)
    plan = planned(base, asked, 5)
    assert sorted(len(hand) for hand in plan.hands) == [1, 1]
    assert (plan.threads, plan.threads_before) == (2, 2)
    run_lanes(base.model, plan, (), quiet)
    assert all(question.done for question in asked)


def test_memory_for_one_lane_only_gives_one_lane(base: Base) -> None:
    asked = questions(base, 8)
    one, two = planned(base, asked, 1), planned(base, asked, 2)
    assert (len(one.hands), len(two.hands)) == (1, 2)
    smallest = base.takes(msgspec.structs.replace(one.context, cells=512, sequences=2, batch=512, micro_batch=128))
    tight = planned(base, asked, 2, smallest)
    assert len(tight.hands) == 1
    assert tight.threads == 2
    assert base.takes(tight.context) <= smallest
    with pytest.raises(EvaluationError) as refused:
        planned(base, asked, 2, base.takes(one.context) // 100)
    assert refused.value.failure is Failure.OUT_OF_MEMORY


def test_adapters_take_their_part_of_the_memory(base: Base) -> None:
    asked = questions(base, 2)
    room = 2 * base.takes(planned(base, asked, 1).context)
    plan_lanes(base, asked, 8, 1, room, TOGETHER, adapter_bytes=room // 4)
    with pytest.raises(EvaluationError) as refused:
        plan_lanes(base, asked, 8, 1, room, TOGETHER, adapter_bytes=room)
    assert refused.value.failure is Failure.OUT_OF_MEMORY


def test_the_memory_of_all_lanes_counts(base: Base) -> None:
    plan = planned(base, questions(base, 8), 2)
    once, twice, thrice = (base.takes(plan.context, contexts=count) for count in (1, 2, 3))
    assert twice - once == thrice - twice > 0
    assert base.takes(plan.context, 5000, 2) == twice + 5000


def test_reports_come_from_the_callers_thread_and_add_up(base: Base) -> None:
    asked, told = questions(base, 9), []

    def report(done: int, total: int, decoded: int) -> None:
        told.append((threading.get_ident(), done, total, decoded))

    run_lanes(base.model, planned(base, asked, 3), (), report)
    assert {thread for thread, *_ in told} == {threading.get_ident()}
    dones, decodeds = [done for _, done, _, _ in told], [decoded for *_, decoded in told]
    assert dones == sorted(dones)
    assert decodeds == sorted(decodeds)
    assert told[-1][1:3] == (9, 9)
    written = sum(len(question.prompt) - SHARED + len(question.generated) - 1 for question in asked)
    assert decodeds[-1] == SHARED + written


def test_what_a_report_raises_ends_every_lane(base: Base) -> None:
    asked, calls = questions(base, 8), []

    def report(done: int, total: int, decoded: int) -> None:
        calls.append(decoded)
        if len(calls) == 3:
            raise Stopped

    before = threading.active_count()
    with pytest.raises(Stopped):
        run_lanes(base.model, planned(base, asked, 4), (), report)
    assert len(calls) == 3
    assert threading.active_count() == before
    assert not all(question.done for question in asked)


class Breaking(Generation):
    """A question that goes wrong when its first token is known."""

    def _chosen(self, token: int, lead: float) -> None:
        raise EvaluationError(Failure.NOT_FINITE, "broken")


class Endless:
    """A question that asks for the same token again and again."""

    done = False

    def __init__(self, prompt: list[int]) -> None:
        self.prompt = prompt

    def need(self, shared: int, layout: Layout) -> Need:
        """Room for its prompt and one branch of one token."""
        return Need(len(self.prompt) - shared + 1, 2, len(self.prompt) + 1)

    def begin(self, engine: Engine, sequence: int, shared: int) -> None:
        """Starts the circle."""

        def branch(_token: int, _lead: float) -> None:
            target = engine.branch(sequence)

            def again(token: int, lead: float) -> None:
                engine.release(target)
                branch(token, lead)

            engine.put(Stream(target, len(self.prompt), [5], chosen=again))

        engine.put(Stream(sequence, shared, self.prompt[shared:], chosen=branch))


@pytest.mark.parametrize("broken", [0, 1])
def test_a_failure_in_a_lane_ends_the_others_and_is_raised_once(base: Base, broken: int) -> None:
    plan = planned(base, [Endless(question.prompt) for question in questions(base, 4)], 2)
    hands = [list(hand) for hand in plan.hands]
    hands[broken] = [Breaking(base.model, hands[broken][0].prompt, (), 1, None)]
    plan = msgspec.structs.replace(plan, hands=hands)
    before = threading.active_count()
    with pytest.raises(EvaluationError) as refused:
        run_lanes(base.model, plan, (), quiet)
    assert refused.value.failure is Failure.NOT_FINITE
    assert threading.active_count() == before


def test_adapters_are_those_of_every_lane(tiny: Path, adapter: Path) -> None:
    found = []
    for threads in (1, 2):
        with Base(tiny, read_header(tiny)) as base:
            asked = [Choices(drawn(number, 20), [drawn(9, 3), drawn(8, 2)], None) for number in range(4)]
            plan = plan_lanes(base, asked, 2, threads, PLENTY, TOGETHER)
            scaled = Scaled(base.model.adapter(adapter, bytes(32)), 1.0)
            run_lanes(base.model, plan, [scaled], quiet)
            found.append(np.array([question.sums for question in asked]))
    assert np.abs(found[0] - found[1]).max() < 0.2


@pytest.mark.parametrize("threads", [1, 3])
def test_work_in_threads_keeps_its_order_and_raises_what_goes_wrong(threads: int) -> None:
    assert in_threads(threads, abs, range(-9, 9)) == [abs(number) for number in range(-9, 9)]
    with pytest.raises(ZeroDivisionError):
        in_threads(threads, lambda number: 1 // number, (2, 1, 0, 1))


@pytest.mark.parametrize("level", [LIMITS, IN_PROCESS, STRONG])
async def test_lanes_run_in_every_sandbox(level: str, require_tool: Callable[..., Path], tmp_path: Path) -> None:
    confined = usable(level, require_tool)
    job = Job(str(MODEL), bytes(32), "tally-choice", tuple(range(8)), threads=6, memory_limit=200 << 20)
    told: list[Progress] = []
    async with open_worker(CoreSlots(tmp_path / "cores", 6), confined=confined, least=level) as worker:
        answer = await worker.evaluate(job, told.append)
    assert isinstance(answer, Outcome), answer
    assert told[-1].done == told[-1].total == 8

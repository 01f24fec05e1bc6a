"""Code benchmarks from end to end: what is generated gets run, and its verdict is the outcome."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from eval import judging, sandbox
from eval.benchmarks import find
from eval.client import Worker
from eval.cores import CoreSlots
from eval.energy import Energy, Meter
from eval.failing import EvaluationError
from eval.job import Job, JobFailed, Outcome, Progress
from eval.judging import judge
from eval.local import evaluate
from eval.programs import Allowance, Ending, Judged, Program, program_of
from eval.questions import Programmed, Written
from eval.sandbox import LIMITS, NONE, STRONG, Sandbox
from eval.scoring import score
from eval.transcripts import StopReason, Transcript
from protocol.failures import Failure
from tests.eval.sandbox_target import usable

HERE = Sandbox(LIMITS)
DOUBLE = Programmed(
    "def double(number: int) -> int:\n", "\ndef check(candidate):\n    assert candidate(2) == 4\n", "double"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("    return 2 * number\n", Judged(Ending.PASSED)),
        ("    return number", Judged(Ending.FAILED, "AssertionError")),
        ("    return numbr", Judged(Ending.FAILED, "NameError")),
        ("    return double(number)", Judged(Ending.FAILED, "RecursionError")),
        ("    return (", Judged(Ending.FAILED, "SyntaxError")),
        ("", Judged(Ending.FAILED, "IndentationError")),
        ("    exit(0)", Judged(Ending.FAILED, "SystemExit")),
    ],
)
async def test_a_completion_is_run_with_its_test(text: str, expected: Judged) -> None:
    assert await judge([program_of(DOUBLE, text)], HERE, least=LIMITS) == [expected]


async def test_programs_are_judged_in_order_and_one_cannot_change_another() -> None:
    texts = ["    import builtins; builtins.abs = None; return 4", "    return abs(-4)", "    return 5"]
    found = await judge([program_of(DOUBLE, text) for text in texts], HERE, least=LIMITS)
    assert [judged.outcome for judged in found] == [1000, 1000, 0]


def test_only_a_program_can_be_completed() -> None:
    with pytest.raises(TypeError):
        program_of(Written("1+1?", "2"), "2")


async def test_cancelling_ends_the_program() -> None:
    with trio.move_on_after(1):
        await judge([program_of(DOUBLE, "    import time; time.sleep(60)")], HERE, least=LIMITS)
        raise AssertionError("it waited")


async def test_every_reference_solution_of_humaneval_passes(data_folder: Callable[[str], Path]) -> None:
    folder = data_folder("humaneval")
    rows = [json.loads(line) for line in (folder / "HumanEval.jsonl").read_text(encoding="utf-8").splitlines()]
    questions = find("humaneval").load(folder.parent)
    some = range(0, len(rows), 14)
    programs = [program_of(questions.item(index), rows[index]["canonical_solution"]) for index in some]
    spoilt = [program_of(questions.item(index), "    return NotImplemented\n") for index in some]
    here = sandbox.detect()
    assert {judged.ending for judged in await judge(programs, here, least=NONE)} == {Ending.PASSED}
    assert {judged.ending for judged in await judge(spoilt, here, least=NONE)} == {Ending.FAILED}


class StandIn:
    """In place of a worker: says at once what its child is to have said."""

    cores = None
    meter = Meter(())

    def __init__(self, answer: Outcome | JobFailed) -> None:
        self.answer, self.asked = answer, 0

    async def evaluate(self, job: Job, report: Callable[[Progress], None]) -> Outcome | JobFailed:
        self.asked += 1
        return self.answer


def generated(*texts: tuple[int, str]) -> Outcome:
    return Outcome(
        outcomes=tuple(0 for _ in texts),
        margins=tuple(900 for _ in texts),
        near_ties=tuple(False for _ in texts),
        fingerprint=b"",
        transcript_digest=bytes(32),
        tokens_in=9,
        tokens_out=9,
        run_ms=9,
        cpu_ms=0,
        engine="llama-cpp-python 0.3.36",
        hardware="cpu-avx2",
        mode="fast",
        transcripts=tuple(Transcript(index, (1,), 0, text=text, stop=StopReason.END_TOKEN) for index, text in texts),
    )


def job(folder: Path, *questions: int, keep: bool = False) -> Job:
    return Job(
        base="/model.gguf",
        base_sha256=bytes(32),
        benchmark="humaneval",
        questions=questions,
        data_folder=str(folder),
        keep_transcripts=keep,
    )


async def answered(worker: StandIn, asked: Job, confined: Sandbox = HERE, least: str = LIMITS) -> Outcome | JobFailed:
    as_worker: Worker = worker  # type: ignore[assignment]
    return await judging.evaluate(as_worker, asked, confined=confined, least=least)


async def test_programs_take_a_core_that_others_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async def look(*_: object) -> Judged:
        with trio.move_on_after(1):
            (await cores.acquire(1)).release()
            return Judged(Ending.FAILED)
        return Judged(Ending.PASSED)

    cores = CoreSlots(tmp_path / "cores", 1)
    monkeypatch.setattr(judging, "_run", look)
    assert await judging.judge([Program("", "")] * 2, HERE, least=NONE, cores=cores) == [Judged(Ending.PASSED)] * 2
    assert await judging.judge([Program("", "")], HERE, least=NONE) == [Judged(Ending.FAILED)]


async def test_verdicts_take_the_place_of_outcomes(
    data_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data_folder("humaneval").parent
    texts = ["    return True\n", "    return number % 1.0\n", "    while True: pass\n"]
    worker = StandIn(generated(*enumerate(texts)))
    monkeypatch.setattr(judging, "ALLOWANCE", msgspec.structs.replace(judging.ALLOWANCE, wall_seconds=3.0))
    found = await answered(worker, job(folder, 0, 1, 2))
    assert isinstance(found, Outcome)
    assert found.outcomes == (0, 0, 0)
    worker.answer = generated((2, texts[1]), (0, texts[2]))
    found = await answered(worker, job(folder, 2, 0, keep=True))
    assert isinstance(found, Outcome)
    assert found.outcomes == (1000, 0)
    assert found.near_ties == (False, True), "a faster machine might have come to an end"
    assert [each.outcome for each in found.transcripts] == [1000, 0]


BUSY = "    import time\n    while time.process_time() < 0.2: pass\n    return 2 * number\n"


@pytest.mark.parametrize("level", [LIMITS, STRONG])
async def test_programs_say_how_much_of_the_processor_they_had(level: str, require_tool: Callable[..., Path]) -> None:
    here = Sandbox(level) if level == LIMITS else usable(level, require_tool)
    spent: list[float] = []
    texts = [BUSY, "    while True: pass"]
    programs = [program_of(DOUBLE, text) for text in texts]
    brief = Allowance(cpu_seconds=1, wall_seconds=120.0)  # a busy machine takes its time
    found = await judge(programs, here, LIMITS, allowance=brief, spend=spent.append)
    assert found == [Judged(Ending.PASSED), Judged(Ending.TIMED_OUT)]
    assert spent[0] >= 0.2
    assert spent[1] == 1.0, "ended before it could say so: all that it may have"


async def test_a_program_is_not_believed_more_than_the_time_that_it_ran(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judging._Heard, "last", lambda *_: (1e6, "passed"))
    spent: list[float] = []
    started = trio.current_time()
    await judge([program_of(DOUBLE, "    return 4")], HERE, LIMITS, spend=spent.append)
    assert 0 < spent[0] <= trio.current_time() - started


async def test_what_programs_cost_is_added_to_their_evaluation(
    data_folder: Callable[[str], Path],
) -> None:
    folder = data_folder("humaneval").parent
    worker = StandIn(msgspec.structs.replace(generated((0, BUSY)), energy=Energy(7_000, "rapl+nvml")))
    worker.meter = Meter((), watts_per_core=1000, clock=iter((0.0, 60.0)).__next__)
    found = await answered(worker, job(folder, 0))
    assert isinstance(found, Outcome)
    assert found.energy is not None
    assert found.energy.millijoules >= 7_000 + 200_000
    assert found.energy.source == "rapl+nvml+estimate"


async def test_counters_are_ended_when_running_programs_is_cancelled() -> None:
    class Counter:
        name = "powermetrics"
        ended = 0

        def begin(self) -> object:
            return 0

        def spent(self, begun: object) -> int | None:
            self.ended += 1
            return None

    async def without_end(**_: object) -> list[Judged]:
        scope.cancel()
        await trio.sleep_forever()
        return []

    counter = Counter()
    with trio.CancelScope() as scope:
        await judging._measured(Meter((counter,)), without_end)
    assert counter.ended == 1


async def test_a_child_that_answers_other_questions_is_not_believed(tmp_path: Path) -> None:
    found = await answered(StandIn(generated((1, ""))), job(tmp_path, 0))
    assert isinstance(found, JobFailed)
    assert found.failure is Failure.ENGINE_FAILED


async def test_a_task_that_failed_runs_no_programs(tmp_path: Path) -> None:
    failed = JobFailed(Failure.MODEL_REFUSED, "No.")
    assert await answered(StandIn(failed), job(tmp_path, 0)) == failed


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        (b"confined\nsecret 12 passed\n", Ending.PASSED),
        (b"confined\nguess 12 passed\n", Ending.ENDED),
        (b"confined\nguess 12 failed KeyError\n", Ending.ENDED),
        (b"confined\nsecret 12 failed KeyError\n", Ending.FAILED),
        (b"confined\nsecret passed\n", Ending.ENDED),
        (b"confined\nsecret -1 passed\n", Ending.ENDED),
        (b"confined\n", Ending.ENDED),
    ],
)
def test_a_program_that_does_not_know_the_word_says_nothing_of_itself(words: bytes, ending: Ending) -> None:
    heard = judging._Heard()
    heard.words = words
    used, how = heard.last("secret")
    assert used == (None if ending is Ending.ENDED else 0.012)
    assert judging._verdict(heard, how, 0).ending is ending


@given(st.binary(max_size=judging.MOST_WORDS))
def test_whatever_a_program_says_is_taken(words: bytes) -> None:
    heard = judging._Heard()
    heard.words = b"confined\n" + words
    used, how = heard.last("secret")
    assert used is None or used >= 0
    assert judging._verdict(heard, how, 0).ending in Ending


def test_a_program_that_was_not_confined_has_no_verdict() -> None:
    heard = judging._Heard()
    heard.words = b"refused no Landlock\nsecret 12 passed\n"
    with pytest.raises(EvaluationError, match="no Landlock") as refused:
        judging._verdict(heard, heard.last("secret")[1], 0)
    assert refused.value.failure is Failure.SANDBOX_WEAK


async def test_where_programs_may_not_run_nothing_is_generated(tmp_path: Path) -> None:
    worker = StandIn(generated((0, "")))
    found = await answered(worker, job(tmp_path, 0), Sandbox(LIMITS, "No Landlock."), judging.CODE_LEAST)
    assert isinstance(found, JobFailed)
    assert found.failure is Failure.SANDBOX_WEAK
    assert "No Landlock." in found.detail
    assert worker.asked == 0


def test_a_model_is_evaluated_on_programs(tiny: Path, data_folder: Callable[[str], Path]) -> None:
    found = evaluate(str(tiny), "humaneval", 2, data=data_folder("humaneval").parent, code_sandbox=LIMITS)
    assert found["questions"] == 2
    assert found["correct"] == 0, "its weights are random"


def test_programs_made_elsewhere_are_scored(data_folder: Callable[[str], Path], tmp_path: Path) -> None:
    outputs = tmp_path / "outputs.jsonl"
    lines = [{"index": 2, "output": "    return number % 1.0\n"}, {"index": 0, "output": "    return\n"}]
    outputs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = score("humaneval", outputs, data=data_folder("humaneval").parent, code_sandbox=LIMITS)
    assert [(each["index"], each["outcome"]) for each in found["outcomes"]] == [(2, 1000), (0, 0)]
    assert (found["score"], found["correct"]) == (50.0, 1)


def test_scoring_asks_for_a_sandbox_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "detect", lambda: Sandbox(LIMITS, "No Landlock."))
    with pytest.raises(EvaluationError) as refused:
        score("humaneval", tmp_path / "outputs.jsonl")
    assert refused.value.failure is Failure.SANDBOX_WEAK

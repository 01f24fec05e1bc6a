"""What evaluations cost, as the log's results say it."""

from types import SimpleNamespace
from typing import Any, cast

from node.energy_tally import MARKS, EnergyTally
from protocol.definitions import Setting
from protocol.lifecycle import TaskState
from protocol.messages import Result, Run, TaskResult
from protocol.state import Final
from protocol.tasks import Subject

SUBJECT = Subject(b"m" * 32, b"b" * 32)
TASK = b"t" * 32


NAMES = SimpleNamespace(
    models={SUBJECT.model: SimpleNamespace(model=SimpleNamespace(name="tally"))},
    benchmarks={SUBJECT.benchmark: SimpleNamespace(name="sums")},
)
"""As much of a state as names need."""


def result(millijoules: int | None, *, source: str = "rapl", right: int = 2, task: bytes = TASK) -> Result:
    found = TaskResult(task, outcomes=(1000,) * right + (0,) * (4 - right), total=1000 * right, energy_mj=millijoules)
    run = Run("engine", "cpu", "fast", 0, (Setting("energy", source),))
    return Result(0, bytes(32), bytes(32), bytes(32), run, (found,), ((),))


def final(*agreeing: bytes, state: TaskState = TaskState.DONE) -> dict[bytes, Final]:
    return {TASK: Final(TASK, SUBJECT, 0, state, 3, 4, agreeing, agreeing, 2000, None)}


def rows(tally: EnergyTally) -> list[dict[str, object]]:
    return list(tally.rows(cast(Any, NAMES), 500))


def test_figures_are_medians_of_those_who_agreed() -> None:
    tally = EnergyTally()
    for account, millijoules in {b"a": 4_000, b"b": 8_000, b"c": 2**53 - 1, b"outsider": 1}.items():
        tally.note(account, result(millijoules, source="estimate+nvml" if account == b"b" else "rapl"))
    tally.close(final(b"a", b"b", b"c"))
    (row,) = rows(tally)
    assert (row["model"], row["benchmark"], row["results"], row["estimated"]) == ("tally", "sums", 3, 1)
    assert row["joules_per_question"] == 2.0, "whatever one of them says"
    assert row["joules_per_correct"] == 4.0
    assert row["joules_per_task"] == 8.0
    assert row["co2_grams_per_task"] == 8 / 3_600_000 * 500


def test_what_did_not_count_is_not_counted() -> None:
    tally = EnergyTally()
    tally.note(b"a", result(None))
    tally.note(b"b", result(5, task=b"u" * 32))
    tally.close(final(b"a", b"b"))
    tally.note(b"a", result(5))
    tally.close(final(b"a", state=TaskState.DISPUTED))
    tally.close(final(b"a"))
    assert rows(tally) == []


def test_nothing_right_costs_no_figure_a_correct_answer() -> None:
    tally = EnergyTally()
    tally.note(b"a", result(5, right=0))
    tally.close(final(b"a"))
    assert rows(tally)[0]["joules_per_correct"] is None


def test_the_oldest_go() -> None:
    tally = EnergyTally()
    for number in range(MARKS + 5):
        tally.note(b"a", result(1_000 * (number + 1)))
        tally.close(final(b"a"))
    assert rows(tally)[0]["results"] == MARKS

"""What runners say that their evaluations cost, by model and benchmark, from the results in the log.

It stands beside the ledger: no rule reads it. Each figure is a median, because one runner may say anything, and
machines differ.
"""

import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from eval.energy import ESTIMATE, Energy
from protocol.lifecycle import TaskState
from protocol.messages import Result, Run, TaskResult
from protocol.state import Final, State
from protocol.tasks import Subject

MARKS = 24
Json = dict[str, Any]


class Spent(Struct, frozen=True, gc=False):
    """One result's energy in mJ, its questions, the sum of its outcomes, and whether the energy is an estimate."""

    millijoules: int
    questions: int
    total: int
    estimated: bool


Tallied = tuple[tuple[Subject, tuple[Spent, ...]], ...]
"""What one mark brought."""


def energy_of(task: TaskResult, run: Run) -> Energy | None:
    """What a runner says that a task cost; None where it says nothing."""
    source = next((each.value for each in run.configuration if each.name == "energy"), ESTIMATE)
    return None if task.energy_mj is None else Energy(task.energy_mj, source)


class EnergyTally:
    """Of the agreeing results of the last `MARKS` marks; `kept`: what an earlier one had."""

    def __init__(self, kept: Iterable[Tallied] = ()) -> None:
        self._open: dict[bytes, dict[bytes, Spent]] = {}
        self._kept: deque[dict[Subject, list[Spent]]] = deque(maxlen=MARKS)
        self._kept.extend({subject: list(spent) for subject, spent in tallied} for tallied in kept)

    def kept(self) -> tuple[Tallied, ...]:
        """All that it has just after a mark."""
        return tuple(tuple((subject, tuple(spent)) for subject, spent in found.items()) for found in self._kept)

    def note(self, account: bytes, result: Result) -> None:
        """A result that the log has taken."""
        for task in result.tasks:
            energy = energy_of(task, result.run)
            if energy is not None and task.outcomes and task.total is not None:
                spent = Spent(energy.millijoules, len(task.outcomes), task.total, energy.estimated)
                self._open.setdefault(task.task, {})[account] = spent

    def close(self, finals: Mapping[bytes, Final]) -> None:
        """A mark was folded; `finals` are the verdicts at hand, by task."""
        found: dict[Subject, list[Spent]] = {}
        for task, by_account in self._open.items():
            final = finals.get(task)
            if final is not None and final.state is TaskState.DONE:
                agreeing = [by_account[account] for account in final.agreeing if account in by_account]
                found.setdefault(final.subject, []).extend(agreeing)
        self._open.clear()  # the log takes a result before the mark that closes its epoch, or it is late
        self._kept.append(found)

    def medians(self, grams_per_kwh: float) -> dict[Subject, Json]:
        """By model and benchmark: medians over the results, a runner's word each."""
        by_subject: dict[Subject, list[Spent]] = {}
        for found in self._kept:
            for subject, spent in found.items():
                by_subject.setdefault(subject, []).extend(spent)
        return {subject: _medians(spent, grams_per_kwh) for subject, spent in by_subject.items() if spent}

    def rows(self, state: State, grams_per_kwh: float) -> Iterator[Json]:
        """The medians with what they are of, in the order of the benchmarks' and the models' names."""
        known = [(_names(state, subject), subject, found) for subject, found in self.medians(grams_per_kwh).items()]
        for (benchmark, model), subject, found in sorted(known, key=lambda each: (*each[0], each[1].model)):
            yield {"model": model, "model_id": subject.model.hex(), "benchmark": benchmark} | found


def _medians(spent: Sequence[Spent], grams_per_kwh: float) -> Json:
    task = Energy(round(statistics.median(one.millijoules for one in spent)), "")
    question = statistics.median(one.millijoules / one.questions for one in spent) / 1000
    right = sum(one.total for one in spent) / (1000 * sum(one.questions for one in spent))
    return {
        "results": len(spent),
        "estimated": sum(one.estimated for one in spent),
        "joules_per_question": question,
        "joules_per_correct": question / right if right else None,
        "joules_per_task": task.joules,
        "kwh_per_task": task.kwh,
        "co2_grams_per_task": task.grams(grams_per_kwh),
    }


def _names(state: State, subject: Subject) -> tuple[str, str]:
    return state.benchmarks[subject.benchmark].name, state.models[subject.model].model.name

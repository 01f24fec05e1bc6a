"""An epoch's work, derived: which tasks, which questions, which runners.

`Opening` is what a mark leaves behind: everything that deriving reads, frozen. A leaderless epoch derives from the
same opening with another beacon, so that every node that holds the last mark comes to the same tasks.
"""

from collections.abc import Mapping, Set

from msgspec import Struct

from protocol import epochs
from protocol.definitions import Benchmark, Model
from protocol.parameters import Parameters
from protocol.pools import Pool
from protocol.runners import SPARES, quorum_and_assigned, ranking
from protocol.tasks import Purpose, Subject, Task, Turn, due_subjects, question_order, task_id


class Opening(Struct, frozen=True):
    """The state just after a mark, as far as deriving reads it.

    `size`, `root`: the basis, the log before the mark. `alive`: accounts with a sign of life. `set_back`: accounts that
    missed a reveal within the window. `sponsors`: by model, who registered these bytes.
    """

    epoch: int
    beacon: bytes
    size: int
    root: bytes
    models: Mapping[bytes, Model]
    benchmarks: Mapping[bytes, Benchmark]
    sponsors: Mapping[bytes, Set[bytes]]
    pools: Mapping[bytes, Pool]
    alive: Set[bytes]
    set_back: Set[bytes]
    turns: Mapping[Subject, Turn]
    parameters: Parameters


class Plan(Struct, frozen=True):
    """One epoch's ground and tasks, by id, in the order in which they were derived."""

    epoch: int
    beacon: bytes
    ground: bytes
    leaderless: bool
    tasks: Mapping[bytes, Task]

    def of(self, account: bytes) -> tuple[Task, ...]:
        """The tasks in which the account has a rank."""
        return tuple(task for task in self.tasks.values() if account in task.ranking)


def derive(opening: Opening, epoch: int) -> Plan | None:
    """The plan of the opened epoch, or of a leaderless one after it; None where work pauses or is long over."""
    leaderless = epoch != opening.epoch
    if not opening.epoch <= epoch <= opening.epoch + opening.parameters.leaderless_max:
        return None
    beacon = epochs.leaderless_beacon(opening.beacon, epoch) if leaderless else opening.beacon
    subjects = due_subjects(opening.models, opening.benchmarks, opening.turns, opening.parameters)
    tasks = [_task(opening, epoch, beacon, subject) for subject in subjects]
    ground = epochs.ground(opening.size, opening.root, beacon)
    return Plan(epoch, beacon, ground, leaderless, {task.id: task for task in tasks})


def _task(opening: Opening, epoch: int, beacon: bytes, subject: Subject) -> Task:
    parameters = opening.parameters
    model, benchmark = opening.models[subject.model], opening.benchmarks[subject.benchmark]
    pool = opening.pools.get(model.base.sha256, ())
    order = ranking(
        (slot.account for slot in pool if slot is not None and slot.account in opening.alive),
        beacon=beacon,
        model=subject.model,
        purpose=Purpose.REGULAR,
        excluded=opening.sponsors.get(subject.model, frozenset()),
        set_back=opening.set_back,
    )
    wanted = opening.turns.get(subject, Turn()).quorum or parameters.quorum
    quorum, assigned = quorum_and_assigned(len(order), wanted, parameters)
    depth = parameters.quick_depth
    dataset = benchmark.dataset
    return Task(
        id=task_id(subject, epoch, depth, Purpose.REGULAR),
        epoch=epoch,
        subject=subject,
        depth=depth,
        purpose=Purpose.REGULAR,
        questions=question_order(beacon, dataset.content, dataset.questions, depth),
        quorum=quorum,
        assigned=assigned,
        ranking=order[: assigned + SPARES] if assigned else (),
        tolerance=parameters.tolerance(model.quantisation),
        outcome_tolerance=benchmark.tolerance,
    )

"""An epoch's work, derived: which tasks, which questions, which runners.

`Opening` is what a mark leaves behind: everything that deriving reads, frozen. A leaderless epoch derives from the
same opening with another beacon, so that every node that holds the last mark comes to the same tasks; audits and
appeals are asked once, in the marked epoch.
"""

from collections.abc import Iterable, Mapping, Set

from msgspec import Struct

from protocol import epochs
from protocol.audits import Examined
from protocol.definitions import Benchmark, Model
from protocol.parameters import Parameters
from protocol.pools import Pool
from protocol.runners import SPARES, quorum_and_assigned, ranking
from protocol.tasks import NEVER, Purpose, Subject, Task, Turn, question_order, task_id

EXAMINERS = 5
"""K of audits and appeals."""


class Examination(Struct, frozen=True):
    """A DONE task that is looked at again.

    `first`: the accounts that are ranked before all others (of an audit, the pool's), `rest`: the other eligible ones;
    neither has those whose result counted then. `examined`: whose results agreed then, in the order of their ranks.
    """

    purpose: Purpose
    looks_at: bytes
    subject: Subject
    depth: int
    questions: tuple[int, ...]
    first: Set[bytes]
    rest: Set[bytes]
    examined: tuple[Examined, ...] = ()


class Opening(Struct, frozen=True):
    """The state just after a mark, as far as deriving reads it.

    `size`, `root`: the basis, the log before the mark. `models`, `benchmarks`: those of all tasks. `subjects`: of the
    regular tasks, in order; `depths` of those that are asked more than quick depth. `excluded`: by model, all accounts
    of the persons who registered these bytes. `alive`: accounts with a sign of life. `set_back`: accounts that missed a
    reveal within the window. `devices`: who speaks for whom in this epoch and the leaderless ones after it. `persons`:
    by attested account.
    """

    epoch: int
    beacon: bytes
    size: int
    root: bytes
    models: Mapping[bytes, Model]
    benchmarks: Mapping[bytes, Benchmark]
    subjects: tuple[Subject, ...]
    depths: Mapping[Subject, int]
    examinations: tuple[Examination, ...]
    excluded: Mapping[bytes, Set[bytes]]
    pools: Mapping[bytes, Pool]
    alive: Set[bytes]
    set_back: Set[bytes]
    devices: Mapping[bytes, bytes]
    persons: Mapping[bytes, bytes]
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
    orders: dict[tuple[bytes, int], tuple[int, ...]] = {}
    ranks: dict[bytes, tuple[bytes, ...]] = {}
    tasks = [_regular(opening, epoch, beacon, subject, orders, ranks) for subject in opening.subjects]
    if not leaderless:
        tasks += [_examining(opening, beacon, examination) for examination in opening.examinations]
    ground = epochs.ground(opening.size, opening.root, beacon)
    return Plan(epoch, beacon, ground, leaderless, {task.id: task for task in tasks})


def _regular(
    opening: Opening,
    epoch: int,
    beacon: bytes,
    subject: Subject,
    orders: dict[tuple[bytes, int], tuple[int, ...]],
    ranks: dict[bytes, tuple[bytes, ...]],
) -> Task:
    """`orders` and `ranks` keep what other tasks of the epoch share: a benchmark's questions, a model's runners."""
    depth = opening.depths.get(subject, opening.parameters.quick_depth)
    if (subject.benchmark, depth) not in orders:
        dataset = opening.benchmarks[subject.benchmark].dataset
        orders[subject.benchmark, depth] = question_order(beacon, dataset.content, dataset.questions, depth)
    if subject.model not in ranks:
        pool = opening.pools.get(opening.models[subject.model].base.sha256, ())
        holders = (slot.account for slot in pool if slot is not None)
        ranks[subject.model] = _ranked(opening, beacon, subject.model, Purpose.REGULAR, holders)
    quorum = opening.turns.get(subject, NEVER).quorum or opening.parameters.quorum
    questions = orders[subject.benchmark, depth]
    return _task(opening, epoch, subject, depth, Purpose.REGULAR, None, questions, quorum, ranks[subject.model])


def _examining(opening: Opening, beacon: bytes, examination: Examination) -> Task:
    subject, purpose = examination.subject, examination.purpose
    candidates = examination.first | examination.rest
    order = _ranked(opening, beacon, subject.model, purpose, candidates, behind=examination.rest)
    return _task(
        opening,
        opening.epoch,
        subject,
        examination.depth,
        purpose,
        examination.looks_at,
        examination.questions,
        EXAMINERS,
        order,
        examination.examined,
    )


def _ranked(
    opening: Opening,
    beacon: bytes,
    model: bytes,
    purpose: Purpose,
    candidates: Iterable[bytes],
    behind: Set[bytes] = frozenset(),
) -> tuple[bytes, ...]:
    return ranking(
        opening.alive & set(candidates),
        beacon=beacon,
        model=model,
        purpose=purpose,
        excluded=opening.excluded.get(model, frozenset()),
        set_back=opening.set_back,
        behind=behind,
        persons=opening.persons,
        one_unattested=opening.parameters.attested,
    )


def _task(
    opening: Opening,
    epoch: int,
    subject: Subject,
    depth: int,
    purpose: Purpose,
    looks_at: bytes | None,
    questions: tuple[int, ...],
    wanted: int,
    order: tuple[bytes, ...],
    examined: tuple[Examined, ...] = (),
) -> Task:
    quorum, assigned = quorum_and_assigned(len(order), wanted, opening.parameters)
    return Task(
        id=task_id(subject, epoch, depth, purpose, looks_at),
        epoch=epoch,
        subject=subject,
        depth=depth,
        purpose=purpose,
        questions=questions,
        quorum=quorum,
        assigned=assigned,
        ranking=order[: assigned + SPARES] if assigned else (),
        tolerance=opening.parameters.tolerance(opening.models[subject.model].quantisation),
        outcome_tolerance=opening.benchmarks[subject.benchmark].tolerance,
        looks_at=looks_at,
        examined=examined,
    )

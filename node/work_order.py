"""Which tasks of an epoch a node takes on, in which order, and what happens to one that fails."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set

from msgspec import Struct

from protocol.definitions import Model
from protocol.failures import Failure
from protocol.messages import Profile
from protocol.plan import Opening, Plan
from protocol.pools import MEMORY_OVERHEAD_MIB, MIB
from protocol.runners import SPARES
from protocol.tasks import Purpose, Task

TRIES = 2
LONGEST_BACK_OFFS = 5
"""Doublings of the time until a task that failed is tried again."""


def taken_on(plan: Plan, opening: Opening, account: bytes, device: bytes, *, spares: bool) -> list[Task]:
    """The tasks that this device of the account is asked for: as assigned, and with `spares` as a spare.

    A slot of a pool names account and device: of several devices one evaluates, or they would contradict each other.
    """
    found = []
    for task in plan.of(account):
        rank = task.ranking.index(account)
        within = task.assigned + (SPARES if spares and task.purpose is Purpose.REGULAR else 0)
        if rank < within and _is_of_device(task, opening, account, device):
            found.append(task)
    return found


def _is_of_device(task: Task, opening: Opening, account: bytes, device: bytes) -> bool:
    if task.purpose is not Purpose.REGULAR:
        return True
    pool = opening.pools.get(opening.models[task.subject.model].base.sha256, ())
    return all(slot.device == device for slot in pool if slot is not None and slot.account == account)


def in_order(tasks: Iterable[Task], models: Mapping[bytes, Model], lacking: Set[bytes], offer: Profile) -> list[Task]:
    """What can be done soonest first, so that a slow machine, or one that stops, has done most.

    Examinations last: what they ask of others takes time to arrive. What exceeds the memory or disk that is offered
    comes behind what does not. Then what needs no download (`lacking`: SHA-256 of files that are not here), less work
    before more (bytes of the base), and tasks of one base together.
    """

    def place(task: Task) -> tuple[object, ...]:
        model = models[task.subject.model]
        lacks = sum(file.size for file in model.files if file.sha256 in lacking)
        base = model.base
        base_lacks = base.size if base.sha256 in lacking else 0
        return bool(task.examined), not fits(model, offer), base_lacks, base.size, base.sha256, lacks, task.subject

    return sorted(tasks, key=place)


def fits(model: Model, offer: Profile) -> bool:
    """Whether a model can be evaluated within what a device offers."""
    size = -(-model.total_bytes // MIB)
    return size + MEMORY_OVERHEAD_MIB <= offer.memory and size <= offer.disk


class Turn(Struct, frozen=True):
    """A task, how often it failed, and until when it waits."""

    task: Task
    failed: int = 0
    not_before: float = 0.0


class WorkQueue:
    """Tasks in order. What failed for a reason of this device comes back once, behind the others, and later each time.

    `back_off`: seconds that the first one waits at least; the next one waits twice as long, and so on.
    """

    def __init__(self, tasks: Sequence[Task], back_off: float) -> None:
        self._turns = deque(Turn(task) for task in tasks)
        self._back_off = back_off
        self._in_a_row = 0

    def take(self) -> Turn | None:
        """The next turn; None where all is done."""
        return self._turns.popleft() if self._turns else None

    @property
    def following(self) -> Task | None:
        """The task after the one that was taken last."""
        return self._turns[0].task if self._turns else None

    def succeeded(self) -> None:
        """What was taken last is done: whatever was wrong here is not wrong any more."""
        self._in_a_row = 0

    def is_given_up(self, turn: Turn, failure: Failure, now: float) -> bool:
        """Whether a turn that failed was the last of its task; else the task comes back."""
        if failure.of_model or turn.failed + 1 >= TRIES:
            return True
        waits = self._back_off * 2 ** min(self._in_a_row, LONGEST_BACK_OFFS)
        self._in_a_row += 1
        self._turns.append(Turn(turn.task, turn.failed + 1, now + waits))
        return False

"""The states of a task, as a table. `counting` finds the event; this table says what follows."""

from enum import StrEnum


class TaskState(StrEnum):
    """Where a task stands. DONE, DISPUTED, FAILED, EXPIRED and WAITING are final at the close of its epoch."""

    WAITING = "WAITING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    DISPUTED = "DISPUTED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


class Event(StrEnum):
    """What happens to a task. The four kinds of close are told apart by the counting rules."""

    OPENED = "its epoch opens and at least K runners can be ranked"
    OPENED_SHORT = "its epoch opens and fewer than K runners can be ranked"
    COMMITTED = "an assigned runner's only commitment is there"
    CLOSED_DONE = "its epoch closes and rule 4 is met"
    CLOSED_FAILED = "its epoch closes and most of at least K counted results name one failure of the model"
    CLOSED_SPLIT = "its epoch closes, at least K results count and rule 4 is not met"
    CLOSED_SHORT = "its epoch closes and fewer than K results count"


TRANSITIONS: dict[tuple[TaskState | None, Event], TaskState] = {
    (None, Event.OPENED): TaskState.QUEUED,
    (None, Event.OPENED_SHORT): TaskState.WAITING,
    (TaskState.QUEUED, Event.COMMITTED): TaskState.RUNNING,
    (TaskState.RUNNING, Event.COMMITTED): TaskState.RUNNING,
    (TaskState.RUNNING, Event.CLOSED_DONE): TaskState.DONE,
    (TaskState.RUNNING, Event.CLOSED_FAILED): TaskState.FAILED,
    (TaskState.RUNNING, Event.CLOSED_SPLIT): TaskState.DISPUTED,
    (TaskState.QUEUED, Event.CLOSED_SHORT): TaskState.EXPIRED,
    (TaskState.RUNNING, Event.CLOSED_SHORT): TaskState.EXPIRED,
}


def follow(state: TaskState | None, event: Event) -> TaskState:
    """The state after an event. Raises `KeyError` for a pair that the table does not have: a bug of the caller."""
    return TRANSITIONS[state, event]

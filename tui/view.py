"""Everything that the dashboard shows, as one immutable value, and how events change it.

`reduce` is the only way to a new `View`. It does no I/O and reads no clock: whoever listens to a daemon
(or replays a recording) turns what arrives into events. Deltas carry a sequence number; a gap means that
something was missed, and `gap` then asks for everything anew. What the daemon re-tells after a
reconnection is shown once.
"""

from bisect import insort
from functools import singledispatch

import msgspec
from msgspec import Struct

from tui.answers import (
    Activity,
    Board,
    BoardChanged,
    Body,
    Caution,
    Peer,
    Row,
    Status,
    Task,
    Tasks,
    Verdict,
)
from tui.link import Instant, Link, Trouble

ACTIVITIES_KEPT = 500


class View(Struct, frozen=True):
    """The whole picture.

    `status_at` is when the status was said: its ages and spans count from there. `sequence` is the newest
    delta's. `retelling` lasts from the opening of a stream to the first delta that is no activity: the daemon
    begins with old ones, whose numbers need not follow each other. The board is due for a refetch while
    `board_asked` is behind `board_changes`.
    """

    link: Link = Link()
    status: Status | None = None
    status_at: Instant | None = None
    cautions: tuple[Caution, ...] = ()
    tasks: Tasks | None = None
    board: Board | None = None
    verdicts: tuple[Verdict, ...] = ()
    peers: tuple[Peer, ...] | None = None
    activities: tuple[Activity, ...] = ()
    sequence: int | None = None
    retelling: bool = True
    status_sequence: int | None = None
    tasks_sequence: int | None = None
    gap: bool = False
    board_changes: int = 0
    board_asked: int = 0

    @property
    def board_due(self) -> bool:
        """Whether the leaderboard changed since it was last asked for."""
        return self.board_asked < self.board_changes

    @property
    def rows(self) -> tuple[Row, ...]:
        """The board's rows; none before the first answer."""
        return () if self.board is None else self.board.rows

    @property
    def is_node(self) -> bool:
        """Whether this is a node, which evaluates and can be paused; the bootstrap cannot."""
        return self.status is not None and self.status.role == "node"


class Opened(Struct, frozen=True):
    """A new event stream began: its numbers start afresh, old activities come first."""

    at: Instant


class Heard(Struct, frozen=True):
    """A sign of life without content."""

    at: Instant


class Dropped(Struct, frozen=True):
    """The connection ended or did not come about; what is known stays."""

    trouble: Trouble
    detail: str
    retry_at: float


class Delta(Struct, frozen=True):
    """One server-sent event."""

    at: Instant
    sequence: int | None
    body: Body


class Snapshot(Struct, frozen=True):
    """Everything, fetched at once. `since` is the view's sequence when the fetch began."""

    at: Instant
    since: int | None
    status: Status
    cautions: tuple[Caution, ...]
    tasks: Tasks
    board: Board
    verdicts: tuple[Verdict, ...]
    peers: tuple[Peer, ...] | None


class StatusTold(Struct, frozen=True):
    """The answer to a status request, or to pausing and resuming."""

    at: Instant
    status: Status
    cautions: tuple[Caution, ...]


class BoardAsked(Struct, frozen=True):
    """A request for the leaderboard went out: later changes need another one."""


class BoardTold(Struct, frozen=True):
    """The leaderboard and the verdicts behind it."""

    at: Instant
    board: Board
    verdicts: tuple[Verdict, ...]


class PeersTold(Struct, frozen=True):
    """The neighbours; nothing where the other side does not tell."""

    at: Instant
    peers: tuple[Peer, ...] | None


Event = Opened | Heard | Dropped | Delta | Snapshot | StatusTold | BoardAsked | BoardTold | PeersTold


@singledispatch
def reduce(event: Event, view: View) -> View:
    """The view after the event."""
    raise TypeError(f"no event of the dashboard: {event!r}")


@reduce.register
def _(event: Opened, view: View) -> View:
    return msgspec.structs.replace(
        view,
        link=view.link.hear(event.at),
        sequence=None,
        retelling=True,
        status_sequence=None,
        tasks_sequence=None,
        gap=False,
    )


@reduce.register
def _(event: Heard, view: View) -> View:
    return msgspec.structs.replace(view, link=view.link.hear(event.at))


@reduce.register
def _(event: Dropped, view: View) -> View:
    link = view.link.lose(event.trouble, event.detail, event.retry_at)
    return msgspec.structs.replace(view, link=link)


@reduce.register
def _(event: Delta, view: View) -> View:
    view = msgspec.structs.replace(view, link=view.link.hear(event.at))
    if isinstance(event.body, Activity):
        activity = msgspec.structs.replace(event.body, sequence=event.sequence)
        view = msgspec.structs.replace(view, activities=_with(view.activities, activity))
    number = event.sequence
    if number is not None:
        known = view.sequence
        if not view.retelling and known is not None:
            if number <= known:
                return view  # told twice
            if number > known + 1:
                view = msgspec.structs.replace(view, gap=True)
        retelling = view.retelling and isinstance(event.body, Activity)
        view = msgspec.structs.replace(view, sequence=max(number, known or 0), retelling=retelling)
    return _applied(event, view)


def _applied(event: Delta, view: View) -> View:
    body = event.body
    if isinstance(body, Status):
        return msgspec.structs.replace(view, status=body, status_at=event.at, status_sequence=event.sequence)
    if isinstance(body, Tasks):
        changed = view.board_changes + (_standing(view.tasks) != _standing(body))
        return msgspec.structs.replace(view, tasks=body, tasks_sequence=event.sequence, board_changes=changed)
    if isinstance(body, BoardChanged):
        return msgspec.structs.replace(view, board_changes=view.board_changes + 1)
    return view


@reduce.register
def _(event: Snapshot, view: View) -> View:
    view = msgspec.structs.replace(
        view,
        link=view.link.hear(event.at),
        cautions=event.cautions,
        board=event.board,
        verdicts=event.verdicts,
        peers=event.peers,
        gap=False,
    )
    # What arrived on the stream after the fetch began is at least as new as the answer.
    if not _newer(view.status_sequence, event.since):
        view = msgspec.structs.replace(view, status=event.status, status_at=event.at)
    if not _newer(view.tasks_sequence, event.since):
        view = msgspec.structs.replace(view, tasks=event.tasks)
    return view


@reduce.register
def _(event: StatusTold, view: View) -> View:
    return msgspec.structs.replace(
        view,
        link=view.link.hear(event.at),
        status=event.status,
        status_at=event.at,
        cautions=event.cautions,
    )


@reduce.register
def _(event: BoardAsked, view: View) -> View:
    return msgspec.structs.replace(view, board_asked=view.board_changes)


@reduce.register
def _(event: BoardTold, view: View) -> View:
    return msgspec.structs.replace(view, link=view.link.hear(event.at), board=event.board, verdicts=event.verdicts)


@reduce.register
def _(event: PeersTold, view: View) -> View:
    return msgspec.structs.replace(view, link=view.link.hear(event.at), peers=event.peers)


def _newer(delta: int | None, since: int | None) -> bool:
    return delta is not None and (since is None or delta > since)


def _standing(tasks: Tasks | None) -> tuple[tuple[str, str, int, int], ...]:
    """What of the open tasks shows on the live board: verdicts and who agrees, not who is how far."""
    if tasks is None:
        return ()
    return tuple((task.id, task.state, task.counted, task.agreeing) for task in tasks.tasks)


def _with(known: tuple[Activity, ...], new: Activity) -> tuple[Activity, ...]:
    """The activities by time with the new one in its place; one that is known already is not repeated."""
    if any(old.same == new.same for old in reversed(known)):
        return known
    if not known or known[-1].place <= new.place:
        return (*known, new)[-ACTIVITIES_KEPT:]
    merged = list(known)
    insort(merged, new, key=lambda activity: activity.place)
    return tuple(merged[-ACTIVITIES_KEPT:])


def row_of(view: View, key: tuple[str, str] | None) -> Row | None:
    """The board's row of a model and benchmark."""
    return next((row for row in view.rows if row.key == key), None)


def tasks_of(view: View, model_id: str) -> tuple[Task, ...]:
    """Open tasks of one model."""
    return () if view.tasks is None else tuple(t for t in view.tasks.tasks if t.model_id == model_id)


def verdicts_of(view: View, model_id: str) -> tuple[Verdict, ...]:
    """Verdicts of the last closed epochs on one model, newest first."""
    mine = [verdict for verdict in view.verdicts if verdict.model_id == model_id]
    return tuple(sorted(mine, key=lambda verdict: (-(verdict.epoch or 0), verdict.benchmark)))

"""The reducer: whatever happens on the way, what is shown is what a fresh look would give."""

from collections import deque

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.answers import Activity, Board, BoardChanged, Body, Row, Status, Task, Tasks, Verdict
from tui.link import Instant, Phase, Trouble
from tui.view import (
    ACTIVITIES_KEPT,
    BoardAsked,
    BoardTold,
    Delta,
    Dropped,
    Heard,
    Opened,
    Snapshot,
    StatusTold,
    View,
    reduce,
    row_of,
    tasks_of,
    verdicts_of,
)

AT = Instant(0.0, 0.0)
CHANGES = ("status", "tasks", "agreeing", "board", "activity")
DELIVERIES = ("deliver", "deliver", "lose", "repeat", "drop", "fetch", "answer", "board")


class Daemon:
    """A daemon's state, and the events that it sends when the state changes."""

    def __init__(self) -> None:
        self.counter = 0
        self.sequence = 0
        self.status = Status(state="waiting")
        self.tasks = Tasks(epoch=0, tasks=(Task(id="t"),))
        self.board = Board(epoch=0)
        self.activities: deque[Delta] = deque(maxlen=50)
        self.sent: deque[Delta] = deque()

    def change(self, what: str) -> None:
        self.counter += 1
        body: Body
        match what:
            case "status":
                self.status = body = Status(state="waiting", peers=self.counter)
            case "tasks":
                self.tasks = body = Tasks(epoch=self.counter, tasks=self.tasks.tasks)
            case "agreeing":
                # The live board changes with the verdicts of the open epoch, without an event of its own.
                self.board = Board(epoch=self.counter)
                self.tasks = body = Tasks(epoch=self.tasks.epoch, tasks=(Task(id="t", agreeing=self.counter),))
            case "board":
                self.board, body = Board(epoch=self.counter), BoardChanged(epoch=self.counter)
            case _:
                body = Activity(time=f"{self.counter // 3:06}", text=f"event {self.counter}")
        self.sequence += 1
        delta = Delta(AT, self.sequence, body)
        if isinstance(body, Activity):
            self.activities.append(delta)
        self.sent.append(delta)

    def snapshot(self, since: int | None) -> Snapshot:
        return Snapshot(AT, since, self.status, (), self.tasks, self.board, (), None)


class Client:
    """What the connection does, one step at a time."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.view = View()
        self.last: Delta | None = None
        self.pending: Snapshot | None = None
        self.begin()

    def begin(self) -> None:
        self.daemon.sent = deque(self.daemon.activities)
        self.view = reduce(Opened(AT), self.view)
        self.last = None
        self.fetch()

    def fetch(self) -> None:
        self.view = reduce(BoardAsked(), self.view)
        self.pending = self.daemon.snapshot(self.view.sequence)

    def answer(self) -> None:
        if self.pending is not None:
            self.view = reduce(self.pending, self.view)
            self.pending = None

    def take(self, delta: Delta) -> None:
        self.last = delta
        self.view = reduce(delta, self.view)
        if self.view.gap:
            self.begin()

    def step(self, what: str) -> None:
        match what:
            case "deliver" if self.daemon.sent:
                self.take(self.daemon.sent.popleft())
            case "lose" if self.daemon.sent and not self.view.retelling:
                self.daemon.sent.popleft()
            case "repeat" if self.last is not None:
                self.take(self.last)
            case "drop":
                self.view = reduce(Dropped(Trouble.ENDED, "", 1.0), self.view)
                self.begin()
            case "fetch" if self.pending is None:
                self.fetch()
            case "answer":
                self.answer()
            case "board" if self.view.board_due and self.pending is None:
                self.view = reduce(BoardAsked(), self.view)
                self.view = reduce(BoardTold(AT, self.daemon.board, ()), self.view)

    def settle(self) -> None:
        """Nothing changes any more but the status, which shows a loss of what came before."""
        self.daemon.change("status")
        self.answer()
        while self.daemon.sent:
            self.step("deliver")
            self.answer()
        self.step("board")


def shown(view: View) -> tuple[object, ...]:
    """What people see of a view; an activity's number is not shown."""
    told = [(activity.time, activity.text) for activity in view.activities]
    return view.status, view.tasks, view.board, told[-50:]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(CHANGES + DELIVERIES), max_size=60))
def test_any_course_of_events_ends_in_what_a_fresh_look_gives(steps: list[str]) -> None:
    daemon = Daemon()
    client = Client(daemon)
    for what in steps:
        if what in CHANGES:
            daemon.change(what)
        else:
            client.step(what)
    client.settle()
    assert not client.view.gap
    fresh = Client(daemon)
    fresh.settle()
    # The second settling changed the status once more.
    client.view = reduce(StatusTold(AT, daemon.status, ()), client.view)
    assert shown(client.view) == shown(fresh.view)


def test_a_gap_is_noticed_and_a_repetition_passed_over() -> None:
    view = reduce(Opened(AT), View())
    view = reduce(Delta(AT, 4, Status(state="waiting", peers=1)), view)
    again = reduce(Delta(AT, 4, Status(state="waiting", peers=9)), view)
    assert again.status == view.status
    assert not again.gap
    assert not reduce(Delta(AT, 5, None), view).gap
    assert reduce(Delta(AT, 6, None), view).gap


def test_old_activities_at_the_beginning_are_no_gap() -> None:
    view = reduce(Opened(AT), View())
    for number in (3, 17, 40):
        view = reduce(Delta(AT, number, Activity(time=str(number), text="old")), view)
    view = reduce(Delta(AT, 52, Status(state="waiting")), view)
    assert not view.gap
    assert reduce(Delta(AT, 54, Activity(text="new")), view).gap


def test_what_is_told_twice_is_shown_once_and_in_order() -> None:
    view = View()
    for time in ("3", "1", "2", "1", "3"):
        view = reduce(Delta(AT, None, Activity(time=time, text=f"at {time}")), view)
    assert [activity.time for activity in view.activities] == ["1", "2", "3"]


def test_activities_are_bounded() -> None:
    view = View()
    for number in range(ACTIVITIES_KEPT + 5):
        view = reduce(Delta(AT, None, Activity(time=f"{number:04}", text=str(number))), view)
    assert len(view.activities) == ACTIVITIES_KEPT
    assert view.activities[-1].text == str(ACTIVITIES_KEPT + 4)


def test_a_stream_that_was_heard_during_the_fetch_wins_over_its_answer() -> None:
    view = reduce(Opened(AT), View())
    view = reduce(Delta(AT, 1, Status(state="evaluating")), view)
    older = Snapshot(AT, None, Status(state="waiting"), (), Tasks(epoch=3), Board(epoch=2), (), None)
    after = reduce(older, view)
    assert after.status == Status(state="evaluating")
    assert after.tasks == Tasks(epoch=3)
    newer = msgspec.structs.replace(older, since=1)
    assert reduce(newer, view).status == Status(state="waiting")


def test_connecting_live_stale_down_and_back() -> None:
    view = View()
    assert view.link.phase(AT) is Phase.CONNECTING
    view = reduce(Dropped(Trouble.NOT_RUNNING, "", 4.0), view)
    assert view.link.phase(AT) is Phase.DOWN
    view = reduce(Opened(Instant(10.0, 10.0)), view)
    assert view.link.phase(Instant(15.0, 15.0)) is Phase.LIVE
    assert view.link.phase(Instant(15.1, 15.1)) is Phase.STALE
    view = reduce(Heard(Instant(16.0, 16.0)), view)
    assert view.link.phase(Instant(20.0, 20.0)) is Phase.LIVE
    before = reduce(Delta(Instant(20.0, 20.0), 1, Status(state="waiting")), view)
    view = reduce(Dropped(Trouble.ENDED, "", 22.0), before)
    assert view.link.phase(Instant(20.0, 20.0)) is Phase.DOWN
    assert view.status == before.status
    assert view.link.heard == Instant(20.0, 20.0)


def test_only_events_change_a_view() -> None:
    with pytest.raises(TypeError):
        reduce("status", View())  # type: ignore[arg-type]


def test_looking_things_up() -> None:
    rows = (Row(id="a", benchmark="x"), Row(id="a", benchmark="y"))
    verdicts = (Verdict(task="1", model_id="a", epoch=3), Verdict(task="2", model_id="a", epoch=5))
    view = View(
        board=Board(rows=rows),
        tasks=Tasks(epoch=6, tasks=(Task(id="t", model_id="a"), Task(id="u", model_id="b"))),
        verdicts=verdicts,
    )
    assert row_of(view, ("a", "y")) is rows[1]
    assert row_of(view, ("b", "y")) is None
    assert row_of(view, None) is None
    assert [task.id for task in tasks_of(view, "a")] == ["t"]
    assert [verdict.epoch for verdict in verdicts_of(view, "a")] == [5, 3]

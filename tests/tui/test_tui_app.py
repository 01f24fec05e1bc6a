"""The dashboard in a terminal of three sizes, driven by keys."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widgets import Input

from tui.answers import Board, Reason
from tui.app import Dashboard, farewell, run_dashboard
from tui.board import BoardList, BoardPane
from tui.help import HelpScreen
from tui.lines import Span
from tui.link import Instant, Trouble
from tui.painting import Pane
from tui.panes.board import row_line
from tui.view import BoardTold, Dropped, View, reduce

SIZES = [(80, 24), (100, 30), (140, 40)]
SIGHT = {
    (80, 24): {"board"},
    (100, 30): {"board", "now", "today", "log"},
    (140, 40): {"board", "tasks", "now", "today", "log"},
}


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: Instant) -> None:
        self.now = now

    def __call__(self) -> Instant:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now = Instant(self.now.steady + seconds, self.now.wall + seconds)


class Stage:
    """A dashboard on a scripted source."""

    def __init__(self, scene: Any, script: Any) -> None:
        self.clock = Clock(scene.now)
        self.script = script
        self.app = Dashboard(lambda: script, clock=self.clock)
        self.pilot: Pilot[None]

    def play(self, size: tuple[int, int], course: Callable[["Stage"], Awaitable[None]]) -> None:
        async def run() -> None:
            async with self.app.run_test(size=size, notifications=True) as pilot:
                self.pilot = pilot
                await self.settle()
                await course(self)

        asyncio.run(run())

    async def settle(self) -> None:
        """Everything that waits for the next turn has happened, and the panes show it."""
        for _ in range(3):
            await self.pilot.pause()
        self.app.draw()
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settle()

    async def tell(self, view: View) -> None:
        self.script.tell(view)
        await self.settle()

    @property
    def screen(self) -> list[str]:
        """The lines of the screen."""
        strips: list[Strip] = self.app.screen._compositor.render_strips()
        return [strip.text for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.screen)

    @property
    def said(self) -> list[str]:
        """What popped up."""
        return [note.message for note in self.app._notifications]

    @property
    def rows(self) -> BoardList:
        return self.app.query_one(BoardList)

    @property
    def order(self) -> list[str]:
        return [row.id for row in self.rows.rows]

    @property
    def in_sight(self) -> set[str]:
        names = ("board", "tasks", "peers", "model", "now", "today", "log")
        return {name for name in names if self.app.query_one(f"#{name}").region.area > 0}


@pytest.fixture
def stage(scene_of: Callable[[str], Any], script_of: Callable[[View], Any]) -> Callable[[str], Stage]:
    def build(name: str) -> Stage:
        scene = scene_of(name)
        return Stage(scene, script_of(scene.view))

    return build


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["live", "stale", "down", "empty", "never"])
def test_every_state_at_every_size(size: tuple[int, int], name: str, stage: Callable[[str], Stage]) -> None:
    sentences = {
        "live": "◉ live",
        "stale": "last heard 14:18:52",
        "down": "The daemon is not running. `peerboard run` · retry in 4 s",
        "empty": "The first verdicts come when epoch 42 closes, in 0:27.",
        "never": "`peerboard run` starts a node",
    }

    async def course(it: Stage) -> None:
        assert it.in_sight == SIGHT[size]
        assert sentences[name] in it.text
        assert len(it.screen) == size[1]
        assert all(len(line) <= size[0] for line in it.screen)
        assert ("tally-large" in it.text) == (name in ("live", "stale", "down"))
        assert it.app.has_class("-stale") == (name in ("stale", "down", "never"))
        assert it.screen[-1].strip().startswith("[b Board]")

    stage(name).play(size, course)


@pytest.mark.parametrize("size", SIZES)
def test_letters_choose_panes(size: tuple[int, int], stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        for letter, name, words in (
            ("n", "now", "commit by 14:19:04"),
            ("t", "tasks", "verdict"),
            ("p", "peers", "12D3KooW"),
            ("l", "log", "the bootstrap answers"),
            ("b", "board", "tally-tiny"),
        ):
            await it.press(letter)
            assert name in it.in_sight
            assert words in it.text
            assert it.app.focused is not None
            assert name in {it.app.focused.id, getattr(it.app.focused.parent, "id", None)}
            if size[0] < 100:
                assert it.in_sight == ({name, "today"} if name == "now" else {name})

    stage("live").play(size, course)


def test_a_resized_terminal_gets_other_panes(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        for size in (*SIZES, *reversed(SIZES)):
            await it.pilot.resize_terminal(*size)
            async with asyncio.timeout(5):
                while it.in_sight != SIGHT[size]:
                    await it.settle()
            assert all(len(line) == size[0] for line in it.screen)

    stage("live").play((140, 40), course)


def test_the_cursor_follows_the_model(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        await it.press("down", "down")
        chosen = it.rows.cursor
        assert chosen == it.rows.rows[2].key
        it.clock.forward(5)
        turned = tuple(
            msgspec.structs.replace(row, rank_low=10 - (row.rank_low or 0), rank_high=20) for row in it.script.view.rows
        )
        await it.tell(reduce(BoardTold(it.clock.now, Board(43, turned), ()), it.script.view))
        assert it.rows.cursor == chosen
        assert it.rows.chosen is not None
        assert it.rows.chosen.key == chosen
        assert it.rows.rows[2].key != chosen

    stage("live").play((140, 40), course)


def test_rows_do_not_move_under_the_cursor(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        before = it.order
        it.clock.forward(5)
        await it.press("down")
        turned = tuple(
            msgspec.structs.replace(row, rank_low=9 - (row.rank_low or 0), rank_high=9, score=1.0)
            for row in it.script.view.rows
        )
        it.clock.forward(1.5)
        await it.tell(reduce(BoardTold(it.clock.now, Board(43, turned), ()), it.script.view))
        assert it.order == before
        assert {row.score for row in it.rows.rows} == {1.0}
        it.clock.forward(2)
        await it.settle()
        assert it.order != before
        assert sorted(it.order) == sorted(before)

    stage("live").play((140, 40), course)


def test_the_board_is_drawn_once_a_second_at_most(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        rows = it.script.view.rows
        drawn = it.rows.rows
        changed = tuple(msgspec.structs.replace(row, score=2.0) for row in rows)
        it.clock.forward(0.2)
        await it.tell(reduce(BoardTold(it.clock.now, Board(43, changed), ()), it.script.view))
        assert it.rows.rows is drawn
        it.clock.forward(1.0)
        await it.settle()
        assert {row.score for row in it.rows.rows} == {2.0}

    stage("live").play((140, 40), course)


def test_filter_sort_and_benchmarks(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        by_rank = it.order
        await it.press("slash", *"steps", "space", *"base")
        assert it.app.query_one(Input).value == "steps base"
        assert {row.name for row in it.rows.rows} == {"tally-base", "tally-base + tally-times"}
        assert "“steps base” 2 of 10" in it.text
        await it.press("enter")
        assert it.app.focused is it.rows
        await it.press("escape")
        assert it.order == by_rank
        await it.press("s", "s", "s")
        assert "by name" in it.text
        names = [row.name for row in it.rows.rows]
        assert names[:5] == sorted(names[:5])
        await it.press("right")
        assert {row.benchmark for row in it.rows.rows} == {"tally-choice"}
        await it.press("left", "left")
        assert {row.benchmark for row in it.rows.rows} == {"tally-steps"}
        await it.press("slash", *"nobody")
        assert "No model matches “nobody”." in it.text
        assert not it.script.commands

    stage("live").play((140, 40), course)


@pytest.mark.parametrize("size", SIZES)
def test_enter_opens_the_model_and_escape_goes_back(size: tuple[int, int], stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        await it.press("down", "enter")
        assert "model" in it.in_sight
        assert it.rows.chosen is not None
        assert it.rows.chosen.id[:12] in it.text
        await it.press("escape")
        assert it.in_sight == SIGHT[size]
        assert it.app.focused is it.rows

    stage("live").play(size, course)


def test_space_pauses_and_says_why(stage: Callable[[str], Stage]) -> None:
    def paused(path: str, view: View) -> View:
        assert view.status is not None
        reasons = (Reason("USER", "you paused it"),) if path == "/v1/pause" else ()
        status = msgspec.structs.replace(view.status, state="paused" if reasons else "waiting", reasons=reasons)
        return msgspec.structs.replace(view, status=status)

    async def course(it: Stage) -> None:
        it.script.on_command = paused
        await it.press("space")
        assert "‖ PAUSED · USER" in it.screen[0]
        assert "USER: you paused it" in it.text
        await it.press("space")
        assert it.script.commands == ["/v1/pause", "/v1/resume"]
        assert it.said == ["Resumed."]
        it.script.refusal = "[red]No[/red]\x1b."
        await it.press("space")
        assert "Could not pause: [red]No[/red]␛." in it.said
        assert "[red]No[/red]␛." in it.text

    stage("live").play((100, 30), course)


def test_a_bootstrap_cannot_be_paused(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        status = msgspec.structs.replace(it.script.view.status, role="bootstrap")
        await it.tell(msgspec.structs.replace(it.script.view, status=status, peers=None))
        await it.press("space")
        assert not it.script.commands
        assert it.said == ["This is a bootstrap: it evaluates nothing that could be paused."]

    stage("live").play((140, 40), course)


def test_help_palette_and_retry(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        await it.press("question_mark")
        assert isinstance(it.app.screen, HelpScreen)
        assert "the daemon lives on" in it.text
        await it.press("escape")
        assert not isinstance(it.app.screen, HelpScreen)
        await it.press("r")
        assert it.script.retries == 1
        await it.press("ctrl+p")
        await it.press(*"tasks", "enter", "enter")
        assert it.app.choice.pane == "tasks"

    stage("down").play((80, 24), course)


def test_q_closes_and_says_that_the_daemon_lives_on(stage: Callable[[str], Stage], live: View) -> None:
    async def course(it: Stage) -> None:
        await it.press("q")
        assert not it.app.is_running

    it = stage("live")
    it.play((80, 24), course)
    assert it.app.return_code == 0
    assert not it.script.commands
    assert "The daemon goes on" in farewell(it.app.view, it.clock.now)
    lost = reduce(Dropped(Trouble.NOT_RUNNING, "", 0.0), live)
    assert "`peerboard run`" in farewell(lost, it.clock.now)


@pytest.mark.parametrize("size", SIZES)
def test_hostile_names_are_text(size: tuple[int, int], stage: Callable[[str], Stage]) -> None:
    name = "[red]x[/red]\x1b[31m\u202e[@click=app.quit]q"

    async def course(it: Stage) -> None:
        view = it.script.view
        rows = tuple(msgspec.structs.replace(row, name=name, benchmark="[b]" + row.benchmark) for row in view.rows)
        activities = tuple(msgspec.structs.replace(entry, text=name) for entry in view.activities)
        it.clock.forward(5)
        await it.tell(msgspec.structs.replace(view, board=Board(42, rows), activities=activities))
        await it.press("right", "slash", "left_square_bracket", "r")
        assert "[red]x" in it.text
        assert "[b]tally-choice" in it.text
        assert "\x1b" not in it.text
        assert "\u202e" not in it.text

    stage("live").play(size, course)


def test_the_painter_obeys_nothing_even_if_a_pane_forgot(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        pane = it.app.query_one("#tasks", Pane)
        pane.show(lambda _width: [(Span("[b]\x1b[2J\u202eevil"),)])
        assert pane.render_line(0).text.startswith("[b]␛[2J�evil")

    stage("live").play((140, 40), course)


def test_two_thousand_rows_are_drawn_by_the_line(
    stage: Callable[[str], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def counting(row: Any, *rest: Any) -> Any:
        drawn.append(row.id)
        return painted(row, *rest)

    painted = row_line
    monkeypatch.setattr("tui.board.row_line", counting)

    async def course(it: Stage) -> None:
        first = it.script.view.rows[0]
        rows = tuple(
            msgspec.structs.replace(first, id=f"{n:05}", name=f"model-{n}", rank_low=n + 1, rank_high=n + 3)
            for n in range(2000)
        )
        it.clock.forward(5)
        drawn.clear()
        await it.tell(msgspec.structs.replace(it.script.view, board=Board(42, rows)))
        assert len(it.rows.rows) == 2000
        assert 0 < len(set(drawn)) <= it.rows.size.height
        await it.press("end")
        assert it.rows.cursor == ("01999", first.benchmark)
        assert "model-1999" in it.text
        await it.press("pageup", "home")
        assert "model-0" in it.text
        assert len(set(drawn)) < 200

    stage("live").play((140, 40), course)


def test_a_reader_without_colours_loses_nothing(stage: Callable[[str], Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def course(it: Stage) -> None:
        assert it.app.no_color
        for strip in it.app.screen._compositor.render_strips():
            filtered = strip.apply_filter(it.app._filters[-1], it.app.screen.background_colors[1])
            for part in filtered:
                if part.style is not None and part.style.color is not None and part.style.color.triplet is not None:
                    assert len(set(part.style.color.triplet)) == 1
        for words in ("! disputed", "~ provisional", "● EVALUATING", "◉ live", "▸ "):
            assert words in it.text

    stage("live").play((140, 40), course)


def test_the_filter_field_does_not_take_keys_before_it_is_asked_for(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        assert it.app.focused is it.rows
        assert not it.app.query_one(Input).display
        await it.press("tab")
        assert not isinstance(it.app.focused, Input)
        assert it.app.query_one(BoardPane).query_asked.words == ""

    stage("live").play((140, 40), course)


def test_without_a_terminal_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_dashboard("http://127.0.0.1:1", None) == 2
    assert "peerboard status --json" in capsys.readouterr().err


def test_starting_loads_no_http_client_and_nothing_else_of_ours() -> None:
    script = (
        "import sys, tui.app\n"
        "ours = {'protocol', 'eval', 'node', 'bootstrap', 'peerboard', 'httpx', 'trio'} & set(sys.modules)\n"
        "assert not ours, ours\n"
        "import tui.connection\n"
        "ours = {'protocol', 'eval', 'node', 'bootstrap', 'peerboard'} & set(sys.modules)\n"
        "assert not ours, ours\n"
    )
    subprocess.run([sys.executable, "-I", "-c", script], check=True)

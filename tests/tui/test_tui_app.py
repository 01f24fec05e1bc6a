"""The dashboard in a terminal of three sizes, driven by keys."""

import asyncio
import subprocess
import sys
from collections.abc import Callable

import msgspec
import pytest

from tests.tui.stage import SIGHT, SIZES, Stage
from tui.answers import Board, Reason
from tui.app import farewell, run_dashboard
from tui.help import HelpScreen
from tui.lines import Span
from tui.link import Trouble
from tui.painting import Pane
from tui.view import Dropped, View, reduce


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

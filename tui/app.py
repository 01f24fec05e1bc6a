"""The dashboard that `peerboard top` opens: a reader of one daemon's control API, and nothing else.

It is a process of its own. Closing it, or killing it, does nothing to the daemon.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.geometry import Size
from textual.screen import Screen
from textual.widgets import Input

from tui.board import BoardList, BoardPane
from tui.help import HelpScreen
from tui.layout import LETTERS, TITLES, Choice, panes_in_sight
from tui.link import Instant, Phase
from tui.look import CSS, DARK, LIGHT, VARIABLES
from tui.painting import Pane, Strap
from tui.panes.activity import activity_lines
from tui.panes.footer import footer
from tui.panes.header import header, notice
from tui.panes.model import model_lines
from tui.panes.now import now_lines
from tui.panes.peers import peers_lines
from tui.panes.tasks import tasks_lines
from tui.panes.today import today_lines
from tui.plain import plain
from tui.source import Source
from tui.view import View

DRAW_EVERY = 0.25
"""Seconds between two drawings: often enough for progress, seldom enough for a slow line."""

Connect = Callable[[], Source]
Locate = Callable[[], tuple[str, str | None]]
Clock = Callable[[], Instant]


def this_instant() -> Instant:
    """Now, on both clocks."""
    return Instant(time.monotonic(), time.time())


class Dashboard(App[None]):
    """All panes; what they show is a function of the last view."""

    CSS = CSS
    TITLE = "peerboard"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(letter, f"choose('{pane}')", TITLES[pane]) for letter, pane in LETTERS.items()),
        Binding("slash", "filter", "Filter the board"),
        Binding("s", "sort", "Sort the board"),
        Binding("space", "pause", "Pause or resume"),
        Binding("r", "retry", "Connect now"),
        Binding("escape", "leave", "Back"),
        Binding("q", "quit", "Close the dashboard"),
        Binding("question_mark", "help", "Help"),
    ]

    def __init__(self, connect: Connect, *, clock: Clock = this_instant) -> None:
        super().__init__()
        self.view = View()
        self.choice = Choice()
        self._connect = connect
        self._clock = clock
        self._source: Source | None = None
        self._fresh = False
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = DARK.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our own variables, for themes that lack them."""
        return VARIABLES

    def compose(self) -> ComposeResult:
        """Header, notice, two columns of panes, keys."""
        yield Strap(id="header")
        yield Strap(id="notice")
        with Horizontal(id="body"):
            with Vertical(id="main"):
                yield BoardPane(id="board", clock=self._clock)
                for name in ("tasks", "peers", "model"):
                    yield Pane(TITLES[name], id=name)
            with Vertical(id="side"):
                for name in ("now", "today", "log"):
                    yield Pane(TITLES[name], id=name)
        yield Strap(id="footer")

    def on_mount(self) -> None:
        """Begin to listen and to draw."""
        for pane in (self.query_one(BoardPane), *self.query(Pane)):
            pane.add_class("pane")
        self._arrange()
        self.query_one(BoardList).focus()
        self.set_interval(DRAW_EVERY, self._tick)
        self.run_worker(self._listen(), name="source")

    async def _listen(self) -> None:
        # Loading the HTTP client takes as long as everything else: the frame is on the screen before.
        self._source = await asyncio.to_thread(self._connect)
        await self._source.run(self.show)

    def show(self, view: View) -> None:
        """Take note of a view; it is drawn at the next tick, what comes first at once."""
        first = (self.view.board is None) != (view.board is None)
        self.view = view
        self._fresh = True
        if first:
            self.draw()

    def _tick(self) -> None:
        # Countdowns run without news, too.
        self.draw()

    def on_resize(self, event: events.Resize) -> None:
        """Other panes may have room now."""
        self._arrange(event.size)

    def _arrange(self, size: Size | None = None) -> None:
        width, height = size or self.size
        left, right = panes_in_sight(width, height, self.choice)
        self.set_class(not (left and right), "-one")
        for pane in (self.query_one(BoardPane), *self.query_one("#body").query(Pane)):
            pane.display = pane.id in left | right
        self.query_one("#main").display = bool(left)
        self.query_one("#side").display = bool(right)
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """Bring every pane in sight up to the view; panes paint only what changed."""
        if not self.is_running or not self.screen_stack:
            return
        base = self.screen_stack[0]
        view, now = self.view, self._clock()
        stale = view.link.phase(now) in (Phase.STALE, Phase.DOWN)
        if stale != self.has_class("-stale"):
            self.set_class(stale, "-stale")
            base.refresh(layout=False)
            for widget in base.query("*"):
                widget.refresh()
        width = max(1, self.size.width - 2)
        base.query_one("#header", Strap).show(header(view, now, width))
        said = notice(view, now, width)
        strap = base.query_one("#notice", Strap)
        strap.display = bool(said)
        strap.show(said)
        base.query_one("#footer", Strap).show(footer(view, self.choice.pane, width))
        board = base.query_one(BoardPane)
        cursor = board.list.cursor
        for name, draw, of in (
            ("now", partial(now_lines, view, now), None),
            ("today", partial(today_lines, view), (view.status,)),
            ("log", partial(activity_lines, view), (view.activities,)),
            ("tasks", partial(tasks_lines, view), (view.tasks, view.verdicts)),
            ("peers", partial(peers_lines, view), (view.status, view.peers)),
            ("model", partial(model_lines, view, cursor), (view.board, view.tasks, view.verdicts, cursor)),
        ):
            base.query_one(f"#{name}", Pane).show(draw, of=of)
        board.show(view)

    def action_choose(self, pane: str) -> None:
        """Go to a pane."""
        self.choice = self.choice.choose(pane)
        self._arrange()
        target = self.query_one(BoardList) if pane == "board" else self.query_one(f"#{pane}", Pane)
        self.call_after_refresh(target.focus)

    def on_board_list_opened(self) -> None:
        """A model's page."""
        self.action_choose("model")

    def on_board_list_moved(self) -> None:
        """An open page follows the cursor."""
        self.draw()

    def action_leave(self) -> None:
        """Out of the filter, then out of the model's page."""
        board = self.query_one(BoardPane)
        if isinstance(self.focused, Input) or (self.choice.pane == "board" and board.query_asked.words):
            board.close_filter(clear=True)
            return
        if self.choice.lower != "tasks":
            self.choice = Choice(lower="tasks")
        self.action_choose("board")

    def action_filter(self) -> None:
        """Filter the board."""
        self.action_choose("board")
        self.call_after_refresh(self.query_one(BoardPane).open_filter)

    def action_sort(self) -> None:
        """Sort the board otherwise."""
        self.query_one(BoardPane).sort()

    def action_retry(self) -> None:
        """Do not wait for the next attempt."""
        if self._source is not None:
            self._source.retry()

    def action_help(self) -> None:
        """Keys and signs."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())

    def action_pause(self) -> None:
        """Pause the node or let it go on."""
        if self.view.status is None or self._source is None:
            self._say("Nothing to pause: there is no connection yet.")
        elif not self.view.is_node:
            self._say("This is a bootstrap: it evaluates nothing that could be paused.")
        else:
            resume = self.view.status.state == "paused"
            self.run_worker(self._command(self._source, "resume" if resume else "pause"), exclusive=False)

    async def _command(self, source: Source, verb: str) -> None:
        problem = await source.command(f"/v1/{verb}")
        # A pause and its reasons stand under the header as long as they last.
        if problem is not None:
            self._say(f"Could not {verb}: {problem}", warning=True)
        elif self.view.status is not None and self.view.status.state != "paused":
            self._say("Resumed.")

    def _say(self, text: str, *, warning: bool = False) -> None:
        self.notify(plain(text), markup=False, severity="warning" if warning else "information", timeout=6)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: everything that has a key, and colours."""
        for pane in LETTERS.values():
            yield SystemCommand(TITLES[pane], f"Go to {TITLES[pane]}", partial(self.action_choose, pane))
        yield SystemCommand("Filter", "Filter the board by words", self.action_filter)
        yield SystemCommand("Sort", "Sort the board otherwise", self.action_sort)
        yield SystemCommand("Pause or resume", "This node only", self.action_pause)
        yield SystemCommand("Help", "Keys and signs", self.action_help)
        yield SystemCommand("Colours", "Choose a theme", self.action_change_theme)
        yield SystemCommand("Close", "Close the dashboard; the daemon lives on", self.exit)


def farewell(view: View, now: Instant) -> str:
    """What closing the dashboard means."""
    if view.link.phase(now) in (Phase.LIVE, Phase.STALE):
        if view.status is not None and not view.is_node:
            return "The dashboard is closed. The bootstrap goes on."
        return "The dashboard is closed. The daemon goes on: `peerboard status` shows it, `peerboard pause` pauses it."
    return "The dashboard is closed. It had no connection to a daemon: `peerboard run` starts one."


def run_dashboard(url: str, token: str | None, locate: Locate | None = None) -> int:
    """Open the dashboard on the control API at `url` until the reader closes it. Returns an exit code.

    `locate`, if given, tells address and token again before each attempt to connect: a daemon that was started anew
    may listen elsewhere. Without a terminal: 2.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.stderr.write("error[NO_TERMINAL]: the dashboard needs a terminal\n→ peerboard status --json\n")
        return 2

    def connect() -> Source:
        from tui.connection import Connection

        return Connection(url, token, locate=locate)

    dashboard = Dashboard(connect)
    dashboard.run()
    if dashboard.return_code:
        return 1
    sys.stdout.write(farewell(dashboard.view, this_instant()) + "\n")
    return 0

"""The board as a widget: a table whose cursor follows the model, whose rows rest while the reader moves."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import msgspec
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Input

from tui.answers import Row
from tui.arrangement import Key, Pace, Query, arranged, benchmarks_of, held
from tui.lines import Line
from tui.link import Instant
from tui.painting import ROLES, Strap, strip_for
from tui.panes.board import (
    Columns,
    Group,
    columns_for,
    empty_lines,
    entries_of,
    group_line,
    heading,
    legend_line,
    row_line,
    title_text,
)
from tui.view import View


class BoardList(ScrollView, can_focus=True):
    """The rows under their benchmarks' headings."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(ROLES)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "move(-1000000)", "First", show=False),
        Binding("end", "move(1000000)", "Last", show=False),
        Binding("enter", "open", "Open the model", show=False),
        Binding("left", "benchmark(-1)", "Benchmark before", show=False),
        Binding("right", "benchmark(1)", "Next benchmark", show=False),
    ]

    class Moved(Message):
        """The cursor went to another model."""

    class Opened(Message):
        """The model under the cursor is to be shown."""

    class Turned(Message):
        """Another benchmark is asked for: one step back or forth."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.rows: Sequence[Row] = ()
        self.cursor: Key | None = None
        self._entries: list[Row | Group] = []
        self._lines_of: dict[Key, int] = {}
        self._columns: Columns | None = None
        self._empty: Sequence[Line] = ()
        self._place = 0

    @property
    def columns(self) -> Columns | None:
        """The widths in use."""
        return self._columns

    def show(self, rows: Sequence[Row], *, grouped: bool, empty: Callable[[int], Sequence[Line]]) -> None:
        """Show other rows; the cursor stays on its model, and only where that is gone, on its line."""
        width = self.scrollable_content_region.width
        self.rows = rows
        self._entries = entries_of(rows, grouped=grouped)
        self._lines_of = {e.key: index for index, e in enumerate(self._entries) if isinstance(e, Row)}
        self._empty = () if rows else empty(width)
        if rows and (self.cursor is None or self.cursor not in self._lines_of):
            self.cursor = rows[min(self._place, len(rows) - 1)].key
        self._place = next((n for n, row in enumerate(rows) if row.key == self.cursor), 0)
        self._columns = columns_for(rows, width)
        self.virtual_size = Size(width, len(self._entries) or len(self._empty))
        self._keep_in_sight()
        self.refresh()

    @property
    def chosen(self) -> Row | None:
        """The row under the cursor."""
        return self.rows[self._place] if self._place < len(self.rows) else None

    def render_line(self, y: int) -> Strip:
        """One line of what is in sight."""
        width = self.scrollable_content_region.width
        index = y + self.scroll_offset.y
        content: Line = ()
        if not self._entries:
            content = self._empty[index] if index < len(self._empty) else ()
        elif index < len(self._entries) and self._columns is not None:
            entry = self._entries[index]
            if isinstance(entry, Row):
                content = row_line(entry, self._columns, self.chosen, width)
            else:
                content = group_line(entry, width)
        return strip_for(self, content, width)

    def _keep_in_sight(self) -> None:
        if self.cursor is None or self.cursor not in self._lines_of:
            return
        line = self._lines_of[self.cursor]
        # A heading right above the row belongs to it.
        top = line - 1 if line and not isinstance(self._entries[line - 1], Row) else line
        region = Region(0, top, max(1, self.virtual_size.width), line - top + 1)
        self.scroll_to_region(region, animate=False, force=True)

    def _go(self, place: int) -> None:
        if not self.rows:
            return
        self._place = min(len(self.rows) - 1, max(0, place))
        self.cursor = self.rows[self._place].key
        self._keep_in_sight()
        self.refresh()
        self.post_message(self.Moved())

    def action_move(self, step: int) -> None:
        """Some rows up or down."""
        self._go(self._place + step)

    def action_page(self, direction: int) -> None:
        """A screenful up or down."""
        self._go(self._place + direction * max(1, self.size.height - 1))

    def action_open(self) -> None:
        """Show the model under the cursor."""
        if self.chosen is not None:
            self.post_message(self.Opened())

    def action_benchmark(self, step: int) -> None:
        """Another benchmark."""
        self.post_message(self.Turned(step))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is; a second click opens."""
        index = event.y + self.scroll_offset.y
        if not 0 <= index < len(self._entries):
            return
        entry = self._entries[index]
        if isinstance(entry, Row):
            again = entry.key == self.cursor and event.chain > 1
            self._go(self.rows.index(entry))
            if again:
                self.action_open()


class BoardPane(Vertical):
    """Head, rows, legend, and the filter when it is asked for."""

    def __init__(self, *, id: str, clock: Callable[[], Instant]) -> None:  # noqa: A002
        super().__init__(id=id)
        self.query_asked = Query()
        self._clock = clock
        self._pace = Pace()
        self._view = View()
        self._pending = False
        self._resort = True

    def compose(self) -> ComposeResult:
        """The parts, from top to bottom."""
        yield Input(placeholder="model, benchmark, language …", id="filter", compact=True)
        yield Strap(id="board-head")
        yield BoardList(id="rows")
        yield Strap(id="board-legend")

    def on_mount(self) -> None:
        """The filter comes with its key."""
        self.border_title = Content("Board")
        self.query_one("#filter", Input).display = False

    @property
    def list(self) -> BoardList:
        """The rows."""
        return self.query_one(BoardList)

    def show(self, view: View) -> None:
        """Take note of a view; it is drawn at the board's own pace (see `tick`)."""
        first = self._view.board is None and view.board is not None
        if view.rows is not self._view.rows or first:
            self._pending = True
        self._view = view
        self.tick(at_once=first)

    def tick(self, *, at_once: bool = False) -> None:
        """Draw what is waiting, if it is time."""
        now = self._clock().steady
        if self._resort and self._pace.may_sort(now):
            self._pending = True
        if not self._view.rows and self._pace.may_draw(now):
            self._pending = True  # the sentences in its place count down
        if at_once or (self._pending and self._pace.may_draw(now)):
            self.draw(at_once=at_once)

    def draw(self, *, at_once: bool = False) -> None:
        """Draw now: in the held order while the reader moves, else sorted."""
        if not self.display or self.list.scrollable_content_region.width <= 0:
            return
        moment = self._clock()
        query, rows = self.query_asked, self._view.rows
        sorted_rows = arranged(rows, query)
        shown = sorted_rows
        if not at_once and not self._pace.may_sort(moment.steady) and self.list.rows:
            shown = held([row.key for row in self.list.rows], rows, query)
        self._resort = shown != sorted_rows
        self._pending = False
        self._pace.drawn(moment.steady)
        grouped = query.benchmark is None and len(benchmarks_of(rows)) > 1
        view = self._view
        self.list.show(shown, grouped=grouped, empty=lambda width: empty_lines(view, query, moment, width))
        columns = self.list.columns
        width = self.size.width
        if columns is not None:
            self.query_one("#board-head", Strap).show(heading(columns) if shown else ())
            self.query_one("#board-legend", Strap).show(legend_line(columns, width) if shown else ())
        self.border_title = Content(title_text(view, query, len(shown)))

    def ask(self, query: Query) -> None:
        """Other rows or another order, because the reader wants it: at once."""
        self.query_asked = query
        self.draw(at_once=True)

    def sort(self) -> None:
        """The next order."""
        self.ask(msgspec.structs.replace(self.query_asked, order=self.query_asked.order.next))

    def open_filter(self) -> None:
        """Show the field and go there."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def close_filter(self, *, clear: bool) -> None:
        """Back to the rows; an empty filter leaves no trace."""
        field = self.query_one("#filter", Input)
        if clear:
            field.value = ""
            self.ask(msgspec.structs.replace(self.query_asked, words=""))
        field.display = bool(field.value)
        self.list.focus()

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        self.ask(msgspec.structs.replace(self.query_asked, words=event.value))

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.close_filter(clear=False)

    @on(BoardList.Moved)
    def _moved(self) -> None:
        self._pace.moved(self._clock().steady)

    @on(BoardList.Turned)
    def _turned(self, event: BoardList.Turned) -> None:
        names: list[str | None] = [None, *benchmarks_of(self._view.rows)]
        here = names.index(self.query_asked.benchmark) if self.query_asked.benchmark in names else 0
        self.ask(msgspec.structs.replace(self.query_asked, benchmark=names[(here + event.step) % len(names)]))

    def on_resize(self) -> None:
        """Lay out for the new width."""
        self.call_after_refresh(self.draw)

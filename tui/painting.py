"""Widgets that paint lines: a scrolling pane, and a single line. Only what is in sight is turned into
segments."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from tui.lines import Line, cropped
from tui.plain import plain

Draw = Callable[[int], Sequence[Line]]
"""Lines for a width in cells."""

ROLES = frozenset(
    {
        "paint--text",
        "paint--muted",
        "paint--faint",
        "paint--strong",
        "paint--accent",
        "paint--look",
        "paint--fail",
        "paint--cursor",
    }
)


def strip_for(widget: Widget, content: Line, width: int) -> Strip:
    """One painted line. What is no longer fresh is paler, except what asks for attention."""
    base = widget.rich_style
    stale = widget.app.has_class("-stale")
    segments = []
    for part in cropped(content, width):
        role = part.style
        if stale and role in ("text", "strong", "accent"):
            role = "muted"
        style: RichStyle = base + widget.get_component_rich_style(f"paint--{role}", partial=True)
        segments.append(Segment(plain(part.text), style))
    return Strip(segments).adjust_cell_length(width, base)


class Pane(ScrollView, can_focus=True):
    """A framed pane of lines. `show` gives it a function of the width; it paints what is in sight."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(ROLES)

    def __init__(self, title: str, *, id: str, classes: str = "") -> None:  # noqa: A002  (Textual's word)
        super().__init__(id=id, classes=classes)
        self.border_title = Content(title)
        self._draw: Draw = lambda _width: ()
        self._lines: Sequence[Line] = ()
        self._width = 0
        self._of: tuple[object, ...] | None = None

    def show(self, draw: Draw, *, of: tuple[object, ...] | None = None) -> None:
        """Draw anew; nothing is painted where nothing changed.

        `of` is all that the drawing depends on beside the width: the very same objects are not drawn twice.
        """
        width = self.scrollable_content_region.width
        if of is not None and self._of is not None and width == self._width and self._same(of):
            return
        self._draw, self._of = draw, of
        self._redraw()

    def _same(self, of: tuple[object, ...]) -> bool:
        known = self._of or ()
        return len(of) == len(known) and all(new is old for new, old in zip(of, known, strict=True))

    def _redraw(self) -> None:
        width = self.scrollable_content_region.width
        if not self.display or width <= 0:
            self._of = None
            return
        lines = self._draw(width)
        before, was = self._lines, self._width
        if width == was and lines == before:
            return
        self._lines, self._width = lines, width
        if width == was and len(lines) == len(before):
            for index, (new, old) in enumerate(zip(lines, before, strict=True)):
                if new != old:
                    self.refresh_line(index)
            return
        self.virtual_size = Size(width, len(lines))
        grown = len(lines) - len(before)
        if self.scroll_offset.y > 0 and grown > 0 and before and lines[grown:] == before:
            # New lines came in above what is being read.
            self.scroll_to(y=self.scroll_offset.y + grown, animate=False)
        self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        """Lay out for the new width."""
        self._redraw()

    def render_line(self, y: int) -> Strip:
        """One line of what is in sight."""
        width = self.scrollable_content_region.width
        index = y + self.scroll_offset.y
        content = self._lines[index] if index < len(self._lines) else ()
        return strip_for(self, content, width)


class Strap(Widget):
    """One line over the whole width."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(ROLES)

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._line: Line = ()

    @property
    def line(self) -> Line:
        """What it shows."""
        return self._line

    def show(self, content: Line) -> None:
        """Show another line."""
        if content != self._line:
            self._line = content
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """The line."""
        return strip_for(self, self._line if y == 0 else (), self.size.width)

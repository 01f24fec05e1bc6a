"""Lines of styled text: what the pure functions of the view return and the one painting widget shows.

A style is a role, never a colour: the theme gives it one, and a reader without colours loses nothing,
because every role that matters comes with a glyph and a word.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from rich.cells import cell_len

from tui.plain import fit, plain

Style = Literal["text", "muted", "faint", "strong", "accent", "look", "fail", "cursor"]
"""`look` asks for attention (amber), `fail` is for failed checks only, `faint` for rules and grids."""


class Span(NamedTuple):
    """A piece of one line in one style."""

    text: str
    style: Style = "text"


Line = tuple[Span, ...]
BLANK: Line = ()


def span(text: str, style: Style = "text") -> Span:
    """A span of any text: made plain first."""
    return Span(plain(text), style)


def line(*parts: Span | str) -> Line:
    """A line of spans; bare strings are ordinary text."""
    return tuple(part if isinstance(part, Span) else span(part) for part in parts)


def cell(text: str, width: int, style: Style = "text", *, right: bool = False) -> Span:
    """A column's cell: exactly `width` wide."""
    return Span(fit(text, width, right=right), style)


def width_of(spans: Iterable[Span]) -> int:
    """Terminal cells that the spans take."""
    return sum(cell_len(part.text) for part in spans)


def text_of(spans: Iterable[Span]) -> str:
    """The bare text."""
    return "".join(part.text for part in spans)


def cropped(spans: Line, width: int) -> Line:
    """The line cut at `width` cells, with `…` where something is missing."""
    if width_of(spans) <= width:
        return spans
    kept: list[Span] = []
    left = width
    for part in spans:
        size = cell_len(part.text)
        if size < left:
            kept.append(part)
            left -= size
            continue
        kept.append(Span(fit(part.text + "……", left), part.style))
        break
    return tuple(kept)


class Piece(NamedTuple):
    """A part of a one-line strip: the least important (highest number) goes first where room is short."""

    spans: Line
    importance: int


def strip_of(pieces: Iterable[Piece], width: int, *, gap: str = "   ") -> Line:
    """The pieces side by side as far as they fit into `width` cells, unimportant ones left out."""
    kept = [piece for piece in pieces if piece.spans]
    while kept:
        parts: list[Span] = []
        for index, piece in enumerate(kept):
            parts.extend(([Span(gap)] if index else []) + list(piece.spans))
        if width_of(parts) <= width or len(kept) == 1:
            return cropped(tuple(parts), width)
        kept.remove(max(kept, key=lambda piece: piece.importance))
    return BLANK

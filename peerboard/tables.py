"""Tables for people: two spaces between columns, no borders, one record a line at any width."""

from collections.abc import Sequence
from dataclasses import dataclass

from peerboard.safe_text import cells, cut_end, cut_middle, safe
from peerboard.terminal import Terminal

GAP = "  "
ALWAYS = 100
READABLE, LEAST = 16, 8


@dataclass(frozen=True)
class Column:
    """`keep`: where there is not room for all, the column with the least goes first; `ALWAYS` stays.

    `elastic`: its texts may lose their middle.
    """

    title: str
    right: bool = False
    keep: int = ALWAYS
    elastic: bool = False


@dataclass(frozen=True)
class Word:
    """A cell with a style of `Terminal.paint`."""

    text: str
    style: str = ""


Cell = str | int | float | Word


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], terminal: Terminal) -> list[str]:
    """The lines of a table with its titles. Every text is made safe; no line is wider than the terminal."""
    words = [[cell if isinstance(cell, Word) else Word(str(cell)) for cell in row] for row in rows]
    words = [[Word(safe(cell.text), cell.style) for cell in row] for row in words]
    natural = [
        max(cells(column.title), *(cells(row[place].text) for row in words), 0) for place, column in enumerate(columns)
    ]
    shown, widths = _fitted(columns, natural, terminal.width)
    head = [Word(column.title, "dim") for column in columns]
    return [_line(columns, shown, widths, row, terminal) for row in [head, *words]]


def packed(pieces: Sequence[str], terminal: Terminal) -> list[str]:
    """Short statements with ` · ` between them, in as few lines as the terminal's width allows."""
    lines: list[str] = []
    for piece in pieces:
        joined = f"{lines[-1]} · {piece}" if lines else piece
        if lines and (terminal.width is None or cells(joined) <= terminal.width):
            lines[-1] = joined
        else:
            lines.append(piece if terminal.width is None else cut_end(piece, terminal.width))
    return lines


def _fitted(columns: Sequence[Column], natural: list[int], width: int | None) -> tuple[list[int], list[int]]:
    """The columns to show, by position, and the width of every column."""
    shown = list(range(len(columns)))
    while True:
        droppable = [place for place in shown if columns[place].keep < ALWAYS]
        widths = list(natural)
        excess = _total(shown, widths) - width if width is not None else 0
        for place in sorted(shown, key=lambda place: -natural[place]):
            if excess > 0 and columns[place].elastic:
                least = min(natural[place], READABLE if droppable else LEAST)
                cut = min(excess, natural[place] - least)
                widths[place] -= cut
                excess -= cut
        if excess <= 0 or not droppable:
            return shown, widths
        shown.remove(min(droppable, key=lambda place: columns[place].keep))


def _total(shown: list[int], widths: list[int]) -> int:
    return sum(widths[place] for place in shown) + len(GAP) * (len(shown) - 1)


def _line(
    columns: Sequence[Column], shown: list[int], widths: list[int], row: Sequence[Word], terminal: Terminal
) -> str:
    room = terminal.width
    parts = []
    for place in shown:
        cell, width = row[place], widths[place]
        text = cut_middle(cell.text, width) if columns[place].elastic else cell.text
        pad = " " * (width - cells(text))
        last = place == shown[-1] and not columns[place].right
        before, after = (pad, "") if columns[place].right else ("", "" if last else pad)
        if room is not None:
            text = cut_end(text, max(0, room - len(before)))
            room -= len(before) + cells(text) + len(after) + len(GAP)
        parts.append(before + terminal.paint(text, cell.style) + after)
        if room is not None and room <= 0:
            break
    return GAP.join(parts).rstrip()

"""The leaderboard for people: a table per benchmark, with every score's interval drawn on one axis."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from peerboard.safe_text import safe
from peerboard.tables import Cell, Column, Word, table
from peerboard.terminal import Terminal

Row = dict[str, Any]
PLOT_CELLS = 25
LEAST_SPAN = 20
COLUMNS = (
    Column("rank"),
    Column("model", elastic=True),
    Column("score", right=True),
    Column("95 %", right=True, keep=1),
    Column("", keep=4),  # the plot; its title is the axis
    Column("questions", right=True, keep=3),
    Column("runners", right=True, keep=2),
    Column("status", keep=5),
)
_STATES = {
    "DONE": Word("done"),
    "DISPUTED": Word("! disputed", "amber"),
    "FAILED": Word("× failed", "amber"),
    "EXPIRED": Word("expired", "dim"),
    "WAITING": Word("waiting", "dim"),
}


@dataclass(frozen=True)
class Axis:
    """From `low` to `high` percent, in `PLOT_CELLS` cells."""

    low: int
    high: int

    @property
    def title(self) -> str:
        """The axis itself: its ends, and a line between them."""
        left, right = f"{self.low} ", f" {self.high}"
        return left + "─" * (PLOT_CELLS - len(left) - len(right)) + right

    def place(self, percent: float) -> int:
        """The cell of a value."""
        share = (percent - self.low) / (self.high - self.low)
        return min(PLOT_CELLS - 1, max(0, round(share * (PLOT_CELLS - 1))))


def axis_for(rows: Sequence[Row]) -> Axis:
    """Whole tens around all intervals, at least `LEAST_SPAN` long, within 0 to 100."""
    low = max(0, math.floor(min(row["low"] for row in rows) / 10) * 10)
    high = min(100, math.ceil(max(row["high"] for row in rows) / 10) * 10)
    if high - low < LEAST_SPAN:
        low = max(0, high - LEAST_SPAN)
        high = low + LEAST_SPAN
    return Axis(low, high)


def plot(row: Row, axis: Axis) -> str:
    """`····├──●──┤····`: the interval with the score in it."""
    drawn = ["·"] * PLOT_CELLS
    low, high = axis.place(row["low"]), axis.place(row["high"])
    drawn[low : high + 1] = "─" * (high + 1 - low)
    drawn[low], drawn[high] = "├", "┤"
    drawn[axis.place(row["score"])] = "●"
    return "".join(drawn)


def board_lines(rows: Sequence[Row], terminal: Terminal) -> Iterator[str]:
    """The lines of a board, in the order of its rows."""
    for benchmark, group in groupby(rows, key=lambda row: row["benchmark"]):
        mine = list(group)
        axis = axis_for(mine)
        about = safe(f"{benchmark} · {mine[0]['track']} · {mine[0]['language']}")
        yield terminal.paint(about, "bold")
        columns = [Column(axis.title, keep=column.keep) if not column.title else column for column in COLUMNS]
        names = _names(mine)
        yield from table(columns, [_cells(row, name, axis) for row, name in zip(mine, names, strict=True)], terminal)
        yield ""


def _cells(row: Row, name: str, axis: Axis) -> list[Cell]:
    low, high = row["rank_low"], row["rank_high"]
    state = _STATES.get(row["status"], Word(row["status"]))
    if row.get("provisional"):
        state = Word("~ provisional", "blue")
    return [
        f"{low}" if low == high else f"{low}–{high}",
        name,
        f"{row['score']:.1f}",
        f"{row['low']:.1f}–{row['high']:.1f}",
        plot(row, axis),
        f"{row['questions']:,}/{row['of']:,}",
        row["runners"],
        state,
    ]


def _names(rows: Sequence[Row]) -> list[str]:
    """Names for people; where two models share one, with the beginning of the id."""
    names = [safe(row["name"]) for row in rows]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name} ({safe(row['id'])[:8]})" for name, row in zip(names, rows, strict=True)
    ]

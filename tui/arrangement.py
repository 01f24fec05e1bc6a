"""Which rows of the board are shown, and in which order.

Rows stay under the reader's finger: while the cursor moves, the order is held; values change in their
places.
"""

from collections.abc import Iterable, Sequence
from enum import Enum

from msgspec import Struct

from tui.answers import Row

Key = tuple[str, str]

DRAW_EVERY = 1.0
HOLD_AFTER_MOVE = 3.0


class Order(Enum):
    """What the rows of one benchmark are sorted by."""

    RANK = "rank"
    NEWEST = "newest"
    QUESTIONS = "most questions"
    NAME = "name"

    @property
    def next(self) -> "Order":
        """The one after this, the first after the last."""
        orders = list(Order)
        return orders[(orders.index(self) + 1) % len(orders)]


class Query(Struct, frozen=True):
    """What the reader asked for. `benchmark`: only this one; `words`: each must occur in the row."""

    benchmark: str | None = None
    words: str = ""
    order: Order = Order.RANK


def benchmarks_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """The benchmarks on the board, by name."""
    return tuple(sorted({row.benchmark for row in rows}))


def matches(row: Row, query: Query) -> bool:
    """Whether the row is asked for."""
    if query.benchmark is not None and row.benchmark != query.benchmark:
        return False
    words = query.words.casefold().split()
    if not words:
        return True
    text = " ".join((row.name, row.model, row.id, row.benchmark, row.track, row.language, row.status)).casefold()
    return all(word in text for word in words)


def arranged(rows: Iterable[Row], query: Query) -> tuple[Row, ...]:
    """The rows asked for, by benchmark and then as sorted."""
    return tuple(sorted((row for row in rows if matches(row, query)), key=lambda row: _place(row, query.order)))


def held(shown: Sequence[Key], rows: Iterable[Row], query: Query) -> tuple[Row, ...]:
    """The rows in the order in which they are shown, with today's values; new ones wait."""
    known = {row.key: row for row in rows if matches(row, query)}
    return tuple(known[key] for key in shown if key in known)


def tied(row: Row, other: Row) -> bool:
    """Whether the data cannot separate two rows: same benchmark, overlapping ranks."""
    if row.benchmark != other.benchmark or row.rank_low is None or other.rank_low is None:
        return False
    return row.rank_low <= (other.rank_high or other.rank_low) and other.rank_low <= (row.rank_high or row.rank_low)


def _place(row: Row, order: Order) -> tuple[object, ...]:
    last = 2**53
    by_rank = (
        last if row.rank_low is None else row.rank_low,
        last if row.rank_high is None else row.rank_high,
        -(row.score or 0.0),
        row.id,
    )
    match order:
        case Order.RANK:
            return (row.benchmark, *by_rank)
        case Order.NEWEST:
            return (row.benchmark, -(row.epoch or 0), *by_rank)
        case Order.QUESTIONS:
            return (row.benchmark, -row.questions, *by_rank)
        case Order.NAME:
            return (row.benchmark, row.title.casefold(), *by_rank)


class Pace:
    """When the board may be drawn anew (once a second) and sorted anew (three seconds after the cursor moved)."""

    def __init__(self) -> None:
        self._drawn = float("-inf")
        self._moved = float("-inf")

    def drawn(self, now: float) -> None:
        """The board was drawn."""
        self._drawn = now

    def moved(self, now: float) -> None:
        """The reader moved the cursor."""
        self._moved = now

    def may_draw(self, now: float) -> bool:
        """Whether a second has passed."""
        return now - self._drawn >= DRAW_EVERY

    def may_sort(self, now: float) -> bool:
        """Whether the reader rests."""
        return now - self._moved >= HOLD_AFTER_MOVE

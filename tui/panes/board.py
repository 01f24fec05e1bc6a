"""The board's table: its columns, one row, its heading and its legend. Only rows in sight are ever drawn."""

from collections.abc import Sequence
from itertools import groupby

from msgspec import Struct
from rich.cells import cell_len

from tui.answers import Row
from tui.arrangement import Order, Query, benchmarks_of, tied
from tui.lines import BLANK, Line, cell, cropped, line, span, width_of
from tui.link import Instant, Phase
from tui.panes.header import seconds_since
from tui.plain import cut_middle, plain, wrapped
from tui.plot import Axis, axis_line, axis_of, range_plot
from tui.view import View
from tui.words import count, left, ranks, row_sign, score_cell

GUTTER = 2
NAME_MOST = 34
STATE = 13


class Columns(Struct, frozen=True):
    """Widths in cells; 0 leaves a column out. `axis` is shared by all rows."""

    rank: int
    name: int
    score: int
    plot: int
    questions: int
    state: int
    axis: Axis


class Group(Struct, frozen=True):
    """A benchmark on the board: how many models are shown, how many questions it has (0: not known)."""

    benchmark: str
    models: int
    questions: int


def entries_of(rows: Sequence[Row], *, grouped: bool) -> list[Row | Group]:
    """The rows, each benchmark's under its heading if `grouped`. Rows of one benchmark stand together."""
    if not grouped:
        return list(rows)
    entries: list[Row | Group] = []
    for benchmark, members in groupby(rows, key=lambda row: row.benchmark):
        listed = list(members)
        entries.append(Group(benchmark, len(listed), max(row.of for row in listed)))
        entries += listed
    return entries


def columns_for(rows: Sequence[Row], width: int) -> Columns:
    """What fits into `width` cells: words of states and the plot first give way to the model's name."""
    rank = max((len(ranks(row)) for row in rows), default=3)
    score = 5
    asked = max((len(_questions(row)) for row in rows), default=5)
    wanted = max((cell_len(plain(row.title)) for row in rows), default=12)
    name = max(12, min(wanted, NAME_MOST))
    state = STATE
    room = width - GUTTER - rank - score - 3
    if room - name - asked - state - 4 < 14:
        state = 1
    questions = asked if room - name - asked - state - 4 >= 8 else 0
    plot = room - name - state - 2 - (questions + 1 if questions else 0)
    if plot < 8:
        name = max(8, name + plot - 8)
        plot = room - name - state - 2 - (questions + 1 if questions else 0)
    if plot < 6:
        name, plot = max(6, room - state - 1), 0
    return Columns(rank, name, score, min(plot, 60), questions, state, axis_of(rows))


def heading(columns: Columns) -> Line:
    """The table's head with the axis."""
    parts = [
        cell("", GUTTER),
        cell("rank", columns.rank, "muted", right=True) if columns.rank >= 4 else cell("#", columns.rank, "muted"),
        span(" "),
        cell("model", columns.name, "muted"),
        span(" "),
        cell("score", columns.score, "muted", right=True),
        span(" "),
    ]
    if columns.plot:
        parts += [*axis_line(columns.axis, columns.plot), span(" ")]
    if columns.questions:
        parts += [
            cell("n ", columns.questions, "muted", right=True),
            span(" "),
        ]
    if columns.state > 1:
        parts.append(cell("state", columns.state, "muted"))
    return tuple(parts)


def row_line(row: Row, columns: Columns, chosen: Row | None, width: int) -> Line:
    """One row. `chosen` is the row under the cursor: others that cannot be told from it are bracketed."""
    here = chosen is not None and chosen.key == row.key
    gutter = span("▸ ", "accent") if here else span("┊ " if chosen and tied(chosen, row) else "  ", "muted")
    sign = row_sign(row)
    doubtful = row.questions < 60
    parts = [
        gutter,
        cell(ranks(row), columns.rank, "text", right=True),
        span(" "),
        cell(cut_middle(row.title, columns.name), columns.name, "strong" if here else "text"),
        span(" "),
        cell(score_cell(row), columns.score, "muted" if doubtful else "strong", right=True),
        span(" "),
    ]
    if columns.plot:
        parts += [*range_plot(row, columns.axis, columns.plot), span(" ")]
    if columns.questions:
        parts += [cell(_questions(row), columns.questions, "muted", right=True), span(" ")]
    text = sign.text if columns.state > 1 else sign.glyph
    parts.append(cell(text, columns.state, sign.style))
    return cropped(tuple(parts), width)


def _questions(row: Row) -> str:
    # "=": all there are.
    return count(row.questions) + ("=" if row.of and row.questions >= row.of else " ")


def group_line(group: Group, width: int) -> Line:
    """The rule above a benchmark's rows."""
    benchmark = group.benchmark
    models = "1 model" if group.models == 1 else f"{count(group.models)} models"
    if group.questions:
        models += f" · {count(group.questions)} question" + ("" if group.questions == 1 else "s")
    head = line(span(cut_middle(benchmark, max(8, width - 36)), "strong"), span(f" · {models} ", "muted"))
    return cropped((*head, span("─" * max(0, width - width_of(head)), "faint")), width)


def legend_line(columns: Columns, width: int) -> Line:
    """What the signs mean; the glyphs only where the words have no room."""
    texts = ["┊ not separable from ▸", "├─ questions like these", "━━ exactly these", "= all asked"]
    if columns.state == 1:
        texts = ["~ provisional", "! disputed", "× failed", "– expired", "┊ not separable from ▸"]
    while len(texts) > 1 and len("   ".join(texts)) > width:
        texts.pop()
    return cropped(line(span("   ".join(texts), "muted")), width)


def title_text(view: View, query: Query, shown: int) -> str:
    """What the pane's frame says: which rows, of how many, how sorted."""
    text = "Board"
    names = benchmarks_of(view.rows)
    if query.benchmark is not None:
        text += f" · {plain(query.benchmark)}"
    elif len(names) > 1:
        text += f" · {len(names)} benchmarks"
    if view.board is not None and view.board.epoch is not None:
        text += f" · epoch {count(view.board.epoch)}"
    if query.order is not Order.RANK:
        text += f" · by {query.order.value}"
    if query.words:
        text += f" · “{plain(query.words)}” {count(shown)} of {count(len(view.rows))}"
    return text


def empty_lines(view: View, query: Query, now: Instant, width: int) -> list[Line]:
    """What to say instead of rows."""
    if view.rows and query.words:
        texts = [f"No model matches “{query.words}”.", "esc clears the filter."]
    elif view.rows:
        texts = [f"No model has been measured on {query.benchmark}.", "← → another benchmark."]
    elif view.board is None:
        waits = view.link.phase(now) is Phase.DOWN
        texts = ["Asking for the board …"]
        if waits:
            texts = ["Nothing is known yet.", "`peerboard run` starts a node, `peerboard demo` a whole network."]
    else:
        texts = ["No model has been measured yet."]
        epoch = None if view.status is None else view.status.epoch
        if epoch is None:
            texts.append("The network waits for its first mark; tasks come with it.")
        else:
            remaining = left(epoch.ends_in_s - seconds_since(view, now))
            texts.append(f"The first verdicts come when epoch {count(epoch.number)} closes, in {remaining}.")
    lines: list[Line] = [BLANK]
    for text in texts:
        lines += [line("  ", span(part, "muted")) for part in wrapped(text, width - 4)]
    return lines

"""The board's order, its plot and its columns: pure functions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.answers import Row
from tui.arrangement import Order, Pace, Query, arranged, benchmarks_of, held, matches, tied
from tui.lines import text_of, width_of
from tui.panes.board import columns_for, entries_of, group_line, heading, legend_line, row_line, title_text
from tui.plot import Axis, axis_line, axis_of, gauge, range_plot
from tui.view import View
from tui.words import ranks, row_sign, score_cell

scores = st.none() | st.floats(-50, 150) | st.sampled_from([float("inf"), float("nan"), 0.0, 100.0])
counts = st.none() | st.integers(0, 2**40)
rows = st.builds(
    Row,
    id=st.sampled_from("abcdefgh"),
    benchmark=st.sampled_from(["steps", "choice", "\u202e\x1b[31m"]),
    name=st.text(max_size=40),
    rank_low=counts,
    rank_high=counts,
    score=scores,
    low=scores,
    high=scores,
    fp_low=scores,
    fp_high=scores,
    questions=st.integers(0, 2**40),
    of=st.integers(0, 2**40),
    status=st.sampled_from(["DONE", "DISPUTED", "FAILED", "EXPIRED", "WAITING", "NEWER"]),
    epoch=counts,
    provisional=st.booleans(),
)
boards = st.lists(rows, max_size=12, unique_by=lambda row: row.key)
queries = st.builds(Query, words=st.sampled_from(["", "a", "DONE", "no such"]), order=st.sampled_from(Order))


@given(boards, queries)
def test_sorting_keeps_every_row_that_matches_and_benchmarks_together(board: list[Row], query: Query) -> None:
    shown = arranged(board, query)
    assert sorted(row.key for row in shown) == sorted(row.key for row in board if matches(row, query))
    assert [row.benchmark for row in shown] == sorted(row.benchmark for row in shown)
    entries = entries_of(shown, grouped=True)
    assert len(entries) == len(shown) + len({row.benchmark for row in shown})


@given(boards, boards)
def test_held_rows_do_not_move_and_show_the_new_values(before: list[Row], after: list[Row]) -> None:
    shown = [row.key for row in arranged(before, Query())]
    kept = held(shown, after, Query())
    new = {row.key: row for row in after}
    assert [row.key for row in kept] == [key for key in shown if key in new]
    assert all(row is new[row.key] for row in kept)


def test_orders() -> None:
    board = [
        Row(id="1", benchmark="x", name="b", rank_low=1, rank_high=2, questions=10, epoch=7),
        Row(id="2", benchmark="x", name="a", rank_low=1, rank_high=3, questions=30, epoch=8),
        Row(id="3", benchmark="x", name="c", rank_low=None, questions=20, epoch=9),
    ]
    found = {order: "".join(row.id for row in arranged(board, Query(order=order))) for order in Order}
    assert found == {Order.RANK: "123", Order.NEWEST: "321", Order.QUESTIONS: "231", Order.NAME: "213"}
    assert Order.NAME.next is Order.RANK


def test_every_word_of_a_filter_counts() -> None:
    row = Row(id="ff00", benchmark="steps", name="tally-base + tally-times", language="en", status="DONE")
    assert matches(row, Query(words="TIMES base"))
    assert matches(row, Query(words="steps ff0"))
    assert not matches(row, Query(words="times choice"))
    assert not matches(row, Query(benchmark="choice"))
    assert benchmarks_of([row, Row(id="1", benchmark="a")]) == ("a", "steps")


def test_overlapping_ranks_are_ties_within_a_benchmark() -> None:
    first = Row(id="1", benchmark="x", rank_low=1, rank_high=2)
    second = Row(id="2", benchmark="x", rank_low=2, rank_high=4)
    assert tied(first, second)
    assert tied(second, first)
    assert not tied(first, Row(id="3", benchmark="x", rank_low=3, rank_high=4))
    assert not tied(first, Row(id="2", benchmark="y", rank_low=1, rank_high=2))
    assert not tied(first, Row(id="2", benchmark="x"))


def test_the_pace_of_the_board() -> None:
    pace = Pace()
    assert pace.may_draw(0.0)
    assert pace.may_sort(0.0)
    pace.drawn(10.0)
    pace.moved(10.0)
    assert not pace.may_draw(10.9)
    assert pace.may_draw(11.0)
    assert not pace.may_sort(12.9)
    assert pace.may_sort(13.0)


@given(boards, st.integers(1, 80))
def test_plots_have_exactly_their_width(board: list[Row], width: int) -> None:
    axis = axis_of(board)
    assert 0 <= axis.low < axis.high <= 100
    assert axis.high - axis.low >= 20
    assert len(text_of(axis_line(axis, width))) == width
    for row in board:
        assert width_of(range_plot(row, axis, width)) == width


def test_a_plot_shows_range_and_estimate() -> None:
    row = Row(id="1", benchmark="x", score=50, low=20, high=80, fp_low=40, fp_high=60)
    assert text_of(range_plot(row, Axis(0, 100, 50), 21)) == "·   ├───━━●━━───┤   ·"
    dashed = Row(id="1", benchmark="x", score=50, low=20, high=80, provisional=True)
    assert text_of(range_plot(dashed, Axis(0, 100, 50), 21)) == "·   ├╌╌╌╌╌●╌╌╌╌╌┤   ·"
    disputed = Row(id="1", benchmark="x", score=50, low=50, high=50, status="DISPUTED")
    assert text_of(range_plot(disputed, Axis(0, 100, 50), 21)) == "·         ○         ·"
    assert text_of(axis_line(Axis(0, 100, 50), 21)) == "0        50       100"


@given(st.floats(allow_nan=True, allow_infinity=True), st.integers(1, 60))
def test_gauges_have_exactly_their_width(share: float, width: int) -> None:
    assert width_of(gauge(share, width)) == width


def test_a_gauge_fills() -> None:
    assert text_of(gauge(0.5, 4)) == "██░░"
    assert text_of(gauge(0.0, 2)) == "░░"
    assert text_of(gauge(2.0, 2)) == "██"


@given(boards, st.integers(20, 160))
def test_every_line_of_the_table_fits(board: list[Row], width: int) -> None:
    columns = columns_for(board, width)
    for row in board:
        assert width_of(row_line(row, columns, board[0], width)) <= width
    for entry in entries_of(arranged(board, Query()), grouped=True):
        if not isinstance(entry, Row):
            assert width_of(group_line(entry, width)) <= width
    assert width_of(legend_line(columns, width)) <= width


@pytest.mark.parametrize("width", [56, 76, 82, 120])
def test_head_and_rows_stand_under_each_other(width: int, live: View) -> None:
    columns = columns_for(live.rows, width)
    head = text_of(heading(columns))
    for row in live.rows:
        text = text_of(row_line(row, columns, None, width))
        place = text.index(score_cell(row).strip())
        assert head.index("score") <= place < head.index("score") + 5
    assert width_of(heading(columns)) <= width


def test_words_of_a_row() -> None:
    row = Row(id="1", benchmark="x", score=65.94, questions=185, rank_low=2, rank_high=6, provisional=True)
    assert (score_cell(row), ranks(row), row_sign(row).text) == ("65.9", "2–6", "~ provisional")
    few = Row(id="1", benchmark="x", score=65.94, questions=59, rank_low=2, rank_high=2)
    assert (score_cell(few), ranks(few), row_sign(few).word) == ("66  ", "2", "final")
    assert ranks(Row(id="1", benchmark="x")) == "–"
    assert row_sign(Row(id="1", benchmark="x", status="SUPER_NEW")).text == "· super new"


def test_the_title_says_what_is_shown(live: View) -> None:
    assert title_text(live, Query(), 10) == "Board · 2 benchmarks · epoch 41"
    query = Query(benchmark="tally-steps", words="ba", order=Order.NAME)
    assert title_text(live, query, 2) == "Board · tally-steps · epoch 41 · by name · “ba” 2 of 10"

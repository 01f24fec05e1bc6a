"""Tables: every line fits, one record a line, what matters least goes first."""

from hypothesis import given
from hypothesis import strategies as st

from peerboard.board_table import PLOT_CELLS, axis_for, board_lines, plot
from peerboard.safe_text import cells
from peerboard.tables import Cell, Column, Word, table
from peerboard.terminal import Terminal

PIPE = Terminal(None, colour=False)
COLUMNS = [
    Column("model", elastic=True),
    Column("score", right=True),
    Column("note", keep=1),
    Column("runners", right=True, keep=2),
]
ROWS: list[list[Cell]] = [["organisation-model-3b-instruct", "71.3", "a longer note", 12], ["b", "5.0", "", 3]]


def test_a_pipe_gets_everything() -> None:
    assert table(COLUMNS, ROWS, PIPE) == [
        "model                           score  note           runners",
        "organisation-model-3b-instruct   71.3  a longer note       12",
        "b                                 5.0                       3",
    ]


def test_names_are_cut_before_columns_go() -> None:
    assert table(COLUMNS, ROWS, Terminal(50, colour=False)) == [
        "model                score  note           runners",
        "organisat…-instruct   71.3  a longer note       12",
        "b                      5.0                       3",
    ]


def test_the_least_important_column_goes_first_and_names_stay_readable() -> None:
    assert table(COLUMNS, ROWS, Terminal(34, colour=False)) == [
        "model               score  runners",
        "organisat…instruct   71.3       12",
        "b                     5.0        3",
    ]


def test_colour_comes_only_with_a_word_and_only_where_it_shows() -> None:
    rows: list[list[Cell]] = [["x", Word("failed", "red")]]
    columns = [Column("model"), Column("state")]
    assert table(columns, rows, PIPE)[1] == "x      failed"
    assert table(columns, rows, Terminal(80, colour=True))[1] == "x      \x1b[31mfailed\x1b[0m"


TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("\x1b[m字\u202e\n")), max_size=40)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 100), st.booleans()), min_size=1, max_size=6),
    st.data(),
    st.integers(1, 120),
)
def test_no_line_is_wider_than_the_terminal(
    kinds: list[tuple[bool, int, bool]], data: st.DataObject, width: int
) -> None:
    columns = [Column(f"column {place}", right, keep, elastic) for place, (right, keep, elastic) in enumerate(kinds)]
    rows = data.draw(st.lists(st.lists(TEXTS, min_size=len(kinds), max_size=len(kinds)), max_size=4))
    lines = table(columns, rows, Terminal(width, colour=False))
    assert len(lines) == 1 + len(rows)
    assert all(cells(line) <= width for line in lines)
    assert not any("\n" in line or "\x1b" in line for line in lines)


PERCENT = st.integers(0, 1000).map(lambda tenths: tenths / 10)


@given(st.lists(st.lists(PERCENT, min_size=3, max_size=3).map(sorted), min_size=1, max_size=5))
def test_every_interval_is_on_the_axis(intervals: list[list[float]]) -> None:
    rows = [{"low": low, "score": score, "high": high} for low, score, high in intervals]
    axis = axis_for(rows)
    assert 0 <= axis.low <= min(row["low"] for row in rows)
    assert max(row["high"] for row in rows) <= axis.high <= 100
    assert len(axis.title) == PLOT_CELLS
    for row in rows:
        drawn = plot(row, axis)
        assert len(drawn) == PLOT_CELLS
        assert drawn.index("●") == axis.place(row["score"])


def test_models_of_one_name_are_told_apart() -> None:
    row = {
        "rank_low": 1,
        "rank_high": 1,
        "score": 50.0,
        "low": 40.0,
        "high": 60.0,
        "questions": 5,
        "of": 10,
        "runners": 3,
        "status": "DONE",
        "benchmark": "b",
        "track": "t",
        "language": "en",
    }
    rows = [row | {"name": "same", "id": "aaaaaaaabbbb"}, row | {"name": "same", "id": "ccccccccdddd"}]
    lines = list(board_lines(rows, PIPE))
    assert "same (aaaaaaaa)" in lines[2]
    assert "same (cccccccc)" in lines[3]

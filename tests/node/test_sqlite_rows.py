"""Many rows in few statements."""

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from node.sqlite_rows import replace_rows


@given(
    st.dictionaries(st.integers(0, 30), st.binary(max_size=3), max_size=20),
    st.lists(st.tuples(st.integers(0, 30), st.binary(max_size=3)), max_size=20),
    st.integers(2, 9),
)
def test_rows_take_the_place_of_those_with_their_keys(
    before: dict[int, bytes], rows: list[tuple[int, bytes]], variables: int
) -> None:
    connection = sqlite3.connect(":memory:")
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, variables)
    connection.execute("CREATE TABLE things (key INTEGER PRIMARY KEY, value BLOB NOT NULL)")
    replace_rows(connection, "things", list(before.items()))
    replace_rows(connection, "things", rows)
    assert dict(connection.execute("SELECT key, value FROM things")) == before | dict(rows)
    connection.close()

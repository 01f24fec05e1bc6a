"""Putting rows into a table of SQLite with few statements.

During a statement the interpreter's lock is free, and hard to get back while other threads are busy. A thread that puts
in row by row waits after each, and `executemany` is no different.
"""

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any


def replace_rows(connection: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Put in whole rows, in place of those with their keys."""
    if not rows:
        return
    width = len(rows[0])
    at_once = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // width
    one = f"({', '.join('?' * width)})"
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        statement = f"INSERT OR REPLACE INTO {table} VALUES {', '.join([one] * len(some))}"  # noqa: S608
        connection.execute(statement, list(chain.from_iterable(some)))

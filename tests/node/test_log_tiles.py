"""The log's hash tiles are those of its entries, however it came to them, and whether the entries are still there."""

import sqlite3

from hypothesis import given, settings
from hypothesis import strategies as st

from node.log_tiles import SCHEMA, LogTiles
from protocol.merkle import Frontier, leaf_hash

LOG = "CREATE TABLE log (position INTEGER PRIMARY KEY, id BLOB NOT NULL, data BLOB NOT NULL, received REAL)"
STEPS = st.lists(st.tuples(st.integers(0, 70_000), st.integers(0, 700), st.integers(0, 3)), min_size=1, max_size=5)


def entry(position: int, version: int) -> bytes:
    return b"%d %d" % (position, version)


class Log:
    """A log as the store has it, entry and tiles in one step; `entries` is what it should be."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.execute(LOG)
        self.connection.execute(SCHEMA)
        self.tiles = LogTiles(self.connection)
        self.entries: list[bytes] = []

    def append(self, start: int, fresh: list[bytes]) -> None:
        self.entries[start:] = fresh
        self.connection.execute("DELETE FROM log WHERE position >= ?", (start,))
        rows = [(start + place, b"", data, 0.0) for place, data in enumerate(fresh)]
        self.connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", rows)
        self.tiles.append(start, fresh)

    def table(self) -> list[tuple[int, int, bytes]]:
        return self.connection.execute("SELECT * FROM tiles ORDER BY level, place").fetchall()


@settings(max_examples=10, deadline=None)
@given(st.sampled_from((0, 1, 255, 256, 600, 65_536, 66_000)), STEPS)
def test_cut_and_grown_tiles_are_those_of_the_entries(size: int, steps: list[tuple[int, int, int]]) -> None:
    log = Log()
    log.append(0, [entry(position, 0) for position in range(size)])
    for anywhere, length, version in steps:
        start = anywhere % (len(log.entries) + 1)
        log.connection.execute("DELETE FROM log WHERE position < ?", (start // 2,))  # evicted
        log.append(start, [entry(start + place, version) for place in range(length)])
        assert log.tiles.size() == len(log.entries)
        assert log.tiles.frontier(len(log.entries)) == Frontier().extend(map(leaf_hash, log.entries))
    anew = Log()
    anew.append(0, log.entries)
    assert log.table() == anew.table()

"""A SQLite file that one process writes: opened in WAL mode, one call at a time in a thread, failures in words."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import trio

from node.offload import offload
from node.sqlite_alone import sqlite_utils
from node.sqlite_rows import replace_rows
from node.store_schema import WrittenByNewer, migrate

T = TypeVar("T")

MOST_JOURNAL_BYTES = 64 * 1024 * 1024
PAGES_BETWEEN_CHECKPOINTS = 4000
"""Of 4 KiB: while much is written, the same pages are not copied again and again, nor each commit waited for thrice."""
DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")


class StoreFailed(Exception):
    """The store could not be read or written. `full`: for want of disk space; the text says what to do."""

    def __init__(self, sentence: str, *, full: bool) -> None:
        super().__init__(sentence)
        self.full = full


def _database(file: Path) -> sqlite_utils.Database:
    connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
    try:
        database = sqlite_utils.Database(connection)
        database.enable_wal()
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={MOST_JOURNAL_BYTES}")
        connection.execute(f"PRAGMA wal_autocheckpoint={PAGES_BETWEEN_CHECKPOINTS}")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return database


def _suspect(file: Path) -> Path:
    """Is there if damage was met while the file was in use: it may be opened again without anybody's noticing."""
    return file.with_name(f"{file.name}.suspect")


def _set_aside(file: Path) -> Path:
    """Out of the way, one at a time: an older damaged file gives way. The journals belong to it."""
    aside = file.with_name(f"{file.name}.damaged")
    for end in ("-wal", "-shm"):
        file.with_name(file.name + end).unlink(missing_ok=True)
    file.replace(aside)
    _suspect(file).unlink(missing_ok=True)
    return aside


def _is_damage(error: Exception) -> bool:
    """Errors that the module finds by itself, in text above all, have no name."""
    return isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorname", "") in DAMAGED


def _failure(error: Exception, file: Path) -> StoreFailed:
    full = "full" in str(error) or "disk I/O" in str(error) or getattr(error, "errno", None) == 28
    if full:
        return StoreFailed(f"The disk of {file} is full. Free some space: the node goes on by itself.", full=True)
    if _is_damage(error):
        with contextlib.suppress(OSError):
            _suspect(file).touch()
        text = f"{file} is damaged: {error}. Restart the node: it sets the file aside and fetches the rest from peers."
        return StoreFailed(text, full=False)
    remedy = "Move the file away: what it held is fetched from peers." if file.exists() else ""
    return StoreFailed(f"{file} cannot be used as a store: {error}. {remedy}".strip(), full=False)


class StoreFile:
    """See the module. Methods raise `StoreFailed`; a call that was begun is finished even if its task is cancelled."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set_aside: Path | None = None
        """Where a damaged file was moved when this one was begun."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                if _suspect(file).exists():
                    self.set_aside = _set_aside(file)
                self._database = _database(file)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self.set_aside = _set_aside(file)
                self._database = _database(file)
        except (sqlite3.Error, OSError, WrittenByNewer) as error:
            raise _failure(error, file) from error
        self.connection: sqlite3.Connection = self._database.conn
        self._one_at_a_time = trio.Lock()

    async def close(self) -> None:
        """Close the file; it cannot be used afterwards."""
        await self.run(self._database.close)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Part of a `write`."""
        self.connection.execute(statement, values)

    def many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Part of a `write`."""
        self.connection.executemany(statement, rows)

    def replace(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Part of a `write`: put in whole rows, in place of those with their keys."""
        replace_rows(self.connection, table, rows)

    async def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query finds."""
        return await self.run(lambda: self.connection.execute(query, values).fetchall())

    async def write(self, work: Callable[[], None]) -> None:
        """Do the work in one transaction, which is on disk when this returns."""

        def transaction() -> None:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                work()
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

        await self.run(transaction)

    async def run(self, call: Callable[[], T]) -> T:
        """Call something that uses the connection, when nobody else does."""
        async with self._one_at_a_time:
            try:
                return await offload(call)
            except (sqlite3.Error, OSError) as error:
                raise _failure(error, self.file) from error

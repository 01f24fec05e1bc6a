"""What survives the process: the log as far as it is known, envelopes beyond it, and this node's own work.

SQLite in WAL mode, one connection, one call at a time in a thread. What this node signs is stored before it is sent,
so that a restart sends it again instead of saying something else.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Container, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from node.log_tiles import LogTiles, Proofs
from node.offload import offload
from node.sqlite_alone import sqlite_utils
from node.store_schema import WrittenByNewer, migrate
from protocol.merkle import HASH_BYTES, Frontier
from protocol.tiles import WIDTH, Bundle, Tile, encode_bundle

T = TypeVar("T")

MOST_RECEIPTS = 4096
MOST_JOURNAL_BYTES = 64 * 1024 * 1024
DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")
LAST_EPOCH = 2**31 - 1
"""Epochs beyond it stand for none."""

BEYOND = """
DELETE FROM transcripts WHERE rowid IN (
    SELECT rowid FROM (
        SELECT rowid, sum(length(data)) OVER (ORDER BY epoch DESC, rowid DESC) AS so_far FROM transcripts
    ) WHERE so_far > ?
)
"""


class _PromisedBefore(Exception):
    """Takes a transaction back."""


class StoreFailed(Exception):
    """The store could not be read or written. `full`: for want of disk space; the text says what to do."""

    def __init__(self, sentence: str, *, full: bool) -> None:
        super().__init__(sentence)
        self.full = full


@asynccontextmanager
async def open_store(file: Path) -> AsyncIterator["Store"]:
    """Open or make the store; raises `StoreFailed` where the file cannot be written, or is a newer program's.

    A file that is no database any more is set aside, and a new one is begun (`Store.set_aside`).
    """
    store = await offload(partial(_connect, file))
    try:
        yield store
    finally:
        with trio.CancelScope(shield=True):
            await store.close()


def _connect(file: Path) -> "Store":
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            return Store(_database(file), file)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname not in DAMAGED:
                raise
            aside = _set_aside(file)
            return Store(_database(file), file, aside)
    except (sqlite3.Error, OSError, WrittenByNewer) as error:
        raise _failure(error, file) from error


def _database(file: Path) -> sqlite_utils.Database:
    connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
    try:
        database = sqlite_utils.Database(connection)
        database.enable_wal()
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={MOST_JOURNAL_BYTES}")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return database


def _set_aside(file: Path) -> Path:
    """Out of the way, one at a time: an older damaged file gives way. The journals belong to it."""
    aside = file.with_name(f"{file.name}.damaged")
    for end in ("-wal", "-shm"):
        file.with_name(file.name + end).unlink(missing_ok=True)
    return file.replace(aside)


def _failure(error: Exception, file: Path) -> StoreFailed:
    full = "full" in str(error) or "disk I/O" in str(error) or getattr(error, "errno", None) == 28
    if full:
        return StoreFailed(f"The disk of {file} is full. Free some space: the node goes on by itself.", full=True)
    if isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorname in DAMAGED:
        text = f"{file} is damaged: {error}. Restart the node: it sets the file aside and fetches the rest from peers."
        return StoreFailed(text, full=False)
    remedy = "Move the file away: what it held is fetched from peers." if file.exists() else ""
    return StoreFailed(f"{file} cannot be used as a store: {error}. {remedy}".strip(), full=False)


class Store:
    """See the module. Methods raise `StoreFailed`; a call that was begun is finished even if its task is cancelled."""

    def __init__(self, database: sqlite_utils.Database, file: Path, set_aside: Path | None = None) -> None:
        self.set_aside = set_aside
        """Where a damaged file was moved when this one was begun."""
        self._database = database
        self._file = file
        self._one_at_a_time = trio.Lock()
        self._tiles = LogTiles(database.conn)

    async def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        await self._run(self._database.close)

    async def bind(self, network: bytes) -> None:
        """Make this the store of a network. Raises `StoreFailed` where it is another's."""
        await self._write(lambda: self._execute("INSERT OR IGNORE INTO network VALUES (0, ?)", (network,)))
        found = bytes((await self._rows("SELECT id FROM network"))[0][0])
        if found != network:
            text = f"{self._file} belongs to network {found.hex()[:16]}, this home's genesis is {network.hex()[:16]}."
            raise StoreFailed(f"{text} Put the right genesis back, or choose another home.", full=False)

    # ---- the log

    async def append_log(
        self, start: int, entries: Sequence[tuple[bytes, bytes]], note: bytes | None, now: float
    ) -> None:
        """Keep (id, data) of the entries from position `start` on, and the checkpoint whose last entries they are.

        `note` is None while there are more to come: what lies beyond the last checkpoint that was kept is not proven.
        """

        def write() -> None:
            rows = ((start + place, key, data, now) for place, (key, data) in enumerate(entries))
            self._many("INSERT OR REPLACE INTO log VALUES (?, ?, ?, ?)", rows)
            self._tiles.append(start, [data for _, data in entries])
            if note is not None:
                self._execute("INSERT OR REPLACE INTO checkpoint VALUES (0, ?)", (note,))

        await self._write(write)

    async def cut_log(self, size: int) -> None:
        """Forget the entries from position `size` on."""

        def write() -> None:
            self._execute("DELETE FROM log WHERE position >= ?", (size,))
            self._tiles.append(size, [])

        await self._write(write)

    async def tile(self, tile: Tile) -> bytes:
        """The hashes of a tile of the log; nothing where not all of them are kept."""
        content = await self._run(lambda: self._tiles.read(tile))
        return content if len(content) == tile.width * HASH_BYTES else b""

    async def bundle(self, bundle: Bundle) -> bytes:
        """An entry bundle of the log; nothing where not all of it is kept."""
        entries = await self.log_entries(bundle.index * WIDTH, bundle.width)
        return encode_bundle(entries) if len(entries) == bundle.width else b""

    async def log_entries(self, start: int, most: int) -> list[bytes]:
        """The data of at most `most` entries from position `start` on."""
        query = "SELECT data FROM log WHERE position >= ? ORDER BY position LIMIT ?"
        return [row[0] for row in await self._rows(query, (start, most))]

    async def log_size(self) -> int:
        """How many entries are kept."""
        return int((await self._rows("SELECT count(*) FROM log"))[0][0])

    async def positions(self, envelope: bytes) -> list[int]:
        """Where the envelope with this id stands in the log, in order."""
        return [row[0] for row in await self._rows("SELECT position FROM log WHERE id = ? ORDER BY 1", (envelope,))]

    async def prove(self, first: int, size: int) -> Proofs:
        """What shows that the log of `size` entries begins with `first` of them; `ValueError` where it is not kept."""
        return await self._run(lambda: self._tiles.prove(first, size))

    async def frontier(self, size: int) -> Frontier:
        """The right edge of the log's tree at `size` entries; `ValueError` where it is not kept."""
        return await self._run(lambda: self._tiles.frontier(size))

    async def checkpoint(self) -> bytes | None:
        """The newest signed checkpoint, if there is one."""
        rows = await self._rows("SELECT note FROM checkpoint")
        return bytes(rows[0][0]) if rows else None

    # ---- envelopes beyond it

    async def keep(self, envelopes: Iterable[tuple[bytes, int, bytes]], now: float) -> None:
        """Keep (id, epoch, data) of envelopes; those that are there stay as they are."""
        rows = [(key, epoch, data, now) for key, epoch, data in envelopes]
        await self._write(lambda: self._many("INSERT OR IGNORE INTO envelopes VALUES (?, ?, ?, ?)", rows))

    async def kept(self) -> list[bytes]:
        """The data of all kept envelopes, in the order in which they arrived."""
        return [row[0] for row in await self._rows("SELECT data FROM envelopes ORDER BY rowid")]

    async def drop_before(self, epoch: int) -> None:
        """Forget envelopes and own work of epochs before `epoch`, and what belongs to no epoch once it is logged."""

        def write() -> None:
            for table in ("envelopes", "work", "batches", "promised", "salts"):
                self._execute(f"DELETE FROM {table} WHERE epoch < ?", (epoch,))  # noqa: S608
            logged = "SELECT id FROM log WHERE log.id = envelopes.id"
            self._execute(f"DELETE FROM envelopes WHERE epoch > ? AND EXISTS ({logged})", (LAST_EPOCH,))  # noqa: S608

        await self._write(write)

    async def drop_unheld(self, held: Container[bytes]) -> None:
        """Forget envelopes that belong to no epoch and are not `held` any more."""
        rows = await self._rows("SELECT id FROM envelopes WHERE epoch > ?", (LAST_EPOCH,))
        gone = [row for row in rows if bytes(row[0]) not in held]
        await self._write(lambda: self._many("DELETE FROM envelopes WHERE id = ?", gone))

    # ---- receipts: those that this node was given, or has given

    async def keep_receipt(self, envelope: bytes, bound: int, data: bytes) -> None:
        """Keep a receipt for an envelope, and of all receipts the newest only."""

        def write() -> None:
            self._execute("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?)", (envelope, bound, data))
            newest = "SELECT envelope FROM receipts ORDER BY bound DESC LIMIT ?"
            self._execute(f"DELETE FROM receipts WHERE envelope NOT IN ({newest})", (MOST_RECEIPTS,))  # noqa: S608

        await self._write(write)

    async def keep_promised(self, envelope: tuple[bytes, int, bytes], bound: int, receipt: bytes, now: float) -> None:
        """Keep an envelope (id, epoch, data) and the receipt that is given for it, both or none."""

        def write() -> None:
            self._execute("INSERT OR IGNORE INTO envelopes VALUES (?, ?, ?, ?)", (*envelope, now))
            self._execute("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?)", (envelope[0], bound, receipt))

        await self._write(write)

    async def receipt(self, envelope: bytes) -> bytes | None:
        """The receipt for an envelope, if one is kept."""
        rows = await self._rows("SELECT data FROM receipts WHERE envelope = ?", (envelope,))
        return bytes(rows[0][0]) if rows else None

    async def due_receipts(self, size: int) -> list[bytes]:
        """The receipts whose bound a log of `size` entries has reached."""
        return [row[0] for row in await self._rows("SELECT data FROM receipts WHERE bound <= ?", (size,))]

    async def outstanding_receipts(self) -> list[tuple[bytes, int]]:
        """(envelope, bound) of the receipts whose envelope is not in the log, by bound."""
        unlogged = "NOT EXISTS (SELECT 1 FROM log WHERE log.id = receipts.envelope)"
        query = f"SELECT envelope, bound FROM receipts WHERE {unlogged} ORDER BY bound"  # noqa: S608
        return [(row[0], row[1]) for row in await self._rows(query)]

    async def drop_receipts(self, envelopes: Iterable[bytes]) -> None:
        """Forget the receipts for these envelopes."""
        rows = [(key,) for key in envelopes]
        await self._write(lambda: self._many("DELETE FROM receipts WHERE envelope = ?", rows))

    # ---- own work

    async def salt(self, epoch: int, fresh: bytes) -> bytes:
        """The salt of an epoch: `fresh` the first time, the same ever after."""

        def write() -> None:
            self._execute("INSERT OR IGNORE INTO salts VALUES (?, ?)", (epoch, fresh))

        await self._write(write)
        return bytes((await self._rows("SELECT salt FROM salts WHERE epoch = ?", (epoch,)))[0][0])

    async def keep_work(
        self, ground: bytes, task: bytes, epoch: int, result: bytes, run: bytes, transcript: tuple[bytes, bytes] | None
    ) -> None:
        """Keep the encoded result of a task as it was evaluated on a ground; the first one stays.

        `transcript`: digest and encoded transcript, kept at the same instant until `drop_transcripts`.
        """

        def write() -> None:
            self._execute("INSERT OR IGNORE INTO work VALUES (?, ?, ?, ?, ?)", (ground, task, epoch, result, run))
            if transcript:
                self._execute(
                    "INSERT OR IGNORE INTO transcripts VALUES (?, ?, ?, ?)", (transcript[0], task, epoch, transcript[1])
                )

        await self._write(write)

    async def transcripts(self, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        """The kept ones of these transcripts, encoded, by digest."""
        wanted = tuple(digests)
        places = ",".join("?" * len(wanted))
        rows = await self._rows(f"SELECT digest, data FROM transcripts WHERE digest IN ({places})", wanted)  # noqa: S608
        return {bytes(row[0]): bytes(row[1]) for row in rows}

    async def drop_transcripts(self, is_needed: Callable[[bytes, int], bool], most_bytes: int) -> None:
        """Forget the transcripts that `is_needed` (task, epoch) does not want, then the oldest beyond `most_bytes`."""
        rows = await self._rows("SELECT DISTINCT task, epoch FROM transcripts")
        needless = [(bytes(task), epoch) for task, epoch in rows if not is_needed(bytes(task), epoch)]

        def write() -> None:
            self._many("DELETE FROM transcripts WHERE task = ? AND epoch = ?", needless)
            self._execute(BEYOND, (most_bytes,))

        await self._write(write)

    async def work(self, ground: bytes) -> dict[bytes, tuple[bytes, bytes]]:
        """Encoded (result, run) of the tasks evaluated on a ground, by task.

        The same task has other questions on another ground: a leaderless epoch whose mark came after all.
        """
        rows = await self._rows("SELECT task, result, run FROM work WHERE ground = ?", (ground,))
        return {row[0]: (row[1], row[2]) for row in rows}

    async def keep_batch(self, epoch: int, ground: bytes, commitment: bytes, tasks: Iterable[bytes]) -> bool:
        """Record a signed commitment before it is sent.

        False, and nothing is recorded, where one of its tasks was promised before: whoever did that, another process
        with the same key on this file too, has spoken for the account, and a second commitment would make both void.
        """
        kept = False
        rows = [(task, epoch) for task in tasks]

        def write() -> None:
            nonlocal kept
            before = self._database.conn.total_changes
            self._many("INSERT OR IGNORE INTO promised VALUES (?, ?)", rows)
            kept = self._database.conn.total_changes - before == len(rows)
            if kept:
                insert = "INSERT INTO batches (epoch, ground, commitment) VALUES (?, ?, ?)"
                self._execute(insert, (epoch, ground, commitment))
            else:
                raise _PromisedBefore

        with contextlib.suppress(_PromisedBefore):
            await self._write(write)
        return kept

    async def keep_result(self, commitment: bytes, result: bytes) -> None:
        """Record the signed result that opens a commitment before it is sent; the first one stays."""
        update = "UPDATE batches SET result = ? WHERE commitment = ? AND result IS NULL"
        await self._write(lambda: self._execute(update, (result, commitment)))

    async def batches(self, epoch: int) -> list[tuple[bytes, bytes, bytes | None]]:
        """(ground, commitment, result or None) of the own batches of an epoch, in order."""
        query = "SELECT ground, commitment, result FROM batches WHERE epoch = ? ORDER BY number"
        return [(row[0], row[1], row[2]) for row in await self._rows(query, (epoch,))]

    # ---- inside

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        self._database.conn.execute(statement, values)

    def _many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self._database.conn.executemany(statement, rows)

    async def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return await self._run(lambda: self._database.conn.execute(query, values).fetchall())

    async def _write(self, work: Callable[[], None]) -> None:
        def transaction() -> None:
            connection = self._database.conn
            connection.execute("BEGIN IMMEDIATE")
            try:
                work()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

        await self._run(transaction)

    async def _run(self, call: Callable[[], T]) -> T:
        async with self._one_at_a_time:
            try:
                return await offload(call)
            except (sqlite3.Error, OSError) as error:
                raise _failure(error, self._file) from error

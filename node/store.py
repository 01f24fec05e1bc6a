"""What survives the process: the log as far as it is known, envelopes beyond it, and this node's own work.

What this node signs is stored before it is sent, so that a restart sends it again instead of saying something else.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Container, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from node.log_tiles import LogTiles, Proofs
from node.offload import offload
from node.store_file import StoreFailed, StoreFile
from protocol.merkle import HASH_BYTES, Frontier
from protocol.tiles import WIDTH, Bundle, Tile, encode_bundle

__all__ = ["Store", "StoreFailed", "open_store"]

MOST_RECEIPTS = 4096
ENTRIES_EVICTED_AT_ONCE = 16 * WIDTH
IDS_AT_ONCE = 500
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


@asynccontextmanager
async def open_store(file: Path) -> AsyncIterator["Store"]:
    """Open or make the store; raises `StoreFailed` where the file cannot be written, or is a newer program's.

    A file that is no database any more is set aside, and a new one is begun (`Store.set_aside`).
    """
    store = await offload(partial(Store, file))
    try:
        yield store
    finally:
        with trio.CancelScope(shield=True):
            await store.close()


class Store(StoreFile):
    """See the module."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._tiles = LogTiles(self.connection)

    async def bind(self, network: bytes) -> None:
        """Make this the store of a network. Raises `StoreFailed` where it is another's."""
        await self.write(lambda: self.execute("INSERT OR IGNORE INTO network VALUES (0, ?)", (network,)))
        found = bytes((await self.rows("SELECT id FROM network"))[0][0])
        if found != network:
            text = f"{self.file} belongs to network {found.hex()[:16]}, this home's genesis is {network.hex()[:16]}."
            raise StoreFailed(f"{text} Put the right genesis back, or choose another home.", full=False)

    # ---- the log

    async def append_log(
        self, start: int, entries: Sequence[tuple[bytes, bytes]], note: bytes | None, now: float
    ) -> None:
        """Keep (id, data) of the entries from position `start` on, and the checkpoint whose last entries they are.

        `note` is None while there are more to come: what lies beyond the last checkpoint that was kept is not proven.
        """

        def write() -> None:
            self.replace("log", [(start + place, key, data, now) for place, (key, data) in enumerate(entries)])
            self._tiles.append(start, [data for _, data in entries])
            if note is not None:
                self.execute("INSERT OR REPLACE INTO checkpoint VALUES (0, ?)", (note,))

        await self.write(write)

    async def cut_log(self, size: int) -> None:
        """Forget the entries from position `size` on, and what was remembered of marks among them."""

        def write() -> None:
            self.execute("DELETE FROM log WHERE position >= ?", (size,))
            self._tiles.append(size, [])
            for table in ("marks", "snapshots", "snapshot_pieces"):
                self.execute(f"DELETE FROM {table} WHERE size > ?", (size,))  # noqa: S608

        await self.write(write)

    async def begin_log_again(self) -> None:
        """Forget the log, and the checkpoint: all of it is to be fetched again."""

        def write() -> None:
            for table in ("log", "tiles", "checkpoint", "marks", "snapshots", "snapshot_pieces"):
                self.execute(f"DELETE FROM {table}")  # noqa: S608

        await self.write(write)

    async def evict_log(self, before: int) -> None:
        """Forget the entries before a position in whole bundles, a few at a time; their hash tiles stay."""
        end = before // WIDTH * WIDTH
        start = await self.log_start()
        while start < end:
            start = min(end, start + ENTRIES_EVICTED_AT_ONCE)
            await self.write(partial(self.execute, "DELETE FROM log WHERE position < ?", (start,)))

    async def tile(self, tile: Tile) -> bytes:
        """The hashes of a tile of the log; nothing where not all of them are kept."""
        content = await self.run(lambda: self._tiles.read(tile))
        return content if len(content) == tile.width * HASH_BYTES else b""

    async def bundle(self, bundle: Bundle) -> bytes:
        """An entry bundle of the log; nothing where not all of it is kept any more, or yet."""
        entries = await self.log_entries(bundle.index * WIDTH, bundle.width)
        return encode_bundle(entries) if len(entries) == bundle.width else b""

    async def log_entries(self, start: int, most: int) -> list[bytes]:
        """The data of at most `most` entries from position `start` on; none where the first is not kept."""
        query = "SELECT position, data FROM log WHERE position >= ? ORDER BY position LIMIT ?"
        rows = await self.rows(query, (start, most))
        return [row[1] for row in rows] if rows and rows[0][0] == start else []

    async def log_start(self) -> int:
        """The position of the first entry that is kept; 0 where none is."""
        return int((await self.rows("SELECT coalesce(min(position), 0) FROM log"))[0][0])

    async def log_size(self) -> int:
        """How many entries the log has, whether all are kept or not."""
        return int((await self.rows("SELECT coalesce(max(position) + 1, 0) FROM log"))[0][0])

    async def logged(self, envelopes: Sequence[bytes]) -> list[bytes]:
        """The data of those of these envelopes that are kept as entries of the log, in its order."""
        found: list[tuple[int, bytes]] = []
        for first in range(0, len(envelopes), IDS_AT_ONCE):
            some = envelopes[first : first + IDS_AT_ONCE]
            places = ",".join("?" * len(some))
            found += await self.rows(f"SELECT position, data FROM log WHERE id IN ({places})", some)  # noqa: S608
        return [data for _, data in sorted(found)]

    async def positions(self, envelope: bytes) -> list[int]:
        """Where the envelope with this id stands in the log, in order."""
        return [row[0] for row in await self.rows("SELECT position FROM log WHERE id = ? ORDER BY 1", (envelope,))]

    async def prove(self, first: int, size: int) -> Proofs:
        """What shows that the log of `size` entries begins with `first` of them; `ValueError` where it is not kept."""
        return await self.run(lambda: self._tiles.prove(first, size))

    async def frontier(self, size: int) -> Frontier:
        """The right edge of the log's tree at `size` entries; `ValueError` where it is not kept."""
        return await self.run(lambda: self._tiles.frontier(size))

    async def checkpoint(self) -> bytes | None:
        """The newest signed checkpoint, if there is one."""
        rows = await self.rows("SELECT note FROM checkpoint")
        return bytes(rows[0][0]) if rows else None

    # ---- envelopes beyond it

    async def keep(self, envelopes: Iterable[tuple[bytes, int, bytes]], now: float) -> None:
        """Keep (id, epoch, data) of envelopes; those that are there stay as they are."""
        rows = [(key, epoch, data, now) for key, epoch, data in envelopes]
        await self.write(lambda: self.many("INSERT OR IGNORE INTO envelopes VALUES (?, ?, ?, ?)", rows))

    async def kept(self) -> list[bytes]:
        """The data of all kept envelopes, in the order in which they arrived."""
        return [row[0] for row in await self.rows("SELECT data FROM envelopes ORDER BY rowid")]

    async def drop_before(self, epoch: int) -> None:
        """Forget envelopes and own work of epochs before `epoch`, and what belongs to no epoch once it is logged."""

        def write() -> None:
            for table in ("envelopes", "work", "batches", "promised", "salts"):
                self.execute(f"DELETE FROM {table} WHERE epoch < ?", (epoch,))  # noqa: S608
            logged = "SELECT id FROM log WHERE log.id = envelopes.id"
            self.execute(f"DELETE FROM envelopes WHERE epoch > ? AND EXISTS ({logged})", (LAST_EPOCH,))  # noqa: S608

        await self.write(write)

    async def drop_unheld(self, held: Container[bytes]) -> None:
        """Forget envelopes that belong to no epoch and are not `held` any more."""
        rows = await self.rows("SELECT id FROM envelopes WHERE epoch > ?", (LAST_EPOCH,))
        gone = [row for row in rows if bytes(row[0]) not in held]
        await self.write(lambda: self.many("DELETE FROM envelopes WHERE id = ?", gone))

    # ---- receipts: those that this node was given, or has given

    async def keep_receipt(self, envelope: bytes, bound: int, data: bytes) -> None:
        """Keep a receipt for an envelope, and of all receipts the newest only."""

        def write() -> None:
            self.execute("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?)", (envelope, bound, data))
            newest = "SELECT envelope FROM receipts ORDER BY bound DESC LIMIT ?"
            self.execute(f"DELETE FROM receipts WHERE envelope NOT IN ({newest})", (MOST_RECEIPTS,))  # noqa: S608

        await self.write(write)

    async def keep_promised(self, envelope: tuple[bytes, int, bytes], bound: int, receipt: bytes, now: float) -> None:
        """Keep an envelope (id, epoch, data) and the receipt that is given for it, both or none."""

        def write() -> None:
            self.execute("INSERT OR IGNORE INTO envelopes VALUES (?, ?, ?, ?)", (*envelope, now))
            self.execute("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?)", (envelope[0], bound, receipt))

        await self.write(write)

    async def receipt(self, envelope: bytes) -> bytes | None:
        """The receipt for an envelope, if one is kept."""
        rows = await self.rows("SELECT data FROM receipts WHERE envelope = ?", (envelope,))
        return bytes(rows[0][0]) if rows else None

    async def due_receipts(self, size: int) -> list[bytes]:
        """The receipts whose bound a log of `size` entries has reached."""
        return [row[0] for row in await self.rows("SELECT data FROM receipts WHERE bound <= ?", (size,))]

    async def outstanding_receipts(self) -> list[tuple[bytes, int]]:
        """(envelope, bound) of the receipts whose envelope is not in the log, by bound."""
        unlogged = "NOT EXISTS (SELECT 1 FROM log WHERE log.id = receipts.envelope)"
        query = f"SELECT envelope, bound FROM receipts WHERE {unlogged} ORDER BY bound"  # noqa: S608
        return [(row[0], row[1]) for row in await self.rows(query)]

    async def drop_receipts(self, envelopes: Iterable[bytes]) -> None:
        """Forget the receipts for these envelopes."""
        rows = [(key,) for key in envelopes]
        await self.write(lambda: self.many("DELETE FROM receipts WHERE envelope = ?", rows))

    # ---- own work

    async def salt(self, epoch: int, fresh: bytes) -> bytes:
        """The salt of an epoch: `fresh` the first time, the same ever after."""

        def write() -> None:
            self.execute("INSERT OR IGNORE INTO salts VALUES (?, ?)", (epoch, fresh))

        await self.write(write)
        return bytes((await self.rows("SELECT salt FROM salts WHERE epoch = ?", (epoch,)))[0][0])

    async def keep_work(
        self, ground: bytes, task: bytes, epoch: int, result: bytes, run: bytes, transcript: tuple[bytes, bytes] | None
    ) -> None:
        """Keep the encoded result of a task as it was evaluated on a ground; the first one stays.

        `transcript`: digest and encoded transcript, kept at the same instant until `drop_transcripts`.
        """

        def write() -> None:
            self.execute("INSERT OR IGNORE INTO work VALUES (?, ?, ?, ?, ?)", (ground, task, epoch, result, run))
            if transcript:
                self.execute(
                    "INSERT OR IGNORE INTO transcripts VALUES (?, ?, ?, ?)", (transcript[0], task, epoch, transcript[1])
                )

        await self.write(write)

    async def transcripts(self, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        """The kept ones of these transcripts, encoded, by digest."""
        wanted = tuple(digests)
        places = ",".join("?" * len(wanted))
        rows = await self.rows(f"SELECT digest, data FROM transcripts WHERE digest IN ({places})", wanted)  # noqa: S608
        return {bytes(row[0]): bytes(row[1]) for row in rows}

    async def drop_transcripts(self, is_needed: Callable[[bytes, int], bool], most_bytes: int) -> None:
        """Forget the transcripts that `is_needed` (task, epoch) does not want, then the oldest beyond `most_bytes`."""
        rows = await self.rows("SELECT DISTINCT task, epoch FROM transcripts")
        needless = [(bytes(task), epoch) for task, epoch in rows if not is_needed(bytes(task), epoch)]

        def write() -> None:
            self.many("DELETE FROM transcripts WHERE task = ? AND epoch = ?", needless)
            self.execute(BEYOND, (most_bytes,))

        await self.write(write)

    async def work(self, ground: bytes) -> dict[bytes, tuple[bytes, bytes]]:
        """Encoded (result, run) of the tasks evaluated on a ground, by task.

        The same task has other questions on another ground: a leaderless epoch whose mark came after all.
        """
        rows = await self.rows("SELECT task, result, run FROM work WHERE ground = ?", (ground,))
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
            before = self.connection.total_changes
            self.many("INSERT OR IGNORE INTO promised VALUES (?, ?)", rows)
            kept = self.connection.total_changes - before == len(rows)
            if kept:
                insert = "INSERT INTO batches (epoch, ground, commitment) VALUES (?, ?, ?)"
                self.execute(insert, (epoch, ground, commitment))
            else:
                raise _PromisedBefore

        with contextlib.suppress(_PromisedBefore):
            await self.write(write)
        return kept

    async def keep_result(self, commitment: bytes, result: bytes) -> None:
        """Record the signed result that opens a commitment before it is sent; the first one stays."""
        update = "UPDATE batches SET result = ? WHERE commitment = ? AND result IS NULL"
        await self.write(lambda: self.execute(update, (result, commitment)))

    async def batch_epochs(self, first: int, end: int) -> list[int]:
        """The epochs from `first` on and before `end` of which there are own batches."""
        query = "SELECT DISTINCT epoch FROM batches WHERE epoch >= ? AND epoch < ? ORDER BY 1"
        return [row[0] for row in await self.rows(query, (first, end))]

    async def batches(self, epoch: int) -> list[tuple[bytes, bytes, bytes | None]]:
        """(ground, commitment, result or None) of the own batches of an epoch, in order."""
        query = "SELECT ground, commitment, result FROM batches WHERE epoch = ? ORDER BY number"
        return [(row[0], row[1], row[2]) for row in await self.rows(query, (epoch,))]

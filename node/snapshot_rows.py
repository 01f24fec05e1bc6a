"""States just after marks in the store, and where the marks stand in its log: what a start begins with.

A snapshot is written a piece at a time, so that nobody waits for all of it, and is one only with its last row.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from msgspec import Struct

from node.log_tiles import LogTiles
from node.offload import offload
from node.state_record import Piece
from node.store_file import StoreFile

PIECES_AT_ONCE_BYTES = 1 << 20


class Place(Struct, frozen=True):
    """A mark in the log: the epoch that it opened, and the entries and their bytes up to and with it."""

    epoch: int
    size: int
    bytes: int


class Written(Struct, frozen=True):
    """A snapshot that is there: of the log's first `size` entries, which have this root. `digest`: of its pieces."""

    size: int
    root: bytes
    format: bytes
    digest: bytes


class SnapshotRows:
    """The store's tables `marks`, `snapshots` and `snapshot_pieces`. Methods raise `StoreFailed`."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    async def remember_marks(self, places: Iterable[Place]) -> None:
        """Keep where marks stand."""
        rows = [(place.epoch, place.size, place.bytes) for place in places]
        await self._file.write(lambda: self._file.many("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", rows))

    async def marks(self, most: int | None = None) -> list[Place]:
        """The marks that are remembered, oldest first; of them the newest `most`."""
        query = "SELECT epoch, size, bytes FROM marks ORDER BY epoch DESC LIMIT ?"
        rows = await self._file.rows(query, (-1 if most is None else most,))
        return [Place(*row) for row in reversed(rows)]

    async def forget_marks(self, before: int) -> None:
        """Forget the marks of sizes below this one."""
        await self._file.write(lambda: self._file.execute("DELETE FROM marks WHERE size < ?", (before,)))

    async def written(self) -> list[Written]:
        """The snapshots that are there, newest first."""
        query = "SELECT size, root, format, digest FROM snapshots ORDER BY size DESC"
        return [Written(*row) for row in await self._file.rows(query)]

    async def pieces(self, of: Written) -> list[Piece] | None:
        """All pieces of a snapshot; None where they are not the ones that were written."""
        query = "SELECT CAST(field AS BLOB), CAST(data AS BLOB) FROM snapshot_pieces WHERE size = ? ORDER BY place"
        rows = await self._file.rows(query, (of.size,))
        found = [Piece(row[0].decode(errors="replace"), row[1]) for row in rows]
        return found if digest_of(found) == of.digest else None

    async def write(self, size: int, root: bytes, format_: bytes, pieces: Iterator[Piece]) -> bool:
        """Write a snapshot; whether it is one: not where the log does not begin so any more."""
        await self.drop([size])
        total, place = hashlib.sha256(), 0
        waiting: list[Piece] = []
        while piece := await offload(partial(next, pieces, None)):
            _add(total, piece)
            waiting.append(piece)
            if sum(len(each.data) for each in waiting) >= PIECES_AT_ONCE_BYTES:
                place = await self._write_some(size, place, waiting)
                waiting = []
        await self._write_some(size, place, waiting)
        done = False

        def finish() -> None:
            nonlocal done
            try:
                done = LogTiles(self._file.connection).frontier(size).root == root
            except ValueError:
                done = False
            if done:
                row = (size, root, format_, total.digest())
                self._file.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)", row)
            else:
                self._file.execute("DELETE FROM snapshot_pieces WHERE size = ?", (size,))

        await self._file.write(finish)
        return done

    async def _write_some(self, size: int, place: int, pieces: Sequence[Piece]) -> int:
        rows = [(size, place + number, piece.field, piece.data) for number, piece in enumerate(pieces)]
        await self._file.write(lambda: self._file.many("INSERT INTO snapshot_pieces VALUES (?, ?, ?, ?)", rows))
        return place + len(rows)

    async def drop(self, sizes: Iterable[int]) -> None:
        """Forget these snapshots, and pieces of what did not become one."""
        gone = [(size,) for size in sizes]

        def write() -> None:
            self._file.many("DELETE FROM snapshots WHERE size = ?", gone)
            self._file.execute("DELETE FROM snapshot_pieces WHERE size NOT IN (SELECT size FROM snapshots)")

        await self._file.write(write)


def digest_of(pieces: Iterable[Piece]) -> bytes:
    """SHA-256 of pieces, in order."""
    total = hashlib.sha256()
    for piece in pieces:
        _add(total, piece)
    return total.digest()


def _add(total: "hashlib._Hash", piece: Piece) -> None:
    total.update(b"%d %d " % (len(piece.field), len(piece.data)))
    total.update(piece.field.encode())
    total.update(piece.data)

"""The hash tiles of the log in the store's database, so that proofs need no entries.

What is read and written here lies in one transaction of the caller.
"""

import sqlite3
from collections.abc import Sequence

from msgspec import Struct

from node.sqlite_rows import replace_rows
from protocol.merkle import HASH_BYTES, Frontier, consistency_proof, frontier, inclusion_proof, leaf_hash
from protocol.tiles import HEIGHT, MAX_LEVEL, WIDTH, InvalidTile, Tile, TreeReader, grow

SCHEMA = """
CREATE TABLE IF NOT EXISTS tiles (
    level INTEGER NOT NULL, place INTEGER NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (level, place)
) WITHOUT ROWID;
"""


class Proofs(Struct, frozen=True):
    """What shows that the first `first` entries of a tree are its prefix, and which leaf is the next.

    `root`: of the prefix. `leaf` and `inclusion`: of index `first`; nothing where the prefix is the whole tree.
    """

    root: bytes
    consistency: tuple[bytes, ...]
    leaf: bytes | None = None
    inclusion: tuple[bytes, ...] = ()


class LogTiles:
    """The tiles of one database; what is asked of a tree that is not there is a `ValueError`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def size(self) -> int:
        """How many leaves the tiles hold."""
        query = "SELECT place, length(hashes) FROM tiles WHERE level = 0 ORDER BY place DESC LIMIT 1"
        row = self._connection.execute(query).fetchone()
        return row[0] * WIDTH + row[1] // HASH_BYTES if row else 0

    def append(self, start: int, entries: Sequence[bytes]) -> None:
        """Take in the entries from position `start` on; what the tiles lack before it is made from the log's rows."""
        if self.size() > start:
            self._cut(start)
        known = self.size()
        query = "SELECT data FROM log WHERE position >= ? AND position < ? ORDER BY position"
        before = (row[0] for row in self._connection.execute(query, (known, start)))
        leaves = [*map(leaf_hash, before), *map(leaf_hash, entries)]
        grown = grow(self.read, known, leaves)
        rows = [(tile.level, tile.index, content) for tile, content in grown.items()]
        replace_rows(self._connection, "tiles", rows)

    def _cut(self, size: int) -> None:
        """Leave the tiles of the first `size` leaves; the entries may be gone, so nothing is made anew."""
        for level in range(MAX_LEVEL + 1):
            place, width = divmod(size >> HEIGHT * level, WIDTH)
            of_level = "level = ? AND place"
            self._connection.execute(f"DELETE FROM tiles WHERE {of_level} > ?", (level, place))  # noqa: S608
            if width:
                trim = f"UPDATE tiles SET hashes = substr(hashes, 1, ?) WHERE {of_level} = ?"  # noqa: S608
                self._connection.execute(trim, (width * HASH_BYTES, level, place))
            else:
                self._connection.execute(f"DELETE FROM tiles WHERE {of_level} = ?", (level, place))  # noqa: S608

    def prove(self, first: int, size: int) -> Proofs:
        """What shows that the tree of `size` leaves begins with `first` of them."""
        node = self._tree(size).node
        root, consistency = frontier(node, first).root, consistency_proof(node, first, size)
        if first == size:
            return Proofs(root, consistency)
        return Proofs(root, consistency, node(0, first), inclusion_proof(node, first, size))

    def frontier(self, size: int) -> Frontier:
        """The right edge of the tree of `size` leaves."""
        return self._tree(size).frontier

    def _tree(self, size: int) -> TreeReader:
        try:
            return TreeReader(self.read, size)
        except InvalidTile as error:
            raise ValueError(f"the store holds no tree of {size} leaves: {error}") from None

    def read(self, tile: Tile) -> bytes:
        """The hashes of a tile, as many of its width as there are."""
        query = "SELECT hashes FROM tiles WHERE level = ? AND place = ?"
        row = self._connection.execute(query, (tile.level, tile.index)).fetchone()
        return bytes(row[0][: tile.width * HASH_BYTES]) if row else b""

"""The log as static files: hash tiles and entry bundles (C2SP tlog-tiles).

A tile holds 256 consecutive hashes of one level; the hashes of a level are the roots of the full tiles below. A tree of
n leaves has floor(n / 256^level) hashes at a level: so many full tiles, and the rest as a partial one, which no tile
above stands on. An entry bundle holds the same 256 entries as the tile of level 0.

Everything here is checked against untrusted bytes: a value or `InvalidTile`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from protocol.merkle import HASH_BYTES, MAX_SIZE, Frontier, frontier, leaf_hash, node_hash

HEIGHT = 8
WIDTH = 1 << HEIGHT
MAX_LEVEL = 63 // HEIGHT  # no tree of at most 2^63 - 1 leaves has a hash above it
MAX_ENTRY_BYTES = 32 * 1024
MAX_BUNDLE_BYTES = WIDTH * (2 + MAX_ENTRY_BYTES)

_PATH = re.compile(
    r"tile/(?:(?P<level>0|[1-9][0-9]?)|entries)/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


class InvalidTile(Exception):
    """A tile, a bundle or a path is not what the format or the tree allows."""


class Tile(Struct, frozen=True, order=True):
    """`width` consecutive hashes of `level`, from hash index·256 on. Less than 256 of them are a partial tile."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where the tile lies under the log's prefix."""
        return f"tile/{self.level}/{_position(self.index, self.width)}"

    @property
    def full(self) -> bool:
        """Whether the tile never changes any more, and has a hash in the level above."""
        return self.width == WIDTH


class Bundle(Struct, frozen=True, order=True):
    """`width` consecutive entries, from entry index·256 on."""

    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where the bundle lies under the log's prefix."""
        return f"tile/entries/{_position(self.index, self.width)}"


ReadTile = Callable[[Tile], bytes]
"""The bytes of a tile, as they lie under its path. May raise what it likes where there are none."""


def parse_path(path: str) -> Tile | Bundle:
    """The tile or bundle that lies under `path`. Raises `InvalidTile`."""
    match = _PATH.fullmatch(path) if len(path) <= 64 else None
    if match is None:
        raise InvalidTile(f"{path[:80]!r} is not the path of a tile")
    level, position, partial = match["level"], match["index"], match["width"]
    index, width = int(position.replace("x", "").replace("/", "")), int(partial or WIDTH)
    if (partial and width >= WIDTH) or (index * WIDTH + width) << HEIGHT * int(level or 0) > MAX_SIZE:
        raise InvalidTile(f"{path!r} lies outside of every tree")
    found = Bundle(index, width) if level is None else Tile(int(level), index, width)
    if found.path != path:
        raise InvalidTile(f"{path!r} is written {found.path!r}")
    return found


def tiles(size: int, since: int = 0) -> Iterator[Tile]:
    """The hash tiles that a tree of `size` leaves has and the one of `since` leaves had not, from level 0 on."""
    for level in range(MAX_LEVEL + 1):
        for index, width in _pieces(size >> HEIGHT * level, since >> HEIGHT * level):
            yield Tile(level, index, width)


def bundles(size: int, since: int = 0) -> Iterator[Bundle]:
    """The entry bundles that a log of `size` entries has and the one of `since` entries had not."""
    for index, width in _pieces(size, since):
        yield Bundle(index, width)


def grow(read: ReadTile, size: int, leaves: Sequence[bytes]) -> dict[Tile, bytes]:
    """The new tiles, with their bytes, when `leaves` (hashes) are appended to a tree of `size` leaves.

    Reads no more than the partial tiles of the tree as it was.
    """
    grown: dict[Tile, bytes] = {}
    fresh, level = list(leaves), 0
    while fresh:
        index, width = divmod(size >> HEIGHT * level, WIDTH)
        row = read_checked(read, Tile(level, index, width)) if width else b""
        row += b"".join(fresh)
        fresh = []
        for start in range(0, len(row), WIDTH * HASH_BYTES):
            content = row[start : start + WIDTH * HASH_BYTES]
            tile = Tile(level, index, len(content) // HASH_BYTES)
            grown[tile] = content
            if tile.full:
                fresh.append(tile_root(content))
            index += 1
        level += 1
    return grown


def hashes_in(tile: Tile, content: bytes) -> list[bytes]:
    """The hashes of a tile. Raises `InvalidTile` where the length is not the width's."""
    if len(content) != tile.width * HASH_BYTES:
        raise InvalidTile(
            f"{tile.path} has {len(content)} bytes, and {tile.width} hashes have {tile.width * HASH_BYTES}"
        )
    return [content[start : start + HASH_BYTES] for start in range(0, len(content), HASH_BYTES)]


def read_checked(read: ReadTile, tile: Tile) -> bytes:
    """The bytes of a tile, of the right length. Raises `InvalidTile`, and whatever `read` raises."""
    content = read(tile)
    hashes_in(tile, content)
    return content


def tile_root(content: bytes) -> bytes:
    """The root of a full tile's hashes: its hash in the level above."""
    return _rows(hashes_in(Tile(0, 0), content))[-1][0]


class TreeReader:
    """Reads nodes of the tree of `size` leaves from its tiles; keeps what it has read, so make one per task.

    With a `root` nothing is believed: the right edge must lead to the root, and each full tile to its hash in the tile
    above. Raises `InvalidTile` for what does not; without a root, only for wrong lengths.
    """

    def __init__(self, read: ReadTile, size: int, root: bytes | None = None) -> None:
        if not 0 <= size <= MAX_SIZE:
            raise InvalidTile(f"no tree has {size} leaves")
        self._read_tile = read
        self._size = size
        self._rows: dict[tuple[int, int], list[list[bytes]]] = {}
        self._authentic = False
        self.frontier: Frontier = frontier(self.node, size)  # reads all hashes of all partial tiles, and no full one
        if root is not None:
            if self.frontier.root != root:
                raise InvalidTile(f"the tiles of {size} leaves lead to another root")
            self._authentic = True

    def node(self, level: int, index: int) -> bytes:
        """The hash of the perfect subtree at (level, index); `protocol.merkle.ReadNode`.

        Raises `ValueError` where the tree has no such node.
        """
        if level < 0 or index < 0 or (index + 1) << level > self._size:
            raise ValueError(f"a tree of {self._size} leaves has no perfect subtree {index} at level {level}")
        tile_level, height = divmod(level, HEIGHT)
        tile_index, offset = divmod(index << height, WIDTH)
        return self._tile(tile_level, tile_index)[height][offset >> height]

    def leaves(self, index: int) -> list[bytes]:
        """The leaf hashes of the tile of level 0 at `index`: what the entries of the bundle there must hash to."""
        if index * WIDTH >= self._size:
            raise ValueError(f"a tree of {self._size} leaves has no tile {index}")
        return list(self._tile(0, index)[0])

    def check_bundle(self, index: int, entries: Sequence[bytes]) -> None:
        """Check that these are the entries of the bundle at `index`. Raises `InvalidTile`."""
        if [leaf_hash(entry) for entry in entries] != self.leaves(index):
            raise InvalidTile(f"the entries of bundle {index} are not those of the tree")

    def _width(self, level: int, index: int) -> int:
        return min(WIDTH, (self._size >> HEIGHT * level) - index * WIDTH)

    def _tile(self, level: int, index: int) -> list[list[bytes]]:
        rows = self._rows.get((level, index))
        if rows is None:
            tile = Tile(level, index, self._width(level, index))
            rows = _rows(hashes_in(tile, self._read_tile(tile)))
            if self._authentic and rows[-1][0] != self.node(HEIGHT * (level + 1), index):
                raise InvalidTile(f"{tile.path} is not the one that the tree stands on")
            self._rows[level, index] = rows
        return rows


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """The bytes of a bundle: each entry behind its length in two bytes, big-endian.

    Raises `ValueError` for more than 256 entries or one above 32 KiB.
    """
    data, count = bytearray(), 0
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry has {len(entry)} bytes, at most {MAX_ENTRY_BYTES} are allowed")
        data += len(entry).to_bytes(2, "big") + entry
        count += 1
    if not 1 <= count <= WIDTH:
        raise ValueError(f"a bundle holds 1 to {WIDTH} entries, not {count}")
    return bytes(data)


def decode_bundle(data: bytes, width: int = WIDTH) -> list[bytes]:
    """The `width` entries of a bundle of untrusted bytes. Raises `InvalidTile`, and nothing else."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise InvalidTile(f"a bundle of {len(data)} bytes, at most {MAX_BUNDLE_BYTES} are allowed")
    entries: list[bytes] = []
    position = 0
    while position < len(data):
        start = position + 2
        length = int.from_bytes(data[position:start], "big")
        position = start + length
        if position > len(data):
            raise InvalidTile("the bundle ends inside of an entry")
        if length > MAX_ENTRY_BYTES:
            raise InvalidTile(f"an entry has {length} bytes, at most {MAX_ENTRY_BYTES} are allowed")
        entries.append(data[start:position])
    if len(entries) != width:
        raise InvalidTile(f"the bundle holds {len(entries)} entries, not {width}")
    return entries


def _position(index: int, width: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    partial = "" if width == WIDTH else f".p/{width}"
    return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:]) + partial


def _pieces(count: int, had: int) -> Iterator[tuple[int, int]]:
    """(index, width) of the pieces of `count` things, less those that `had` things filled already."""
    if count > had:
        for index in range(had // WIDTH, -(-count // WIDTH)):
            yield index, min(WIDTH, count - index * WIDTH)


def _rows(hashes: list[bytes]) -> list[list[bytes]]:
    """A tile's hashes, and above them the hashes of all perfect subtrees inside."""
    rows = [hashes]
    for _ in range(HEIGHT):
        below = rows[-1]
        rows.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
    return rows

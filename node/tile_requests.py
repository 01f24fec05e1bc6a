"""The log's history by its tiles, from whoever holds them; each piece is checked against a checkpoint before its use.

First come the hash tiles above the entries, 32 bytes for 256 entries, which lead to the checkpoint's root or are
refused; then the entry bundles, each of which must hash to its place in them. So no more than a few bundles are ever
held, and a peer that sends anything else is found out before any of it is kept.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated

import trio
from msgspec import Meta, Struct

from node.network import Network, Reason, RequestFailed
from node.offload import offload
from node.signature_checks import SignatureChecks, open_signature_checks
from node.store import Store
from node.ungrouped import ungrouped
from protocol import cbor
from protocol.checkpoint import Checkpoint
from protocol.definitions import Count
from protocol.envelope import Envelope, open_envelope
from protocol.merkle import Frontier, frontier, leaf_hash
from protocol.rejections import Rejected
from protocol.tiles import (
    HEIGHT,
    MAX_BUNDLE_BYTES,
    MAX_LEVEL,
    WIDTH,
    Bundle,
    InvalidTile,
    Tile,
    TreeReader,
    bundles,
    decode_bundle,
    parse_path,
    tile_root,
    tiles,
)

TILES = "/peerboard/tiles/1"
MOST_PATHS = 64
LONGEST_PATH = 64
ANSWER_BYTES = 8 * 1024 * 1024
BUNDLES_AT_ONCE = 8
TIMEOUT_SECONDS = 30.0

PORTIONS_AHEAD = 2

Take = Callable[[list[Envelope]], Awaitable[None]]
Fetched = list[tuple[Bundle, bytes]]
Opened = list[Envelope] | InvalidTile | Rejected | RequestFailed
Portion = trio.MemoryReceiveChannel[Opened]


class AskTiles(Struct, frozen=True, forbid_unknown_fields=True):
    """Hash tiles and entry bundles, by the paths under which they lie (C2SP tlog-tiles)."""

    paths: Annotated[tuple[Annotated[str, Meta(max_length=LONGEST_PATH)], ...], Meta(max_length=MOST_PATHS)]


class ToldTiles(Struct, frozen=True, forbid_unknown_fields=True):
    """Their bytes, in the same order, empty for what is not held; the last ones are left out where it gets too much.

    `kept_from`: the first entry that is still held, where a bundle is empty because it is not any more.
    """

    contents: Annotated[tuple[Annotated[bytes, Meta(max_length=MAX_BUNDLE_BYTES)], ...], Meta(max_length=MOST_PATHS)]
    kept_from: Count | None = None


class NotKept(RequestFailed):
    """A peer has forgotten the entries that are needed: those before `kept_from`."""

    def __init__(self, peer: str, kept_from: int) -> None:
        super().__init__(Reason.UNSUPPORTED, f"{peer} keeps the log only from entry {kept_from} on.")
        self.kept_from = kept_from


class TileRequests:
    """Serves this node's tiles, and follows a peer's."""

    def __init__(self, network: Network, store: Store, network_id: bytes) -> None:
        self._network = network
        self._store = store
        self._network_id = network_id
        network.serve(TILES, self._answer)

    async def follow(self, peer: str, checkpoint: Checkpoint, own: Frontier, take: Take) -> None:
        """Hand the checkpoint's entries behind the own ones to `take`, in order, some thousand at a time, opened.

        While some are folded, the next ones are checked and those after them fetched. Raises `RequestFailed`,
        `InvalidTile` where the peer's tiles are not the checkpoint's or the own entries are not its prefix, and
        `Rejected` for an entry that is no envelope; what comes before has been taken then.
        """
        with ungrouped():
            async with open_signature_checks(self._network_id) as checks, trio.open_nursery() as nursery:
                reader = await self._reader(peer, checkpoint, own)
                opening = _Opening(reader, own.size, self._network_id, checks)
                portions_in, portions = trio.open_memory_channel[Portion](PORTIONS_AHEAD)
                wanted = list(bundles(checkpoint.size, own.size))
                nursery.start_soon(self._fetch, peer, wanted, opening, portions_in)
                async with portions:
                    async for portion in portions:
                        async for opened in portion:
                            if isinstance(opened, Exception):
                                raise opened
                            await take(opened)

    async def _reader(self, peer: str, checkpoint: Checkpoint, own: Frontier) -> TreeReader:
        """The tree above the bundles behind the own entries, which lead to it themselves."""
        wanted = list(_tiles_above(checkpoint.size, own.size))
        contents: dict[Tile, bytes] = {}
        while wanted:
            asked = wanted[:MOST_PATHS]
            told = await self._ask(peer, [tile.path for tile in asked])
            contents |= dict(zip(asked, told, strict=False))
            wanted = wanted[len(told) :]
        reader = TreeReader(lambda tile: contents.get(tile, b""), checkpoint.size, checkpoint.root)
        whole = own.size // WIDTH * WIDTH
        if frontier(reader.node, whole) != await self._store.frontier(whole):
            raise InvalidTile("the checkpoint's tree does not begin with the entries that are held")
        return reader

    async def _fetch(
        self, peer: str, wanted: list[Bundle], opening: "_Opening", into: trio.MemorySendChannel[Portion]
    ) -> None:
        """Several portions are on their way at the same time, and are handed on in order."""
        async with into, trio.open_nursery() as nursery:
            for start in range(0, len(wanted), BUNDLES_AT_ONCE):
                portion_in, portion = trio.open_memory_channel[Opened](0)
                nursery.start_soon(self._bring, peer, wanted[start : start + BUNDLES_AT_ONCE], opening, portion_in)
                await into.send(portion)

    async def _bring(
        self, peer: str, wanted: list[Bundle], opening: "_Opening", into: trio.MemorySendChannel[Opened]
    ) -> None:
        """What one answer has no room for is asked for again. What is wrong is told: it comes in its order, too."""
        async with into:
            try:
                while wanted:
                    told = await self._ask(peer, [bundle.path for bundle in wanted])
                    await into.send(await opening.open(list(zip(wanted, told, strict=False))))
                    wanted = wanted[len(told) :]
            except (RequestFailed, InvalidTile, Rejected) as error:
                await into.send(error)

    async def _ask(self, peer: str, paths: Sequence[str]) -> list[bytes]:
        """The first of these, at least one; all that come are held by the peer."""
        body = cbor.encode(AskTiles(tuple(paths)))
        told = cbor.decode(await self._network.request(peer, TILES, body, timeout=TIMEOUT_SECONDS), ToldTiles)
        if told.kept_from is not None:
            raise NotKept(peer, told.kept_from)
        if not told.contents or len(told.contents) > len(paths) or not all(told.contents):
            raise RequestFailed(Reason.UNSUPPORTED, f"{peer} does not hold {paths[0]} of the log.")
        return list(told.contents)

    async def _answer(self, peer: str, body: bytes) -> bytes:
        contents: list[bytes] = []
        size, kept_from = 0, None
        for path in cbor.decode(body, AskTiles).paths:
            piece = parse_path(path)
            content = await (self._store.bundle(piece) if isinstance(piece, Bundle) else self._store.tile(piece))
            size += len(content)
            if contents and size > ANSWER_BYTES:
                break
            if isinstance(piece, Bundle) and not content and piece.index * WIDTH < await self._store.log_start():
                kept_from = await self._store.log_start()
            contents.append(content)
        return cbor.encode(ToldTiles(tuple(contents), kept_from))


def _tiles_above(size: int, own: int) -> Iterator[Tile]:
    """The hash tiles by which the bundles of a tree of `size` leaves behind `own` ones can be checked.

    Those above the full bundles, up to the tree's right edge, and of level 0 the partial one only: what is below a full
    tile follows from the entries.
    """
    edge = {
        Tile(level, (size >> HEIGHT * level) // WIDTH, (size >> HEIGHT * level) % WIDTH)
        for level in range(MAX_LEVEL + 1)
        if (size >> HEIGHT * level) % WIDTH
    }
    yield from sorted(edge | {tile for tile in tiles(size, own) if tile.level})


@dataclass(frozen=True)
class _Opening:
    """Opens the entries from index `start` on of a tree's bundles."""

    reader: TreeReader
    start: int
    network: bytes
    checks: SignatureChecks

    async def open(self, pieces: Fetched) -> list[Envelope]:
        """Those of some bundles, each of which must be the tree's. Raises `InvalidTile` and `Rejected`."""
        checked: dict[Bundle, int] = {}

        async def check(piece: Bundle, content: bytes) -> None:
            checked[piece] = await self.checks.well_signed(content, piece.width)

        with ungrouped():
            async with trio.open_nursery() as nursery:
                for piece, content in pieces:
                    nursery.start_soon(check, piece, content)
                decoded = await offload(lambda: [self._decode(piece, content) for piece, content in pieces])
        unchecked = [
            entry.data
            for (piece, _), entries in zip(pieces, decoded, strict=True)
            for entry in entries[checked[piece] :]
        ]
        if unchecked:
            await offload(lambda: [open_envelope(data, self.network) for data in unchecked])
        first = max(0, self.start - pieces[0][0].index * WIDTH)
        return list(chain.from_iterable(decoded))[first:]

    def _decode(self, piece: Bundle, content: bytes) -> list[Envelope]:
        """The entries of a bundle that is the tree's, their signatures unchecked."""
        entries = decode_bundle(content, piece.width)
        leaves = [leaf_hash(entry) for entry in entries]
        if piece.width == WIDTH:
            is_the_trees = tile_root(b"".join(leaves)) == self.reader.node(HEIGHT, piece.index)
        else:
            is_the_trees = leaves == self.reader.leaves(piece.index)
        if not is_the_trees:
            raise InvalidTile(f"the entries of {piece.path} are not those of the checkpoint's tree")
        return [open_envelope(entry, self.network, check_signature=False) for entry in entries]

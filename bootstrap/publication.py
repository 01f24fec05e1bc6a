"""The log, the snapshot and the board as files, which any web server or mirror can serve, and anybody can check.

    genesis.cbor                  what the network starts from
    checkpoint                    signed note of the log up to and with the newest mark, cosigned by witnesses
    tile/…                        the log in C2SP tlog-tiles: hash tiles, and entry bundles
    snapshot.cbor                 the signed header of what is published at this mark
    snapshot/VERSION/NAME         its contents

What names others is written last: a reader who begins with `checkpoint` or `snapshot.cbor` finds all that it needs.
"""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.bulletin import Level
from node.core import Core
from node.durable import write_durably
from node.offload import offload
from protocol import cbor
from protocol.checkpoint import Checkpoint
from protocol.notes import InvalidNote
from protocol.rejections import Rejected
from protocol.tiles import Bundle, InvalidTile, Tile, bundles, parse_path, tiles

LOOK_SECONDS = 1.0
VERSIONS_KEPT = 3
_MEDIA_TYPES = {"checkpoint": "text/plain; charset=utf-8", ".json": "application/json"}
_FOR_EVER = "public, max-age=31536000, immutable"


class Publication:
    """Keeps the folder in step with the newest mark."""

    def __init__(self, core: Core, folder: Path) -> None:
        self._core = core
        self._folder = folder
        self._published: tuple[int, int] | None = None
        """Version, and how many signatures its checkpoint has."""
        self._trouble = ""

    async def run(self) -> None:
        """Publish whatever is new, until cancelled. What cannot be written is told, and tried again."""
        while True:
            try:
                await self.publish()
                self._trouble = ""
            except OSError as error:
                if self._trouble != str(error):
                    self._trouble = str(error)
                    text = f"The public files in {self._folder} cannot be written: {error}."
                    self._core.bulletin.tell(Level.WARN, "NOT_PUBLISHED", text)
            await trio.sleep(LOOK_SECONDS)

    async def publish(self) -> None:
        """Write what is known of the newest mark, if it is new. Raises `OSError`."""
        marks, answers = self._core.marks, self._core.replica.answers
        header, note = answers.snapshot, marks.note
        if header is None or note is None or not marks.snapshot or marks.head != self._core.replica.state.head:
            return
        state = header.version, len(note.signatures)
        if state == self._published:
            return
        contents, signed = answers.contents(), marks.snapshot
        await self._write_log(header.size)
        await offload(partial(self._write_snapshot, header.version, contents, signed, note.encode()))
        self._published = state

    async def _write_log(self, size: int) -> None:
        before = await self._published_size()
        for tile in tiles(size, before):
            content = await self._core.store.tile(tile)
            await offload(partial(_write, self._folder / tile.path, content))
        for bundle in bundles(size, before):
            content = await self._core.store.bundle(bundle)
            if not content:
                raise OSError(f"{bundle.path} is no longer in the store: restore the folder from a mirror or a backup")
            await offload(partial(_write, self._folder / bundle.path, content))

    async def _published_size(self) -> int:
        """How much of this very log the folder holds."""
        try:
            note = await offload((self._folder / "checkpoint").read_bytes)
            said: Checkpoint = self._core.log_reader.watch.keys.open(note).checkpoint
            same = (await self._core.store.frontier(said.size)).root == said.root
        except (OSError, InvalidNote, Rejected, ValueError):
            return 0
        return said.size if same else 0

    def _write_snapshot(self, version: int, contents: Mapping[str, bytes], signed: bytes, note: bytes) -> None:
        folder = self._folder / "snapshot"
        for name, content in contents.items():
            _write(folder / str(version) / name, content)
        _write(self._folder / "genesis.cbor", cbor.encode(self._core.replica.genesis))
        _write(self._folder / "snapshot.cbor", signed)
        _write(self._folder / "checkpoint", note)
        for old in folder.iterdir():
            if old.name.isdecimal() and int(old.name) <= version - VERSIONS_KEPT:
                shutil.rmtree(old, ignore_errors=True)
        for partial_tiles in self._folder.glob("tile/**/*.p"):
            for old in sorted(partial_tiles.iterdir(), key=lambda file: int(file.name))[:-VERSIONS_KEPT]:
                old.unlink(missing_ok=True)


def public_routes(folder: Path) -> list[Route]:
    """Routes for the files of a publication. A request only picks among the names that there can be."""

    async def answer(request: Request) -> Response:
        path = request.url.path.removeprefix("/")
        try:
            content = await offload((folder / path).read_bytes) if _may_be(path) else None
        except OSError:
            content = None
        if content is None:
            return Response("There is no such file.\n", status_code=404, media_type="text/plain")
        kind = _MEDIA_TYPES.get(path) or _MEDIA_TYPES.get(Path(path).suffix, "application/octet-stream")
        caching = _FOR_EVER if path.startswith("tile/") else "no-cache"
        return Response(content, media_type=kind, headers={"Cache-Control": caching})

    return [
        Route(path, answer)
        for path in (
            "/checkpoint",
            "/genesis.cbor",
            "/snapshot.cbor",
            "/tile/{rest:path}",
            "/snapshot/{version}/{name}",
        )
    ]


def _may_be(path: str) -> bool:
    if path.startswith("tile/"):
        try:
            return isinstance(parse_path(path), Tile | Bundle)
        except InvalidTile:
            return False
    if path.startswith("snapshot/"):
        _, version, name = path.split("/", 2)
        stem = name.removesuffix(".json")
        return version.isascii() and version.isdecimal() and stem.isascii() and stem.isalpha() and name != stem
    return path in {"checkpoint", "genesis.cbor", "snapshot.cbor"}


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_durably(file, content)

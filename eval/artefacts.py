"""From a file's SHA-256 to a path on this disk, verified: packaged, named by the user, cached, or fetched from the Hub.

The hash is what counts. A file is looked for by it in every place, in that order, so that a registration means the same
on every network, and what is here already is never fetched. Everything blocks: call it from a thread.
"""

import hashlib
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from eval.demo import catalogue
from eval.failing import EvaluationError
from eval.hub import download
from eval.job import AdapterFile
from protocol.definitions import HubFile, Model
from protocol.failures import Failure

READ_BYTES = 1 << 20
MAX_REMEMBERED = 1024
MAX_FILES_LOOKED_AT = 4096
MAX_FILE_BYTES = 64 << 30
DISK_RESERVE_BYTES = 1 << 30


class Hashes:
    """SHA-256 of files, remembered in this process for as long as size and time of change stay the same."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()

    def of(self, path: Path) -> bytes:
        """The file's SHA-256. Raises `OSError`."""
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            key = (str(path), found.st_size, found.st_mtime_ns)
            if key not in self._known:
                hashed = hashlib.sha256()
                while chunk := file.read(READ_BYTES):
                    hashed.update(chunk)
                self._known[key] = hashed.digest()
                if len(self._known) > MAX_REMEMBERED:
                    self._known.popitem(last=False)
        return self._known[key]


class Resolver:
    """Finds files by their hash.

    `local` are files and folders that the user named (folders are searched for `*.gguf`, not recursively), `cache` is
    where downloads go; without it, or with `hub` false, nothing is downloaded. `limit` bounds a file's size.
    """

    def __init__(
        self,
        local: Sequence[Path] = (),
        cache: Path | None = None,
        *,
        hub: bool = True,
        limit: int = MAX_FILE_BYTES,
    ) -> None:
        self._local = tuple(local)
        self._cache = cache
        self._hub = hub
        self._limit = limit
        self._hashes = Hashes()

    def resolve(self, file: HubFile) -> Path:
        """The path of a file with exactly these bytes.

        Raises `EvaluationError`: `HASH_MISMATCH` where the registered place holds other bytes, `FILE_MISSING` where it
        holds none, `DOWNLOAD_FAILED` where this device could not fetch it.
        """
        packaged = catalogue.packaged_file(file.sha256)
        candidates = [packaged] if packaged else []
        for path in (*candidates, *self._on_this_disk(file)):
            if self._is(path, file):
                return path
        if not self._hub or self._cache is None:
            raise EvaluationError(Failure.DOWNLOAD_FAILED, f"{_place(file)} is not here, and the Hub is not asked.")
        self._check_room(file, self._cache)
        path = download(file, self._cache / "hub")
        if not self._is(path, file):
            raise EvaluationError(
                Failure.HASH_MISMATCH, f"{_place(file)} has the SHA-256 {self._hashes.of(path).hex()}."
            )
        return path

    def resolve_model(self, model: Model) -> tuple[Path, tuple[AdapterFile, ...]]:
        """Paths of the base and of all adapters, as a job wants them. Raises as `resolve` does."""
        base = self.resolve(model.base)
        adapters = (
            AdapterFile(str(self.resolve(adapter.file)), adapter.file.sha256, adapter.scale)
            for adapter in model.adapters
        )
        return base, tuple(adapters)

    def _on_this_disk(self, file: HubFile) -> Iterator[Path]:
        """What the user named, then files of the cache's own folder that are named by their hash."""
        looked_at = 0
        for place in self._local:
            for path in _files(place):
                looked_at += 1
                if looked_at > MAX_FILES_LOOKED_AT:
                    break
                yield path
        if self._cache is not None:
            yield self._cache / f"{file.sha256.hex()}.gguf"

    def _is(self, path: Path, file: HubFile) -> bool:
        try:
            return path.stat().st_size == file.size and self._hashes.of(path) == file.sha256
        except OSError:
            return False

    def _check_room(self, file: HubFile, cache: Path) -> None:
        if file.size > self._limit:
            raise EvaluationError(
                Failure.DOWNLOAD_FAILED, f"{_place(file)} has {file.size} bytes, this device takes {self._limit}."
            )
        cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(cache).free
        if file.size + DISK_RESERVE_BYTES > free:
            raise EvaluationError(
                Failure.DOWNLOAD_FAILED, f"{_place(file)} has {file.size} bytes, the disk has {free} left: free some."
            )


def _files(place: Path) -> Iterable[Path]:
    if place.is_dir():
        return sorted(place.glob("*.gguf"))
    return (place,)


def _place(file: HubFile) -> str:
    return f"{file.repository}@{file.commit[:7]}:{file.path}"

"""From a file's SHA-256 to a path on this disk, verified: packaged, named by the user, cached, or fetched from the Hub.

The hash is what counts. A file is looked for by it in every place, in that order, so that a registration means the same
on every network, and what is here already is never fetched. Everything blocks: call it from a thread.
"""

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from eval.cache import Cache, NoRoom
from eval.demo import catalogue
from eval.failing import EvaluationError, Passing
from eval.header import HeaderRefused, read_header
from eval.hub import Announced, Report, announced, download, place_of
from eval.job import AdapterFile
from eval.peft import convert_files
from protocol.definitions import Adapter, HubFile, Model
from protocol.failures import Failure
from protocol.hashing import digest

READ_BYTES = 1 << 20
MAX_REMEMBERED = 1024
MAX_FILES_LOOKED_AT = 4096
MOST_GROWN = 3  # a converted adapter is 32-bit floats, where its weights may have sixteen bits
_SUFFIX = re.compile(r"\.[a-z0-9]{1,16}")


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
    where downloads go; without it, or with `hub` false, nothing is downloaded.
    """

    def __init__(self, local: Sequence[Path] = (), cache: Cache | None = None, *, hub: bool = True) -> None:
        self._local = tuple(local)
        self._cache = cache
        self._hub = hub
        self._hashes = Hashes()

    def resolve(self, file: HubFile, report: Report = lambda _: None, stop: threading.Event | None = None) -> Path:
        """The path of a file with exactly these bytes; `report` hears of a download, `stop` ends it.

        Raises `EvaluationError`: `HASH_MISMATCH` where the registered place holds other bytes, `FILE_MISSING` where it
        holds none, `DOWNLOAD_FAILED` where this device could not fetch it.
        """
        packaged = catalogue.packaged_file(file.sha256)
        candidates = [packaged] if packaged else []
        for path in (*candidates, *self._on_this_disk(file)):
            if self._is(path, file):
                return path
        if not self._hub or self._cache is None:
            raise EvaluationError(Failure.DOWNLOAD_FAILED, f"{place_of(file)} is not here, and the Hub is not asked.")
        return self._fetched(file, self._cache, report, stop)

    def has(self, file: HubFile) -> bool:
        """Whether a file is packaged or, by its name, in the cache; what it holds is looked at when it is used."""
        cached = self._cache is not None and self._cache.has(cached_name(file))
        return cached or catalogue.packaged_file(file.sha256) is not None

    def resolve_model(
        self, model: Model, report: Report = lambda _: None, stop: threading.Event | None = None
    ) -> tuple[Path, tuple[AdapterFile, ...]]:
        """Paths of the base and of all adapters, as a job wants them. Raises as `resolve` does."""
        base = self.resolve(model.base, report, stop)
        return base, tuple(self._adapter(adapter, model, base, report, stop) for adapter in model.adapters)

    def held(self, model: Model) -> AbstractContextManager[None]:
        """Within the block the cache does not evict the model's files."""
        if self._cache is None:
            return nullcontext()
        converted = (converted_name(adapter, model) for adapter in model.adapters if adapter.configuration)
        return self._cache.held([*map(cached_name, model.files), *converted])

    def _adapter(
        self, adapter: Adapter, model: Model, base: Path, report: Report, stop: threading.Event | None
    ) -> AdapterFile:
        """A GGUF adapter as it is; one of PEFT converted for this base, once, into the cache."""
        weights = self.resolve(adapter.file, report, stop)
        if adapter.configuration is None:
            return AdapterFile(str(weights), adapter.file.sha256, adapter.scale)
        configuration = self.resolve(adapter.configuration, report, stop)
        if self._cache is None:
            raise EvaluationError(
                Failure.DOWNLOAD_FAILED, f"{place_of(adapter.file)} has to be converted, and there is no cache for it."
            )
        name = converted_name(adapter, model)
        found = self._cache.find(name) or self._converted(self._cache, name, weights, configuration, model, base)
        return AdapterFile(str(found), self._hashes.of(found), adapter.scale)

    def _converted(self, cache: Cache, name: str, weights: Path, configuration: Path, model: Model, base: Path) -> Path:
        try:
            with cache.room(name, MOST_GROWN * weights.stat().st_size) as target:
                if found := cache.find(name):  # another thread was faster
                    return found
                convert_files(weights, configuration, read_header(base), model.base.sha256, target)
                return cache.keep(name)
        except NoRoom as error:
            raise EvaluationError(Failure.DOWNLOAD_FAILED, f"A converted adapter has no room: {error}") from None
        except HeaderRefused as error:
            raise EvaluationError(Failure.MODEL_REFUSED, str(error)) from None
        except OSError as error:
            detail = f"An adapter cannot be converted into {cache.folder}: {error.strerror or error}."
            raise EvaluationError(Failure.DOWNLOAD_FAILED, detail) from None

    def _fetched(self, file: HubFile, cache: Cache, report: Report, stop: threading.Event | None) -> Path:
        place, name = place_of(file), cached_name(file)
        said = announced(place, report=report, stop=stop)
        if said.size is not None and said.size != file.size:
            raise EvaluationError(Failure.HASH_MISMATCH, f"{place} has {said.size} bytes, registered are {file.size}.")
        if said.sha256 is not None and said.sha256 != file.sha256:
            raise EvaluationError(Failure.HASH_MISMATCH, f"{place} has the SHA-256 {said.sha256.hex()}.")
        try:
            with cache.room(name, file.size) as partial:
                found = cache.find(name)
                if found and self._is(found, file):  # another thread was faster
                    return found
                return self._completed(file, cache, partial, said, report, stop)
        except NoRoom as error:
            raise EvaluationError(Failure.DOWNLOAD_FAILED, f"{place}: {error}") from None
        except OSError as error:
            detail = f"{place} cannot be kept in {cache.folder}: {error.strerror or error}."
            raise EvaluationError(Failure.DOWNLOAD_FAILED, detail) from None

    def _completed(
        self,
        file: HubFile,
        cache: Cache,
        partial: Path,
        said: Announced,
        report: Report,
        stop: threading.Event | None,
    ) -> Path:
        """Downloads and verifies. What was begun earlier may be damaged: then it is fetched once more, as a whole.

        Bytes that are neither the registered nor the announced ones were damaged on their way, and the model is not to
        blame.
        """
        place, name = place_of(file), cached_name(file)
        for again in (partial.exists() or said.sha256 is not None, False):
            download(place, file.size, partial, report=report, stop=stop)
            wrong = _sha256(partial)
            if wrong == file.sha256:
                return cache.keep(name)
            cache.drop(name)
            if not again:
                break
        if said.sha256 is not None:
            detail = f"{place} arrived damaged twice: its SHA-256 came out as {wrong.hex()}."
            raise EvaluationError(Failure.DOWNLOAD_FAILED, detail, Passing.LATER)
        raise EvaluationError(Failure.HASH_MISMATCH, f"{place} has the SHA-256 {wrong.hex()}.")

    def _on_this_disk(self, file: HubFile) -> Iterator[Path]:
        """What the user named, then what the cache has."""
        looked_at = 0
        for place in self._local:
            for path in _files(place):
                looked_at += 1
                if looked_at > MAX_FILES_LOOKED_AT:
                    break
                yield path
        if self._cache is not None and (cached := self._cache.find(cached_name(file))):
            yield cached

    def _is(self, path: Path, file: HubFile) -> bool:
        try:
            return path.stat().st_size == file.size and self._hashes.of(path) == file.sha256
        except OSError:
            return False


def _files(place: Path) -> Iterable[Path]:
    if place.is_dir():
        return sorted(place.glob("*.gguf"))
    return (place,)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def cached_name(file: HubFile) -> str:
    """The name of a file in the cache: its hash, with the ending by which people know what it is."""
    suffix = Path(file.path).suffix.lower()
    return file.sha256.hex() + (suffix if _SUFFIX.fullmatch(suffix) else "")


def converted_name(adapter: Adapter, model: Model) -> str:
    """The name in the cache of an adapter of PEFT, converted for the model's base."""
    named = digest("peerboard/converted-adapter/1", *(file.sha256 for file in adapter.files), model.base.sha256)
    return named.hex() + ".gguf"

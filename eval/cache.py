"""Downloaded files within the volunteer's limit: whatever was not used for longest goes first.

One folder, one file per entry, named by its content's hash; `.partial` files are downloads that were interrupted and
count like the others. There is no index: sizes and times of use are the file system's own (`st_atime`, set here, so
that mount options do not matter), and a crash leaves nothing behind that the next start would not see. The folder
belongs to one process; its threads may share a `Cache`.
"""

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from msgspec import Struct

DISK_RESERVE_BYTES = 1 << 30
PARTIAL = ".partial"
SCRATCH = "scratch-"


class NoRoom(Exception):
    """A file does not fit; the text says why, and what to do."""


class Kept(Struct, frozen=True):
    """A file of the cache: its name, its size in bytes, and when it was last used (nanoseconds since 1970)."""

    name: str
    size: int
    used: int


class Cache:
    """At most `limit` bytes in `folder`; `reserve` bytes of the disk stay free."""

    def __init__(self, folder: Path, limit: int, *, reserve: int = DISK_RESERVE_BYTES) -> None:
        self.folder = folder
        self.limit = limit
        self._reserve = reserve
        self._lock = threading.RLock()
        self._holds: Counter[str] = Counter()
        self._promised: dict[str, int] = {}
        self._fetching: dict[str, threading.Lock] = {}
        for left_over in folder.glob(f"{SCRATCH}*"):
            shutil.rmtree(left_over, ignore_errors=True)
        self._make_room(0)  # the limit may have been lowered since

    def files(self) -> list[Kept]:
        """Everything that is kept, partial downloads included, longest unused first."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        found.append(Kept(entry.name, status.st_size, status.st_atime_ns))
        return sorted(found, key=lambda kept: (kept.used, kept.name))

    def used(self) -> int:
        """Bytes taken by what is kept, and promised to downloads that are under way."""
        with self._lock:
            sizes = {kept.name: kept.size for kept in self.files()}
            return sum(max(size, self._promised.get(name, 0)) for name, size in sizes.items()) + sum(
                size for name, size in self._promised.items() if name not in sizes
            )

    def has(self, name: str) -> bool:
        """Whether there is a complete file, which does not count as used by that."""
        return (self.folder / name).is_file()

    def find(self, name: str) -> Path | None:
        """The path of a complete file, which counts as used now; None where there is none."""
        path = self.folder / name
        with self._lock:
            try:
                status = path.stat()
                os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
            except OSError:
                return None
        return path

    @contextmanager
    def held(self, names: Iterable[str]) -> Iterator[None]:
        """Within the block none of these files is evicted, whether it is there already or comes later."""
        names = tuple(names)
        with self._lock:
            self._holds.update(names)
        try:
            yield
        finally:
            with self._lock:
                self._holds.subtract(names)
                self._holds = +self._holds

    @contextmanager
    def room(self, name: str, size: int) -> Iterator[Path]:
        """The path of the partial file of a download of `size` bytes, for which room is made and kept in the block.

        Downloads of the same name wait for each other. Raises `NoRoom` where the limit or the disk is too
        small, even with everything evicted that nobody uses; nothing is evicted then.
        """
        partial = name + PARTIAL
        with self._lock:
            turn = self._fetching.setdefault(name, threading.Lock())
        with ExitStack() as stack:
            stack.enter_context(turn)
            stack.enter_context(self.held([partial]))
            with self._lock:
                self._promised[partial] = size
            stack.callback(self._forget, partial)
            with self._lock:
                self.folder.mkdir(parents=True, exist_ok=True)
                path = self.folder / partial
                missing = size - (path.stat().st_size if path.exists() else 0)
                self._check(size, missing)
                self._make_room(missing)
            yield self.folder / partial

    def keep(self, name: str) -> Path:
        """The finished download takes its name; it counts as used now."""
        partial, path = self.folder / (name + PARTIAL), self.folder / name
        with self._lock:
            partial.replace(path)
            self.find(name)
        return path

    def drop(self, name: str) -> None:
        """Forgets a file and its partial download."""
        with self._lock:
            for path in (self.folder / name, self.folder / (name + PARTIAL)):
                path.unlink(missing_ok=True)

    def _forget(self, partial: str) -> None:
        with self._lock:
            self._promised.pop(partial, None)

    def _make_room(self, size: int) -> None:
        """Evicts until what is kept and promised is within the limit, and the disk has `size` bytes to spare."""
        for kept in self.files():
            if self.used() <= self.limit and (not size or self._free() >= size):
                break
            if not self._holds[kept.name]:
                (self.folder / kept.name).unlink(missing_ok=True)

    def _check(self, size: int, missing: int) -> None:
        """Refuses what would not fit even with everything evicted that nobody uses; `size` is promised already."""
        evictable = sum(kept.size for kept in self.files() if not self._holds[kept.name])
        busy = self.used() - evictable
        if size > self.limit:
            detail = f"It has {size} bytes, this device keeps at most {self.limit}: raise the setting 'disk'."
        elif busy > self.limit:
            detail = f"It has {size} bytes; of {self.limit} that this device keeps, {busy - size} are in use."
        elif missing > self._free() + evictable:
            detail = f"It has {size} bytes, the disk has {self._free()} to spare: free some."
        else:
            return
        raise NoRoom(detail)

    def _free(self) -> int:
        return max(0, shutil.disk_usage(self.folder).free - self._reserve)

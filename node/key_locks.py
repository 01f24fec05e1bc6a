"""One process a key, among all of this user's on this machine, whatever its home: two would contradict each other.

A lock file for each network and key lies in every folder of the user that can be had, because the best one may be there
only while the user is logged in; the kernel gives a lock back when its holder dies.
Another user's process and another machine are not kept out: their words are noticed when they are heard
(`node.scheduler`).
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TextIO

import structlog

from eval.user_folder import UserFolderUnavailable, private, user_folders

log = structlog.get_logger(__name__)


class KeyInUse(Exception):
    """Another process signs with this key; the text says which, and what to do."""


@contextmanager
def hold_keys(network: bytes, keys: Iterable[bytes], home: Path, folder: Path | None = None) -> Iterator[None]:
    """Hold the locks of public keys in a network for the length of a block. Raises `KeyInUse`.

    Where no lock file can be kept, nothing is held: that is told to the log file.
    """
    try:
        places = [private(folder)] if folder else list(user_folders("keys"))
    except (UserFolderUnavailable, OSError):
        places = []
    if not places:
        log.warning("no lock can be kept for a key: a second process would not be noticed at once")
    with ExitStack() as held:
        for key in keys:
            for place in places:
                held.enter_context(_hold(place / sha256(network + key).hexdigest()[:32], key, home))
        yield


@contextmanager
def _hold(file: Path, key: bytes, home: Path) -> Iterator[None]:
    try:
        stream = _locked(file)
    except BlockingIOError:
        raise KeyInUse(
            f"{_holder(file)} signs with the key {key.hex()[:16]} of {home} already. "
            "Two would contradict each other, and nothing that either says would count. Stop that one first, or "
            "give this home keys of its own."
        ) from None
    except OSError as error:
        log.warning("no lock can be kept for a key here", file=str(file), reason=str(error))
        yield
        return
    with stream:
        stream.truncate(0)
        stream.write(f"Process {os.getpid()} on {home}")
        stream.flush()
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def _holder(file: Path) -> str:
    try:
        return file.read_text().strip() or "Another process"
    except OSError:
        return "Another process"


def _locked(file: Path) -> TextIO:
    """The file, locked: it is made where it is missing, and again where its last holder has just removed it."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        stream = os.fdopen(descriptor, "r+")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return stream
        except FileNotFoundError:
            pass
        except OSError:
            stream.close()
            raise
        stream.close()

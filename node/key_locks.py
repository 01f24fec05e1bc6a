"""One process a key, among all of this user's on this machine, whatever its home: two would contradict each other.

A lock file for each network and key lies in a folder of the user; the kernel gives it back when its holder dies.
Another user's process and another machine are not kept out: their words are noticed when they are heard
(`node.scheduler`).
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

import structlog

from eval.user_folder import UserFolderUnavailable, private, user_folder

log = structlog.get_logger(__name__)


class KeyInUse(Exception):
    """Another process signs with this key; the text says which, and what to do."""


@contextmanager
def hold_keys(network: bytes, keys: Iterable[bytes], home: Path, folder: Path | None = None) -> Iterator[None]:
    """Hold the locks of public keys in a network for the length of a block. Raises `KeyInUse`.

    Where no lock file can be kept, nothing is held: that is told to the log file.
    """
    with ExitStack() as held:
        for key in keys:
            held.enter_context(_hold(network, key, home, folder))
        yield


@contextmanager
def _hold(network: bytes, key: bytes, home: Path, folder: Path | None) -> Iterator[None]:
    try:
        place = private(folder) if folder else user_folder("keys")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(place / sha256(network + key).hexdigest()[:32], flags, 0o600)
    except (UserFolderUnavailable, OSError) as error:
        log.warning("no lock can be kept for a key: a second process would not be noticed at once", reason=str(error))
        yield
        return
    with os.fdopen(descriptor, "r+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KeyInUse(
                f"{stream.read().strip() or 'Another process'} signs with the key {key.hex()[:16]} of {home} already. "
                "Two would contradict each other, and nothing that either says would count. Stop that one first, or "
                "give this home keys of its own."
            ) from None
        stream.truncate(0)
        stream.write(f"Process {os.getpid()} on {home}")
        stream.flush()
        yield

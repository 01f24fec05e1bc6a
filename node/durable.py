"""Small files that must not be lost or half written."""

import os
import tempfile
from pathlib import Path

OWNER_ONLY = 0o600


def write_durably(file: Path, content: bytes, *, private: bool = False) -> None:
    """Replace a file by new content, on disk before this returns: after a crash it is the old or the new one, whole.

    A `private` one only its owner can read, whatever its predecessor was.
    """
    draft = file.with_name(f"{file.name}.new")
    with draft.open("wb") as stream:
        if private:
            os.fchmod(stream.fileno(), OWNER_ONLY)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)
    _sync_folder(file)


def write_secret_once(file: Path, content: bytes) -> None:
    """Write a secret that its owner alone can read, whole and on disk, unless there is one: the first writer wins."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            return
    finally:
        os.unlink(draft)
    _sync_folder(file)


def _sync_folder(file: Path) -> None:
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

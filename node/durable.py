"""Small files that must not be lost or half written."""

import os
from pathlib import Path


def write_durably(file: Path, content: bytes) -> None:
    """Replace a file by new content, on disk before this returns: after a crash it is the old or the new one, whole."""
    draft = file.with_name(f"{file.name}.new")
    with draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

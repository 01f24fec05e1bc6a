"""Where all processes of one user on one machine keep lock files: a folder that nobody else may write to."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs


class UserFolderUnavailable(Exception):
    """No folder can be had in which this user alone may keep lock files."""


def user_folder(name: str) -> Path:
    """The same place for all of this user's processes, whatever their environment says, if one can be had.

    Raises `UserFolderUnavailable`.
    """
    found = next(user_folders(name), None)
    if found is None:
        raise UserFolderUnavailable(f"No lock files can be kept in any of {', '.join(map(str, _places()))}.")
    return found


def user_folders(name: str) -> Iterator[Path]:
    """All such places: the first one may be there only while the user is logged in."""
    for place in _places():
        if place.is_dir() and os.access(place, os.W_OK):
            try:
                yield private(place / f"peerboard-{name}-{os.getuid()}")
            except (UserFolderUnavailable, OSError):
                continue


def _places() -> tuple[Path, ...]:
    runtime = Path("/run/user") / str(os.getuid())
    found = (runtime, Path("/tmp"), Path(tempfile.gettempdir()), platformdirs.user_cache_path())  # noqa: S108
    return tuple(dict.fromkeys(place.resolve() for place in found))


def private(folder: Path) -> Path:
    """Make the folder, if this user alone may write to it. Raises `UserFolderUnavailable` and `OSError`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UserFolderUnavailable(f"{folder} is no folder that this user alone may write to.")
    return folder

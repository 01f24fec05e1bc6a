"""A publication of the bootstrap, read from a folder or over HTTP. Nothing that is read here is believed."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

SECONDS = 20.0
LARGEST = 256 * 1024 * 1024


class NotPublished(Exception):
    """A file is not there; the text says which."""


class OutOfReach(Exception):
    """Nobody answers there; the text says why."""


class PublicFiles(Protocol):
    """Reads files by their names below the publication's place."""

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises `NotPublished` and `OutOfReach`."""
        ...


class Folder:
    """Files on this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes:
        """See `PublicFiles`."""
        try:
            with (self._folder / name).open("rb") as stream:
                return _bounded(stream.read(LARGEST + 1), name)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotPublished(f"{self._folder / name} is not there") from None
        except OSError as error:
            raise OutOfReach(f"{self._folder / name} cannot be read: {error.strerror}") from None


class Site:
    """Files of a web server."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def read(self, name: str) -> bytes:
        """See `PublicFiles`."""
        address = f"{self._url}/{name}"
        try:
            with urllib.request.urlopen(address, timeout=SECONDS) as response:  # noqa: S310  http and https only
                return _bounded(response.read(LARGEST + 1), name)
        except urllib.error.HTTPError as error:
            raise NotPublished(f"{address} answers {error.code}") from None
        except (OSError, ValueError) as error:
            raise OutOfReach(f"{address} does not answer: {getattr(error, 'reason', error)}") from None


def public_files(place: str) -> PublicFiles:
    """The files at a folder or an address that begins with http:// or https://."""
    return Site(place) if urlsplit(place).scheme in {"http", "https"} else Folder(Path(place).expanduser())


def _bounded(content: bytes, name: str) -> bytes:
    if len(content) > LARGEST:
        raise NotPublished(f"{name} has more than {LARGEST >> 20} MiB, which nothing that is published has")
    return content

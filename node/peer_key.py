"""The peer key: which node this is to libp2p, and to nobody else.

It is unrelated to the keys that sign messages, so that a name never leads to an address.
"""

import os
import secrets
import stat
import tempfile
from pathlib import Path

SEED_BYTES = 32


class PeerKeyError(Exception):
    """The peer key file cannot be used; the text says why and what to do."""


def load_peer_key(path: Path) -> bytes:
    """Return the 32-byte Ed25519 seed in the file (mode 0600), made first if there is none.

    Two processes that start at once get the same seed. Raises `PeerKeyError`.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(path, secrets.token_bytes(SEED_BYTES))
    except OSError as error:
        raise PeerKeyError(
            f"cannot write the peer key to {path}: {error.strerror}. "
            "Make the folder writable, or choose another with --home."
        ) from error
    try:
        return _read(path)
    except FileNotFoundError as error:
        raise PeerKeyError(f"the peer key {path} vanished while it was read. Start again.") from error


def _create(path: Path, seed: bytes) -> None:
    """Write the seed under a name of its own, then link it: whole or absent, and the first writer wins."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(seed)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        os.unlink(temporary)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        seed = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PeerKeyError(f"cannot read the peer key {path}: {error.strerror}.") from error
    if mode & 0o077:
        raise PeerKeyError(f"the peer key {path} is open to others (mode {mode:o}). Run: chmod 600 {path}")
    if len(seed) != SEED_BYTES:
        raise PeerKeyError(
            f"the peer key {path} has {len(seed)} bytes instead of {SEED_BYTES}. "
            "Restore it, or delete it to get a new peer identity."
        )
    return seed

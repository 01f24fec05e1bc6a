"""The peer key: which node this is to libp2p, and to nobody else.

It is unrelated to the keys that sign messages, so that a name never leads to an address.
"""

import secrets
import stat
from pathlib import Path

from node.durable import write_secret_once

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
        write_secret_once(path, secrets.token_bytes(SEED_BYTES))
    except OSError as error:
        raise PeerKeyError(
            f"cannot write the peer key to {path}: {error.strerror}. "
            "Make the folder writable, or choose another with --home."
        ) from error
    try:
        return _read(path)
    except FileNotFoundError as error:
        raise PeerKeyError(f"the peer key {path} vanished while it was read. Start again.") from error


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

"""Who a node is: the account that earns, the device that signs, and the proof that they belong together.

The peer key (`peer_key`) has nothing to do with either, so that a name never leads to an address.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from node.durable import write_secret_once
from protocol.envelope import Envelope, seal
from protocol.messages import Delegation, consent_to
from protocol.signing import PrivateKey

SEED_BYTES = 32


class KeyFileDamaged(Exception):
    """A key file does not hold a key; the text says which, and what to do."""


@dataclass(frozen=True)
class Identity:
    """An account's key and the key of this device."""

    account: PrivateKey
    device: PrivateKey

    def delegation(self, network: bytes) -> Envelope:
        """The account's word that this device speaks for it; the same envelope each time."""
        consent = self.device.sign(consent_to(network, self.account.public))
        return seal(self.account, network, Delegation(self.device.public, consent))


def load_identity(account_file: Path, device_file: Path) -> Identity:
    """The keys in two files, which are made (mode 0600) where they are missing. Raises `KeyFileDamaged`."""
    return Identity(load_key(account_file), load_key(device_file))


def load_key(file: Path) -> PrivateKey:
    """The key in a file of 64 hex digits; a new one is written first if there is no file."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_secret_once(file, f"{os.urandom(SEED_BYTES).hex()}\n".encode("ascii"))
    try:
        seed = bytes.fromhex(file.read_text().strip())
    except (ValueError, UnicodeDecodeError):
        seed = b""
    if len(seed) != SEED_BYTES:
        raise KeyFileDamaged(
            f"{file} does not hold a key (64 hex digits). Restore it from your backup, or move it away to start "
            "with a new identity."
        )
    return PrivateKey(seed)

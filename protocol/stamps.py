"""Work stamps: what a profile without attestation costs, so that accounts in bulk cost something.

A stamp is an 8-byte nonce with SHA-256(SHA-256("peerboard/stamp/1" ‖ network ‖ device ‖ epoch) + nonce), as a number,
below 2^256 / (seconds · 2^20): about a million tries for each second that the network asks for, which is what one core
of a small machine manages (`benchmarks/stamps.py`). It is bound to one device and one epoch, so that none can be made
in advance for other names or used twice.
"""

import hashlib
import itertools

from protocol.hashing import as_number, digest

TRIES_PER_SECOND = 1 << 20
STAMP_BYTES = 8
_LAST_BYTES = [bytes((number,)) for number in range(256)]


def is_stamped(network: bytes, device: bytes, epoch: int, stamp: bytes | None, seconds: int) -> bool:
    """Whether the stamp shows the work of so many seconds; always, where the network asks for none."""
    if not seconds:
        return True
    if stamp is None or len(stamp) != STAMP_BYTES:
        return False
    return as_number(hashlib.sha256(_prefix(network, device, epoch) + stamp).digest()) < _threshold(seconds)


def find_stamp(network: bytes, device: bytes, epoch: int, seconds: int) -> bytes:
    """The first nonce that passes. It holds the interpreter meanwhile: nothing else runs in this process."""
    prefix, below = _prefix(network, device, epoch), _threshold(max(1, seconds)).to_bytes(32, "big")
    sha256 = hashlib.sha256
    for number in itertools.count():
        beginning = prefix + number.to_bytes(STAMP_BYTES - 1, "big")
        for last in _LAST_BYTES:
            if sha256(beginning + last).digest() < below:
                return beginning[len(prefix) :] + last
    raise AssertionError("numbers do not end")


def _prefix(network: bytes, device: bytes, epoch: int) -> bytes:
    return digest("peerboard/stamp/1", network, device, epoch)


def _threshold(seconds: int) -> int:
    return (1 << 256) // (seconds * TRIES_PER_SECOND)

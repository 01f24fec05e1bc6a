"""Work stamps: what a profile without attestation costs, so that accounts in bulk cost something.

A stamp is an 8-byte nonce with SHA-256(SHA-256("peerboard/stamp/1" ‖ network ‖ device ‖ epoch) + nonce), as a number,
below 2^256 / (seconds · 2^20): about a million tries for each second that the network asks for. It is bound to one
device and one epoch, so that none can be made in advance for other names or used twice.
"""

import hashlib
import itertools

from protocol.hashing import as_number, digest

TRIES_PER_SECOND = 1 << 20
STAMP_BYTES = 8


def is_stamped(network: bytes, device: bytes, epoch: int, stamp: bytes | None, seconds: int) -> bool:
    """Whether the stamp shows the work of so many seconds; always, where the network asks for none."""
    if not seconds:
        return True
    if stamp is None or len(stamp) != STAMP_BYTES:
        return False
    return _passes(_prefix(network, device, epoch), stamp, _threshold(seconds))


def find_stamp(network: bytes, device: bytes, epoch: int, seconds: int) -> bytes:
    """The first nonce that passes: takes about as long as it says, on one core."""
    prefix, threshold = _prefix(network, device, epoch), _threshold(max(1, seconds))
    nonces = (number.to_bytes(STAMP_BYTES, "big") for number in itertools.count())
    return next(nonce for nonce in nonces if _passes(prefix, nonce, threshold))


def _prefix(network: bytes, device: bytes, epoch: int) -> bytes:
    return digest("peerboard/stamp/1", network, device, epoch)


def _threshold(seconds: int) -> int:
    return (1 << 256) // (seconds * TRIES_PER_SECOND)


def _passes(prefix: bytes, nonce: bytes, threshold: int) -> bool:
    return as_number(hashlib.sha256(prefix + nonce).digest()) < threshold

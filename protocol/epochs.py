"""What an epoch stands on.

A mark opens an epoch. Its beacon comes from the next preimage of the log key's hash chain and from the salts that
runners revealed in the marked epoch that it closes: nobody knows it early, and the log key cannot grind it. Without a
mark, nodes go on *leaderless* from the last marked epoch. Commitments and results count together only if they name the
same ground.
"""

import hashlib
from collections.abc import Mapping

from protocol.hashing import digest


def hash_chain(seed: bytes, length: int) -> list[bytes]:
    """Preimages in the order in which marks reveal them, then the anchor: `length` + 1 values of 32 bytes."""
    chain = [seed]
    for _ in range(length):
        chain.append(hashlib.sha256(chain[-1]).digest())
    anchor = chain[-1]
    return [*reversed(chain[:-1]), anchor]


def follows(preimage: bytes, last: bytes) -> bool:
    """Whether `preimage` is the next value of the chain after `last` (the anchor, or the last one revealed)."""
    return hashlib.sha256(preimage).digest() == last


def marked_beacon(preimage: bytes, salts: Mapping[tuple[int, bytes], bytes]) -> bytes:
    """Beacon of a marked epoch; `salts` by (epoch, account) of the runners who bring one (see `Gathering.salts`)."""
    revealed = tuple((epoch, account, salts[epoch, account]) for epoch, account in sorted(salts))
    return digest("peerboard/beacon/1", preimage, digest("peerboard/salts/1", revealed))


def leaderless_beacon(marked: bytes, epoch: int) -> bytes:
    """Beacon of an epoch that no mark opened; `marked` is the beacon of the last epoch that one did open."""
    return digest("peerboard/leaderless/1", marked, epoch)


def ground(size: int, root: bytes, beacon: bytes) -> bytes:
    """What an epoch's messages name: hash of its basis (size and root of the log before the mark) and its beacon."""
    return digest("peerboard/ground/1", size, root, beacon)

"""Digests with a domain tag: no value of one meaning can be taken for one of another."""

import hashlib
from collections.abc import Callable
from functools import lru_cache

from protocol import cbor

DIGEST_BYTES = 32
DIGEST = object()
"""In `around`: the place of a digest."""


def digest(tag: str, *parts: object) -> bytes:
    """SHA-256 of the deterministic CBOR array of the tag and the parts (design, section 1)."""
    return hashlib.sha256(cbor.encode((tag, *parts))).digest()


@lru_cache(maxsize=256, typed=True)
def around(tag: str, *parts: object) -> tuple[bytes, ...]:
    """What `digest(tag, *parts)` hashes, cut where the parts are `DIGEST`: for many that differ in these only.

    A `DIGEST` stands for any 32 bytes, which belong between two pieces.
    """
    pieces = [cbor.head(cbor.ARRAY, 1 + len(parts)) + cbor.encode(tag)]
    for part in parts:
        if part is DIGEST:
            pieces[-1] += cbor.head(cbor.BYTES, DIGEST_BYTES)
            pieces.append(b"")
        else:
            pieces[-1] += cbor.encode(part)
    return tuple(pieces)


def continued(start: bytes) -> Callable[[bytes], bytes]:
    """SHA-256 of `start` and more, as a function of what comes behind."""
    before = hashlib.sha256(start)

    def finish(last: bytes) -> bytes:
        whole = before.copy()
        whole.update(last)
        return whole.digest()

    return finish


def as_number(value: bytes) -> int:
    """A digest as a number: big-endian."""
    return int.from_bytes(value, "big")

"""Digests with a domain tag: no value of one meaning can be taken for one of another."""

import hashlib
from collections.abc import Callable

from protocol import cbor

DIGEST_BYTES = 32


def digest(tag: str, *parts: object) -> bytes:
    """SHA-256 of the deterministic CBOR array of the tag and the parts (design, section 1)."""
    return hashlib.sha256(cbor.encode((tag, *parts))).digest()


def digests_of(tag: str, *parts: object) -> Callable[[bytes], bytes]:
    """`digest(tag, *parts, last)` as a function of a last part of 32 bytes: for many that differ in nothing else."""
    before = hashlib.sha256(cbor.encode((tag, *parts, bytes(DIGEST_BYTES)))[:-DIGEST_BYTES])

    def finish(last: bytes) -> bytes:
        whole = before.copy()
        whole.update(last)
        return whole.digest()

    return finish


def as_number(value: bytes) -> int:
    """A digest as a number: big-endian."""
    return int.from_bytes(value, "big")

"""Digests with a domain tag: no value of one meaning can be taken for one of another."""

import hashlib

from protocol import cbor

DIGEST_BYTES = 32


def digest(tag: str, *parts: object) -> bytes:
    """SHA-256 of the deterministic CBOR array of the tag and the parts (design, section 1)."""
    return hashlib.sha256(cbor.encode((tag, *parts))).digest()


def as_number(value: bytes) -> int:
    """A digest as a number: big-endian."""
    return int.from_bytes(value, "big")

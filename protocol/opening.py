"""The digest that a result opens, from the envelope as it travelled.

`messages.commitment_digest` is the definition: it encodes the results anew. They stand in the envelope already, in the
same deterministic bytes, and most of a result's cost would be to write them again.
"""

import hashlib
from itertools import chain

from protocol import cbor
from protocol.envelope import Envelope
from protocol.messages import Kind, Result, commitment_digest

SIGNATURE_BYTES = 66
"""Head and signature, the last of an envelope's four parts."""
_BEFORE_FIELDS = cbor.head(cbor.ARRAY, 2) + cbor.encode(int(Kind.RESULT)) + cbor.head(cbor.MAP, 7)
_KEYS = [cbor.encode(place) for place in range(7)]
_BEFORE_DIGESTED = cbor.head(cbor.ARRAY, 8) + cbor.encode("peerboard/commit/1")


def _encoded_length(saw: tuple[tuple[bytes, ...], ...]) -> int:
    """Of the CBOR of an array of arrays of byte strings that have at most 23 bytes each."""
    counts = list(map(len, saw))
    two_byte_heads = sum(map((23).__lt__, counts))  # no row has more than 64 items
    heads = len(cbor.head(cbor.ARRAY, len(saw))) + len(saw) + two_byte_heads + sum(counts)
    return heads + len(b"".join(chain.from_iterable(saw)))


def opened_digest(network: bytes, account: bytes, envelope: Envelope, message: Result) -> bytes:
    """`commitment_digest(network, account, message)`, where `message` is the envelope's."""
    epoch, ground, salt, run = map(cbor.encode, (message.epoch, message.ground, message.salt, message.run))
    fields = (epoch, ground, cbor.encode(message.commitment), salt, run)
    before = _BEFORE_FIELDS + b"".join(key + value for key, value in zip(_KEYS, fields, strict=False)) + _KEYS[5]
    start = envelope.data.find(before) + len(before)
    end = len(envelope.data) - SIGNATURE_BYTES - len(_KEYS[6]) - _encoded_length(message.saw)
    if start < len(before) or envelope.data[end : end + 1] != _KEYS[6]:
        return commitment_digest(network, account, message)  # not the bytes of this message
    tasks = envelope.data[start:end]
    return hashlib.sha256(
        b"".join((_BEFORE_DIGESTED, cbor.encode(network), cbor.encode(account), epoch, ground, salt, run, tasks))
    ).digest()

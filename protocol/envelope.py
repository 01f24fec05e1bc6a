"""A signed message: COSE_Sign1 (RFC 9052) with Ed25519 (algorithm -19, RFC 9864).

    envelope  = 18([protected, {}, payload, signature])
    protected = bytes of {1: -19, 4: signer}            signer: 32-byte Ed25519 key
    payload   = bytes of [kind, body]                   body: the kind's struct as a map
    signed    = ["Signature1", protected, network, payload]    network: 32-byte id, as external AAD
    id        = SHA-256 of signed

One author's words are one message: the id covers the protected header and not the signature.
"""

import hashlib
from functools import lru_cache
from typing import Any

import cbor2
from msgspec import Struct

from protocol import cbor
from protocol.messages import KINDS, STRUCTS, Delegation, Kind, Message, Unknown, consent_to
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey, verify

MAX_BYTES = 32 * 1024
MAX_UNKNOWN_BYTES = 4 * 1024
MAX_KIND = 255
ALGORITHM = -19
COSE_SIGN1 = 18
HEADER_ALGORITHM, HEADER_KEY = 1, 4


class Envelope(Struct, frozen=True):
    """An opened envelope: signature checked, message decoded. `data` are its bytes as they travel."""

    id: bytes
    signer: bytes
    message: Message
    data: bytes


def seal(key: PrivateKey, network: bytes, message: Message) -> Envelope:
    """Sign a message. Raises `Rejected` where it is too large to be one."""
    kind = KINDS[type(message)]
    payload = cbor.encode((int(kind), message))
    protected = _protected(key.public)
    signed = _signed(protected, network, payload)
    content = [protected, {}, payload, key.sign(signed)]
    data = cbor2.dumps(cbor2.CBORTag(COSE_SIGN1, content), canonical=True)
    if len(data) > MAX_BYTES:
        raise Rejected(Rejection.TOO_LARGE, f"{len(data)} bytes, at most {MAX_BYTES} are allowed.")
    return Envelope(hashlib.sha256(signed).digest(), key.public, message, data)


def open_envelope(data: bytes, network: bytes, *, check_signature: bool = True) -> Envelope:
    """The envelope in untrusted bytes. Raises `Rejected`, and nothing else, whatever the bytes are.

    `check_signature=False` is for bytes that this process has checked before (its own store).
    """
    protected, payload, signature = _parts(data)
    signer = _signer(protected)
    signed = _signed(protected, network, payload)
    if check_signature and not verify(signer, signed, signature):
        raise Rejected(Rejection.BAD_SIGNATURE)
    message = _message(payload, len(data))
    if check_signature and isinstance(message, Delegation):
        if not verify(message.device, consent_to(network, signer), message.consent):
            raise Rejected(Rejection.BAD_SIGNATURE, "The device did not consent to this account.")
    return Envelope(hashlib.sha256(signed).digest(), signer, message, data)


def _parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    if len(data) > MAX_BYTES:
        raise Rejected(Rejection.TOO_LARGE, f"{len(data)} bytes, at most {MAX_BYTES} are allowed.")
    raw: Any = cbor.decode_raw(data)
    if not isinstance(raw, cbor2.CBORTag) or raw.tag != COSE_SIGN1 or not isinstance(raw.value, list | tuple):
        raise Rejected(Rejection.NOT_AN_ENVELOPE)
    if len(raw.value) != 4:
        raise Rejected(Rejection.NOT_AN_ENVELOPE)
    protected, unprotected, payload, signature = raw.value
    if not (isinstance(protected, bytes) and isinstance(payload, bytes) and isinstance(signature, bytes)):
        raise Rejected(Rejection.NOT_AN_ENVELOPE)
    if unprotected != {} or len(signature) != 64:
        raise Rejected(Rejection.NOT_AN_ENVELOPE)
    return protected, payload, signature


@lru_cache(maxsize=4096)
def _signer(protected: bytes) -> bytes:
    header = cbor.decode_raw(protected)
    if not isinstance(header, dict) or set(header) != {HEADER_ALGORITHM, HEADER_KEY}:
        raise Rejected(Rejection.NOT_AN_ENVELOPE)
    if header[HEADER_ALGORITHM] != ALGORITHM:
        raise Rejected(Rejection.WRONG_ALGORITHM)
    signer = header[HEADER_KEY]
    if not isinstance(signer, bytes) or len(signer) != 32:
        raise Rejected(Rejection.NOT_AN_ENVELOPE)
    return signer


@lru_cache(maxsize=4096)
def _protected(signer: bytes) -> bytes:
    return cbor.encode({HEADER_ALGORITHM: ALGORITHM, HEADER_KEY: signer})


def _signed(protected: bytes, network: bytes, payload: bytes) -> bytes:
    return cbor.encode(("Signature1", protected, network, payload))


def _message(payload: bytes, size: int) -> Message:
    raw = cbor.decode_raw(payload)
    if not isinstance(raw, list) or len(raw) != 2 or type(raw[0]) is not int or not 0 <= raw[0] <= MAX_KIND:
        raise Rejected(Rejection.WRONG_SCHEMA, "the payload is not [kind, body]")
    kind, body = raw
    struct = STRUCTS.get(Kind(kind)) if kind in Kind._value2member_map_ else None
    if struct is not None:
        message: Message = cbor.convert(body, struct)
        return message
    if size > MAX_UNKNOWN_BYTES:
        raise Rejected(Rejection.TOO_LARGE, f"a message of unknown kind may have {MAX_UNKNOWN_BYTES} bytes")
    return Unknown(kind)

"""A signed message: COSE_Sign1 (RFC 9052) with Ed25519 (algorithm -19, RFC 9864).

    envelope  = 18([protected, {}, payload, signature])
    protected = bytes of {1: -19, 4: signer}            signer: 32-byte Ed25519 key
    payload   = bytes of [kind, body]                   body: the kind's struct as a map
    signed    = ["Signature1", protected, network, payload]    network: 32-byte id, as external AAD
    id        = SHA-256 of signed

One author's words are one message: the id covers the protected header and not the signature.
"""

import hashlib

from msgspec import Struct

from protocol import cbor
from protocol.cbor_reading import MALFORMED, Unfit, number_at
from protocol.messages import (
    KINDS,
    STRUCTS,
    Delegation,
    Message,
    Succession,
    Unknown,
    consent_to,
    succession_consent,
)
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey, verify

MAX_BYTES = 32 * 1024
MAX_UNKNOWN_BYTES = 4 * 1024
MAX_KIND = 255
ALGORITHM = -19
HEADER_ALGORITHM, HEADER_KEY = 1, 4

_HEADER = cbor.encode({HEADER_ALGORITHM: ALGORITHM, HEADER_KEY: bytes(32)})[:-32]
"""The protected header up to the signer."""
_TAGGED_ARRAY = b"\xd2\x84"  # tag 18, four items
_BEFORE_SIGNER = _TAGGED_ARRAY + cbor.head(cbor.BYTES, len(_HEADER) + 32) + _HEADER
_SIGNER_END = len(_BEFORE_SIGNER) + 32
_UNPROTECTED = b"\xa0"
_SIGNATURE_HEAD = cbor.head(cbor.BYTES, 64)
_PAIR = b"\x82"
_BEFORE_SIGNED = b"\x84" + cbor.encode("Signature1") + _BEFORE_SIGNER[len(_TAGGED_ARRAY) :]
_NETWORK_HEAD = cbor.head(cbor.BYTES, 32)
_WITH_CONSENT = {int(KINDS[Delegation]), int(KINDS[Succession])}  # each less than 24, so a byte
_STRUCTS: dict[int, type[Message]] = {int(kind): struct for kind, struct in STRUCTS.items()}


class Envelope(Struct, frozen=True, gc=False):
    """An opened envelope: signature checked, message decoded. `data` are its bytes as they travel."""

    id: bytes
    signer: bytes
    message: Message
    data: bytes


def seal(key: PrivateKey, network: bytes, message: Message) -> Envelope:
    """Sign a message. Raises `Rejected` where it is too large to be one."""
    payload = cbor.encode(cbor.encode((int(KINDS[type(message)]), message)))
    signed = _signed(key.public, network, payload)
    data = b"".join((_BEFORE_SIGNER, key.public, _UNPROTECTED, payload, _SIGNATURE_HEAD, key.sign(signed)))
    if len(data) > MAX_BYTES:
        raise Rejected(Rejection.TOO_LARGE, f"{len(data)} bytes, at most {MAX_BYTES} are allowed.")
    return Envelope(hashlib.sha256(signed).digest(), key.public, message, data)


def open_envelope(data: bytes, network: bytes, *, check_signature: bool = True) -> Envelope:
    """The envelope in untrusted bytes. Raises `Rejected`, and nothing else, whatever the bytes are.

    `check_signature=False` is for bytes that were checked before: by `check_signatures`, or on their way to the store.
    """
    start, end = _payload(data)
    signer = data[len(_BEFORE_SIGNER) : _SIGNER_END]
    signed = _signed(signer, network, data[_SIGNER_END + 1 : end])
    if check_signature and not verify(signer, signed, data[-64:]):
        raise Rejected(Rejection.BAD_SIGNATURE)
    message = _message(data, start, end)
    if check_signature:
        _check_consent(message, signer, network)
    return Envelope(hashlib.sha256(signed).digest(), signer, message, data)


def check_signatures(data: bytes, network: bytes) -> None:
    """Raise `Rejected` unless all signatures of an envelope in untrusted bytes are good.

    That is the slow part of opening it; the rest is left to `open_envelope(..., check_signature=False)`.
    """
    start, end = _payload(data)
    signer = data[len(_BEFORE_SIGNER) : _SIGNER_END]
    if not verify(signer, _signed(signer, network, data[_SIGNER_END + 1 : end]), data[-64:]):
        raise Rejected(Rejection.BAD_SIGNATURE)
    if data[start + 1] in _WITH_CONSENT:
        _check_consent(_message(data, start, end), signer, network)


def _payload(data: bytes) -> tuple[int, int]:
    """Where the payload begins and ends. Everything around it has one form only."""
    if len(data) > MAX_BYTES:
        raise Rejected(Rejection.TOO_LARGE, f"{len(data)} bytes, at most {MAX_BYTES} are allowed.")
    if data.startswith(_BEFORE_SIGNER) and data[_SIGNER_END : _SIGNER_END + 1] == _UNPROTECTED:
        try:
            length, start = number_at(data, _SIGNER_END + 1, cbor.BYTES)
        except (Unfit, *MALFORMED):
            raise _not_an_envelope(data) from None
        end = start + length
        if data[end : end + 2] == _SIGNATURE_HEAD and len(data) == end + 66:
            return start, end
    raise _not_an_envelope(data)


def _not_an_envelope(data: bytes) -> Rejected:
    """Why these bytes are none, for people and for whoever compares implementations."""
    try:
        cbor.check(data.removeprefix(_TAGGED_ARRAY[:1]))
    except Rejected as rejected:
        return rejected
    protected = data[len(_TAGGED_ARRAY) :]
    before, _, after = protected.partition(_HEADER[:2])
    if data.startswith(_TAGGED_ARRAY) and len(before) <= 2 and after and not after.startswith(_HEADER[2:3]):
        return Rejected(Rejection.WRONG_ALGORITHM)
    return Rejected(Rejection.NOT_AN_ENVELOPE)


def _signed(signer: bytes, network: bytes, payload: bytes) -> bytes:
    """The Sig_structure (RFC 9052, section 4.4). `payload`: with the head of its byte string."""
    return b"".join((_BEFORE_SIGNED, signer, _NETWORK_HEAD, network, payload))


def _message(data: bytes, start: int, end: int) -> Message:
    try:
        kind, at = number_at(data, start + 1, cbor.UNSIGNED)
    except (Unfit, *MALFORMED):
        kind, at = -1, start
    if data[start : start + 1] != _PAIR or not 0 <= kind <= MAX_KIND:
        cbor.check(data[start:end])
        raise Rejected(Rejection.WRONG_SCHEMA, "The payload is not [kind, body].")
    struct = _STRUCTS.get(kind)
    if struct is not None:
        return cbor.decode_part(data, at, end, struct)
    if len(data) > MAX_UNKNOWN_BYTES:
        raise Rejected(Rejection.TOO_LARGE, f"A message of unknown kind may have {MAX_UNKNOWN_BYTES} bytes.")
    cbor.check(data[start:end])
    return Unknown(kind)


def _check_consent(message: Message, signer: bytes, network: bytes) -> None:
    """Keys that are taken into service have to agree, so that nobody can claim another's."""
    if isinstance(message, Delegation):
        if not verify(message.device, consent_to(network, signer), message.consent):
            raise Rejected(Rejection.BAD_SIGNATURE, "The device did not consent to this account.")
    elif isinstance(message, Succession):
        parts = (message.log_key, message.chain_anchor, message.chain_length, message.sequence)
        wanted = succession_consent(network, signer, *parts)
        if not verify(message.log_key, wanted, message.consent):
            raise Rejected(Rejection.BAD_SIGNATURE, "The new log key did not consent to the succession.")

"""Receipts: the log key's promise, beside the log, that an envelope will stand in it between two indices.

With a receipt, a log that leaves an envelope out is proven to (`evidence`): whoever holds the entries between the two,
and a checkpoint that covers them, can show it to a stranger.
"""

from msgspec import Struct

from protocol import cbor
from protocol.definitions import Count, Digest, Signature
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey, verify

TAG = "peerboard/receipt/1"
MAX_BYTES = 256


class Receipt(Struct, frozen=True, forbid_unknown_fields=True):
    """`envelope` (its id) will stand in the log at an index that is at least `size` and below `bound`.

    `size`: how many entries the log held at the promise; for an envelope that is in it already, its index. `bound` is
    above `size`.
    """

    envelope: Digest
    bound: Count
    size: Count
    signature: Signature


def issue(key: PrivateKey, network: bytes, envelope: bytes, bound: int, size: int) -> Receipt:
    """Promise, with the log key, that the envelope with this id stands from index `size` on and before `bound`.

    Raises `ValueError` for a promise that no log can keep.
    """
    if not 0 <= size < bound:
        raise ValueError(f"no entry stands from index {size} on and before {bound}")
    return Receipt(envelope, bound, size, key.sign(_promise(network, envelope, bound, size)))


def encode_receipt(receipt: Receipt) -> bytes:
    """Deterministic CBOR."""
    return cbor.encode(receipt)


def open_receipt(data: bytes, network: bytes, log_key: bytes) -> Receipt:
    """The receipt in untrusted bytes, signed by the log key (32 bytes) for this network.

    Raises `Rejected`, and nothing else.
    """
    if len(data) > MAX_BYTES:
        raise Rejected(Rejection.TOO_LARGE, f"{len(data)} bytes, and a receipt has at most {MAX_BYTES}.")
    receipt = cbor.decode(data, Receipt)
    if not is_signed(receipt, network, log_key):
        raise Rejected(Rejection.BAD_SIGNATURE)
    return receipt


def is_signed(receipt: Receipt, network: bytes, log_key: bytes) -> bool:
    """Whether the log key (32 bytes) signed this receipt for this network, and it promises something."""
    promise = _promise(network, receipt.envelope, receipt.bound, receipt.size)
    return receipt.bound > receipt.size and verify(log_key, promise, receipt.signature)


def _promise(network: bytes, envelope: bytes, bound: int, size: int) -> bytes:
    return cbor.encode((TAG, network, envelope, bound, size))

"""Receipts: the log key's promise, beside the log, that an envelope will stand in it before a certain index.

With a receipt, a log that leaves an envelope out is proven to: whoever holds the entries up to the promised index, and
a checkpoint that covers them, can show it to a stranger.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct

from protocol import cbor
from protocol.checkpoint import Checkpoint
from protocol.definitions import Count, Digest, Signature
from protocol.merkle import Frontier, leaf_hash, verify_consistency
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey, verify

TAG = "peerboard/receipt/1"
MAX_BYTES = 256

Identify = Callable[[bytes], bytes]
"""The id of the envelope in an entry. May raise `Rejected` for an entry that holds none."""


class Receipt(Struct, frozen=True, forbid_unknown_fields=True):
    """`envelope` (its id) will stand at an index below `bound`, in entries; the log held `size` entries at the promise.

    `bound` is at least 1, and may be at most `size` where the envelope stands in the log already.
    """

    envelope: Digest
    bound: Count
    size: Count
    signature: Signature


def issue(key: PrivateKey, network: bytes, envelope: bytes, bound: int, size: int) -> Receipt:
    """Promise, with the log key, that the envelope with this id stands before index `bound`.

    Raises `ValueError` for a promise that no log can keep.
    """
    if bound < 1 or size < 0:
        raise ValueError(f"no entry stands before index {bound} of a log of {size} entries")
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
    return receipt.bound >= 1 and verify(log_key, promise, receipt.signature)


def omitted(receipt: Receipt, leaf_ids: Sequence[bytes]) -> bool:
    """Whether the envelope is missing where it was promised. `leaf_ids` are the ids of the log's entries from 0 on.

    Raises `ValueError` where the log has not reached the promised index: then nothing is broken yet.
    """
    if len(leaf_ids) < receipt.bound:
        raise ValueError(f"the promise is due at {receipt.bound} entries, and the log has {len(leaf_ids)}")
    return receipt.envelope not in leaf_ids[: receipt.bound]


def shows_omission(
    receipt: Receipt,
    checkpoint: Checkpoint,
    entries: Sequence[bytes],
    proof: Sequence[bytes],
    identify: Identify,
) -> bool:
    """Whether these are the log's first `bound` entries and the promised envelope is not among them.

    For a stranger who has checked the signatures of receipt and checkpoint and nothing else. `proof` is the
    consistency proof from `bound` entries to the checkpoint's size. Raises `InvalidProof` where the entries are not
    those of the checkpoint, and `ValueError` where there are fewer or more than `bound` of them.
    """
    if len(entries) != receipt.bound:
        raise ValueError(f"the first {receipt.bound} entries are needed, not {len(entries)}")
    prefix = Frontier().extend(map(leaf_hash, entries))
    verify_consistency(prefix.size, checkpoint.size, proof, prefix.root, checkpoint.root)
    return omitted(receipt, [_identity(entry, identify) for entry in entries])


def _identity(entry: bytes, identify: Identify) -> bytes:
    try:
        return identify(entry)
    except Rejected:
        return b""  # not an envelope, so not the promised one


def _promise(network: bytes, envelope: bytes, bound: int, size: int) -> bytes:
    return cbor.encode((TAG, network, envelope, bound, size))

"""Receipts: a promise that binds, and evidence that a stranger can check."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import cbor
from protocol.checkpoint import Checkpoint
from protocol.merkle import Frontier, InvalidProof, consistency_proof, leaf_hash
from protocol.receipts import (
    MAX_BYTES,
    Receipt,
    encode_receipt,
    is_signed,
    issue,
    omitted,
    open_receipt,
    shows_omission,
)
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey

LOG = PrivateKey(bytes(31) + b"L")
NETWORK = bytes(31) + b"N"
DIGESTS = st.binary(min_size=32, max_size=32)
COUNTS = st.integers(1, 2**53 - 1)


def identify(entry: bytes) -> bytes:
    """Stands in for opening an envelope: an entry of this test is its own message."""
    if entry == b"garbage":
        raise Rejected(Rejection.NOT_AN_ENVELOPE)
    return hashlib.sha256(entry).digest()


@given(network=DIGESTS, envelope=DIGESTS, bound=COUNTS, size=st.integers(0, 2**53 - 1))
def test_receipts_round_trip(network: bytes, envelope: bytes, bound: int, size: int) -> None:
    receipt = issue(LOG, network, envelope, bound, size)
    data = encode_receipt(receipt)
    assert len(data) <= MAX_BYTES
    assert open_receipt(data, network, LOG.public) == receipt


def test_the_signature_is_over_tag_network_and_promise() -> None:
    receipt = issue(LOG, NETWORK, bytes(32), 7, 3)
    message = cbor.encode(("peerboard/receipt/1", NETWORK, bytes(32), 7, 3))
    assert receipt.signature == LOG.sign(message)


@given(
    network=DIGESTS.filter(lambda network: network != NETWORK),
    envelope=DIGESTS.filter(lambda envelope: envelope != bytes(32)),
    bound=COUNTS.filter(lambda bound: bound != 7),
    size=COUNTS.filter(lambda size: size != 3),
)
def test_every_part_of_the_promise_is_signed(network: bytes, envelope: bytes, bound: int, size: int) -> None:
    receipt = issue(LOG, NETWORK, bytes(32), 7, 3)
    assert is_signed(receipt, NETWORK, LOG.public)
    assert not is_signed(receipt, network, LOG.public)
    assert not is_signed(receipt, NETWORK, PrivateKey(bytes(32)).public)
    assert not is_signed(Receipt(envelope, 7, 3, receipt.signature), NETWORK, LOG.public)
    assert not is_signed(Receipt(bytes(32), bound, 3, receipt.signature), NETWORK, LOG.public)
    assert not is_signed(Receipt(bytes(32), 7, size, receipt.signature), NETWORK, LOG.public)
    with pytest.raises(Rejected) as refused:
        open_receipt(encode_receipt(receipt), network, LOG.public)
    assert refused.value.reason is Rejection.BAD_SIGNATURE


@given(st.data())
def test_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    whole = bytearray(encode_receipt(issue(LOG, NETWORK, bytes(32), 7, 3)))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Rejected):
        open_receipt(bytes(whole), NETWORK, LOG.public)


@given(st.binary(max_size=MAX_BYTES + 1))
def test_arbitrary_bytes_are_refused_with_our_error(data: bytes) -> None:
    with pytest.raises(Rejected):
        open_receipt(data, NETWORK, LOG.public)


def test_a_receipt_has_a_largest_size() -> None:
    with pytest.raises(Rejected) as refused:
        open_receipt(bytes(MAX_BYTES + 1), NETWORK, LOG.public)
    assert refused.value.reason is Rejection.TOO_LARGE


def test_a_promise_that_no_log_can_keep_is_not_made() -> None:
    for bound, size in ((0, 0), (-1, 0), (1, -1)):
        with pytest.raises(ValueError, match="no entry stands before"):
            issue(LOG, NETWORK, bytes(32), bound, size)
    never = Receipt(bytes(32), 0, 0, LOG.sign(cbor.encode(("peerboard/receipt/1", NETWORK, bytes(32), 0, 0))))
    assert not is_signed(never, NETWORK, LOG.public)


@given(ids=st.lists(DIGESTS, min_size=1, max_size=20, unique=True), data=st.data())
def test_omitted_is_not_standing_before_the_bound(ids: list[bytes], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(ids) - 1))
    bound = data.draw(st.integers(1, len(ids)))
    assert omitted(issue(LOG, NETWORK, ids[place], bound, 0), ids) == (place >= bound)


def test_before_the_bound_nothing_is_broken() -> None:
    with pytest.raises(ValueError, match="due at 3 entries, and the log has 2"):
        omitted(issue(LOG, NETWORK, bytes(32), 3, 0), [b"1" * 32, b"2" * 32])


ENTRIES = [b"zero", b"one", b"garbage", b"three", b"four", b"five"]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def node(level: int, index: int) -> bytes:
    return Frontier().extend(LEAVES[index << level : (index + 1) << level]).root


@pytest.mark.parametrize("size", [4, 5, 6])
@pytest.mark.parametrize(("envelope", "missing"), [(b"one", False), (b"three", False), (b"four", True), (b"x", True)])
def test_an_omission_is_shown_to_a_stranger(size: int, envelope: bytes, missing: bool) -> None:
    receipt = issue(LOG, NETWORK, identify(envelope), 4, 1)
    checkpoint = Checkpoint("log", size, Frontier().extend(LEAVES[:size]).root)
    proof = consistency_proof(node, 4, size)
    assert shows_omission(receipt, checkpoint, ENTRIES[:4], proof, identify) == missing


def test_entries_that_are_not_the_logs_show_nothing() -> None:
    receipt = issue(LOG, NETWORK, identify(b"one"), 4, 1)
    checkpoint = Checkpoint("log", 6, Frontier().extend(LEAVES).root)
    proof = consistency_proof(node, 4, 6)
    forged = [b"zero", b"another", b"garbage", b"three"]
    with pytest.raises(InvalidProof):
        shows_omission(receipt, checkpoint, forged, proof, identify)
    for entries in (ENTRIES[:3], ENTRIES[:5]):
        with pytest.raises(ValueError, match="first 4 entries are needed"):
            shows_omission(receipt, checkpoint, entries, proof, identify)
    with pytest.raises(InvalidProof):
        shows_omission(receipt, Checkpoint("log", 3, Frontier().extend(LEAVES[:3]).root), ENTRIES[:4], (), identify)

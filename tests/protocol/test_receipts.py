"""Receipts: a promise that binds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import cbor
from protocol.receipts import (
    MAX_BYTES,
    Receipt,
    encode_receipt,
    is_signed,
    issue,
    open_receipt,
)
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey

LOG = PrivateKey(bytes(31) + b"L")
NETWORK = bytes(31) + b"N"
DIGESTS = st.binary(min_size=32, max_size=32)
COUNTS = st.integers(1, 2**53 - 1)


@given(network=DIGESTS, envelope=DIGESTS, bound=COUNTS, data=st.data())
def test_receipts_round_trip(network: bytes, envelope: bytes, bound: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, bound - 1))
    receipt = issue(LOG, network, envelope, bound, size)
    encoded = encode_receipt(receipt)
    assert len(encoded) <= MAX_BYTES
    assert open_receipt(encoded, network, LOG.public) == receipt


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
    for bound, size in ((0, 0), (-1, 0), (1, -1), (3, 3), (3, 4)):
        with pytest.raises(ValueError, match="no entry stands from"):
            issue(LOG, NETWORK, bytes(32), bound, size)
    never = Receipt(bytes(32), 3, 3, LOG.sign(cbor.encode(("peerboard/receipt/1", NETWORK, bytes(32), 3, 3))))
    assert not is_signed(never, NETWORK, LOG.public)

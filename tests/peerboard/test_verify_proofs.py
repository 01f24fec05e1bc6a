"""Files that somebody hands over are untrusted: what they hold, or an error of our own, and nothing else."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.answers import canonical
from peerboard.proofs import LEDGER_ANSWERS, Board, NoProof, Promise, Saved, read_proof
from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.notes import SignerKey
from protocol.receipts import encode_receipt, issue
from protocol.signing import PrivateKey

KEY = PrivateKey(b"k" * 32)
NAME = f"peerboard/{'ab' * 32}"
BOARD = canonical({"schema": "peerboard.leaderboard/1", "network": "00", "checkpoint": {"size": 7}, "data": {}})
NOTE = sign_checkpoint(Checkpoint(NAME, 12, bytes(32)), SignerKey(NAME, KEY)).encode()
RECEIPT = encode_receipt(issue(KEY, bytes(32), b"e" * 32, 9, 4))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_each_file_is_known_by_its_bytes() -> None:
    assert read_proof(BOARD) == Board(BOARD, "leaderboard", 7)
    assert read_proof(BOARD + b"\n") == Board(BOARD, "leaderboard", 7)
    assert read_proof(NOTE) == Saved(NOTE, 12)
    found = read_proof(RECEIPT)
    assert isinstance(found, Promise)
    assert (found.receipt.size, found.receipt.bound) == (4, 9)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"peerboard/\n", b"\x82\x00", json.dumps(json.loads(BOARD), indent=1).encode()]
)
def test_what_is_none_of_them_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(NoProof):
        read_proof(data)


@given(
    st.binary()
    | JSON.map(canonical)
    | st.builds(
        lambda data, place, byte: data[: place % len(data)] + bytes([byte]) + data[place % len(data) + 1 :],
        st.sampled_from([BOARD, NOTE, RECEIPT]),
        st.integers(0),
        st.integers(0, 255),
    )
)
def test_any_bytes_are_a_proof_or_none(data: bytes) -> None:
    with contextlib.suppress(NoProof):
        found = read_proof(data)
        assert not isinstance(found, Board) or found.name in LEDGER_ANSWERS

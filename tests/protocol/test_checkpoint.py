"""Checkpoints and cosignatures: the specifications' example, round trips, forks."""

import base64
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.checkpoint import (
    Checkpoint,
    Cosigned,
    cosign,
    cosignature,
    is_fork,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
)
from protocol.merkle import EMPTY_ROOT, Frontier, InvalidProof, consistency_proof, leaf_hash
from protocol.notes import COSIGNATURE, InvalidNote, NoteSignature, SignerKey, parse_note, sign_note
from protocol.signing import PrivateKey

# The example of c2sp.org/tlog-cosignature. Its keys are not published.
EXAMPLE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
LOG = SignerKey("log.example/1", PrivateKey(bytes(31) + b"L"))
WITNESS = SignerKey("witness.example/w", PrivateKey(bytes(31) + b"W"), COSIGNATURE)
ROOT = bytes(range(32))
LINES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
CHECKPOINTS = st.builds(
    Checkpoint,
    st.just(LOG.verifier.name),
    st.integers(0, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(LINES, max_size=3).map(tuple),
)


def test_the_specifications_example_parses() -> None:
    note = parse_note(EXAMPLE.encode())
    checkpoint = parse_checkpoint(note.text)
    assert checkpoint.origin == "example.com/behind-the-sofa"
    assert checkpoint.size == 20852163
    assert base64.b64encode(checkpoint.root) == b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    assert note.encode() == EXAMPLE.encode()
    assert int.from_bytes(note.signatures[1].value[:8], "big") == 1679315147  # the time that the page shows
    assert len(note.signatures[1].value) == 72


def test_a_cosignature_covers_header_time_and_text_as_the_specification_shows() -> None:
    note = sign_checkpoint(Checkpoint(LOG.verifier.name, 3, ROOT), LOG)
    line = cosign(note, WITNESS, 1679315147)
    message = b"cosignature/v1\ntime 1679315147\nlog.example/1\n3\n" + base64.b64encode(ROOT) + b"\n"
    assert line.value == (1679315147).to_bytes(8, "big") + WITNESS.private.sign(message)


@given(checkpoint=CHECKPOINTS, time=st.integers(0, 2**63 - 1))
def test_checkpoints_round_trip_signed_and_cosigned(checkpoint: Checkpoint, time: int) -> None:
    note = sign_checkpoint(checkpoint, LOG)
    note = note.with_signatures(cosign(note, WITNESS, time))
    opened = open_checkpoint(note.encode(), LOG.verifier, [WITNESS.verifier])
    assert opened.checkpoint == checkpoint
    assert opened.cosigned == (Cosigned(WITNESS.verifier, time),)


@given(checkpoint=CHECKPOINTS, data=st.data())
def test_any_flipped_bit_fails_or_loses_the_cosignature(checkpoint: Checkpoint, data: st.DataObject) -> None:
    note = sign_checkpoint(checkpoint, LOG)
    whole = bytearray(note.with_signatures(cosign(note, WITNESS, 7)).encode())
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(InvalidNote):
        assert open_checkpoint(bytes(whole), LOG.verifier, [WITNESS.verifier]).cosigned == ()


def test_a_missing_cosignature_is_absent_and_a_wrong_one_refuses() -> None:
    note = sign_checkpoint(Checkpoint(LOG.verifier.name, 3, ROOT), LOG)
    assert open_checkpoint(note.encode(), LOG.verifier, [WITNESS.verifier]).cosigned == ()
    right = cosign(note, WITNESS, 5)
    for value in (
        bytes(8) + right.value[8:],
        right.value[:-1],
        right.value + b"x",
        b"short",
        b"\xff" * 8 + right.value[8:],
    ):
        wrong = NoteSignature(right.name, right.key_id, value)
        with pytest.raises(InvalidNote, match=r"cosignature of witness\.example/w is wrong"):
            open_checkpoint(note.with_signatures(wrong).encode(), LOG.verifier, [WITNESS.verifier])


def test_the_earliest_of_several_cosignatures_is_reported() -> None:
    note = sign_checkpoint(Checkpoint(LOG.verifier.name, 3, ROOT), LOG)
    lines = tuple(cosign(note, WITNESS, time) for time in (9, 4, 6))
    both = type(note)(note.text, note.signatures + lines)
    assert cosignature(both, WITNESS.verifier) == Cosigned(WITNESS.verifier, 4)


def test_what_is_not_cosigned() -> None:
    note = sign_checkpoint(Checkpoint(LOG.verifier.name, 3, ROOT), LOG)
    with pytest.raises(InvalidNote, match="not a key for cosignatures"):
        cosign(note, LOG, 5)
    with pytest.raises(InvalidNote, match="not a key for cosignatures"):
        cosignature(note, LOG.verifier)
    for time in (-1, 2**63):
        with pytest.raises(InvalidNote, match="not a time"):
            cosign(note, WITNESS, time)
    with pytest.raises(InvalidNote):
        cosign(sign_note("not a checkpoint\n", LOG), WITNESS, 5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "log\n3\n",
        "log\n3\n" + "A" * 43 + "=",
        "\n3\n" + "A" * 43 + "=\n",
        "log\n03\n" + "A" * 43 + "=\n",
        "log\n-3\n" + "A" * 43 + "=\n",
        "log\n+3\n" + "A" * 43 + "=\n",
        "log\n3 \n" + "A" * 43 + "=\n",
        "log\n٣\n" + "A" * 43 + "=\n",
        "log\n9223372036854775808\n" + "A" * 43 + "=\n",
        "log\n" + "9" * 5000 + "\n" + "A" * 43 + "=\n",
        "log\n3\n" + "A" * 43 + "\n",
        "log\n3\n" + "A" * 42 + "B=\n",
        "log\n3\nAAAA\n",
        "log\n3\n" + "A" * 43 + "=\n\n",
        "log\n3\n" + "A" * 43 + "=\nextension\n\nanother\n",
    ],
)
def test_what_is_not_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidNote):
        parse_checkpoint(text)


@given(st.text(max_size=100))
def test_arbitrary_texts_are_a_checkpoint_or_our_error(text: str) -> None:
    with contextlib.suppress(InvalidNote):
        assert parse_checkpoint(text).text() == text


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_with_our_error(data: bytes) -> None:
    with pytest.raises(InvalidNote):
        open_checkpoint(data, LOG.verifier)
    with pytest.raises(InvalidNote):
        is_fork(data, data, LOG.verifier)


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("another log", 3, ROOT),
        Checkpoint(LOG.verifier.name, -1, ROOT),
        Checkpoint(LOG.verifier.name, 2**63, ROOT),
        Checkpoint(LOG.verifier.name, 3, ROOT[1:]),
        Checkpoint(LOG.verifier.name, 3, ROOT, ("",)),
        Checkpoint(LOG.verifier.name, 3, ROOT, ("two\nlines",)),
        Checkpoint(LOG.verifier.name, 3, ROOT, ("control\x07",)),
    ],
)
def test_what_would_not_be_read_back_is_not_signed(checkpoint: Checkpoint) -> None:
    with pytest.raises(InvalidNote):
        sign_checkpoint(checkpoint, LOG)


def test_a_checkpoint_of_another_origin_is_refused_even_if_the_log_key_signed_it() -> None:
    text = Checkpoint("another log", 3, ROOT).text()
    with pytest.raises(InvalidNote, match="of 'another log'"):
        open_checkpoint(sign_note(text, LOG).encode(), LOG.verifier)


class History:
    """A log of `count` entries that from entry `changed` on are others."""

    def __init__(self, count: int, changed: int) -> None:
        self.leaves = [leaf_hash(b"%d" % i if i < changed else b"other %d" % i) for i in range(count)]

    def root(self, size: int) -> bytes:
        return Frontier().extend(self.leaves[:size]).root

    def node(self, level: int, index: int) -> bytes:
        return Frontier().extend(self.leaves[index << level : (index + 1) << level]).root

    def note(self, size: int) -> bytes:
        return sign_checkpoint(Checkpoint(LOG.verifier.name, size, self.root(size)), LOG).encode()


@settings(max_examples=200, deadline=None)
@given(first=st.integers(0, 30), second=st.integers(0, 30), changed=st.integers(0, 30))
def test_a_fork_is_shown_exactly_where_histories_part(first: int, second: int, changed: int) -> None:
    """Two honest proofs from one log's tiles: the verdict is whether the smaller tree is a prefix of the larger."""
    main, fork = History(30, 30), History(30, changed)
    small, large = sorted((first, second))
    prefix, proof = fork.root(small), consistency_proof(fork.node, small, large)
    parted = changed < small
    for notes in ((main.note(small), fork.note(large)), (fork.note(large), main.note(small))):
        assert is_fork(*notes, LOG.verifier, prefix, proof) == parted
    assert not is_fork(
        main.note(first), main.note(second), LOG.verifier, main.root(small), consistency_proof(main.node, small, large)
    )


def test_a_proof_that_fails_accuses_nobody() -> None:
    log = History(9, 9)
    notes = (log.note(5), log.note(9))
    proof = consistency_proof(log.node, 5, 9)
    with pytest.raises(InvalidProof):
        is_fork(*notes, LOG.verifier, bytes(32), proof)
    with pytest.raises(InvalidProof):
        is_fork(*notes, LOG.verifier, log.root(5), proof[:-1])
    with pytest.raises(InvalidProof, match="root at the smaller size is needed"):
        is_fork(*notes, LOG.verifier)


def test_nothing_has_one_root() -> None:
    empty = Checkpoint(LOG.verifier.name, 0, EMPTY_ROOT)
    forged = Checkpoint(LOG.verifier.name, 0, ROOT)
    other = History(4, 4).note(4)
    assert not is_fork(sign_checkpoint(empty, LOG).encode(), other, LOG.verifier)
    assert is_fork(sign_checkpoint(forged, LOG).encode(), other, LOG.verifier)


def test_extension_lines_and_cosignatures_make_no_fork() -> None:
    root = History(4, 4).root(4)
    notes = [
        sign_checkpoint(Checkpoint(LOG.verifier.name, 4, root, extension), LOG) for extension in ((), ("extension",))
    ]
    cosigned = notes[1].with_signatures(cosign(notes[1], WITNESS, 1))
    assert not is_fork(notes[0].encode(), cosigned.encode(), LOG.verifier)


def test_another_keys_checkpoint_is_no_evidence() -> None:
    impostor = SignerKey(LOG.verifier.name, PrivateKey(bytes(32)))
    forged = sign_checkpoint(Checkpoint(LOG.verifier.name, 4, ROOT), impostor).encode()
    with pytest.raises(InvalidNote):
        is_fork(History(4, 4).note(4), forged, LOG.verifier)

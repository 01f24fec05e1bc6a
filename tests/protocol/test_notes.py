"""Signed notes: the values that the specification and Go's sumdb/note publish, and everything that is not a note."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.notes import (
    COSIGNATURE,
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    InvalidNote,
    Note,
    NoteSignature,
    SignerKey,
    VerifierKey,
    open_note,
    parse_note,
    sign_note,
    verified,
)
from protocol.signing import PrivateKey

# golang.org/x/mod/sumdb/note: the package documentation's keys and notes.
PETER = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
PETER_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
ENOCH = VerifierKey.parse("EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop")
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
BY_PETER = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
BY_ENOCH = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"

# c2sp.org/signed-note: the example at its end.
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

NAMES = st.text(min_size=1, max_size=20).filter(
    lambda name: not any(c.isspace() or c < " " or c == "+" or "\ud800" <= c <= "\udfff" for c in name)
)
KEYS = st.builds(SignerKey, NAMES, st.builds(PrivateKey, st.binary(min_size=32, max_size=32)))
LINES = st.text(st.characters(exclude_categories=("Cs", "Cc")))
TEXTS = st.lists(LINES, min_size=1, max_size=5).map(lambda lines: "".join(line + "\n" for line in lines))


def test_go_signs_the_same_note() -> None:
    signer = SignerKey.parse(PETER_SECRET)
    assert signer.verifier == PETER
    assert signer.secret_text() == PETER_SECRET
    assert sign_note(TEXT, signer).encode().decode() == TEXT + "\n" + BY_PETER


def test_gos_notes_verify() -> None:
    note = parse_note((TEXT + "\n" + BY_PETER + BY_ENOCH).encode())
    assert note.text == TEXT
    assert verified(note, [PETER]) == (PETER,)
    assert verified(note, [ENOCH, PETER]) == (ENOCH, PETER)
    assert verified(parse_note((TEXT + "\n" + BY_ENOCH).encode()), [PETER, ENOCH]) == (ENOCH,)


def test_the_specifications_example_verifies() -> None:
    key = VerifierKey.parse(FOO)
    assert str(key) == FOO
    assert open_note(FOO_NOTE.encode(), [key]).text == "This is an example message.\n"


def test_unknown_keys_say_nothing_even_if_they_share_a_name_or_an_id() -> None:
    note = parse_note((TEXT + "\n" + BY_PETER).encode())
    same_name = VerifierKey("PeterNeumann", ENOCH.public)
    same_key = VerifierKey("PeterNeuman", PETER.public)
    for keys in ([], [ENOCH], [same_name], [same_key]):
        with pytest.raises(InvalidNote, match="none of the keys"):
            verified(note, keys)


def test_a_wrong_signature_of_a_known_key_refuses_the_whole_note() -> None:
    """Also beside a right one of the same key, or of another."""
    bad = BY_PETER[:60] + "ABCD" + BY_PETER[64:]
    for lines in (bad, BY_ENOCH + bad, BY_PETER + bad, bad + BY_PETER):
        with pytest.raises(InvalidNote, match="signature of PeterNeumann is wrong"):
            open_note((TEXT + "\n" + lines).encode(), [PETER, ENOCH])
    assert open_note((TEXT + "\n" + BY_ENOCH + bad).encode(), [ENOCH])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        TEXT + "\n",
        TEXT + "\n" + BY_PETER[:-1],
        "\x01" + TEXT + "\n" + BY_PETER,
        TEXT.replace("\n", "\r\n") + "\n" + BY_PETER,
        TEXT + "\n" + "— Bad Name " + BY_PETER.split(" ")[2],
        TEXT + "\n" + "— a+b " + BY_PETER.split(" ")[2],
        TEXT + "\n" + BY_PETER.replace("— ", "- "),
        TEXT + "\n" + BY_PETER.replace("— ", "—"),
        TEXT + "\n" + BY_PETER + "Unexpected line.\n",
        TEXT + "\n" + BY_PETER + "\n",
        TEXT + "\n" + "— PeterNeumann\n",
        TEXT + "\n" + "— PeterNeumann \n",
        TEXT + "\n" + "— PeterNeumann x08goA==\n",  # an id and no signature
        TEXT + "\n" + BY_PETER.replace("=", ""),
        TEXT + "\n" + BY_PETER.replace("M=", "N="),  # bits that no byte holds
        TEXT + "\n" + BY_PETER.replace("UG/S", "UG_S"),
        TEXT + "\n" + BY_PETER * (MAX_SIGNATURES + 1),
        "a" * MAX_NOTE_BYTES + "\n\n" + BY_PETER,
    ],
)
def test_what_is_not_a_note_is_refused(content: str) -> None:
    with pytest.raises(InvalidNote):
        parse_note(content.encode())


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(InvalidNote, match="UTF-8"):
        parse_note(b"\xff" + (TEXT + "\n" + BY_PETER).encode())


def test_the_text_ends_at_the_last_empty_line() -> None:
    note = parse_note(("a\n\nb\n\n" + BY_PETER).encode())
    assert note.text == "a\n\nb\n"
    assert len(parse_note(("a\n\n" + BY_PETER * MAX_SIGNATURES).encode()).signatures) == MAX_SIGNATURES


def test_every_mangled_key_text_is_refused() -> None:
    """As Go's tests do: every proper part of the text, and every character replaced by its neighbour."""
    for text, parse in ((str(PETER), VerifierKey.parse), (PETER_SECRET, SignerKey.parse)):
        parts = [text[i:j] for i in range(len(text)) for j in range(i, len(text) + 1)]
        neighbours = [text[:i] + chr(ord(text[i]) + 1) + text[i + 1 :] for i in range(len(text))]
        for mangled in parts + neighbours:
            if mangled != text:
                with pytest.raises(InvalidNote):
                    parse(mangled)


@pytest.mark.parametrize(
    "text",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_keys_of_another_length_type_or_spelling_are_refused(text: str) -> None:
    with pytest.raises(InvalidNote):
        VerifierKey.parse(text)


@given(st.text(max_size=80) | st.text(alphabet="+ARpc2QcUPDh=/aé", max_size=80))
def test_arbitrary_key_texts_are_a_key_or_our_error(text: str) -> None:
    for parse in (VerifierKey.parse, SignerKey.parse):
        with contextlib.suppress(InvalidNote):
            parse(text)
            pytest.fail("nobody guesses a key id")


@given(key=KEYS, other=KEYS, text=TEXTS)
def test_notes_round_trip_and_verify(key: SignerKey, other: SignerKey, text: str) -> None:
    assert VerifierKey.parse(str(key.verifier)) == key.verifier
    assert SignerKey.parse(key.secret_text()).verifier == key.verifier
    note = sign_note(text, key, other)
    assert parse_note(note.encode()) == note
    assert key.verifier in verified(note, [key.verifier])


@given(key=KEYS, text=TEXTS, data=st.data())
def test_any_flipped_bit_fails(key: SignerKey, text: str, data: st.DataObject) -> None:
    whole = bytearray(sign_note(text, key).encode())
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidNote):
        open_note(bytes(whole), [key.verifier])


@given(st.binary(max_size=300) | TEXTS.map(lambda text: (text + "\n" + BY_PETER).encode()))
def test_arbitrary_bytes_are_a_note_or_our_error(data: bytes) -> None:
    with contextlib.suppress(InvalidNote):
        assert parse_note(data).encode() == data
    with contextlib.suppress(InvalidNote):
        open_note(data, [PETER])
        pytest.fail("Peter signed one text only")


@pytest.mark.parametrize("text", ["", "no newline", "a\rb\n", "lone \ud800\n"])
def test_what_cannot_be_a_text_is_not_signed(text: str) -> None:
    with pytest.raises(InvalidNote):
        sign_note(text, SignerKey.parse(PETER_SECRET))


def test_a_second_signature_by_a_key_takes_the_place_of_the_first() -> None:
    stale = NoteSignature(PETER.name, PETER.key_id, b"stale")
    note = Note(TEXT, (stale, *parse_note((TEXT + "\n" + BY_ENOCH).encode()).signatures))
    signed = note.with_signatures(*sign_note(TEXT, SignerKey.parse(PETER_SECRET)).signatures)
    assert signed.encode().decode() == TEXT + "\n" + BY_ENOCH + BY_PETER


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\tb", "lone\ud800", "x" * 256])
def test_names_that_would_not_be_read_back_are_refused(name: str) -> None:
    with pytest.raises(InvalidNote):
        VerifierKey(name, PETER.public)


def test_a_key_is_for_one_type_of_signature() -> None:
    witness = SignerKey("w", PrivateKey(bytes(32)), COSIGNATURE)
    assert witness.verifier.key_id != SignerKey("w", PrivateKey(bytes(32))).verifier.key_id
    assert SignerKey.parse(witness.secret_text()).verifier == witness.verifier
    with pytest.raises(InvalidNote, match="checkpoints only"):
        sign_note(TEXT, witness)
    with pytest.raises(InvalidNote, match="not a key for notes"):
        verified(parse_note((TEXT + "\n" + BY_PETER).encode()), [witness.verifier])
    with pytest.raises(InvalidNote, match="type 2"):
        VerifierKey("w", PETER.public, 2)


def test_a_signer_keeps_its_secret_to_itself() -> None:
    signer = SignerKey.parse(PETER_SECRET)
    assert str(PETER) in repr(signer)
    assert PETER_SECRET.rsplit("+", 1)[1] not in repr(signer)

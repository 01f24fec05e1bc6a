import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import cbor
from protocol.rejections import Rejected, Rejection
from protocol.texts import MAX_BYTES, Passage, TextDocument, open_text
from tests.protocol.message_values import values

SALT = b"s" * 32
DOCUMENT = TextDocument(SALT, (Passage("description", "Ein Modell für Mathe"), Passage("homepage", "")))


@given(values(TextDocument))
def test_a_document_is_read_back_by_its_digest(document: TextDocument) -> None:
    assert open_text(cbor.encode(document), document.digest) == document


def test_another_document_is_refused() -> None:
    for other in (TextDocument(b"t" * 32, DOCUMENT.passages), TextDocument(SALT, DOCUMENT.passages[:1])):
        with pytest.raises(Rejected) as refused:
            open_text(cbor.encode(other), DOCUMENT.digest)
        assert refused.value.reason is Rejection.OTHER_TEXT


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(Rejected):
        open_text(data, DOCUMENT.digest)


def test_long_documents_are_refused() -> None:
    long = TextDocument(SALT, (Passage("description", "a" * MAX_BYTES),))
    with pytest.raises(Rejected) as refused:
        open_text(cbor.encode(long), long.digest)
    assert refused.value.reason is Rejection.TOO_LARGE


@pytest.mark.parametrize("names", [("b", "a"), ("a", "a")])
def test_passages_have_one_order(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="order"):
        TextDocument(SALT, tuple(Passage(name, "") for name in names))
    raw = cbor.encode({0: SALT, 1: [{0: name, 1: ""} for name in names]})
    with pytest.raises(Rejected) as refused:
        cbor.decode(raw, TextDocument)
    assert refused.value.reason is Rejection.WRONG_SCHEMA


def test_passages_are_found_by_name() -> None:
    assert DOCUMENT.passage("homepage") == ""
    assert DOCUMENT.passage("name") is None

"""Texts beside the log: whatever a person may want deleted.

A message holds only the digest of a text document. The salt in the document keeps everybody who lost the document from
guessing what it said, so that a node that deletes it has deleted it. Documents are passed on as long as somebody keeps
them; no rule reads them.
"""

from typing import Annotated

from msgspec import Meta, Struct

from protocol import cbor
from protocol.definitions import Digest, Name
from protocol.hashing import digest
from protocol.rejections import Rejected, Rejection

MAX_BYTES = 16 * 1024
MAX_PASSAGES = 16


class Passage(Struct, frozen=True, forbid_unknown_fields=True):
    """One text and what it is: `description`, `name`, `reason`, `homepage`. Its length is bounded by the document's."""

    name: Name
    text: str


class TextDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """Passages in ascending order of their names, none twice; `salt`: 32 random bytes."""

    salt: Digest
    passages: Annotated[tuple[Passage, ...], Meta(min_length=1, max_length=MAX_PASSAGES)]

    def __post_init__(self) -> None:
        names = [passage.name for passage in self.passages]
        if names != sorted(set(names)):
            raise ValueError("the passages are not in order of their names, or one is there twice")

    @property
    def digest(self) -> bytes:
        """What stands in the message."""
        return digest("peerboard/text/1", self)

    def passage(self, name: str) -> str | None:
        """The text of this name, or None."""
        return next((passage.text for passage in self.passages if passage.name == name), None)


def open_text(data: bytes, expected: bytes) -> TextDocument:
    """The document in untrusted bytes whose digest is `expected`. Raises `Rejected`, and nothing else."""
    if len(data) > MAX_BYTES:
        raise Rejected(Rejection.TOO_LARGE, f"{len(data)} bytes, and a text document has at most {MAX_BYTES}.")
    document = cbor.decode(data, TextDocument)
    if document.digest != expected:
        raise Rejected(Rejection.OTHER_TEXT)
    return document

"""Signed notes: text and the signatures of named keys (C2SP signed-note).

    text, ending in a newline
    <empty line>
    — <key name> <base64 of key id ‖ signature>

Only signature type 1 (Ed25519 over the text) is checked here; `protocol.checkpoint` adds cosignatures. Signatures of
keys that nobody asked for are kept and say nothing.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Self

from msgspec import Struct

from protocol.signing import PUBLIC_KEY_BYTES, SEED_BYTES, PrivateKey, verify

ED25519 = 0x01
COSIGNATURE = 0x04
ALGORITHMS = frozenset({ED25519, COSIGNATURE})
KEY_ID_BYTES = 4
MAX_NOTE_BYTES = 256 * 1024
MAX_SIGNATURES = 64
MAX_NAME = 255

_MARK = "— "  # em dash
_SECRET = "PRIVATE+KEY+"  # noqa: S105  (a format's prefix)


class InvalidNote(Exception):
    """A note, or the text of a key, is malformed, or a signature that was asked for is missing or wrong."""


class VerifierKey(Struct, frozen=True):
    """A named public key (32 bytes) for one type of signature."""

    name: str
    public: bytes
    algorithm: int = ED25519

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public) != PUBLIC_KEY_BYTES:
            raise InvalidNote(f"an Ed25519 key has {PUBLIC_KEY_BYTES} bytes, not {len(self.public)}")
        if self.algorithm not in ALGORITHMS:
            raise InvalidNote(f"signature type {self.algorithm} is not known here")

    @property
    def key_id(self) -> bytes:
        """Four bytes that, with the name, say which key signed."""
        content = self.name.encode() + bytes((0x0A, self.algorithm)) + self.public
        return hashlib.sha256(content).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        """The key as text: name, key id, and type with key, joined by `+`."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(bytes((self.algorithm,)) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key of a text. Raises `InvalidNote`."""
        name, key_id, material = _key_parts(text)
        key = cls(name, material[1:], material[0])
        if key.key_id.hex() != key_id:
            raise InvalidNote(f"the key of {name} has the id {key.key_id.hex()}, not {key_id}")
        return key


class SignerKey:
    """A named private key for one type of signature."""

    __slots__ = ("private", "verifier")

    def __init__(self, name: str, private: PrivateKey, algorithm: int = ED25519) -> None:
        self.private = private
        self.verifier = VerifierKey(name, private.public, algorithm)

    def secret_text(self) -> str:
        """The key as text, secret included."""
        secret = _base64(bytes((self.verifier.algorithm,)) + self.private.seed)
        return f"{_SECRET}{self.verifier.name}+{self.verifier.key_id.hex()}+{secret}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key of a secret text. Raises `InvalidNote`, whose words never hold the secret."""
        if not text.startswith(_SECRET):
            raise InvalidNote(f"the text of a private key begins with {_SECRET}")
        name, key_id, material = _key_parts(text.removeprefix(_SECRET))
        if len(material) != 1 + SEED_BYTES:
            raise InvalidNote(f"the private key of {name} has not {SEED_BYTES} bytes")
        key = cls(name, PrivateKey(material[1:]), material[0])
        if key.verifier.key_id.hex() != key_id:
            raise InvalidNote(f"the private key of {name} has the id {key.verifier.key_id.hex()}, not {key_id}")
        return key

    def __repr__(self) -> str:
        return f"SignerKey({self.verifier})"


class NoteSignature(Struct, frozen=True):
    """One signature line. `value` is what follows the key id."""

    name: str
    key_id: bytes
    value: bytes

    def by(self, key: VerifierKey) -> bool:
        """Whether the line says that this key signed. What it says may be wrong."""
        return self.name == key.name and self.key_id == key.key_id


class Note(Struct, frozen=True):
    """A text, which ends in a newline, and its signatures, none of them checked."""

    text: str
    signatures: tuple[NoteSignature, ...] = ()

    def encode(self) -> bytes:
        """The note as UTF-8. Raises `InvalidNote` where the result would not be a note."""
        lines = [f"{_MARK}{line.name} {_base64(line.key_id + line.value)}\n" for line in self.signatures]
        data = (self.text + "\n" + "".join(lines)).encode(errors="replace")  # a lone surrogate is read back as "?"
        if parse_note(data) != self:
            raise InvalidNote("the text would be read back as another one")
        return data

    def with_signatures(self, *signatures: NoteSignature) -> "Note":
        """The note with these lines added, each in place of an earlier one by the same key."""
        new = {(line.name, line.key_id) for line in signatures}
        kept = tuple(line for line in self.signatures if (line.name, line.key_id) not in new)
        return Note(self.text, kept + signatures)


def parse_note(data: bytes) -> Note:
    """The note in untrusted bytes, its signatures unchecked. Raises `InvalidNote`, and nothing else."""
    if len(data) > MAX_NOTE_BYTES:
        raise InvalidNote(f"a note of {len(data)} bytes, at most {MAX_NOTE_BYTES} are allowed")
    try:
        content = data.decode()
    except UnicodeDecodeError:
        raise InvalidNote("the note is not UTF-8") from None
    if any(character < " " and character != "\n" for character in content):
        raise InvalidNote("the note has control characters")
    end = content.rfind("\n\n")
    if end < 0:
        raise InvalidNote("the note has no empty line before its signatures")
    lines = content[end + 2 :].split("\n")
    if lines.pop():
        raise InvalidNote("the note does not end in a newline")
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise InvalidNote(f"the note has {len(lines)} signatures, 1 to {MAX_SIGNATURES} are allowed")
    return Note(content[: end + 1], tuple(map(_signature_line, lines)))


def sign_note(text: str, *signers: SignerKey) -> Note:
    """A note signed by Ed25519 keys. Raises `InvalidNote` where the text cannot be one."""
    if any(signer.verifier.algorithm != ED25519 for signer in signers):
        raise InvalidNote("a key for cosignatures signs checkpoints only")
    message = text.encode(errors="replace")
    lines = [NoteSignature(key.verifier.name, key.verifier.key_id, key.private.sign(message)) for key in signers]
    note = Note(text, tuple(lines))
    note.encode()
    return note


def verified(note: Note, keys: Sequence[VerifierKey]) -> tuple[VerifierKey, ...]:
    """Which of the keys signed the note, in the order of `keys`.

    Raises `InvalidNote` where none did, or where a signature that names one of them is wrong.
    """
    message = note.text.encode()
    signers = []
    for key in keys:
        if key.algorithm != ED25519:
            raise InvalidNote(f"{key.name} is not a key for notes: its signature type is {key.algorithm}")
        lines = [line for line in note.signatures if line.by(key)]
        if any(not verify(key.public, message, line.value) for line in lines):
            raise InvalidNote(f"the signature of {key.name} is wrong")
        if lines:
            signers.append(key)
    if not signers:
        raise InvalidNote("none of the keys asked for signed the note")
    return tuple(signers)


def open_note(data: bytes, keys: Sequence[VerifierKey]) -> Note:
    """The note in untrusted bytes, signed by at least one of the keys. Raises `InvalidNote`, and nothing else."""
    note = parse_note(data)
    verified(note, keys)
    return note


def decode_base64(text: str) -> bytes:
    """Standard base64 (RFC 4648, section 4) in its one canonical spelling. Raises `InvalidNote`."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidNote("not base64") from None
    if _base64(data) != text:
        raise InvalidNote("base64 with superfluous bits")
    return data


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _signature_line(line: str) -> NoteSignature:
    name, space, value = line.removeprefix(_MARK).partition(" ")
    if not line.startswith(_MARK) or not space:
        raise InvalidNote("a signature line is a dash, a name and a signature in base64")
    _check_name(name)
    data = decode_base64(value)
    if len(data) <= KEY_ID_BYTES:
        raise InvalidNote(f"the signature of {name} is too short")
    return NoteSignature(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])


def _key_parts(text: str) -> tuple[str, str, bytes]:
    """(name, key id in hex, type and key): base64 may hold a `+` itself."""
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise InvalidNote("the text of a key is a name, a key id and a key, joined by +")
    material = decode_base64(parts[2])
    if not material:
        raise InvalidNote(f"the key of {parts[0][:MAX_NAME]} is empty")
    return parts[0], parts[1], material


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidNote(f"a key's name has 1 to {MAX_NAME} characters, not {len(name)}")
    if any(character.isspace() or character < " " or character == "+" for character in name):
        raise InvalidNote(f"a key's name has no spaces, no control characters and no +: {name!r}")
    if name != name.encode(errors="replace").decode():
        raise InvalidNote(f"a key's name is Unicode: {name!r}")

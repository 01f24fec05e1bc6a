"""Checkpoints: what the log says it holds, signed (C2SP tlog-checkpoint), and cosigned by witnesses (tlog-cosignature).

    <origin>
    <number of leaves, decimal>
    <root of the tree, base64>
    <extension lines, none of which is empty>

A checkpoint is the text of a signed note. A cosignature is a signature over the text with the time in front of it, in
seconds of POSIX time; this module records the time and never compares it with a clock.
"""

import base64
import re
from collections.abc import Sequence

from msgspec import Struct

from protocol.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, InvalidProof, verify_consistency
from protocol.notes import (
    COSIGNATURE,
    InvalidNote,
    Note,
    NoteSignature,
    SignerKey,
    VerifierKey,
    decode_base64,
    open_note,
    sign_note,
)
from protocol.signing import SIGNATURE_BYTES, verify

MAX_TIME = 2**63 - 1
TIME_BYTES = 8

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class Checkpoint(Struct, frozen=True):
    """The tree that a log commits to: `root` (32 bytes) over `size` leaves."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The text that is signed. Raises `InvalidNote` where it would not be a checkpoint's."""
        root = base64.b64encode(self.root).decode("ascii")
        lines = (self.origin, str(self.size), root, *self.extensions)
        text = "".join(line + "\n" for line in lines)
        if parse_checkpoint(text) != self:
            raise InvalidNote("the checkpoint would be read back as another one")
        return text


class Cosigned(Struct, frozen=True):
    """A witness's word: at `time` (seconds, POSIX) it knew no larger tree of this log that this one contradicts."""

    key: VerifierKey
    time: int


class SignedCheckpoint(Struct, frozen=True):
    """A checkpoint whose log key's signature is checked, and the cosignatures of the witnesses asked for."""

    checkpoint: Checkpoint
    note: Note
    cosigned: tuple[Cosigned, ...] = ()


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint of a note's text. Raises `InvalidNote`."""
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() or "" in lines:
        raise InvalidNote("a checkpoint has at least three lines, none of them empty")
    origin, number, root, *extensions = lines
    if not _NUMBER.fullmatch(number) or int(number) > MAX_SIZE:
        raise InvalidNote(f"{number[:20]!r} is not the number of leaves of a tree")
    digest = decode_base64(root)
    if len(digest) != HASH_BYTES:
        raise InvalidNote(f"the root of a tree has {HASH_BYTES} bytes, not {len(digest)}")
    return Checkpoint(origin, int(number), digest, tuple(extensions))


def sign_checkpoint(checkpoint: Checkpoint, key: SignerKey) -> Note:
    """The checkpoint as a note signed by the log's key, whose name is the origin. Raises `InvalidNote`."""
    if key.verifier.name != checkpoint.origin:
        raise InvalidNote(f"the log key of {checkpoint.origin!r} has its name, not {key.verifier.name!r}")
    return sign_note(checkpoint.text(), key)


def open_checkpoint(data: bytes, log_key: VerifierKey, witnesses: Sequence[VerifierKey] = ()) -> SignedCheckpoint:
    """The checkpoint in untrusted bytes, signed by the log key, which names it. Raises `InvalidNote`, nothing else.

    A wrong cosignature by one of `witnesses` refuses the whole; a missing one only is not among `cosigned`.
    """
    note = open_note(data, (log_key,))
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != log_key.name:
        raise InvalidNote(f"the checkpoint is of {checkpoint.origin!r}, not of {log_key.name!r}")
    cosigned = (cosignature(note, witness) for witness in witnesses)
    return SignedCheckpoint(checkpoint, note, tuple(found for found in cosigned if found is not None))


def cosign(note: Note, key: SignerKey, time: int) -> NoteSignature:
    """A witness's signature line for a checkpoint, at `time` in seconds (POSIX). Raises `InvalidNote`.

    Whoever signs has checked that the tree extends every one it cosigned before.
    """
    if key.verifier.algorithm != COSIGNATURE:
        raise InvalidNote(f"{key.verifier.name} is not a key for cosignatures")
    if not 0 <= time <= MAX_TIME:
        raise InvalidNote(f"{time} is not a time")
    parse_checkpoint(note.text)
    value = time.to_bytes(TIME_BYTES, "big") + key.private.sign(_cosigned_message(note.text, time))
    return NoteSignature(key.verifier.name, key.verifier.key_id, value)


def cosignature(note: Note, key: VerifierKey) -> Cosigned | None:
    """The key's earliest cosignature of a checkpoint; None where it has none. Raises `InvalidNote` for a wrong one."""
    if key.algorithm != COSIGNATURE:
        raise InvalidNote(f"{key.name} is not a key for cosignatures")
    times = []
    for line in note.signatures:
        if line.by(key):
            time = int.from_bytes(line.value[:TIME_BYTES], "big")
            message = _cosigned_message(note.text, time)
            if (
                len(line.value) != TIME_BYTES + SIGNATURE_BYTES
                or time > MAX_TIME
                or not verify(key.public, message, line.value[TIME_BYTES:])
            ):
                raise InvalidNote(f"the cosignature of {key.name} is wrong")
            times.append(time)
    return Cosigned(key, min(times)) if times else None


def is_fork(
    first: bytes,
    second: bytes,
    log_key: VerifierKey,
    prefix_root: bytes | None = None,
    proof: Sequence[bytes] = (),
) -> bool:
    """Whether two notes (untrusted bytes) prove that the log signed trees of which neither is the other's prefix.

    Of the same size: the roots differ. Of different sizes: `prefix_root` is what the larger tree has at the smaller
    size, `proof` shows that it does (a consistency proof), and the smaller note names another root. So the proof is of
    the contradiction itself; one that merely fails says nothing about the log.

    Raises `InvalidNote` where a note is not a checkpoint of this log, and `InvalidProof` where the proof is wrong.
    """
    one, other = (open_checkpoint(data, log_key).checkpoint for data in (first, second))
    return contradict(one, other, prefix_root, proof)


def contradict(
    first: Checkpoint, second: Checkpoint, prefix_root: bytes | None = None, proof: Sequence[bytes] = ()
) -> bool:
    """`is_fork` of two checkpoints whose signatures are checked. Raises `InvalidProof`."""
    smaller, larger = sorted((first, second), key=lambda checkpoint: checkpoint.size)
    if smaller.size == larger.size:
        return smaller.root != larger.root
    if smaller.size == 0:
        return smaller.root != EMPTY_ROOT
    if prefix_root is None:
        raise InvalidProof(
            f"for sizes {smaller.size} and {larger.size}, the larger tree's root at the smaller size is needed"
        )
    verify_consistency(smaller.size, larger.size, proof, prefix_root, larger.root)
    return prefix_root != smaller.root


def _cosigned_message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()

"""Evidence against the log key, as one value each that a stranger can check with the genesis alone (`evidence_checks`).

    evidence = [kind, struct]

What is said of a wrong state needs the log's entries before the mark beside it: they are public, and the checkpoint in
the evidence says whether they are the right ones.
"""

import enum
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from protocol import cbor
from protocol.cbor_reading import number_at
from protocol.definitions import Count, Digest
from protocol.envelope import MAX_BYTES as MAX_ENVELOPE_BYTES
from protocol.receipts import Receipt
from protocol.rejections import Rejected, Rejection
from protocol.witnesses import Sighting

MAX_BYTES = 8 << 20
MAX_NOTE_BYTES = 16 * 1024
MAX_PROMISED = 4096
"""Entries between the two indices of a receipt that evidence can be made of."""

Proof = Annotated[tuple[Digest, ...], Meta(max_length=128)]
NoteBytes = Annotated[bytes, Meta(max_length=MAX_NOTE_BYTES)]
EnvelopeBytes = Annotated[bytes, Meta(max_length=MAX_ENVELOPE_BYTES)]
Successions = Annotated[tuple[EnvelopeBytes, ...], Meta(max_length=64)]
"""Envelopes of successions that lead from the genesis' log key to the one that signed."""

_PAIR = b"\x82"


class EvidenceKind(enum.IntEnum):
    """What is shown; the numbers stand in the bytes."""

    FORK = 0
    OMISSION = 1
    SECOND_MARK = 2
    WRONG_STATE = 3
    UNTIMELY_MARK = 4


class Branch(Struct, frozen=True, forbid_unknown_fields=True):
    """One tree behind the common prefix: that it extends the prefix, and its first leaf there (a hash)."""

    consistency: Proof
    leaf: Digest
    inclusion: Proof


class Divergence(Struct, frozen=True, forbid_unknown_fields=True):
    """Where two trees part: the longest common prefix, `size` entries of hash `root`, and what each has behind it."""

    size: Count
    root: Digest
    first: Branch
    second: Branch


class Fork(Struct, frozen=True, forbid_unknown_fields=True):
    """Two checkpoints (notes) of which neither is the other's prefix.

    Shown by the divergence; or, where that is not known, by different roots of one size; or by the larger tree's root
    at the smaller size, with the consistency proof that it has it (see `checkpoint.contradict`).
    """

    successions: Successions
    first: NoteBytes
    second: NoteBytes
    proof: Proof = ()
    prefix_root: Digest | None = None
    divergence: Divergence | None = None


class Omission(Struct, frozen=True, forbid_unknown_fields=True):
    """A receipt, and the log's entries from its `size` on and before its `bound`: the envelope is not among them.

    `before`: the hashes of the largest perfect subtrees of the first `size` entries, from the left; with the entries
    they give the root at `bound`, and `proof` is the consistency proof from there to the checkpoint in `note`.
    """

    successions: Successions
    receipt: Receipt
    note: NoteBytes
    before: Annotated[tuple[Digest, ...], Meta(max_length=64)]
    entries: Annotated[tuple[EnvelopeBytes, ...], Meta(min_length=1, max_length=MAX_PROMISED)]
    proof: Proof


class SecondMark(Struct, frozen=True, forbid_unknown_fields=True):
    """Two different marks (envelopes) of one epoch, both signed by a log key."""

    successions: Successions
    first: EnvelopeBytes
    second: EnvelopeBytes


class WrongState(Struct, frozen=True, forbid_unknown_fields=True):
    """A mark that the log holds at `index` and that names another state than the entries before it give.

    `proof`: the consistency proof from the log up to and with the mark to the checkpoint.
    """

    successions: Successions
    note: NoteBytes
    index: Count
    mark: EnvelopeBytes
    proof: Proof


class UntimelyMark(Struct, frozen=True, forbid_unknown_fields=True):
    """A mark, and the sightings of a quorum of witnesses that say that it came early, or late."""

    successions: Successions
    mark: EnvelopeBytes
    sightings: Annotated[tuple[Sighting, ...], Meta(min_length=1, max_length=64)]


Evidence: TypeAlias = Fork | Omission | SecondMark | WrongState | UntimelyMark

EVIDENCE: dict[EvidenceKind, type[Evidence]] = {
    EvidenceKind.FORK: Fork,
    EvidenceKind.OMISSION: Omission,
    EvidenceKind.SECOND_MARK: SecondMark,
    EvidenceKind.WRONG_STATE: WrongState,
    EvidenceKind.UNTIMELY_MARK: UntimelyMark,
}
KINDS: dict[type, EvidenceKind] = {struct: kind for kind, struct in EVIDENCE.items()}


def encode_evidence(evidence: Evidence) -> bytes:
    """Deterministic CBOR. Raises `Rejected` for more than `MAX_BYTES`."""
    data = cbor.encode((int(KINDS[type(evidence)]), evidence))
    _check_length(data)
    return data


def decode_evidence(data: bytes) -> Evidence:
    """The evidence in untrusted bytes, nothing of it checked. Raises `Rejected`, and nothing else."""
    _check_length(data)
    if data[:1] != _PAIR or len(data) < 2 or data[1] not in EVIDENCE:
        cbor.check(data)
        raise Rejected(Rejection.WRONG_SCHEMA, "Evidence is [kind, struct].")
    kind, start = number_at(data, 1, cbor.UNSIGNED)
    return cbor.decode_part(data, start, len(data), EVIDENCE[EvidenceKind(kind)])


def _check_length(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise Rejected(Rejection.TOO_LARGE, f"{len(data)} bytes, and evidence has at most {MAX_BYTES}.")

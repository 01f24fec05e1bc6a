"""The snapshot: what is published at a mark, named so that all can recompute it and an old one is known as such.

Its header is a function of the state just after the mark and of the published contents: whoever folds the same log
makes the same bytes. `version` grows with every mark and `expires` is a time, so that nobody can be shown an old
snapshot as the newest (after The Update Framework). This module reads no clock: times are handed in.
"""

import enum
import hashlib
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from protocol import cbor
from protocol.definitions import Count, Digest, Name, Signature, Small
from protocol.messages import Epoch
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey, verify
from protocol.state import State

TAG = "peerboard/snapshot/1"
MAX_BYTES = 16 * 1024


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """One published content: its name and the SHA-256 of its bytes."""

    name: Name
    sha256: Digest


class Snapshot(Struct, frozen=True, forbid_unknown_fields=True):
    """The header. `size`, `root`: of the log up to and with the mark of `epoch`.

    `version`: how many marks there were. `expires`: Unix seconds from which on a newer one is to be asked for.
    `protocol`: the protocol's version in force. `state`: digest of the state just after the mark. `parts` in order of
    their names, none twice.
    """

    network: Digest
    size: Count
    root: Digest
    epoch: Epoch
    version: Count
    expires: Count
    protocol: Small
    state: Digest
    parts: Annotated[tuple[Part, ...], Meta(max_length=64)]

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if names != sorted(set(names)):
            raise ValueError("the parts are not in order of their names, or one is there twice")


class SignedSnapshot(Struct, frozen=True, forbid_unknown_fields=True):
    """A header with the log key's signature over the CBOR array of the tag and the header."""

    snapshot: Snapshot
    signature: Signature


class Problem(enum.StrEnum):
    """Why a snapshot, rightly signed, is not to be used."""

    EXPIRED = "expired"
    OLDER = "older"
    OTHER_CONTENT = "other_content"


def header(state: State, contents: Mapping[str, bytes]) -> Snapshot | None:
    """The header of `contents` (bytes by name) at the state just after a mark; None before the first mark."""
    if state.head is None:
        return None
    size, root, epoch = state.head
    parts = tuple(Part(name, hashlib.sha256(contents[name]).digest()) for name in sorted(contents))
    return Snapshot(
        network=state.genesis.id,
        size=size,
        root=root,
        epoch=epoch,
        version=state.marks,
        expires=state.genesis.start_of(epoch + 1 + state.parameters.leaderless_max),
        protocol=state.parameters.version,
        state=state.digest(),
        parts=parts,
    )


def sign_snapshot(key: PrivateKey, snapshot: Snapshot) -> bytes:
    """The bytes that are published: header and the log key's signature."""
    return cbor.encode(SignedSnapshot(snapshot, key.sign(_statement(snapshot))))


def open_snapshot(data: bytes, network: bytes, log_key: bytes) -> Snapshot:
    """The header in untrusted bytes, of this network and signed by the log key (32 bytes).

    Raises `Rejected`, and nothing else.
    """
    if len(data) > MAX_BYTES:
        raise Rejected(Rejection.TOO_LARGE, f"{len(data)} bytes, and a snapshot's header has at most {MAX_BYTES}.")
    signed = cbor.decode(data, SignedSnapshot)
    if signed.snapshot.network != network or not verify(log_key, _statement(signed.snapshot), signed.signature):
        raise Rejected(Rejection.BAD_SIGNATURE)
    return signed.snapshot


def problems(snapshot: Snapshot, contents: Mapping[str, bytes], time: float, known_version: int = 0) -> list[Problem]:
    """What keeps an opened snapshot from being used at `time` (Unix seconds).

    `known_version`: the highest that was seen before. `contents` are to be the parts that it names, all of them.
    """
    digests = {name: hashlib.sha256(content).digest() for name, content in contents.items()}
    found = (
        (Problem.EXPIRED, time >= snapshot.expires),
        (Problem.OLDER, snapshot.version < known_version),
        (Problem.OTHER_CONTENT, digests != {part.name: part.sha256 for part in snapshot.parts}),
    )
    return [problem for problem, holds in found if holds]


def _statement(snapshot: Snapshot) -> bytes:
    return cbor.encode((TAG, snapshot))

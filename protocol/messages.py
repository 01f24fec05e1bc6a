"""What can be said. Each kind is a frozen struct; the envelope around it says who speaks.

Fields are encoded under their position (see `cbor`): append, never reorder. Kinds without a struct here are kept and
relayed, and not interpreted.
"""

import enum
from functools import lru_cache
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from protocol.audits import Finding
from protocol.definitions import (
    Benchmark,
    Count,
    Digest,
    Label,
    Model,
    Name,
    PublicKey,
    Setting,
    Signature,
    Small,
)
from protocol.failures import Failure
from protocol.fingerprint import encoded_size
from protocol.hashing import digest
from protocol.parameters import Natural, ParameterName
from protocol.transcripts import MAX_QUESTIONS

Outcome = Annotated[int, Meta(ge=0, le=1000)]
Epoch = Small
Seen = Annotated[bytes, Meta(max_length=16)]
Stamp = Annotated[bytes, Meta(min_length=8, max_length=8)]
Stars = Annotated[int, Meta(ge=1, le=5)]

MAX_TASKS_PER_BATCH = 64
MAX_EXAMINED = 64
SEEN_BYTES = 16


class Kind(enum.IntEnum):
    """Numbers of the kinds, as they stand in an envelope's payload."""

    DELEGATION = 0
    PROFILE = 1
    ATTESTATION = 2
    BENCHMARK = 3
    MODEL = 4
    CLAIM = 5
    COMMITMENT = 6
    RESULT = 7
    RATING = 8
    APPEAL = 9
    PROPOSAL = 10
    BALLOT = 11
    REVOCATION = 12
    SUCCESSION = 13
    MARK = 14


class Delegation(Struct, frozen=True, forbid_unknown_fields=True):
    """Signed by the account: `device` speaks for it. `consent` is the device's signature over `consent_to`."""

    device: PublicKey
    consent: Signature


def consent_to(network: bytes, account: bytes) -> bytes:
    """What a device signs to be taken into an account, so that nobody can claim another's device."""
    return digest("peerboard/consent/1", network, account)


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """What a device offers in this epoch: memory and disk in MiB, backends. Renewing it keeps the account's age.

    `stamp`: the nonce of a work stamp (see `stamps`), needed from accounts without attestation where the network asks
    for one. `text`: digest of a text document (see `texts`) with the name that the account goes by. A device has one
    profile an epoch.
    """

    epoch: Epoch
    memory: Small
    disk: Small
    backends: Annotated[tuple[Name, ...], Meta(max_length=8)]
    stamp: Stamp | None = None
    text: Digest | None = None


class Attestation(Struct, frozen=True, forbid_unknown_fields=True):
    """Signed by one of the genesis' attesters: `account` belongs to `person`.

    `person` is a salted hash of an identity, the same for all accounts that the attester knows to be one person's; the
    salt stays with the attester. Of an account's attestations the one of the highest `sequence` holds: what was said
    before cannot be said again by others.
    """

    account: PublicKey
    person: Digest
    sequence: Small


class BenchmarkDefinition(Struct, frozen=True, forbid_unknown_fields=True):
    """A benchmark is made known, so that a proposal can name it; it is asked only once a proposal is adopted."""

    benchmark: Benchmark
    text: Digest | None = None


class Registration(Struct, frozen=True, forbid_unknown_fields=True):
    """A model is put on the board; costs what the account earned (see `quota`).

    `epoch`, here and in ratings, appeals, proposals and ballots: the open one. One author's words are one message
    (see `envelope`), so that only another epoch lets the same be said again: a registration that was VOID, a vote that
    was taken back.
    """

    model: Model
    epoch: Epoch


class ClaimedTask(Struct, frozen=True, forbid_unknown_fields=True):
    """One task of a claim; `progress` per mille."""

    task: Digest
    progress: Outcome


class Claim(Struct, frozen=True, forbid_unknown_fields=True):
    """What a device works on, updated as it goes on: shown to people, never logged, read by no rule."""

    epoch: Epoch
    sequence: Small
    tasks: Annotated[tuple[ClaimedTask, ...], Meta(max_length=256)]


class Commitment(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The tasks of a batch in clear, and the digest of its results (`commitment_digest`), before anyone sees them."""

    epoch: Epoch
    ground: Digest
    tasks: Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=MAX_TASKS_PER_BATCH)]
    digest: Digest


class Run(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """How a batch was evaluated: library and version, class of hardware, mode, sampling seed. No exact hardware.

    `configuration`: what else the evaluator was set to (threads, batch size, context, backend).
    """

    engine: Label
    hardware: Label
    mode: Name
    seed: Small
    configuration: Annotated[tuple[Setting, ...], Meta(max_length=16)] = ()


class TaskResult(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One task's result: a failure, or everything else.

    `questions` is the digest of the question indexes; `outcomes` per question, 0 to 1000, and `total` their sum;
    `margins` in thousandths of a nat; `near_ties` a bit per question, first question first, most significant bit first;
    `fingerprint` 48 bytes a question, from 20 questions on 18; `transcript` the digest of the kept transcript (see
    `transcripts`); times in ms, energy in mJ; `stops` a byte per question: the number of a `Stop`. `findings`, of an
    audit or appeal only: what was found out about each examined account, in the order of the task's `examined` (see
    `audits`).
    """

    task: Digest
    failure: Failure | None = None
    questions: Digest | None = None
    outcomes: Annotated[tuple[Outcome, ...], Meta(max_length=MAX_QUESTIONS)] | None = None
    total: Small | None = None
    margins: Annotated[tuple[Small, ...], Meta(max_length=MAX_QUESTIONS)] | None = None
    near_ties: Annotated[bytes, Meta(max_length=MAX_QUESTIONS // 8)] | None = None
    fingerprint: Annotated[bytes, Meta(max_length=encoded_size(MAX_QUESTIONS))] | None = None
    transcript: Digest | None = None
    tokens_in: Count | None = None
    tokens_out: Count | None = None
    run_ms: Count | None = None
    energy_mj: Count | None = None
    stops: Annotated[bytes, Meta(max_length=MAX_QUESTIONS)] | None = None
    findings: Annotated[tuple[Finding, ...], Meta(max_length=MAX_EXAMINED)] | None = None


class Result(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Opens a commitment. `saw`, per task and rank: the start of the id of that rank's commitment, or nothing."""

    epoch: Epoch
    ground: Digest
    commitment: Digest
    salt: Digest
    run: Run
    tasks: Annotated[tuple[TaskResult, ...], Meta(min_length=1, max_length=MAX_TASKS_PER_BATCH)]
    saw: Annotated[tuple[Annotated[tuple[Seen, ...], Meta(max_length=64)], ...], Meta(max_length=MAX_TASKS_PER_BATCH)]


def commitment_digest(network: bytes, account: bytes, result: Result) -> bytes:
    """What the commitment to `result` must carry: everything that the result says but what its runner saw."""
    return digest(
        "peerboard/commit/1",
        network,
        account,
        result.epoch,
        result.ground,
        result.salt,
        result.run,
        result.tasks,
    )


@lru_cache(maxsize=256)  # all tasks of a benchmark and depth ask the same
def questions_digest(questions: tuple[int, ...]) -> bytes:
    """Digest of a task's question indexes, in the order in which they are asked."""
    return digest("peerboard/questions/1", questions)


class Rating(Struct, frozen=True, forbid_unknown_fields=True):
    """A person's stars, 1 to 5, for a model on a track: the latest count, one an epoch, beside the scores."""

    epoch: Epoch
    model: Digest
    track: Name
    stars: Stars


class Appeal(Struct, frozen=True, forbid_unknown_fields=True):
    """Asks for a DONE task to be evaluated again by others. `text`: digest of a text document with the reason."""

    epoch: Epoch
    task: Digest
    text: Digest | None = None


class ParameterChange(Struct, frozen=True, forbid_unknown_fields=True):
    """The network parameter `name` becomes `value`: booleans 0 or 1, within the genesis' bounds."""

    name: ParameterName
    value: Natural


class BenchmarkChange(Struct, frozen=True, forbid_unknown_fields=True):
    """The benchmark with this id, made known before, is asked from then on, or no longer."""

    benchmark: Digest
    active: bool


class TrackChange(Struct, frozen=True, forbid_unknown_fields=True):
    """The track's board pools these benchmarks from then on, by id; none of them: the track ends."""

    track: Name
    benchmarks: Annotated[tuple[Digest, ...], Meta(max_length=64)]


class Proposal(Struct, frozen=True, forbid_unknown_fields=True):
    """One change, which ballots decide; exactly one of `parameter`, `benchmark` and `track` is there.

    `text`: digest of a text document with the reasons.
    """

    epoch: Epoch
    parameter: ParameterChange | None = None
    benchmark: BenchmarkChange | None = None
    track: TrackChange | None = None
    text: Digest | None = None

    def __post_init__(self) -> None:
        if (self.parameter, self.benchmark, self.track).count(None) != 2:
            raise ValueError("a proposal changes exactly one thing")

    @property
    def change(self) -> ParameterChange | BenchmarkChange | TrackChange:
        """What it changes."""
        change = self.parameter or self.benchmark or self.track
        assert change is not None  # noqa: S101  (held by __post_init__)
        return change


class Ballot(Struct, frozen=True, forbid_unknown_fields=True):
    """For (`yes`) or against a proposal, named by its envelope's id. The latest of a person counts, one an epoch."""

    epoch: Epoch
    proposal: Digest
    yes: bool


class Revocation(Struct, frozen=True, forbid_unknown_fields=True):
    """Signed by the account: `device` no longer speaks for it."""

    device: PublicKey


class Succession(Struct, frozen=True, forbid_unknown_fields=True):
    """Signed by the log key or the genesis' recovery key: `log_key` replaces it, with a hash chain of its own.

    `consent` is the new key's signature over `succession_consent`. `sequence`: the how-manieth succession of the log
    this is, from 1, so that each takes effect once.
    """

    log_key: PublicKey
    chain_anchor: Digest
    chain_length: Small
    consent: Signature
    sequence: Small


def succession_consent(
    network: bytes, signer: bytes, log_key: bytes, chain_anchor: bytes, chain_length: int, sequence: int
) -> bytes:
    """What the new log key signs; `signer` is the key that signs the succession."""
    return digest("peerboard/succession/1", network, signer, log_key, chain_anchor, chain_length, sequence)


class Mark(Struct, frozen=True, forbid_unknown_fields=True):
    """Signed by the log key: opens `epoch`, closes what was open. `state` is the digest of the state before it."""

    epoch: Epoch
    preimage: Digest
    state: Digest
    version: Small


class Unknown(Struct, frozen=True):
    """A kind that this version does not interpret: kept and relayed."""

    kind: int


Message: TypeAlias = (
    Delegation
    | Profile
    | Attestation
    | BenchmarkDefinition
    | Registration
    | Claim
    | Commitment
    | Result
    | Rating
    | Appeal
    | Proposal
    | Ballot
    | Revocation
    | Succession
    | Mark
    | Unknown
)

STRUCTS: dict[Kind, type[Message]] = {
    Kind.DELEGATION: Delegation,
    Kind.PROFILE: Profile,
    Kind.ATTESTATION: Attestation,
    Kind.BENCHMARK: BenchmarkDefinition,
    Kind.MODEL: Registration,
    Kind.CLAIM: Claim,
    Kind.COMMITMENT: Commitment,
    Kind.RESULT: Result,
    Kind.RATING: Rating,
    Kind.APPEAL: Appeal,
    Kind.PROPOSAL: Proposal,
    Kind.BALLOT: Ballot,
    Kind.REVOCATION: Revocation,
    Kind.SUCCESSION: Succession,
    Kind.MARK: Mark,
}
KINDS: dict[type, Kind] = {struct: kind for kind, struct in STRUCTS.items()}

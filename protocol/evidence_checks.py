"""Checking evidence: bytes and the genesis in, what they prove out."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from protocol import ledger
from protocol.checkpoint import Checkpoint, contradict, open_checkpoint
from protocol.envelope import Envelope, open_envelope
from protocol.evidence import (
    Branch,
    Divergence,
    Evidence,
    EvidenceKind,
    Fork,
    Omission,
    SecondMark,
    UntimelyMark,
    WrongState,
    decode_evidence,
)
from protocol.genesis import Genesis, log_name
from protocol.merkle import Frontier, InvalidProof, leaf_hash, verify_consistency, verify_inclusion
from protocol.messages import Mark, Succession
from protocol.notes import InvalidNote, VerifierKey
from protocol.receipts import is_signed as is_receipt
from protocol.rejections import Rejected, Rejection
from protocol.witnesses import Timing, is_first, quorum, timing
from protocol.witnesses import is_signed as is_sighting


class Finding(Struct, frozen=True):
    """What evidence proves. `subject`: what it is about, so that two pieces about one thing are known as such."""

    kind: EvidenceKind
    subject: str
    sentence: str
    evidence: Evidence


def verify_evidence(data: bytes, genesis: Genesis, prefix: Iterable[bytes] = ()) -> Finding:
    """What untrusted bytes prove against the log key of a network. Raises `Rejected`, and nothing else.

    `prefix`: the log's entries before the mark, for a wrong state; at other evidence it is not looked at.
    """
    evidence = decode_evidence(data)
    try:
        keys = log_keys(genesis, evidence.successions)
        match evidence:
            case Fork():
                return _fork(evidence, genesis, keys)
            case Omission():
                return _omission(evidence, genesis, keys)
            case SecondMark():
                return _second_mark(evidence, genesis, keys)
            case WrongState():
                return _wrong_state(evidence, genesis, keys, prefix)
            case UntimelyMark():
                return _untimely_mark(evidence, genesis, keys)
    except InvalidProof as error:
        raise Rejected(Rejection.PROVES_NOTHING, f"{error}.") from None
    except InvalidNote as error:
        raise Rejected(Rejection.BAD_SIGNATURE, f"{error}.") from None


def log_keys(genesis: Genesis, successions: Sequence[bytes] = ()) -> tuple[bytes, ...]:
    """The genesis' log key and those that successions (envelopes, in order) made one. Raises `Rejected`."""
    keys = [genesis.log_key]
    for data in successions:
        envelope = open_envelope(data, genesis.id)
        if not isinstance(envelope.message, Succession):
            raise Rejected(Rejection.WRONG_SCHEMA, "An envelope among the successions is none.")
        if envelope.signer not in (*keys, genesis.recovery_key):
            raise Rejected(
                Rejection.PROVES_NOTHING, "A succession is signed by neither a log key nor the recovery key."
            )
        keys.append(envelope.message.log_key)
    return tuple(dict.fromkeys(keys))


def open_log_checkpoint(data: bytes, genesis: Genesis, keys: Sequence[bytes]) -> Checkpoint:
    """The checkpoint in untrusted bytes, signed by one of the network's log keys. Raises `InvalidNote`."""
    failure = InvalidNote("there is no log key")
    for key in keys:
        try:
            return open_checkpoint(data, VerifierKey(log_name(genesis.id), key)).checkpoint
        except InvalidNote as error:
            failure = error
    raise failure


def diverges(first: Checkpoint, second: Checkpoint, divergence: Divergence) -> bool:
    """Whether two trees have a common prefix and different entries behind it. Raises `InvalidProof`."""
    for checkpoint, branch in ((first, divergence.first), (second, divergence.second)):
        _check_branch(checkpoint, divergence, branch)
    return divergence.first.leaf != divergence.second.leaf


def _check_branch(checkpoint: Checkpoint, divergence: Divergence, branch: Branch) -> None:
    verify_consistency(divergence.size, checkpoint.size, branch.consistency, divergence.root, checkpoint.root)
    verify_inclusion(branch.leaf, divergence.size, checkpoint.size, branch.inclusion, checkpoint.root)


def _fork(evidence: Fork, genesis: Genesis, keys: Sequence[bytes]) -> Finding:
    first, second = (open_log_checkpoint(note, genesis, keys) for note in (evidence.first, evidence.second))
    where = evidence.divergence
    if where is not None:
        shown = diverges(first, second, where)
        common = f"the same {where.size} entries and others behind them"
    else:
        shown = contradict(first, second, evidence.prefix_root, evidence.proof)
        common = "different beginnings"
    if not shown:
        raise Rejected(Rejection.PROVES_NOTHING, "The two checkpoints do not contradict each other.")
    sentence = f"The log key signed two histories, of {first.size} and {second.size} entries, with {common}."
    return Finding(EvidenceKind.FORK, "log", sentence, evidence)


def _omission(evidence: Omission, genesis: Genesis, keys: Sequence[bytes]) -> Finding:
    receipt = evidence.receipt
    if not any(is_receipt(receipt, genesis.id, key) for key in keys):
        raise Rejected(Rejection.BAD_SIGNATURE, "No log key signed the receipt.")
    if len(evidence.before) != receipt.size.bit_count() or receipt.size + len(evidence.entries) != receipt.bound:
        raise Rejected(Rejection.PROVES_NOTHING, "These are not the entries from the receipt's size on to its bound.")
    checkpoint = open_log_checkpoint(evidence.note, genesis, keys)
    tree = Frontier(receipt.size, evidence.before).extend(map(leaf_hash, evidence.entries))
    verify_consistency(tree.size, checkpoint.size, evidence.proof, tree.root, checkpoint.root)
    if any(_id(entry, genesis) == receipt.envelope for entry in evidence.entries):
        raise Rejected(Rejection.PROVES_NOTHING, "The envelope stands where it was promised.")
    where = f"from entry {receipt.size} to {receipt.bound - 1}"
    sentence = f"The log key promised to log the envelope {receipt.envelope.hex()[:16]} {where}, and did not."
    return Finding(EvidenceKind.OMISSION, receipt.envelope.hex(), sentence, evidence)


def _id(entry: bytes, genesis: Genesis) -> bytes | None:
    try:
        return open_envelope(entry, genesis.id, check_signature=False).id
    except Rejected:
        return None  # not an envelope, so not the promised one


def _second_mark(evidence: SecondMark, genesis: Genesis, keys: Sequence[bytes]) -> Finding:
    marks = [_mark(data, genesis, keys) for data in (evidence.first, evidence.second)]
    (first, epoch), (second, other) = marks
    if first.id == second.id or epoch != other:
        raise Rejected(Rejection.PROVES_NOTHING, "These are not two marks of one epoch.")
    sentence = f"The log key signed two marks of epoch {epoch}."
    return Finding(EvidenceKind.SECOND_MARK, str(epoch), sentence, evidence)


def _wrong_state(evidence: WrongState, genesis: Genesis, keys: Sequence[bytes], prefix: Iterable[bytes]) -> Finding:
    mark, epoch = _mark(evidence.mark, genesis, keys)
    checkpoint = open_log_checkpoint(evidence.note, genesis, keys)
    state = ledger.begin(genesis)
    for entry in prefix:
        if state.frontier.size == evidence.index:
            break
        ledger.append(state, open_envelope(entry, genesis.id))
    if state.frontier.size != evidence.index:
        held = state.frontier.size
        raise Rejected(
            Rejection.PROVES_NOTHING, f"The {evidence.index} entries before the mark are needed, not {held}."
        )
    if ledger.append(state, mark) is not Rejection.VOID_WRONG_STATE:
        raise Rejected(
            Rejection.PROVES_NOTHING, "The mark names the state that the entries give, or is void otherwise."
        )
    tree = state.frontier
    verify_consistency(tree.size, checkpoint.size, evidence.proof, tree.root, checkpoint.root)
    sentence = f"The mark of epoch {epoch}, entry {evidence.index}, names another state than the log before it gives."
    return Finding(EvidenceKind.WRONG_STATE, str(evidence.index), sentence, evidence)


def _mark(data: bytes, genesis: Genesis, keys: Sequence[bytes]) -> tuple[Envelope, int]:
    envelope = open_envelope(data, genesis.id)
    if not isinstance(envelope.message, Mark):
        raise Rejected(Rejection.WRONG_SCHEMA, "What should be a mark is none.")
    if envelope.signer not in keys:
        raise Rejected(Rejection.BAD_SIGNATURE, "No log key signed the mark.")
    return envelope, envelope.message.epoch


def _untimely_mark(evidence: UntimelyMark, genesis: Genesis, keys: Sequence[bytes]) -> Finding:
    mark, epoch = _mark(evidence.mark, genesis, keys)
    if isinstance(mark.message, Mark) and is_first(genesis, mark.message):
        raise Rejected(Rejection.PROVES_NOTHING, "Nothing makes the first mark of a network early or late.")
    for sighting in evidence.sightings:
        if not is_sighting(sighting, genesis):
            raise Rejected(Rejection.BAD_SIGNATURE, "No witness of this network signed a sighting.")
        if (sighting.mark, sighting.epoch) != (mark.id, epoch):
            raise Rejected(Rejection.PROVES_NOTHING, "A sighting is of another mark.")
    for when in (Timing.EARLY, Timing.LATE):
        said = {seen.witness for seen in evidence.sightings if timing(genesis, epoch, seen.time) is when}
        if len(said) >= quorum(genesis):
            sentence = f"{len(said)} of {len(genesis.witnesses)} witnesses saw the mark of epoch {epoch} come {when}."
            return Finding(EvidenceKind.UNTIMELY_MARK, str(epoch), sentence, evidence)
    raise Rejected(Rejection.PROVES_NOTHING, f"{quorum(genesis)} witnesses who say the same are needed.")

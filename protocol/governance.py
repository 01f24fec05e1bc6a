"""Proposals and ballots: how parameters, benchmarks and tracks change.

A proposal is open for `VOTING` marks. Its weights are frozen when it is made: every person's credit as the last mark
left it, capped at a twentieth of all, and which accounts are whose; all accounts without attestation together have at
most a fifth of the weight, where the network asks for attestations. It is adopted if more than two thirds of the weight
cast are for it and at least a fifth of all weight was cast, and takes effect `NOTICE` marks later. Everything is
counted in integers.
"""

from collections import Counter
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from protocol.envelope import Envelope
from protocol.messages import Ballot, BenchmarkChange, BenchmarkDefinition, ParameterChange, Proposal, TrackChange
from protocol.parameters import Parameters
from protocol.rejections import Rejection
from protocol.state import Motion, State, Vote
from protocol.tiers import Scope, admit, scopes_of

VOTING = 72
NOTICE = 72
MOST_OPEN = 32
LARGEST_SHARE = 20
"""One person has at most one part in so many of the weight."""
FIXED = frozenset({"epoch_seconds", "grace_seconds"})
"""What epochs are numbered by cannot change, whatever the bounds say."""


class Tally(msgspec.Struct, frozen=True):
    """Weights in units that only compare with each other: for, against, and of all who may vote."""

    yes: int
    no: int
    all: int

    @property
    def is_won(self) -> bool:
        """More than two thirds of what was cast, and at least a fifth of all cast."""
        return 3 * self.yes > 2 * (self.yes + self.no) and 5 * (self.yes + self.no) >= self.all


def definition(state: State, envelope: Envelope, message: BenchmarkDefinition) -> Rejection | None:
    """Fold a benchmark's definition: from now on a proposal can name it."""
    account = state.devices.get(envelope.signer)
    if account is None:
        return Rejection.VOID_NOT_DELEGATED
    if Scope.PROPOSE not in scopes_of(state, account):
        return Rejection.VOID_NO_SCOPE
    if message.benchmark.id in state.definitions:
        return Rejection.VOID_DUPLICATE
    state.definitions[message.benchmark.id] = message.benchmark
    return None


def proposal(state: State, envelope: Envelope, message: Proposal) -> Rejection | None:
    """Fold a proposal: it is open from now on, with the weights of the last mark."""
    account = admit(state, envelope.signer, message.epoch, Scope.PROPOSE)
    if isinstance(account, Rejection):
        return account
    if envelope.id in state.motions:
        return Rejection.VOID_DUPLICATE
    mine = state.accounts_of(account)
    if len(state.motions) >= MOST_OPEN or any(motion.account in mine for motion in state.motions.values()):
        return Rejection.VOID_TOO_MANY
    if reason := _is_possible(state, message):
        return reason
    state.motions[envelope.id] = Motion(message, account, state.marks, weights(state), voters(state))
    return None


def ballot(state: State, envelope: Envelope, message: Ballot) -> Rejection | None:
    """Fold a ballot: it replaces the person's last one if it names a later epoch."""
    account = admit(state, envelope.signer, message.epoch, Scope.VOTE)
    if isinstance(account, Rejection):
        return account
    motion = state.motions.get(message.proposal)
    if motion is None or motion.adopted is not None:
        return Rejection.VOID_UNKNOWN_PROPOSAL
    person = dict(motion.voters).get(account)
    if person is None:
        return Rejection.VOID_NO_SCOPE
    known = state.votes.get((message.proposal, person))
    if known and known.epoch >= message.epoch:
        return Rejection.VOID_OUT_OF_SEQUENCE
    state.votes[message.proposal, person] = Vote(message.epoch, message.yes)
    return None


def weights(state: State) -> tuple[tuple[bytes, int, bool], ...]:
    """(person, credit, whether attested) of all with credit, capped; credit changes at marks only."""
    credit: Counter[bytes] = Counter()
    for key, account in state.accounts.items():
        credit[state.person(key)] += account.credit
    attested = set(state.persons.values())
    cap = max(1, sum(credit.values()) // LARGEST_SHARE)
    return tuple((person, min(cap, held), person in attested) for person, held in sorted(credit.items()) if held > 0)


def voters(state: State) -> tuple[tuple[bytes, bytes], ...]:
    """(account, person) of all accounts with credit, in order."""
    return tuple((key, state.person(key)) for key, account in sorted(state.accounts.items()) if account.credit > 0)


def tally(state: State, key: bytes) -> Tally:
    """The vote on an open proposal as it stands."""
    motion = state.motions[key]
    known = sum(weight for _, weight, attested in motion.weights if attested)
    unknown = sum(weight for _, weight, attested in motion.weights if not attested)
    # a fifth of the whole is a quarter of the attested part: scale both sides by what keeps them integers
    scale, scale_unknown = 1, 1
    if state.parameters.attested and 4 * unknown > known:
        scale, scale_unknown = 4 * unknown, known
    cast = {True: 0, False: 0}
    for person, weight, attested in motion.weights:
        if vote := state.votes.get((key, person)):
            cast[vote.yes] += weight * (scale if attested else scale_unknown)
    return Tally(cast[True], cast[False], known * scale + unknown * scale_unknown)


def settle(state: State) -> None:
    """At a mark: end votes whose time is over, and let what was adopted take effect after its notice."""
    now = state.marks + 1  # this mark is counted too
    for key, motion in sorted(state.motions.items()):
        if motion.adopted is None and now - motion.opened >= VOTING:
            won = tally(state, key).is_won
            for person, _, _ in motion.weights:
                state.votes.pop((key, person), None)
            if won:
                state.motions[key] = replace(motion, adopted=now, weights=(), voters=())
            else:
                del state.motions[key]
        elif motion.adopted is not None and now - motion.adopted >= NOTICE:
            del state.motions[key]
            if _is_possible(state, motion.proposal) is None:
                _take_effect(state, motion.proposal)


def changed(state: State, change: ParameterChange) -> Parameters | None:
    """The parameters after a change, or None where the genesis does not allow it."""
    bound = next((bound for bound in state.genesis.bounds if bound.name == change.name), None)
    if bound is None or change.name in FIXED or not bound.lowest <= change.value <= bound.highest:
        return None
    if change.name == "version" and change.value <= state.parameters.version:
        return None
    values: dict[str, Any] = asdict(state.parameters)
    if change.name not in values:
        return None
    values[change.name] = bool(change.value) if isinstance(values[change.name], bool) else change.value
    try:
        return msgspec.convert(values, Parameters)
    except msgspec.ValidationError:
        return None


def coming_version(state: State) -> tuple[int, int] | None:
    """The next version of the protocol that was adopted, and at which count of marks it takes effect."""
    coming = [
        (motion.adopted + NOTICE, motion.proposal.parameter.value)
        for motion in state.motions.values()
        if motion.adopted is not None and motion.proposal.parameter and motion.proposal.parameter.name == "version"
    ]
    marks, version = min(coming, default=(0, 0))
    return (version, marks) if version > state.parameters.version else None


def _is_possible(state: State, message: Proposal) -> Rejection | None:
    match message.change:
        case ParameterChange() as change:
            return None if changed(state, change) else Rejection.VOID_OUT_OF_BOUNDS
        case BenchmarkChange(benchmark=benchmark, active=active):
            known = state.definitions if active else state.benchmarks
            return None if benchmark in known else Rejection.VOID_UNKNOWN_BENCHMARK
        case TrackChange(benchmarks=benchmarks):
            missing = any(benchmark not in state.benchmarks for benchmark in benchmarks)
            return Rejection.VOID_UNKNOWN_BENCHMARK if missing else None


def _take_effect(state: State, message: Proposal) -> None:
    match message.change:
        case ParameterChange() as change:
            state.parameters = changed(state, change) or state.parameters
        case BenchmarkChange(benchmark=benchmark, active=True):
            state.benchmarks[benchmark] = state.definitions[benchmark]
            state.retired.pop(benchmark, None)
        case BenchmarkChange(benchmark=benchmark):
            state.retired[benchmark] = state.marks
        case TrackChange(track=track, benchmarks=benchmarks):
            state.tracks[track] = benchmarks

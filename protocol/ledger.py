"""How each entry of the log changes the state.

`append` takes every envelope in the order of the log and says why it has no effect, if it has none (VOID). The
signature has been checked when the envelope was opened. A mark folds in this order: close what was open, let adopted
proposals take effect, redraw the pools, derive what is due.
"""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from protocol import (
    closing,
    epochs,
    examinations,
    governance,
    people,
    pools,
    quota,
    ratings,
    scores,
    successions,
    tasks,
)
from protocol.audits import Conclusion
from protocol.definitions import Model
from protocol.envelope import Envelope
from protocol.gathering import Gathering
from protocol.genesis import Genesis
from protocol.merkle import leaf_hash
from protocol.messages import (
    Appeal,
    Attestation,
    Ballot,
    BenchmarkDefinition,
    Commitment,
    Delegation,
    Mark,
    Profile,
    Proposal,
    Rating,
    Registration,
    Result,
    Revocation,
    Succession,
)
from protocol.plan import Examination, Opening, derive
from protocol.rejections import Rejection
from protocol.state import Chain, Entry, State

PROTOCOL_VERSION = 1


def begin(genesis: Genesis) -> State:
    """The state of the empty log."""
    state = State(
        genesis=genesis,
        parameters=genesis.parameters,
        log_key=genesis.log_key,
        last_preimage=genesis.chain_anchor,
        chain_left=genesis.chain_length,
    )
    state.models.update((model.id, Entry(model)) for model in genesis.models)
    state.benchmarks.update((benchmark.id, benchmark) for benchmark in genesis.benchmarks)
    state.definitions.update(state.benchmarks)
    _halt_where_newer(state)
    return state


def append(state: State, envelope: Envelope) -> Rejection | None:
    """Fold the next entry into the state; why it is VOID, or None where it has an effect."""
    message = envelope.message
    handler = _HANDLERS.get(type(message))
    void: Rejection | None = Rejection.VOID_NEWER_VERSION
    if state.halted is None:
        void = handler(state, envelope, message) if handler else Rejection.VOID_UNKNOWN_KIND
    state.frontier = state.frontier.append(leaf_hash(envelope.data))
    if isinstance(message, Mark) and not void:
        state.head = (state.frontier.size, state.frontier.root, message.epoch)
    return void


def extend(state: State, envelopes: Iterable[Envelope]) -> list[Rejection | None]:
    """Fold several entries, in order."""
    return [append(state, envelope) for envelope in envelopes]


def gathering(state: State, epoch: int) -> Gathering | None:
    """Where statements about an open epoch are gathered; None where the epoch is not open."""
    if state.halted is not None:
        return None
    if epoch not in state.gatherings:
        plan = derive(state.opening, epoch) if state.opening else None
        if plan is None:
            return None
        state.gatherings[epoch] = Gathering(state.genesis.id, plan)
    return state.gatherings[epoch]


def runner(state: State, device: bytes) -> bytes | None:
    """The account for which a device evaluates in the open epochs: by the basis, so that no later entry changes it."""
    return state.opening.devices.get(device) if state.opening else None


def next_mark(state: State, epoch: int, preimage: bytes) -> Mark:
    """The mark that the log key would sign now to open `epoch`."""
    return Mark(epoch, preimage, state.digest(), state.parameters.version)


def _commitment(state: State, envelope: Envelope, message: Commitment) -> Rejection | None:
    key = runner(state, envelope.signer)
    if key is None:
        return _why_no_runner(state, envelope.signer)
    where = gathering(state, message.epoch)
    if where is None:
        return Rejection.VOID_NO_OPEN_EPOCH
    if reason := where.add_commitment(envelope.id, key, message):
        return reason
    if (account := state.accounts.get(key)) and account.seen != state.marks:
        state.accounts[key] = replace(account, seen=state.marks)
    return None


def _result(state: State, envelope: Envelope, message: Result) -> Rejection | None:
    if message.epoch in state.closed:
        return _late(state, envelope, message)
    key = runner(state, envelope.signer)
    if key is None:
        return _why_no_runner(state, envelope.signer)
    where = gathering(state, message.epoch)
    if where is None:
        return Rejection.VOID_NO_OPEN_EPOCH
    return where.add_result(envelope, key, message)


def _why_no_runner(state: State, device: bytes) -> Rejection:
    if state.opening is None:
        return Rejection.VOID_NO_OPEN_EPOCH
    return Rejection.VOID_NOT_A_RUNNER if device in state.devices else Rejection.VOID_NOT_DELEGATED


def _late(state: State, envelope: Envelope, message: Result) -> Rejection:
    """A reveal after its epoch's close lifts the setback of having missed it, and does nothing else."""
    key = state.devices.get(envelope.signer)
    if key is None:
        return Rejection.VOID_NOT_DELEGATED
    where = state.closed[message.epoch]
    reason = where.open_late(envelope, key, message)
    account = state.accounts.get(key)
    if reason is Rejection.VOID_LATE and account and key not in where.waiting:
        missed = {epoch: mark for epoch, mark in account.missed.items() if epoch != message.epoch}
        state.accounts[key] = replace(account, missed=missed)
    return reason


def _succession(state: State, envelope: Envelope, message: Succession) -> Rejection | None:
    """Another log key, and a hash chain of its own; the new key's consent was checked with the signature.

    Where the log key only renews its chain, the next mark still uses the old one: the log cannot choose an anchor when
    it knows the salts of the epoch that closes.
    """
    if reason := successions.why_void(state.genesis, state.log_key, state.successions, envelope):
        return reason
    state.successions = message.sequence
    if envelope.signer == message.log_key == state.log_key and state.opening and state.chain_left:
        state.next_chain = Chain(message.chain_anchor, message.chain_length)
        return None
    state.log_key = message.log_key
    state.last_preimage, state.chain_left = message.chain_anchor, message.chain_length
    state.next_chain = None
    return None


def _mark(state: State, envelope: Envelope, message: Mark) -> Rejection | None:
    if reason := _why_no_mark(state, envelope, message):
        return reason
    salts = closing.close_open_epochs(state, message.epoch)
    governance.settle(state)
    beacon = epochs.marked_beacon(message.preimage, salts)
    last, left = chain_at(state, message.epoch)
    state.last_preimage, state.chain_left = message.preimage, left - 1
    if (coming := state.next_chain) and coming.anchor == last:
        state.next_chain = None
    elif coming:
        state.last_preimage, state.chain_left, state.next_chain = coming.anchor, coming.length, None
    examinations.draw_audits(state, beacon)
    bases = _bases(state)
    offers = _offers(state)
    _redraw_pools(state, bases, offers, beacon)
    looked_at = examinations.take_pending(state, offers, bases)
    state.opening = _opening(state, message.epoch, beacon, looked_at)
    state.marks += 1
    _halt_where_newer(state)
    gathering(state, message.epoch)
    return None


def _halt_where_newer(state: State) -> None:
    """A version takes effect behind the mark that adopts it: that mark is the last thing that this code can fold."""
    if state.parameters.version > PROTOCOL_VERSION:
        state.halted = state.parameters.version


def chain_at(state: State, epoch: int) -> tuple[bytes, int]:
    """What the mark of `epoch` has to follow: anchor or last preimage, and how many preimages are left.

    A chain that waits comes into use without a last mark of the old one where no work is open any more.
    """
    opening, coming = state.opening, state.next_chain
    if coming and opening and epoch > opening.epoch + opening.parameters.leaderless_max:
        return coming.anchor, coming.length
    return state.last_preimage, state.chain_left


def _why_no_mark(state: State, envelope: Envelope, message: Mark) -> Rejection | None:
    last, left = chain_at(state, message.epoch)
    conditions = (
        (envelope.signer == state.log_key, Rejection.VOID_NOT_THE_LOG_KEY),
        (message.version == state.parameters.version, Rejection.VOID_WRONG_VERSION),
        (state.opening is None or message.epoch > state.opening.epoch, Rejection.VOID_EPOCH_PASSED),
        (left and epochs.follows(message.preimage, last), Rejection.VOID_WRONG_PREIMAGE),
    )
    for holds, reason in conditions:
        if not holds:
            return reason
    return None if message.state == state.digest() else Rejection.VOID_WRONG_STATE


def _active(state: State) -> dict[bytes, Model]:
    return {key: entry.model for key, entry in state.models.items() if not entry.dormant}


def _bases(state: State) -> dict[bytes, int]:
    """By active base: the bytes that its holders need, which is what the largest of its models needs."""
    bases: dict[bytes, int] = {}
    for model in _active(state).values():
        bases[model.base.sha256] = max(bases.get(model.base.sha256, 0), model.total_bytes)
    return bases


def _offers(state: State) -> dict[bytes, tuple[pools.Offer, ...]]:
    """The eligible accounts: old enough, or as old as the network, with the devices that were renewed in time."""
    parameters = state.parameters
    offers = {
        key: tuple(
            pools.Offer(known.device, known.profile.memory, known.profile.disk)
            for known in account.devices
            if state.marks - known.renewed <= parameters.profile_window
        )
        for key, account in state.accounts.items()
        if state.marks - account.since >= min(parameters.minimum_age, state.marks)
    }
    return {key: devices for key, devices in offers.items() if devices}


def _redraw_pools(state: State, bases: dict[bytes, int], offers: pools.Offers, beacon: bytes) -> None:
    drawn = pools.redraw(
        state.pools,
        bases,
        offers,
        beacon=beacon,
        marks=state.marks,
        parameters=state.parameters,
        attested=state.persons.keys() if state.parameters.attested else None,
    )
    for base in state.pools.keys() - drawn.keys():
        del state.pools[base]
    for base, pool in drawn.items():
        if state.pools.get(base) != pool:
            state.pools[base] = pool


def _opening(state: State, epoch: int, beacon: bytes, looked_at: tuple[Examination, ...]) -> Opening:
    models = _active(state)
    benchmarks = {key: known for key, known in state.benchmarks.items() if key not in state.retired}
    subjects = tasks.due_subjects(models, benchmarks, state.turns, state.parameters, len(looked_at))
    models |= {seen.subject.model: state.models[seen.subject.model].model for seen in looked_at}
    parameters = state.parameters
    left = parameters.questions_max - len(subjects) * parameters.quick_depth - sum(seen.depth for seen in looked_at)
    depths = {}
    if left > 0 and parameters.comprehensive_depth > parameters.quick_depth:
        depths = tasks.deeper(scores.undecided(benchmarks, state.standings), subjects, left, parameters)
    return Opening(
        epoch=epoch,
        beacon=beacon,
        size=state.frontier.size,
        root=state.frontier.root,
        models=models,
        benchmarks=state.benchmarks.copy(),
        subjects=subjects,
        depths=depths,
        examinations=looked_at,
        excluded=_excluded(state, models),
        pools=state.pools.copy(),
        alive=frozenset(key for key, account in state.accounts.items() if account.seen == state.marks),
        set_back=_set_back(state),
        devices=state.devices.copy(),
        persons=state.persons.copy(),
        turns=state.turns.copy(),
        parameters=parameters,
    )


def _excluded(state: State, models: Iterable[bytes]) -> dict[bytes, frozenset[bytes]]:
    """By model with sponsors: these, and all other accounts of the persons behind them."""
    accounts: dict[bytes, set[bytes]] = {}
    for account, person in state.persons.items():
        accounts.setdefault(person, set()).add(account)
    sponsors = {key: state.models[key].sponsors for key in models}
    return {
        key: frozenset(known).union(*(accounts.get(state.person(account), ()) for account in known))
        for key, known in sponsors.items()
        if known
    }


def _set_back(state: State) -> frozenset[bytes]:
    """Who within the window committed and did not reveal, or did not stand up to an examination."""
    window = state.parameters.profile_window
    return frozenset(
        key
        for key, account in state.accounts.items()
        if any(state.marks - mark < window for mark in account.missed.values())
        or account.has_failed_audit(state.marks - window, Conclusion.FLAGGED, Conclusion.NOT_REVEALED)
    )


_HANDLERS: dict[type, Callable[[State, Envelope, Any], Rejection | None]] = {
    Delegation: people.delegation,
    Profile: people.profile,
    Attestation: people.attestation,
    BenchmarkDefinition: governance.definition,
    Registration: quota.registration,
    Commitment: _commitment,
    Result: _result,
    Rating: ratings.rating,
    Appeal: examinations.appeal,
    Proposal: governance.proposal,
    Ballot: governance.ballot,
    Revocation: people.revocation,
    Succession: _succession,
    Mark: _mark,
}

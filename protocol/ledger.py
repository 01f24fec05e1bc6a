"""How each entry of the log changes the state.

`append` takes every envelope in the order of the log and says why it has no effect, if it has none (VOID). The
signature has been checked when the envelope was opened. A mark folds in this order: close what was open, redraw the
pools, derive what is due.
"""

from collections.abc import Callable
from typing import Any

from protocol import closing, epochs, pools, quota
from protocol.envelope import Envelope
from protocol.gathering import Gathering
from protocol.genesis import Genesis
from protocol.merkle import leaf_hash
from protocol.messages import Commitment, Delegation, Mark, Profile, Registration, Result
from protocol.plan import Opening, derive
from protocol.rejections import Rejection
from protocol.state import Account, DeviceProfile, Entry, State

PROTOCOL_VERSION = 1


def begin(genesis: Genesis) -> State:
    """The state of the empty log."""
    return State(
        genesis=genesis,
        last_preimage=genesis.chain_anchor,
        models={model.id: Entry(model, set()) for model in genesis.models},
        benchmarks={benchmark.id: benchmark for benchmark in genesis.benchmarks},
    )


def append(state: State, envelope: Envelope) -> Rejection | None:
    """Fold the next entry into the state; why it is VOID, or None where it has an effect."""
    message = envelope.message
    handler = _HANDLERS.get(type(message))
    void = handler(state, envelope, message) if handler else Rejection.VOID_UNKNOWN_KIND
    state.frontier = state.frontier.append(leaf_hash(envelope.data))
    if isinstance(message, Mark) and not void:
        state.head = (state.frontier.size, state.frontier.root, message.epoch)
    return void


def gathering(state: State, epoch: int) -> Gathering | None:
    """Where statements about an open epoch are gathered; None where the epoch is not open."""
    if epoch not in state.gatherings:
        plan = derive(state.opening, epoch) if state.opening else None
        if plan is None:
            return None
        state.gatherings[epoch] = Gathering(state.genesis.id, plan)
    return state.gatherings[epoch]


def next_mark(state: State, epoch: int, preimage: bytes) -> Mark:
    """The mark that the log key would sign now to open `epoch`."""
    return Mark(epoch, preimage, state.digest(), PROTOCOL_VERSION)


def _delegation(state: State, envelope: Envelope, message: Delegation) -> Rejection | None:
    if message.device in state.devices:
        return Rejection.VOID_ALREADY_DELEGATED
    state.devices[message.device] = envelope.signer
    return None


def _profile(state: State, envelope: Envelope, message: Profile) -> Rejection | None:
    key = state.devices.get(envelope.signer)
    if key is None:
        return Rejection.VOID_NOT_DELEGATED
    opened = state.opening.epoch if state.opening else 0
    if state.opening and message.epoch < opened - 1:
        return Rejection.VOID_EPOCH_PASSED
    account = state.accounts.setdefault(key, Account(since=state.marks))
    known = account.devices.get(envelope.signer)
    if known and known.profile.epoch > message.epoch:
        return Rejection.VOID_EPOCH_PASSED
    account.devices[envelope.signer] = DeviceProfile(message, state.marks)
    account.seen = state.marks
    return None


def _registration(state: State, envelope: Envelope, message: Registration) -> Rejection | None:
    key = state.devices.get(envelope.signer)
    if key is None:
        return Rejection.VOID_NOT_DELEGATED
    known = state.models.get(message.model.id)
    if known and not known.dormant:
        return Rejection.VOID_ALREADY_REGISTERED
    if not quota.spend(state, key):
        return Rejection.VOID_QUOTA
    sponsors = known.sponsors | {key} if known else {key}
    state.models[message.model.id] = Entry(message.model, sponsors)
    return None


def _commitment(state: State, envelope: Envelope, message: Commitment) -> Rejection | None:
    key = state.devices.get(envelope.signer)
    if key is None:
        return Rejection.VOID_NOT_DELEGATED
    where = gathering(state, message.epoch)
    if where is None:
        return Rejection.VOID_NO_OPEN_EPOCH
    if reason := where.add_commitment(envelope.id, key, message):
        return reason
    if key in state.accounts:
        state.accounts[key].seen = state.marks
    return None


def _result(state: State, envelope: Envelope, message: Result) -> Rejection | None:
    key = state.devices.get(envelope.signer)
    if key is None:
        return Rejection.VOID_NOT_DELEGATED
    if message.epoch in state.closed:
        return _late(state, envelope, key, message)
    where = gathering(state, message.epoch)
    if where is None:
        return Rejection.VOID_NO_OPEN_EPOCH
    return where.add_result(envelope.id, key, message)


def _late(state: State, envelope: Envelope, key: bytes, message: Result) -> Rejection:
    """A reveal after its epoch's close lifts the setback of having missed it, and does nothing else."""
    where = state.closed[message.epoch]
    if reason := where.add_result(envelope.id, key, message):
        return reason
    if key in state.accounts and key not in set(where.unopened()):
        state.accounts[key].missed.pop(message.epoch, None)
    return Rejection.VOID_LATE


def _mark(state: State, envelope: Envelope, message: Mark) -> Rejection | None:
    if envelope.signer != state.genesis.log_key:
        return Rejection.VOID_NOT_THE_LOG_KEY
    if state.opening and message.epoch <= state.opening.epoch:
        return Rejection.VOID_EPOCH_PASSED
    if not epochs.follows(message.preimage, state.last_preimage):
        return Rejection.VOID_WRONG_PREIMAGE
    if message.state != state.digest():
        return Rejection.VOID_WRONG_STATE
    salts = closing.close_open_epochs(state, message.epoch)
    beacon = epochs.marked_beacon(message.preimage, salts)
    state.last_preimage = message.preimage
    _redraw_pools(state, beacon)
    state.opening = _opening(state, message.epoch, beacon)
    state.marks += 1
    gathering(state, message.epoch)
    return None


def _active(state: State) -> dict[bytes, Entry]:
    return {key: entry for key, entry in state.models.items() if not entry.dormant}


def _redraw_pools(state: State, beacon: bytes) -> None:
    parameters = state.genesis.parameters
    bases: dict[bytes, int] = {}
    for entry in _active(state).values():
        base = entry.model.base.sha256
        bases[base] = max(bases.get(base, 0), entry.model.total_bytes)
    offers = {
        key: tuple(
            pools.Offer(device, known.profile.memory, known.profile.disk)
            for device, known in sorted(account.devices.items())
            if state.marks - known.renewed <= parameters.profile_window
        )
        for key, account in state.accounts.items()
        if state.marks - account.since >= min(parameters.minimum_age, state.marks)
    }
    offers = {key: devices for key, devices in offers.items() if devices}
    state.pools = pools.redraw(state.pools, bases, offers, beacon=beacon, marks=state.marks, parameters=parameters)


def _opening(state: State, epoch: int, beacon: bytes) -> Opening:
    active = _active(state)
    window = state.genesis.parameters.profile_window
    return Opening(
        epoch=epoch,
        beacon=beacon,
        size=state.frontier.size,
        root=state.frontier.root,
        models={key: entry.model for key, entry in active.items()},
        benchmarks=dict(state.benchmarks),
        sponsors={key: frozenset(entry.sponsors) for key, entry in active.items()},
        pools=dict(state.pools),
        alive=frozenset(key for key, account in state.accounts.items() if account.seen == state.marks),
        set_back=frozenset(
            key
            for key, account in state.accounts.items()
            if any(state.marks - mark < window for mark in account.missed.values())
        ),
        turns=dict(state.turns),
        parameters=state.genesis.parameters,
    )


_HANDLERS: dict[type, Callable[[State, Envelope, Any], Rejection | None]] = {
    Delegation: _delegation,
    Profile: _profile,
    Registration: _registration,
    Commitment: _commitment,
    Result: _result,
    Mark: _mark,
}

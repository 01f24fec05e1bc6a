"""Accounts, their devices, and who is behind them: delegations, profiles, attestations, revocations."""

from msgspec.structs import replace

from protocol import stamps
from protocol.envelope import Envelope
from protocol.messages import Attestation, Delegation, Profile, Revocation
from protocol.rejections import Rejection
from protocol.state import Account, DeviceProfile, State


def untimely(state: State, epoch: int) -> Rejection | None:
    """Why a message about no task may not name this epoch now; None where it may, and before the first mark.

    It may name the opened epoch, the one before it (it was under way when the mark came), or a leaderless one after
    it. So nobody can repeat a message that was VOID when its author no longer means it, or make one long in advance.
    """
    opening = state.opening
    if opening is None:
        return None
    if epoch < opening.epoch - 1:
        return Rejection.VOID_EPOCH_PASSED
    return Rejection.VOID_EPOCH_AHEAD if epoch > opening.epoch + opening.parameters.leaderless_max else None


def delegation(state: State, envelope: Envelope, message: Delegation) -> Rejection | None:
    """Fold a delegation. A device belongs to one account, and after its revocation to nobody."""
    if message.device in state.devices or message.device in state.revoked:
        return Rejection.VOID_ALREADY_DELEGATED
    state.devices[message.device] = envelope.signer
    return None


def revocation(state: State, envelope: Envelope, message: Revocation) -> Rejection | None:
    """Fold a revocation. What the device said in the epoch that is open still counts: verdicts come from sets."""
    if state.devices.get(message.device) != envelope.signer:
        return Rejection.VOID_NOT_DELEGATED
    del state.devices[message.device]
    state.revoked[message.device] = envelope.signer
    if account := state.accounts.get(envelope.signer):
        kept = tuple(known for known in account.devices if known.device != message.device)
        state.accounts[envelope.signer] = replace(account, devices=kept)
    return None


def attestation(state: State, envelope: Envelope, message: Attestation) -> Rejection | None:
    """Fold an attestation: it holds until one of a higher sequence number comes, of whichever attester."""
    if envelope.signer not in state.genesis.attesters:
        return Rejection.VOID_NOT_AN_ATTESTER
    if message.sequence <= state.attestations.get(message.account, -1):
        return Rejection.VOID_OUT_OF_SEQUENCE
    state.attestations[message.account] = message.sequence
    state.persons[message.account] = message.person
    return None


def profile(state: State, envelope: Envelope, message: Profile) -> Rejection | None:
    """Fold a profile: a sign of life, and what the device offers. The account's age counts from its first one.

    A device has one profile an epoch, and each costs a stamp of its own. One that was logged before the first mark
    and names an epoch far ahead locks nobody out: it counts as if it named none.
    """
    key = state.devices.get(envelope.signer)
    if key is None:
        return Rejection.VOID_NOT_DELEGATED
    if reason := untimely(state, message.epoch):
        return reason
    account = state.accounts.get(key, Account(since=state.marks))
    known = next((known for known in account.devices if known.device == envelope.signer), None)
    if known and known.envelope == envelope.id:
        return Rejection.VOID_DUPLICATE
    if known and known.profile.epoch >= message.epoch and not untimely(state, known.profile.epoch):
        return Rejection.VOID_OUT_OF_SEQUENCE
    seconds = 0 if key in state.persons else state.parameters.work_stamp_seconds
    if not stamps.is_stamped(state.genesis.id, envelope.signer, message.epoch, message.stamp, seconds):
        return Rejection.VOID_NO_STAMP
    others = tuple(other for other in account.devices if other.device != envelope.signer)
    renewed = DeviceProfile(envelope.signer, message, envelope.id, state.marks)
    devices = tuple(sorted((*others, renewed), key=lambda device: device.device))
    state.accounts[key] = replace(account, devices=devices, seen=state.marks)
    return None

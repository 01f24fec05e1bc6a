"""Accounts, their devices, and who is behind them: delegations, profiles, attestations, revocations."""

from msgspec.structs import replace

from protocol import stamps
from protocol.envelope import Envelope
from protocol.messages import Attestation, Delegation, Profile, Revocation
from protocol.rejections import Rejection
from protocol.state import Account, DeviceProfile, State


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
    """Fold an attestation; a later one replaces an earlier one."""
    if envelope.signer not in state.genesis.attesters:
        return Rejection.VOID_NOT_AN_ATTESTER
    if state.persons.get(message.account) == message.person:
        return Rejection.VOID_DUPLICATE
    state.persons[message.account] = message.person
    return None


def profile(state: State, envelope: Envelope, message: Profile) -> Rejection | None:
    """Fold a profile: a sign of life, and what the device offers. The account's age counts from its first one."""
    key = state.devices.get(envelope.signer)
    if key is None:
        return Rejection.VOID_NOT_DELEGATED
    if state.opening and message.epoch < state.opening.epoch - 1:
        return Rejection.VOID_EPOCH_PASSED
    account = state.accounts.get(key, Account(since=state.marks))
    known = next((known for known in account.devices if known.device == envelope.signer), None)
    if known and known.envelope == envelope.id:
        return Rejection.VOID_DUPLICATE
    if known and known.profile.epoch > message.epoch:
        return Rejection.VOID_EPOCH_PASSED
    seconds = 0 if key in state.persons else state.parameters.work_stamp_seconds
    if not stamps.is_stamped(state.genesis.id, envelope.signer, message.epoch, message.stamp, seconds):
        return Rejection.VOID_NO_STAMP
    others = tuple(other for other in account.devices if other.device != envelope.signer)
    renewed = DeviceProfile(envelope.signer, message, envelope.id, state.marks)
    devices = tuple(sorted((*others, renewed), key=lambda device: device.device))
    state.accounts[key] = replace(account, devices=devices, seen=state.marks)
    return None

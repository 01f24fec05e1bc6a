"""What an account may do beyond evaluating: tiers follow from credit and agreement, and open scopes.

Evaluating needs no tier, and registering a model is paid for by work (`quota`). Credit is in MiB times questions; the
agreement is the share of an account's counted results that agreed with a DONE verdict, per mille. Who was flagged by an
examination within the window of profiles is a guest, whatever it had.
"""

import enum

from msgspec import Struct

from protocol.audits import Conclusion
from protocol.people import untimely
from protocol.rejections import Rejection
from protocol.state import State


class Scope(enum.StrEnum):
    """What a tier opens."""

    RATE = "rate"
    APPEAL = "appeal"
    VOTE = "vote"
    PROPOSE = "propose"


class Tier(Struct, frozen=True):
    """A row of the table: what it takes, and what it opens beyond the rows before it."""

    name: str
    credit: int
    agreement: int
    opens: tuple[Scope, ...]


TIERS: tuple[Tier, ...] = (
    Tier("guest", 0, 0, ()),
    Tier("runner", 25, 500, (Scope.RATE, Scope.APPEAL)),
    Tier("regular", 500, 800, (Scope.VOTE,)),
    Tier("keeper", 5_000, 900, (Scope.PROPOSE,)),
)


def tier_of(state: State, account: bytes) -> Tier:
    """The highest tier whose conditions, and those of all tiers below it, the account meets."""
    known = state.accounts.get(account)
    reached = TIERS[0]
    if known and known.has_failed_audit(state.marks - state.parameters.profile_window, Conclusion.FLAGGED):
        return reached
    for tier in TIERS[1:]:
        if known is None or known.credit < tier.credit or 1000 * known.agreed < tier.agreement * known.judged:
            break
        reached = tier
    return reached


def scopes_of(state: State, account: bytes) -> frozenset[Scope]:
    """All that the account's tier and the tiers below it open."""
    highest = TIERS.index(tier_of(state, account))
    return frozenset(scope for tier in TIERS[: highest + 1] for scope in tier.opens)


def admit(state: State, device: bytes, epoch: int, scope: Scope | None) -> bytes | Rejection:
    """The account for which the device speaks, if it may do this and said so for now; else the reason why not.

    For now: see `people.untimely`.
    """
    account = state.devices.get(device)
    if account is None:
        return Rejection.VOID_NOT_DELEGATED
    if state.opening is None:
        return Rejection.VOID_NO_OPEN_EPOCH
    if reason := untimely(state, epoch):
        return reason
    return account if scope is None or scope in scopes_of(state, account) else Rejection.VOID_NO_SCOPE

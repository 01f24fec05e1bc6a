"""Earn your submit: a registration costs what its account earned by evaluating others' models.

Earned is an assigned or spare result that agrees with a DONE verdict. A registration needs as many of the last
`norm_window` marked epochs as `norm_required`, or as there were DONE tasks at all while there were fewer, and spends
them.
"""

from msgspec import Struct

from protocol.lifecycle import TaskState
from protocol.state import State


class Quota(Struct, frozen=True):
    """What an account has and what a registration takes now."""

    earned: int
    required: int

    @property
    def may_register(self) -> bool:
        """Whether a registration would count."""
        return self.earned >= self.required


def quota(state: State, account: bytes) -> Quota:
    """What the account earned within the window, and what it needs."""
    parameters = state.genesis.parameters
    known = state.accounts.get(account)
    recent = [mark for mark in known.earned if state.marks - mark < parameters.norm_window] if known else []
    done = sum(
        1
        for finals in state.verdicts
        for final in finals
        if final.state is TaskState.DONE and account not in state.models[final.subject.model].sponsors
    )
    return Quota(len(recent), min(parameters.norm_required, done))


def spend(state: State, account: bytes) -> bool:
    """Take the price of one registration, oldest first; False, and nothing taken, where it is not there."""
    price = quota(state, account)
    if not price.may_register:
        return False
    known = state.accounts.get(account)
    if known:
        window = state.genesis.parameters.norm_window
        recent = [mark for mark in known.earned if state.marks - mark < window]
        known.earned = recent[price.required :]
    return True

"""What a node holds beyond its log prefix: shown as provisional, read by no rule.

The provisional verdict of a task is a function of the state and of the *set* of envelopes held: neither the order of
arrival nor duplicates matter. What does not fit yet (an unknown ground, a device without a delegation) is parked,
bounded per author, and tried again whenever the log grows.
"""

from collections import OrderedDict
from collections.abc import Mapping

from msgspec import Struct

from protocol import ledger
from protocol.counting import Statements, Verdict, decide, is_firm, is_running, merge
from protocol.envelope import Envelope
from protocol.gathering import Gathering
from protocol.lifecycle import TaskState
from protocol.messages import Claim, Commitment, Result
from protocol.plan import Plan
from protocol.rejections import Rejection
from protocol.state import State
from protocol.tasks import Task

PARKED_PER_AUTHOR = 32
PARKED = 4096
CLAIMS = 4096


class Provisional(Struct, frozen=True):
    """A task as this node sees it now. `firm`: a DONE that survives the loss of any one result."""

    task: Task
    state: TaskState
    verdict: Verdict
    firm: bool
    statements: Mapping[bytes, Statements]


class Overlay:
    """Envelopes beyond a state's log prefix. `settle` after every change of the state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._gatherings: dict[int, Gathering] = {}
        self._parked: OrderedDict[bytes, Envelope] = OrderedDict()
        self.claims: OrderedDict[bytes, Claim] = OrderedDict()
        """By device: its newest claim."""

    def plan(self, epoch: int) -> Plan | None:
        """The tasks of an open epoch; None where it is not open."""
        where = ledger.gathering(self._state, epoch)
        return where.plan if where else None

    def add(self, envelope: Envelope) -> Rejection | None:
        """Take an envelope in; why it is parked or of no use here, or None."""
        message = envelope.message
        if isinstance(message, Claim):
            return self._claim(envelope.signer, message)
        if not isinstance(message, Commitment | Result):
            return None
        reason = self._gather(envelope, message)
        opening = self._state.opening
        past = opening is not None and message.epoch < opening.epoch
        if reason in _PASSING and not past and envelope.id not in self._parked:
            self._park(envelope)
        return reason

    def settle(self) -> None:
        """Forget epochs that the log has closed, and try again what was parked."""
        opening = self._state.opening
        opened = opening.epoch if opening else 0
        for epoch, where in tuple(self._gatherings.items()):
            ours = ledger.gathering(self._state, epoch)
            if ours is None or ours.plan.ground != where.plan.ground:
                del self._gatherings[epoch]
        for key, claim in tuple(self.claims.items()):
            if claim.epoch < opened:
                del self.claims[key]
        parked, self._parked = self._parked, OrderedDict()
        for envelope in parked.values():
            message = envelope.message
            if isinstance(message, Commitment | Result) and message.epoch >= opened:
                self.add(envelope)

    def provisional(self, task: Task) -> Provisional:
        """The task as the log and this overlay together have it."""
        statements = self.statements(task)
        dispersion = self._state.parameters.dispersion
        verdict = decide(task, statements, dispersion)
        state = TaskState.RUNNING if is_running(task, statements) else TaskState.QUEUED
        if not task.assigned:
            state = TaskState.WAITING
        return Provisional(task, state, verdict, is_firm(task, statements, dispersion), statements)

    def statements(self, task: Task) -> dict[bytes, Statements]:
        """All that is known to have been said of a task, by account."""
        parts = [self._gatherings.get(task.epoch), self._state.gatherings.get(task.epoch)]
        return merge(part.statements.get(task.id, {}) for part in parts if part is not None)

    def _gather(self, envelope: Envelope, message: Commitment | Result) -> Rejection | None:
        account = ledger.runner(self._state, envelope.signer)
        if account is None:
            return Rejection.VOID_NOT_DELEGATED
        plan = self.plan(message.epoch)
        if plan is None:
            return Rejection.VOID_NO_OPEN_EPOCH
        where = self._gatherings.get(message.epoch)
        if where is None:
            where = self._gatherings[message.epoch] = Gathering(self._state.genesis.id, plan)
        if isinstance(message, Commitment):
            return where.add_commitment(envelope.id, account, message)
        return where.add_result(envelope, account, message)

    def _claim(self, device: bytes, message: Claim) -> Rejection | None:
        if device not in self._state.devices:
            return Rejection.VOID_NOT_DELEGATED
        known = self.claims.get(device)
        if known and (known.epoch, known.sequence) >= (message.epoch, message.sequence):
            return Rejection.VOID_EPOCH_PASSED
        self.claims[device] = message
        self.claims.move_to_end(device)
        if len(self.claims) > CLAIMS:
            self.claims.popitem(last=False)
        return None

    def _park(self, envelope: Envelope) -> None:
        mine = [key for key, parked in self._parked.items() if parked.signer == envelope.signer]
        if len(mine) >= PARKED_PER_AUTHOR:
            del self._parked[mine[0]]
        self._parked[envelope.id] = envelope
        if len(self._parked) > PARKED:
            self._parked.popitem(last=False)


_PASSING = frozenset({Rejection.VOID_NOT_DELEGATED, Rejection.VOID_NO_OPEN_EPOCH, Rejection.VOID_OTHER_GROUND})

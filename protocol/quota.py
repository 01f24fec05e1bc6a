"""Earn your submit: a registration costs what its account earned by evaluating others' models.

Earned is an assigned or spare result that agrees with a DONE verdict and passes rule 2; nobody evaluates models of
their own. It is at hand from the mark that closes its epoch until the `norm_window`-th mark after that: while
`norm_window` epochs are open. Of what is at hand a registration needs, and spends, `norm_required`, or as many as there
were tasks DONE on others' models in the same window (and at hand, `state.WINDOW`) while those were fewer. A person
registers from one repository once in `REPOSITORY_WINDOW` epochs.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from protocol.definitions import Model
from protocol.envelope import Envelope
from protocol.lifecycle import TaskState
from protocol.messages import Registration
from protocol.rejections import Rejection
from protocol.state import Entry, State
from protocol.tasks import Subject
from protocol.tiers import admit

REPOSITORY_WINDOW = 24


class Quota(Struct, frozen=True):
    """What an account has and what a registration takes now."""

    earned: int
    required: int

    @property
    def may_register(self) -> bool:
        """Whether a registration would count."""
        return self.earned >= self.required


class Obstacle(Struct, frozen=True):
    """One reason why a registration would not count now.

    `missing`: how many results more it takes, if that is what it takes. `marks`: how many marks later at the earliest
    the reason can be gone; None where waiting does not help.
    """

    reason: Rejection
    sentence: str
    missing: int = 0
    marks: int | None = None


class Explanation(Struct, frozen=True):
    """Whether a registration would count now, what it takes and what stands in its way.

    `expiring`: how many of the earned results are at hand for the last time before the next mark.
    """

    counts: bool
    quota: Quota
    obstacles: tuple[Obstacle, ...]
    expiring: int


def quota(state: State, account: bytes) -> Quota:
    """What the account earned within the window, and what it needs."""
    return Quota(sum(count for _, count in _harvest(state, account)), _required(state, account))


def registration(state: State, envelope: Envelope, message: Registration) -> Rejection | None:
    """Fold a registration: it spends what was earned, oldest first, or is VOID and may be sent again."""
    key = admit(state, envelope.signer, message.epoch, None)
    if isinstance(key, Rejection):
        return key
    found = explain(state, key, message.model)
    if found.obstacles:
        return found.obstacles[0].reason
    model = message.model.id
    known = state.models.get(model)
    sponsors = {key, *known.sponsors} if known else {key}
    state.models[model] = Entry(message.model, tuple(sorted(sponsors)))
    for benchmark in state.benchmarks:
        state.turns.pop(Subject(model, benchmark), None)  # asked from the start, failures forgotten
    state.submissions[key, submitted(message.model)] = state.marks
    _spend(state, key, found.quota.required)
    return None


def submitted(model: Model) -> str:
    """The repository that a registration submits: the last adapter's, or the base's where there is none."""
    file = model.adapters[-1].file if model.adapters else model.base
    return file.repository


def explain(state: State, account: bytes, model: Model | None = None) -> Explanation:
    """Why a registration of the model by the account would count now, or why not and when it can.

    Without a model: of any model that is new. The first obstacle is the reason that the ledger gives.
    """
    found = quota(state, account)
    obstacles = list(_about_the_account(state, account))
    if model is not None:
        obstacles += _about_the_model(state, account, model)
    if not found.may_register:
        missing = found.required - found.earned
        obstacles.append(
            Obstacle(
                Rejection.VOID_QUOTA,
                f"{found.earned} of {found.required} results are earned: {missing} more must agree with the verdict of "
                f"a task on somebody else's model. They count when their epoch is closed by a mark, and for "
                f"{state.parameters.norm_window} marks.",
                missing=missing,
                marks=1,
            )
        )
    oldest = state.marks - state.parameters.norm_window
    expiring = sum(count for mark, count in _harvest(state, account) if mark == oldest)
    return Explanation(not obstacles, found, tuple(obstacles), expiring)


def _about_the_account(state: State, account: bytes) -> Iterator[Obstacle]:
    if state.halted is not None:
        yield Obstacle(Rejection.VOID_NEWER_VERSION, Rejection.VOID_NEWER_VERSION.sentence)
    if account not in state.devices.values():
        reason = Rejection.VOID_NOT_DELEGATED
        yield Obstacle(reason, "No device speaks for this account: its delegation is not in the log, or was revoked.")
    if state.opening is None:
        yield Obstacle(Rejection.VOID_NO_OPEN_EPOCH, "The network has not begun: its first mark is to come.", marks=1)


def _about_the_model(state: State, account: bytes, model: Model) -> list[Obstacle]:
    obstacles = []
    known = state.models.get(model.id)
    if known and not known.dormant:
        reason = Rejection.VOID_ALREADY_REGISTERED
        obstacles.append(Obstacle(reason, "These bytes are on the board already, whoever registered them."))
    repository = submitted(model)
    last = max(state.submissions.get((mine, repository), -REPOSITORY_WINDOW) for mine in state.accounts_of(account))
    if state.marks - last < REPOSITORY_WINDOW:
        marks = REPOSITORY_WINDOW - (state.marks - last)
        obstacles.append(
            Obstacle(
                Rejection.VOID_SAME_REPOSITORY,
                f"A model from {repository} was registered {state.marks - last} epochs ago: the next one "
                f"counts in {marks}.",
                marks=marks,
            )
        )
    return obstacles


def _harvest(state: State, account: bytes) -> list[tuple[int, int]]:
    known = state.accounts.get(account)
    window = state.parameters.norm_window
    return [part for part in known.harvest if state.marks - part[0] <= window] if known else []


def _required(state: State, account: bytes) -> int:
    """Counting stops at `norm_required`: in a network at work that is after as many verdicts."""
    required, done = state.parameters.norm_required, 0
    person = state.person(account)
    for finals in reversed(state.verdicts):
        for final in finals:
            if done == required or state.marks - final.closed_by > state.parameters.norm_window:
                return done
            if final.state is TaskState.DONE:
                sponsors = state.models[final.subject.model].sponsors
                done += all(state.person(sponsor) != person for sponsor in sponsors)
    return done


def _spend(state: State, account: bytes, price: int) -> None:
    known = state.accounts.get(account)
    if known is None:
        return
    left = []
    for mark, count in _harvest(state, account):
        taken = min(price, count)
        price -= taken
        if count > taken:
            left.append((mark, count - taken))
    state.accounts[account] = replace(known, harvest=tuple(left))

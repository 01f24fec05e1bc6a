"""What a mark does to the epochs that it closes: verdicts become final, and everything that follows from them.

Credit, quota, set-backs and turns read final verdicts only, and a final verdict is never computed again.
"""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from msgspec.structs import replace

from protocol.audits import Audited, conclude
from protocol.counting import Statements, Verdict, decide, is_running
from protocol.gathering import Gathering
from protocol.hashing import digest
from protocol.lifecycle import Event, TaskState, follow
from protocol.plan import derive
from protocol.standings import Standing, Work, differ, pack, packed
from protocol.state import WINDOW, Final, State
from protocol.tasks import NEVER, Purpose, Task, Turn

CLOSES_KEPT = 2
FAILURES_UNTIL_DORMANT = 3
DISPUTES_UNTIL_ORDINARY = 3
MIB = 1 << 20


def close_open_epochs(state: State, opens: int) -> dict[tuple[int, bytes], bytes]:
    """Close all open epochs before `opens`, in order; the salts that the marked one brings to the next beacon.

    A leaderless epoch brings no setback to anyone, so that withholding would cost nothing there: it brings no salts.
    """
    if state.opening is None:
        return {}
    salts: dict[tuple[int, bytes], bytes] = {}
    opened = state.opening.epoch
    last = min(opens - 1, opened + state.opening.parameters.leaderless_max)
    state.closed = {epoch: kept for epoch, kept in state.closed.items() if state.marks - kept.mark < CLOSES_KEPT}
    for epoch in range(opened, last + 1):
        # Made anew where nobody spoke of a leaderless epoch: whether anybody has looked at it must make no difference.
        where = state.gatherings.pop(epoch, None) or _silent(state, epoch)
        counted = _close(state, where)
        if epoch == opened:
            salts = {(epoch, account): salt for account, salt in where.salts(counted)}
            for key in where.unopened():
                if account := state.accounts.get(key):
                    state.accounts[key] = replace(account, missed={**account.missed, epoch: state.marks})
        state.closed[epoch] = where.close(state.marks)
        state.last_closed = epoch
    state.gatherings.clear()
    _forget(state)
    return salts


def _silent(state: State, epoch: int) -> Gathering:
    """The gathering of an open epoch of which nobody spoke."""
    plan = derive(state.opening, epoch) if state.opening else None
    assert plan is not None  # noqa: S101  only open epochs are closed
    return Gathering(state.genesis.id, plan)


class _Reward:
    """What one epoch brings its runners, added up before the records change."""

    def __init__(self) -> None:
        self._earning: dict[int, list[bytes]] = {}
        self._counted: list[bytes] = []
        self._agreeing: list[bytes] = []

    def add(self, verdict: Verdict, credit: int) -> None:
        """Take in a DONE verdict, whose `credit` each earns who agreed with it."""
        self._earning.setdefault(credit, []).extend(verdict.earning)
        self._counted += verdict.counted
        self._agreeing += verdict.agreeing

    def pay(self, state: State) -> None:
        """Change the accounts."""
        window = state.parameters.norm_window
        judged, agreed = Counter(self._counted), Counter(self._agreeing)
        credit: Counter[bytes] = Counter()
        earned: Counter[bytes] = Counter()
        for each, accounts in self._earning.items():
            for key, count in Counter(accounts).items():
                earned[key] += count
                credit[key] += count * each
        for key in judged | earned:
            if account := state.accounts.get(key):
                harvest = tuple(part for part in account.harvest if state.marks - part[0] < window)
                if earned[key]:
                    harvest = (*harvest, (state.marks, earned[key]))
                state.accounts[key] = replace(
                    account,
                    credit=account.credit + credit[key],
                    harvest=harvest,
                    judged=account.judged + judged[key],
                    agreed=account.agreed + agreed[key],
                )


def _close(state: State, where: Gathering) -> set[bytes]:
    """Make the verdicts final; the accounts with a result that counts in one of them."""
    finals, entries = [], []
    counted: set[bytes] = set()
    reward = _Reward()
    for task in where.plan.tasks.values():
        said = where.statements[task.id]
        verdict = decide(task, said, state.parameters.dispersion)
        final = _final(state, task, verdict, said)
        finals.append(final)
        counted.update(verdict.counted)
        entries.append(_entry(final, verdict))
        if task.purpose is Purpose.REGULAR:
            _standing(state, task).newest = final.state
            _take_turn(state, task, final, leaderless=where.plan.leaderless)
        if final.state is TaskState.DONE:
            _score(state, task, verdict, final)
            if task.examined:
                _put_on_record(state, task, verdict, said)
            reward.add(verdict, _credit(state, task))
    reward.pay(state)
    state.history = digest("peerboard/history/1", state.history, where.plan.epoch, tuple(entries))
    if finals:
        state.verdicts.append(tuple(finals))
        state.recent.update((final.task, final) for final in finals)
    return counted


def _entry(final: Final, verdict: Verdict) -> tuple[object, ...]:
    """A verdict as it enters the history; accounts and medians (two bytes each) are joined, in order."""
    return (
        final.task,
        final.state,
        final.total,
        final.failure,
        b"".join(final.counted),
        b"".join(final.agreeing),
        b"".join(verdict.earning),
        packed("H", verdict.medians),
        final.transcripts,
    )


def _final(state: State, task: Task, verdict: Verdict, said: Mapping[bytes, Statements]) -> Final:
    opened = follow(None, Event.OPENED if task.assigned else Event.OPENED_SHORT)
    reached = opened
    if task.assigned:
        running = bool(verdict.counted) or is_running(task, said)
        reached = follow(follow(opened, Event.COMMITTED) if running else opened, verdict.event)
    return Final(
        task=task.id,
        subject=task.subject,
        epoch=task.epoch,
        state=reached,
        quorum=task.quorum,
        questions=len(task.questions),
        counted=verdict.counted,
        agreeing=verdict.agreeing,
        total=verdict.total,
        failure=verdict.failure,
        purpose=task.purpose,
        looks_at=task.looks_at,
        closed_by=state.marks,
        transcripts=_transcripts(verdict, said) if reached is TaskState.DONE else b"",
    )


def _transcripts(verdict: Verdict, said: Mapping[bytes, Statements]) -> bytes:
    return b"".join([said[account].results[0].result.transcript or b"" for account in verdict.agreeing])


def _take_turn(state: State, task: Task, final: Final, *, leaderless: bool) -> None:
    """When the subject is due again: at once after a dispute (with a larger quorum) or where nothing came of it.

    A dispute has three tasks to be settled in: one that expires is spent like one that is split again, so that silence
    neither brings the smaller quorum back nor keeps the subject before all others. What is WAITING spends none, nor
    what expires in a leaderless epoch.
    """
    turn = state.turns.get(task.subject, NEVER)
    match final.state:
        case TaskState.DONE:
            turn = _asked_at(state.marks)
        case TaskState.DISPUTED if turn.disputes + 1 < DISPUTES_UNTIL_ORDINARY:
            quorum = state.parameters.quorum + turn.disputes + 1
            turn = Turn(state.marks, due_again=True, quorum=quorum, disputes=turn.disputes + 1)
        case TaskState.DISPUTED:
            turn = Turn(state.marks)
        case TaskState.FAILED:
            turn = Turn(state.marks, failures=turn.failures + 1)
            if turn.failures >= FAILURES_UNTIL_DORMANT:
                model = task.subject.model
                state.models[model] = replace(state.models[model], dormant=True)
        case TaskState.WAITING:
            turn = replace(turn, due_again=True)
        case _:  # EXPIRED
            disputes = turn.disputes + (turn.disputes > 0 and not leaderless)
            turn = replace(turn, asked=state.marks, due_again=True, disputes=disputes)
            if disputes == DISPUTES_UNTIL_ORDINARY:
                turn = Turn(state.marks, failures=turn.failures)
    state.turns[task.subject] = turn


_asked_at = lru_cache(maxsize=8)(Turn)
"""Nearly all subjects of an epoch have the same turn, which is then written and hashed once."""


def _standing(state: State, task: Task) -> Standing:
    if (standing := state.standings.get(task.subject)) is None:
        standing = state.standings[task.subject] = Standing()
    return standing


def work_of(task: Task, verdict: Verdict) -> Work:
    """What a DONE verdict adds to the standing of its subject."""
    return pack(task.id, task.epoch, task.questions, verdict.medians, verdict.firm, verdict.agreeing)


def _score(state: State, task: Task, verdict: Verdict, final: Final) -> None:
    """The outcomes enter the scores; if they contradict the task that was examined, that one's leave them."""
    standing = _standing(state, task)
    work = work_of(task, verdict)
    earlier = reversed(standing.works) if task.looks_at else ()
    looked_at = next((old for old in earlier if old.task == task.looks_at), None)
    if looked_at and differ(looked_at, work, task.outcome_tolerance):
        standing.superseded.add(looked_at.task)
        state.history = digest("peerboard/superseded/1", state.history, looked_at.task, task.id)
    standing.works.append(work)


def _put_on_record(state: State, task: Task, verdict: Verdict, said: Mapping[bytes, Statements]) -> None:
    """What the agreeing of an examination found out about those whose results it looks at."""
    window = state.parameters.profile_window
    papers = [said[account].results[0].result.findings for account in verdict.agreeing]
    for place, examined in enumerate(task.examined):
        found = conclude([paper[place] if paper else None for paper in papers], len(task.questions))
        account = state.accounts.get(examined.account)
        if found is not None and account is not None and task.looks_at is not None:
            kept = tuple(audit for audit in account.audits if state.marks - audit.mark < window)
            record = Audited(task.looks_at, *found, state.marks)
            state.accounts[examined.account] = replace(account, audits=(*kept, record))


def _credit(state: State, task: Task) -> int:
    """Verified file bytes (capped), in MiB rounded up, times questions."""
    size = min(state.models[task.subject.model].model.total_bytes, state.parameters.credit_bytes_cap)
    return -(-size // MIB) * len(task.questions)


def _forget(state: State) -> None:
    """What lies further back than every window."""
    while state.verdicts and state.marks - state.verdicts[0][0].closed_by >= WINDOW:
        for final in state.verdicts.popleft():
            state.recent.pop(final.task, None)
    for submitted in [key for key, mark in state.submissions.items() if state.marks - mark > WINDOW]:
        del state.submissions[submitted]
    for appealed in [key for key, mark in state.appeals.items() if state.marks - mark > WINDOW]:
        del state.appeals[appealed]

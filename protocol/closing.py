"""What a mark does to the epochs that it closes: verdicts become final, and everything that follows from them.

Credit, quota, set-backs and turns read final verdicts only, and a final verdict is never computed again.
"""

from msgspec.structs import replace

from protocol.counting import Verdict, decide
from protocol.gathering import Gathering
from protocol.hashing import digest
from protocol.lifecycle import Event, TaskState, follow
from protocol.state import Final, Standing, State
from protocol.tasks import Task, Turn

CLOSES_KEPT = 2
FAILURES_UNTIL_DORMANT = 3
DISPUTES_UNTIL_ORDINARY = 3


def close_open_epochs(state: State, opens: int) -> dict[tuple[int, bytes], bytes]:
    """Close all open epochs before `opens`, in order; the salts that assigned runners revealed in them.

    A leaderless epoch brings no setback to anyone.
    """
    if state.opening is None:
        return {}
    salts: dict[tuple[int, bytes], bytes] = {}
    last = min(opens - 1, state.opening.epoch + state.genesis.parameters.leaderless_max)
    state.closed = {epoch: kept for epoch, kept in state.closed.items() if state.opening.epoch - epoch <= CLOSES_KEPT}
    for epoch in range(state.opening.epoch, last + 1):
        where = state.gatherings.pop(epoch, None)
        if where is None:
            continue  # nobody spoke of this leaderless epoch
        _close(state, where)
        salts |= {(epoch, account): salt for account, salt in where.salts()}
        if epoch == state.opening.epoch:
            for account in where.unopened():
                if account in state.accounts:
                    state.accounts[account].missed[epoch] = state.marks
        state.closed[epoch] = where
        state.last_closed = epoch
    state.gatherings.clear()
    return salts


def _close(state: State, where: Gathering) -> None:
    finals = []
    for task in where.plan.tasks.values():
        said = where.statements.get(task.id, {})
        verdict = decide(task, said, state.genesis.parameters.dispersion)
        final = _final(task, verdict, committed=any(s.commitments for s in said.values()))
        finals.append(final)
        _take_turn(state, task, final)
        _score(state, task, verdict, final)
        _reward(state, task, verdict)
        state.history = digest("peerboard/history/1", state.history, final, verdict.medians)
    state.verdicts.append(tuple(finals))


def _final(task: Task, verdict: Verdict, *, committed: bool) -> Final:
    opened = follow(None, Event.OPENED if task.assigned else Event.OPENED_SHORT)
    final = opened
    if task.assigned:
        running = follow(opened, Event.COMMITTED) if committed else opened
        final = follow(running, verdict.event)
    return Final(
        task.id,
        task.subject,
        task.epoch,
        final,
        task.quorum,
        len(task.questions),
        verdict.counted,
        verdict.agreeing,
        verdict.total,
        verdict.failure,
    )


def _take_turn(state: State, task: Task, final: Final) -> None:
    """When the subject is due again: at once after a dispute (with a larger quorum) or where nothing came of it."""
    turn = state.turns.get(task.subject, Turn())
    match final.state:
        case TaskState.DONE:
            turn = Turn(asked=state.marks)
        case TaskState.DISPUTED if turn.disputes + 1 < DISPUTES_UNTIL_ORDINARY:
            quorum = state.genesis.parameters.quorum + turn.disputes + 1
            turn = Turn(state.marks, due_again=True, quorum=quorum, disputes=turn.disputes + 1)
        case TaskState.DISPUTED:
            turn = Turn(state.marks)
        case TaskState.FAILED:
            turn = Turn(state.marks, failures=turn.failures + 1)
            if turn.failures >= FAILURES_UNTIL_DORMANT:
                state.models[task.subject.model].dormant = True
        case TaskState.WAITING:
            turn = replace(turn, due_again=True)
        case _:
            turn = replace(turn, asked=state.marks, due_again=True)
    state.turns[task.subject] = turn


def _score(state: State, task: Task, verdict: Verdict, final: Final) -> None:
    standing = state.standings.setdefault(task.subject, Standing())
    standing.newest = final.state
    if final.state is not TaskState.DONE:
        return
    standing.answers.update(zip(task.questions, verdict.medians, strict=True))
    standing.judges.update(verdict.agreeing)
    standing.done_epoch = task.epoch


def _reward(state: State, task: Task, verdict: Verdict) -> None:
    """Credit is verified file bytes (capped), in MiB rounded up, times questions."""
    size = min(state.models[task.subject.model].model.total_bytes, state.genesis.parameters.credit_bytes_cap)
    for account in verdict.earning:
        if account in state.accounts:
            state.accounts[account].earned.append(state.marks)
            state.accounts[account].credit += -(-size // (1 << 20)) * len(task.questions)

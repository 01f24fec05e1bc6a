"""What this node sees at the moment, as plain data for clients; `docs/control-api.md` describes it."""

from typing import Any

from node.answers import board_row
from node.replica import Replica
from protocol import scores
from protocol.closing import work_of
from protocol.lifecycle import Event
from protocol.overlay import Provisional
from protocol.standings import Standing

Json = dict[str, Any]


def tasks(replica: Replica, epoch: int | None, account: bytes | None = None) -> Json:
    """The open epoch's tasks as this node sees them; `account` is this node's own."""
    plan = replica.plan(epoch) if epoch is not None else None
    if plan is None:
        return {"epoch": None, "tasks": []}
    shares = _claimed_shares(replica, plan.epoch)
    views = [_task(replica, replica.overlay.provisional(task), account, shares) for task in plan.tasks.values()]
    return {"epoch": plan.epoch, "tasks": views}


def _claimed_shares(replica: Replica, epoch: int) -> dict[tuple[bytes, bytes], float]:
    """By account and task, what runners say they have done."""
    devices = replica.state.devices
    return {
        (devices[device], claimed.task): claimed.progress / 1000
        for device, claim in replica.overlay.claims.items()
        if claim.epoch == epoch and device in devices
        for claimed in claim.tasks
    }


def _task(replica: Replica, seen: Provisional, account: bytes | None, shares: dict[tuple[bytes, bytes], float]) -> Json:
    task, verdict = seen.task, seen.verdict
    said = seen.statements
    agreeing = verdict.agreeing if verdict.event is Event.CLOSED_DONE else ()
    return {
        "id": task.id.hex(),
        "model": replica.state.models[task.subject.model].model.name,
        "model_id": task.subject.model.hex(),
        "benchmark": replica.state.benchmarks[task.subject.benchmark].name,
        "epoch": task.epoch,
        "depth": task.depth,
        "purpose": task.purpose.name.lower(),
        "state": seen.state,
        "firm": seen.firm,
        "quorum": task.quorum,
        "committed": sum(1 for who in said.values() if who.commitments),
        "counted": len(verdict.counted),
        "agreeing": len(agreeing),
        "runners": [
            {
                "rank": rank,
                "account": who.hex(),
                "mine": who == account,
                "assigned": rank < task.assigned,
                "committed": who in said and bool(said[who].commitments),
                "revealed": who in said and bool(said[who].results),
                "progress": shares.get((who, task.id)),
            }
            for rank, who in enumerate(task.ranking)
        ],
    }


def live_leaderboard(replica: Replica, epoch: int | None, grams_per_kwh: float) -> Json:
    """The board with what the open epoch would add if it closed now; such rows are `provisional`.

    `energy` of a row is what closed epochs say of it, None where nothing: no rank hangs on it.
    """
    state = replica.state
    standings = dict(state.standings)
    changed = set()
    plan = replica.plan(epoch) if epoch is not None else None
    for task in plan.tasks.values() if plan else ():
        verdict = replica.overlay.provisional(task).verdict
        if verdict.event is Event.CLOSED_DONE:
            standings[task.subject] = standings.get(task.subject, Standing()).with_work(work_of(task, verdict))
            changed.add(task.subject)
    energy = replica.energy.medians(grams_per_kwh)
    rows = [
        board_row(state, row) | {"provisional": row.subject in changed, "energy": energy.get(row.subject)}
        for row in scores.board(state.benchmarks, standings)
    ]
    return {"epoch": epoch, "rows": rows}

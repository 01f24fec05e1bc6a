"""Vectors of whole logs: entries in order, which of them are void, and what the state amounts to after each mark.

They cover what no single function shows: delegation, profiles, marks, runners, commitments and reveals, outages, audits
and appeals, what an account earned and what a registration costs, opinions and votes.
"""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import asdict

from protocol import cbor, governance, ledger, ratings
from protocol.definitions import Model
from protocol.envelope import open_envelope
from protocol.genesis import read_genesis
from protocol.quota import explain, quota
from protocol.scores import board
from protocol.state import State
from protocol.tiers import tier_of
from tests.vectors.files import Case, Compute, Input, hexed
from tests.vectors.scenarios import logs


def _log(given: Input) -> Any:
    genesis = read_genesis(bytes.fromhex(given["genesis"]))
    state = ledger.begin(genesis)
    shown = given.get("shown")
    seen = [_summary(state)]
    voids = []
    for entry in given["entries"]:
        marks = state.marks
        void = ledger.append(state, open_envelope(bytes.fromhex(entry), genesis.id))
        voids.append(void.value if void else None)
        if len(voids) == len(given["entries"]) or (state.marks > marks and (not shown or state.marks in shown)):
            seen.append(_summary(state))
    expected = {"voids": voids, "states": seen}
    if "asked" in given:
        expected["explanations"] = [_explanation(state, question) for question in given["asked"]]
    return expected


def _explanation(state: State, question: Input) -> Any:
    model = cbor.decode(bytes.fromhex(question["model"]), Model)
    found = explain(state, bytes.fromhex(question["account"]), model)
    return {
        "counts": found.counts,
        "obstacles": [[each.reason.value, each.missing, each.marks] for each in found.obstacles],
        "expiring": found.expiring,
    }


def _summary(state: State) -> Any:
    summary = _ground(state) | {
        "verdicts": {
            final.task.hex(): final.state.value for final in state.recent.values() if final.closed_by == state.marks - 1
        },
        "quota": {
            account.hex(): [quota(state, account).earned, quota(state, account).required]
            for account in sorted(state.accounts)
        },
        "credit": {account.hex(): known.credit for account, known in sorted(state.accounts.items())},
        "board": [
            [row.subject.model.hex(), row.score, row.low, row.high, row.rank_low, row.rank_high]
            for row in board(state.benchmarks, state.standings)
        ],
    }
    return summary | {name: value for name, value in _more(state).items() if value}


def _ground(state: State) -> dict[str, Any]:
    opening = state.opening
    where = ledger.gathering(state, opening.epoch) if opening else None
    return {
        "size": state.frontier.size,
        "root": state.frontier.root.hex(),
        "digest": state.digest().hex(),
        "marks": state.marks,
        "beacon": opening.beacon.hex() if opening else None,
        "ground": where.plan.ground.hex() if where else None,
        "tasks": [
            {
                "id": task.id.hex(),
                "purpose": int(task.purpose),
                "questions": list(task.questions),
                "quorum": task.quorum,
                "assigned": task.assigned,
                "ranking": hexed(task.ranking),
            }
            for task in (where.plan.tasks.values() if where else ())
        ],
    }


def _more(state: State) -> dict[str, Any]:
    """What most logs have nothing of."""
    in_force, first = asdict(state.parameters), asdict(state.genesis.parameters)
    return {
        "persons": {account.hex(): person.hex() for account, person in sorted(state.persons.items())},
        "turns": {
            f"{subject.model.hex()} {subject.benchmark.hex()}": list(asdict(turn).values())
            for subject, turn in sorted(state.turns.items())
            if turn.due_again or turn.failures
        },
        "dormant": [model.hex() for model, entry in sorted(state.models.items()) if entry.dormant],
        "missed": {
            account.hex(): sorted(known.missed) for account, known in sorted(state.accounts.items()) if known.missed
        },
        "tiers": {
            account.hex(): tier.name for account in sorted(state.accounts) if (tier := tier_of(state, account)).opens
        },
        "pending": [[int(pending.purpose), pending.task.hex()] for pending in state.pending],
        "superseded": sorted(task.hex() for standing in state.standings.values() for task in standing.superseded),
        "stars": {f"{model.hex()} {track}": list(given) for (model, track), given in ratings.stars(state).items()},
        "motions": {key.hex(): _motion(state, key) for key in sorted(state.motions)},
        "parameters": {name: value for name, value in in_force.items() if first[name] != value},
        "tracks": {track: hexed(benchmarks) for track, benchmarks in sorted(state.tracks.items())},
        "benchmarks": hexed(sorted(state.benchmarks)) if len(state.benchmarks) > 1 else [],
        "halted": state.halted,
    }


def _motion(state: State, key: bytes) -> Any:
    motion, found = state.motions[key], governance.tally(state, key)
    weights = {person.hex(): weight for person, weight, _ in motion.weights}
    return {"weights": weights, "yes": found.yes, "no": found.no, "all": found.all, "adopted": motion.adopted}


COMPUTES: dict[str, Compute] = {"log": _log}


def cases() -> Iterator[Case]:
    """All cases, in the order of the file."""
    for name, given in logs():
        yield name, "log", given

"""Answers from the ledger: what the log holds and nothing else, the same bytes on every node with the same prefix.

They are made when a mark is folded and stay until the next one, so that they name the checkpoint that they belong to.
`docs/control-api.md` describes them.
"""

import json
from typing import Any

from protocol import scores
from protocol.audits import Conclusion
from protocol.definitions import Benchmark, HubFile, Model
from protocol.lifecycle import TaskState
from protocol.snapshot import header
from protocol.state import Account, Final, State

Json = dict[str, Any]
VERDICT_EPOCHS = 3
VERDICT_EPOCHS_MOST = 24


def canonical(value: object) -> bytes:
    """JSON with sorted keys, without spaces, in UTF-8: one value, one sequence of bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Answers:
    """The ledger answers at one mark; `after_mark` makes them anew."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._verdicts: list[list[Json]] = []
        self._parts: dict[str, Json] = {}
        self.after_mark()

    def after_mark(self) -> None:
        """Take the state as it is just after a mark (or at the very beginning)."""
        state = self._state
        head = state.head
        self._network = state.genesis.id.hex()
        self._checkpoint = {"size": head[0], "root": head[1].hex(), "epoch": head[2]} if head else None
        rows = [board_row(state, row) for row in scores.board(state.benchmarks, state.standings)]
        self._parts = {
            "leaderboard": {"epoch": state.last_closed, "rows": rows},
            "models": {"models": [{**_model(e.model), "dormant": e.dormant} for _, e in sorted(state.models.items())]},
            "benchmarks": {"benchmarks": [_benchmark(b) for _, b in sorted(state.benchmarks.items())]},
            "runners": {"runners": _runners(state)},
        }
        self._verdicts = [[_verdict(state, final) for final in finals] for finals in state.verdicts]
        self.snapshot = header(state, self.contents())
        """Of what is published at this mark; None before the first."""

    def contents(self) -> dict[str, bytes]:
        """What is published at this mark, by file name."""
        return {**{f"{name}.json": self.bytes_of(name) for name in sorted(self._parts)}, "results.json": self.results()}

    def data(self, name: str) -> Json:
        """The data of `leaderboard`, `models`, `benchmarks` or `runners`."""
        return self._parts[name]

    def bytes_of(self, name: str) -> bytes:
        """The canonical bytes of such an answer."""
        return self._seal(name, self._parts[name])

    def results(self, epochs: int = VERDICT_EPOCHS) -> bytes:
        """The canonical bytes of the final verdicts of the last closed epochs, newest first."""
        kept = self._verdicts[-max(1, min(epochs, VERDICT_EPOCHS_MOST)) :]
        return self._seal("results", {"verdicts": [row for rows in reversed(kept) for row in rows]})

    def _seal(self, name: str, data: Json) -> bytes:
        schema = f"peerboard.{name}/1"
        return canonical({"schema": schema, "network": self._network, "checkpoint": self._checkpoint, "data": data})


def _runners(state: State) -> list[Json]:
    return [
        {
            "account": key.hex(),
            "devices": len(account.devices),
            "since": account.since,
            "earned": len(account.earned),
            "credit": account.credit,
            "missed": len(account.missed),
            "audits": {kind.name.lower(): _audits(account, kind) for kind in Conclusion},
        }
        for key, account in sorted(state.accounts.items())
    ]


def _audits(account: Account, kind: Conclusion) -> int:
    return sum(audit.conclusion is kind for audit in account.audits)


def board_row(state: State, row: scores.Row) -> Json:
    """A `Row` of the API."""
    model = state.models[row.subject.model].model
    benchmark = state.benchmarks[row.subject.benchmark]
    return {
        "rank_low": row.rank_low,
        "rank_high": row.rank_high,
        "model": model.reference,
        "name": model.name,
        "id": model.id.hex(),
        "benchmark": benchmark.name,
        "track": benchmark.track,
        "language": benchmark.language,
        "score": row.score / 10,
        "low": row.low / 10,
        "high": row.high / 10,
        "fp_low": row.fp_low / 10,
        "fp_high": row.fp_high / 10,
        "questions": row.questions,
        "of": benchmark.dataset.questions,
        "runners": row.runners,
        "status": row.newest,
        "epoch": row.epoch,
        "parameters": model.parameters,
        "quantisation": model.quantisation,
    }


def _model(model: Model) -> Json:
    return {
        "id": model.id.hex(),
        "reference": model.reference,
        "name": model.name,
        "base": _file(model.base),
        "adapters": [{"file": _file(adapter.file), "scale": adapter.scale} for adapter in model.adapters],
        "architecture": model.architecture,
        "parameters": model.parameters,
        "quantisation": model.quantisation,
        "licence": model.licence,
    }


def _file(file: HubFile) -> Json:
    return {
        "repository": file.repository,
        "commit": file.commit,
        "path": file.path,
        "sha256": file.sha256.hex(),
        "size": file.size,
    }


def _benchmark(benchmark: Benchmark) -> Json:
    dataset = benchmark.dataset
    return {
        "id": benchmark.id.hex(),
        "name": benchmark.name,
        "version": benchmark.version,
        "track": benchmark.track,
        "language": benchmark.language,
        "kind": benchmark.kind.name.lower(),
        "dataset": {
            "repository": dataset.repository,
            "commit": dataset.commit,
            "configuration": dataset.configuration,
            "split": dataset.split,
            "content": dataset.content.hex(),
            "questions": dataset.questions,
        },
    }


def _verdict(state: State, final: Final) -> Json:
    failure = final.failure
    score = None
    if final.state is TaskState.DONE and final.total is not None:
        score = round(1000 * final.total / (1000 * final.questions)) / 10
    return {
        "task": final.task.hex(),
        "model": state.models[final.subject.model].model.name,
        "model_id": final.subject.model.hex(),
        "benchmark": state.benchmarks[final.subject.benchmark].name,
        "epoch": final.epoch,
        "verdict": final.state,
        "quorum": final.quorum,
        "counted": len(final.counted),
        "agreeing": [account.hex() for account in final.agreeing],
        "score": score,
        "failure": None if failure is None else {"code": failure.name, "title": failure.sentence},
    }

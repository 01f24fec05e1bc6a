"""One process, seen from outside: its status, its tasks, its peers."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from eval.energy import GRAMS_PER_KWH, Energy
from eval.sandbox import Sandbox
from node import views
from node.clock_check import ClockCheck
from node.core import Core
from node.log_warnings import log_warnings
from node.neighbourhood import Neighbourhood
from node.pauses import Pauses
from node.reach import Reach
from node.reachability import Standing
from node.scheduler import Scheduler
from protocol.witnesses import quorum

Json = dict[str, Any]
STALE_EPOCHS = 2


@dataclass
class Observer:
    """Reads a participant's services; `scheduler` and `account` are None where nothing is evaluated."""

    core: Core
    role: str
    version: str
    home: Path
    account: bytes | None = None
    device: bytes | None = None
    scheduler: Scheduler | None = None
    pauses: Pauses | None = None
    reach: Reach | None = None
    clock_check: ClockCheck | None = None
    sandbox: Sandbox | None = None
    """What the evaluator is confined by, once that is known."""
    mode: str | None = None
    backend: str | None = None
    """How evaluations are computed, by the settings."""
    bootstrap: tuple[str, ...] = ()
    """Peer ids of the configured bootstraps."""
    grams_per_kwh: float = GRAMS_PER_KWH
    """CO2 equivalents of the owner's electricity."""
    more_warnings: tuple[Callable[[], Iterable[Json]], ...] = ()
    """Of services that only some participants have."""
    stopping: bool = False

    @property
    def epoch(self) -> int | None:
        """The epoch whose tasks are open: the marked one, or by the clock once nodes go on leaderless."""
        marked = self.core.replica.marked_epoch
        if marked is None:
            return None
        now = self.core.timetable.epoch_at(self.core.clock.now())
        leaderless = now > marked and self.core.clock.now() >= self.core.timetable.leaderless_at(now)
        return now if leaderless and self.core.replica.plan(now) else marked

    def watch_neighbours(self, neighbourhood: Neighbourhood) -> None:
        """Tell of reach and clock as well; the bootstrap's own peers dial it, and its settings name none."""
        self.reach = neighbourhood.reach
        self.clock_check = neighbourhood.clock_check
        self.more_warnings = (*self.more_warnings, neighbourhood.clock_check.warnings)
        if self.role == "node":
            self.bootstrap = neighbourhood.bootstrap

    def status(self) -> Json:
        """The `Status` of the API."""
        replica, network = self.core.replica, self.core.network
        state = replica.state
        account = state.accounts.get(self.account) if self.account else None
        head = state.head
        age = self.core.clock.now() - self.core.log_reader.heard
        return {
            "role": self.role,
            "version": self.version,
            "network": {"id": replica.genesis.id.hex(), "name": replica.genesis.name},
            "account": self.account.hex() if self.account else None,
            "device": self.device.hex() if self.device else None,
            "peer": network.peer,
            "home": str(self.home),
            "pid": os.getpid(),
            "state": self._state(),
            "reasons": [
                {"code": pause.code, "title": pause.title, "until": pause.until}
                for pause in (self.pauses.reasons if self.pauses else ())
            ],
            "epoch": self._epoch(),
            "log": {
                "size": replica.size,
                "root": state.frontier.root.hex(),
                "epoch": head[2] if head else None,
                "age_s": round(age, 1) if age < float("inf") else None,
                "witnesses": self._witnesses(),
            },
            "peers": len(network.peers()),
            "reach": self._reach(),
            "clock": {"off_s": _rounded(check.off), "asked": check.asked} if (check := self.clock_check) else None,
            "current": self._current(),
            "downloads": self._downloads(),
            "today": self._today(),
            "credit": account.credit if account else 0,
            "sandbox": {"level": self.sandbox.level, "why": self.sandbox.why} if self.sandbox else None,
            "evaluation": self._evaluation(),
        }

    def tasks(self) -> Json:
        """The open epoch's tasks."""
        return views.tasks(self.core.replica, self.epoch, self.account)

    def peers(self) -> Json:
        """Who is connected. No addresses: a peer's is nobody's business."""
        now = trio.current_time()
        return {
            "peers": [
                {
                    "peer": peer.peer,
                    "connected_s": round(now - peer.since, 1),
                    "reach": "relayed" if peer.relayed else "direct",
                }
                for peer in self.core.network.peers()
            ]
        }

    def energy(self) -> Json:
        """What evaluations cost, by the words of those who ran them."""
        replica = self.core.replica
        rows = list(replica.energy.rows(replica.state, self.grams_per_kwh))
        return {"co2_grams_per_kwh": self.grams_per_kwh, "rows": rows}

    def live_leaderboard(self) -> Json:
        """The board, each row with what the open epoch adds as this node sees it."""
        board = views.live_leaderboard(self.core.replica, self.epoch, self.grams_per_kwh)
        return {**board, "witnessed": self.core.marks.witnessed}

    def warnings(self) -> list[Json]:
        """What a person should look at now, the gravest first."""
        core = self.core
        return [*log_warnings(core), *(each for more in self.more_warnings for each in more()), *self._peer_warnings()]

    def _peer_warnings(self) -> list[Json]:
        connected = {peer.peer for peer in self.core.network.peers()}
        if not connected and (self.bootstrap or self.role == "bootstrap"):
            remedy = "Check the network, and the bootstrap addresses in config.toml. The node tries again by itself."
            return [{"code": "NO_PEERS", "severity": "warn", "title": "No peer is connected.", "remedy": remedy}]
        if self.bootstrap and not connected & set(self.bootstrap):
            title = "The bootstrap cannot be reached: results count once it is back."
            remedy = "Nothing to do: the node tries again by itself."
            return [{"code": "NO_BOOTSTRAP", "severity": "note", "title": title, "remedy": remedy}]
        if self.reach and self.reach.reachability.standing is Standing.PRIVATE and not self.core.network.relays:
            title = "Others cannot dial this node, and no relay was found: nodes behind other routers do not reach it."
            remedy = "Forward the port under `listen` in config.toml at the router. Work goes on through other peers."
            return [{"code": "NO_RELAY", "severity": "note", "title": title, "remedy": remedy}]
        return []

    def _reach(self) -> Json | None:
        """Whether others can dial this node, and through whom it can be reached; only counts of peers, no names."""
        if self.reach is None:
            return None
        network, reachability = self.core.network, self.reach.reachability
        return {
            "standing": reachability.standing,
            "addresses": list(reachability.confirmed),
            "relays": len(network.relays),
            "relaying": len(network.relayed),
        }

    def _state(self) -> str:
        if self.stopping:
            return "stopping"
        if self.pauses and self.pauses.reasons:
            return "paused"
        if self.scheduler and self.scheduler.current.request:
            return "evaluating"
        if self.core.replica.marked_epoch is None:
            return "starting"
        behind = self.core.timetable.epoch_at(self.core.clock.now()) - self.core.replica.marked_epoch
        return "catching_up" if behind >= STALE_EPOCHS and not self.core.network.peers() else "waiting"

    def _epoch(self) -> Json | None:
        epoch = self.epoch
        if epoch is None:
            return None
        timetable, now = self.core.timetable, self.core.clock.now()
        return {
            "number": epoch,
            "length_s": self.core.replica.genesis.parameters.epoch_seconds,
            "ends_in_s": round(max(0.0, timetable.end(epoch) - now), 1),
            "phase": timetable.phase(epoch, now),
            "leaderless": epoch != self.core.replica.marked_epoch,
        }

    def _witnesses(self) -> Json | None:
        marks, genesis = self.core.marks, self.core.replica.genesis
        if marks.witnessed is None:
            return None
        return {
            "cosigned": marks.witnesses,
            "quorum": quorum(genesis),
            "of": len(genesis.witnesses),
            "witnessed": marks.witnessed,
        }

    def _current(self) -> Json | None:
        current = self.scheduler.current if self.scheduler else None
        if current is None or current.request is None:
            return None
        return {
            "task": current.request.task.id.hex(),
            "model": current.request.model.name,
            "benchmark": current.request.benchmark.name,
            "done": current.progress.done,
            "total": current.progress.total,
            "tokens_per_s": round(current.progress.tokens_per_second, 1),
        }

    def _evaluation(self) -> Json | None:
        if self.mode is None:
            return None
        run = self.scheduler.current.run if self.scheduler else None
        found = {"engine": run.engine, "hardware": run.hardware} if run else {"engine": None, "hardware": None}
        return {"mode": self.mode, "backend": self.backend, **found}

    def _downloads(self) -> list[Json]:
        current = self.scheduler.current if self.scheduler else None
        return [
            {"what": each.what, "done": each.done, "total": each.total, "waits_s": each.waits}
            for each in (current.downloads if current else ())
        ]

    def _today(self) -> Json:
        current = self.scheduler.current if self.scheduler else None
        energy = current.energy if current else None
        counted = sum(self.account in final.agreeing for finals in self.core.replica.state.verdicts for final in finals)
        return {
            "evaluated": current.evaluated if current else 0,
            "counted": counted,
            "failed": current.failed if current else 0,
            "energy": self._spent(energy) if energy else None,
        }

    def _spent(self, energy: Energy) -> Json:
        grams = energy.grams(self.grams_per_kwh)
        return {"kwh": energy.kwh, "co2_grams": grams, "estimated": energy.estimated}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)

"""How long a commitment and a result take from their author to every other node, in a demo network of real processes.

Every participant keeps when it first held an envelope (`received` in its store; all read the clock of one machine). The
author keeps its own before it sends. The nodes evaluate as they always do, with llama.cpp on the same cores.

    python benchmarks/propagation.py [--nodes 8] [--epochs 2]

Limits, for commitments on a machine that has nothing else to do: p50 50 ms, p99 500 ms. Exits with 1 where one is
missed.
"""

import argparse
import contextlib
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace

from peerboard.client import Daemon
from peerboard.demo import Member
from peerboard.demo_network import write_demo_network
from peerboard.exits import CommandFailed
from protocol.envelope import open_envelope
from protocol.messages import Commitment, Result
from protocol.parameters import DEMO

EPOCH_SECONDS = 30
LIMITS_MS = {"p50": 50.0, "p99": 500.0}


def received(home: Path, network: bytes) -> dict[bytes, tuple[str, float]]:
    """By id: kind and Unix time of arrival of the commitments and results that a participant holds."""
    found = {}
    with contextlib.closing(sqlite3.connect(home / "store.sqlite")) as connection:
        for data, when in connection.execute("SELECT data, received FROM envelopes"):
            envelope = open_envelope(data, network, check_signature=False)
            if isinstance(envelope.message, Commitment | Result):
                found[envelope.id] = (type(envelope.message).__name__.lower(), when)
    return found


def measure(nodes: int, epochs: int) -> dict[str, list[float]]:
    """Seconds from author to each other participant, by kind."""
    with tempfile.TemporaryDirectory() as folder:
        parameters = replace(DEMO, epoch_seconds=EPOCH_SECONDS)
        network = write_demo_network(Path(folder), nodes, time.time(), parameters=parameters)
        members = [Member("bootstrap", network.bootstrap, ["bootstrap", "run"])]
        members += [Member(home.folder.name, home, ["run"]) for home in network.nodes]
        for member in members:
            member.start()
        try:
            while _closed(members[0]) < epochs - 1:
                time.sleep(1)
        finally:
            for member in members:
                if member.process:
                    member.process.terminate()
                    member.process.wait()
        arrivals = [received(home.folder, network.genesis.id) for home in network.homes]
        delays: dict[str, list[float]] = {"commitment": [], "result": []}
        for key in set.intersection(*map(set, arrivals)):
            kind, sent = min((arrival[key] for arrival in arrivals), key=lambda item: item[1])
            times = sorted(arrival[key][1] for arrival in arrivals)
            delays[kind] += [when - sent for when in times[1:]]
        return delays


def _closed(member: Member) -> int:
    with contextlib.suppress(CommandFailed, OSError):
        epoch = Daemon(member.home).data("/v1/leaderboard")["epoch"]
        return -1 if epoch is None else int(epoch)
    return -1


def main() -> None:
    """Measure, print, and say whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    missed = []
    for kind, delays in measure(given.nodes, given.epochs).items():
        ordered = sorted(1000 * delay for delay in delays)
        if not ordered:
            missed.append(f"no {kind} arrived everywhere")
            continue
        found = {"p50": ordered[len(ordered) // 2], "p99": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]}
        print(
            f"{kind}: {len(ordered)} arrivals, p50 {found['p50']:.0f} ms, p99 {found['p99']:.0f} ms, "
            f"largest {ordered[-1]:.0f} ms"
        )
        if kind == "commitment":
            over = {name: most for name, most in LIMITS_MS.items() if found[name] > most}
            missed += [f"{name} {found[name]:.0f} ms > {most:.0f} ms" for name, most in over.items()]
    if missed:
        sys.exit(f"limits missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()

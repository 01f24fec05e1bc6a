"""What a node takes that has nothing to do: CPU and memory of the daemon, connected to a bootstrap and four others.

    python benchmarks/idle.py [--seconds 60] [--nodes 5] [--json]

The processes are those that a volunteer starts (`peerboard run`), on loopback, in an epoch of an hour whose work
is done elsewhere: they hold connections, exchange now and then, and wait. CPU time is read from the operating system,
so that a busy machine does not spoil it; memory is what the process holds for itself and what it shares (RSS), and what
is its own alone (USS). Limits: 1 % of a core, 150 MB. Exits with 1 where one is missed.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from msgspec.structs import replace

from node.settings import read_settings, write_settings
from peerboard.client import Daemon
from peerboard.demo import Member
from peerboard.demo_network import write_demo_network
from protocol.parameters import DEMO

SETTLING_SECONDS = 15.0
PATIENCE_SECONDS = 120.0
LIMITS = {"core_percent": 1.0, "memory_mb": 150.0}


def spent(process: psutil.Process) -> float:
    """CPU seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(nodes: int, seconds: float) -> dict[str, Any]:
    """Start a network, wait until it has settled, and watch it."""
    with tempfile.TemporaryDirectory() as folder:
        parameters = replace(DEMO, epoch_seconds=3600, grace_seconds=300)
        network = write_demo_network(Path(folder), nodes, time.time(), parameters=parameters)
        for home in network.homes:  # nobody offers room for a model, so that nobody is asked
            write_settings(home.settings, replace(read_settings(home.settings), memory=256, disk=64))
        members = [Member("bootstrap", network.bootstrap, ["bootstrap", "run"])]
        members += [Member(home.folder.name, home, ["run"]) for home in network.nodes]
        for member in members:
            member.start()
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not all(connected(member, nodes) for member in members):
                if time.monotonic() > deadline:
                    sys.exit("the nodes did not find each other")
                time.sleep(0.5)
            time.sleep(SETTLING_SECONDS)
            processes = [psutil.Process(member.pid) for member in members]
            began, before = time.monotonic(), [spent(process) for process in processes]
            time.sleep(seconds)
            passed = time.monotonic() - began
            shares = [100 * (spent(process) - share) / passed for process, share in zip(processes, before, strict=True)]
            memory = [process.memory_full_info() for process in processes]
        finally:
            for member in members:
                if member.process:
                    member.process.terminate()
                    member.process.wait()
    return {
        "seconds": round(seconds),
        "peers_of_each": nodes,
        "core_percent": round(median(shares[1:]), 2),
        "bootstrap_core_percent": round(shares[0], 2),
        "memory_mb": round(median(each.rss for each in memory[1:]) / 1e6, 1),
        "own_memory_mb": round(median(each.uss for each in memory[1:]) / 1e6, 1),
        "bootstrap_memory_mb": round(memory[0].rss / 1e6, 1),
    }


def connected(member: Member, count: int) -> bool:
    """Whether a member runs, has its mark and is connected to all others."""
    try:
        status = Daemon(member.home).data("/v1/status")
    except Exception:
        return False
    return status["peers"] >= count and status["epoch"] is not None


def main() -> None:
    """Measure, print, and say whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.nodes, given.seconds)
    print(json.dumps(found) if given.json else "  ".join(f"{name} {value}" for name, value in found.items()))
    missed = [f"{name} {found[name]} > {limit}" for name, limit in LIMITS.items() if found[name] > limit]
    if missed:
        sys.exit(f"limits missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()

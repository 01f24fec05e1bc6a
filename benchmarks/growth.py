"""What a network costs each of its nodes at 10, 100 and 1,000 nodes.

    python benchmarks/growth.py [--nodes 10 100 1000] [--copy-ms 0.25] [--json]

Measured, with the code that nodes run: entries of the log an hour, their bytes, and the CPU time to check and fold
them; what the state keeps in memory; a reconciliation; who holds and downloads which bases; which shards a node is
asked about. Simulated: over how many links of the gossip mesh a message reaches a node, on links of 20 to 200 ms.
Taken from benchmarks/gossip_cost.py: the CPU time of a copy, 0.3 ms at most, and from benchmarks/idle.py the rest.

Every model is asked at quick depth once an hour, ten models to a base, ten models to a node and at most 1,000; seven
runners each; every node offers room for eight bases. Upper bounds: every node sends all its claims, and a profile too.
"""

import argparse
import gc
import heapq
import json
import subprocess
import sys
import time
from random import Random
from statistics import mean
from typing import Any

import psutil

from benchmarks.ledger import Writer, ledger_plan, name
from node.hardening_gossip import DEGREE, DEGREE_LOW
from node.reach import DESIRED
from node.scheduler import CLAIMS_PER_EPOCH
from node.shards import MOST_BITS, Shards
from protocol import ledger, pools
from protocol.envelope import Envelope, open_envelope, seal
from protocol.messages import Claim, ClaimedTask
from protocol.parameters import MAIN
from protocol.plan import Plan
from protocol.reconciliation import ItemSet, Reconciler, respond
from protocol.signing import PrivateKey

HOUR, DAY = 3600, 24
MODELS_PER_NODE, MOST_MODELS, MODELS_PER_BASE = 10, 1000, 10
BASES_HELD, BASE_MIB = 8, 4096
WARM_MARKS, WATCHED_MARKS = 24, 7 * DAY
MESSAGES_SIMULATED = 40
IDLE = {"core_percent": 0.73, "memory_mb": 131}
"""Of benchmarks/idle.py."""
EPOCHS_HELD = 3
MISSED_OF_AN_HOUR = 0.01


def measure(nodes: int, copy_ms: float) -> dict[str, Any]:
    """All figures for one size."""
    models = min(MOST_MODELS, MODELS_PER_NODE * nodes)
    writer = Writer(models, nodes, 1)
    state = ledger.begin(writer.genesis)
    for envelope in writer.joining():
        ledger.append(state, envelope)
    fold = _folded(state, [writer.mark(state, 0)])
    _hour(writer, state, 0)
    gc.collect()
    before = psutil.Process().memory_info().rss
    fold = _folded(state, [writer.mark(state, 1)])
    plan = ledger_plan(state, 1)
    entries = _hour(writer, state, 1)
    fold += entries.pop("fold")
    fold += _folded(state, [writer.mark(state, 2)])
    gc.collect()
    kept = max(0, psutil.Process().memory_info().rss - before)

    claims, claim_bytes = nodes * CLAIMS_PER_EPOCH, _claim_bytes(plan, writer)
    messages = (entries["entries"] + claims) / HOUR
    octets = (entries["bytes"] + claims * claim_bytes) / HOUR
    copies, seconds = gossip(nodes)
    followed = _followed(plan, writer)
    exchanged, exchange_cpu = reconciliation(EPOCHS_HELD * entries["entries"])
    checking = _check_seconds() * (entries["entries"] + claims) / HOUR
    others = exchanged / 60 + entries["bytes"] / HOUR  # a reconciliation a minute, and the log's entries once

    def traffic(copies: float) -> float:
        return float(octets * copies + others)

    def cpu(copies: float) -> float:
        seconds = messages * copies * copy_ms / 1000 + checking + fold / HOUR + exchange_cpu / 60
        return float(IDLE["core_percent"] + 100 * seconds)

    split = followed * copies + (1 - followed)
    held, downloads = bases(nodes, models // MODELS_PER_BASE)
    return {
        "nodes": nodes,
        "models": models,
        "tasks_of_a_node_an_hour": round(sum(len(task.ranking) for task in plan.tasks.values()) / nodes, 1),
        "log_entries_an_hour": entries["entries"],
        "log_mb_an_hour": round(entries["bytes"] / 1e6, 2),
        "messages_a_second": round(messages, 2),
        "copies_of_a_message": round(copies, 1),
        "seconds_to_all": round(seconds, 2),
        "kb_a_second": round(traffic(copies) / 1e3, 2),
        "core_percent": round(cpu(copies), 2),
        "memory_mb": round(IDLE["memory_mb"] + (kept + EPOCHS_HELD * entries["bytes"]) / 1e6),
        "store_mb_a_day": round(DAY * entries["bytes"] / 1e6),
        "bases_held": round(held, 1),
        "bases_downloaded_a_day": round(downloads, 2),
        "share_of_32_shards": round(followed, 2),
        "split_kb_a_second": round(traffic(split) / 1e3, 2),
        "split_core_percent": round(cpu(split), 2),
    }


def _folded(state: Any, envelopes: list[Envelope]) -> float:
    """CPU seconds to fold them."""
    start = time.thread_time()
    for envelope in envelopes:
        if void := ledger.append(state, envelope):
            raise RuntimeError(void.sentence)
    return time.thread_time() - start


def _hour(writer: Writer, state: Any, epoch: int) -> dict[str, Any]:
    """Fold an epoch's commitments, results and profiles: how many, their bytes, and the CPU time."""
    commitments, results = writer.statements(ledger_plan(state, epoch))
    envelopes = [*commitments, *results, *(writer.profiles(epoch) if epoch else ())]
    return {
        "fold": _folded(state, envelopes),
        "entries": len(envelopes),
        "bytes": sum(len(envelope.data) for envelope in envelopes),
    }


def _claim_bytes(plan: Plan, writer: Writer) -> int:
    """The longest claim of the hour's busiest node, as it is sent at last."""
    mine: dict[bytes, list[ClaimedTask]] = {}
    for task in plan.tasks.values():
        for account in task.ranking[: task.assigned]:
            mine.setdefault(account, []).append(ClaimedTask(task.id, 1000))
    average = sorted(mine.values(), key=len)[len(mine) // 2] if mine else []
    return len(seal(PrivateKey(b"k" * 32), writer.genesis.id, Claim(1, 1000, tuple(average[:256]))).data)


def _check_seconds() -> float:
    """CPU seconds to open an envelope, its signature checked."""
    network = bytes(32)
    data = [seal(PrivateKey(b"k" * 32), network, Claim(1, n, (ClaimedTask(name(n), n),))).data for n in range(500)]
    start = time.thread_time()
    for each in data:
        open_envelope(each, network)
    return float(time.thread_time() - start) / len(data)


def _followed(plan: Plan, writer: Writer) -> float:
    """The share of the shards that a node is asked about, with the finest split."""
    shards = Shards(writer.genesis.id, MOST_BITS)
    return mean(len(shards.of_account(plan, account)) for account in writer.nodes) / len(shards.all)


def reconciliation(items: int) -> tuple[float, float]:
    """Bytes in both directions and CPU seconds of one side, where each lacks a hundredth of an hour's envelopes."""
    missed = max(1, int(MISSED_OF_AN_HOUR * items / EPOCHS_HELD))
    everything = [(place % EPOCHS_HELD, name("item", place)) for place in range(items + missed)]
    start = time.thread_time()
    ours = ItemSet(everything[missed:])
    reconciler = Reconciler(ours)
    message: bytes | None = reconciler.initiate()
    mine = time.thread_time() - start
    theirs, sent = ItemSet(everything[:-missed]), 0
    while message is not None:
        answer = respond(theirs, message)
        sent += len(message) + len(answer)
        start = time.thread_time()
        message = reconciler.reconcile(answer).reply
        mine += time.thread_time() - start
    return sent, 2 * mine  # once as the one who asks, once as the one who is asked


def bases(nodes: int, count: int) -> tuple[float, float]:
    """Bases that a node holds, and downloads a day."""
    sizes = {name("base", n): BASE_MIB << 20 for n in range(count)}
    offers = {name("account", n): (pools.Offer(name("device", n), 16384, BASES_HELD * BASE_MIB),) for n in range(nodes)}
    drawn: dict[bytes, pools.Pool] = {}
    downloads = 0
    for mark in range(WARM_MARKS + WATCHED_MARKS):
        before = _holders(drawn)
        drawn = pools.redraw(drawn, sizes, offers, beacon=name("beacon", mark), marks=mark, parameters=MAIN)
        downloads += len(_holders(drawn) - before) if mark >= WARM_MARKS else 0
    return len(_holders(drawn)) / nodes, downloads / nodes / (WATCHED_MARKS / DAY)


def _holders(drawn: dict[bytes, pools.Pool]) -> set[tuple[bytes, bytes]]:
    return {(base, slot.account) for base, pool in drawn.items() for slot in pool if slot}


def gossip(nodes: int) -> tuple[float, float]:
    """Copies of a message that a node gets, and seconds until 99 % of the nodes have it."""
    chance = Random(nodes)
    links: list[set[int]] = [set() for _ in range(nodes)]
    for node in range(nodes):
        for other in chance.sample([n for n in range(nodes) if n != node], min(DESIRED, nodes - 1)):
            links[node].add(other)
            links[other].add(node)
    mesh: list[set[int]] = [set() for _ in range(nodes)]
    for node in chance.sample(range(nodes), nodes):  # whoever has too few takes some in; who is asked agrees
        if len(mesh[node]) < DEGREE_LOW:
            free = sorted(links[node] - mesh[node])
            for other in chance.sample(free, min(len(free), DEGREE - len(mesh[node]))):
                mesh[node].add(other)
                mesh[other].add(node)
    received, last = 0, []
    for _ in range(MESSAGES_SIMULATED):
        author = chance.randrange(nodes)
        arrivals: dict[int, float] = {author: 0.0}
        waiting = [(chance.uniform(0.02, 0.2), other, author) for other in links[author]]
        heapq.heapify(waiting)
        while waiting:
            at, node, sender = heapq.heappop(waiting)
            received += 1
            if node in arrivals:
                continue
            arrivals[node] = at
            for other in mesh[node] - {sender, author}:
                heapq.heappush(waiting, (at + chance.uniform(0.02, 0.2), other, node))
        if len(arrivals) < nodes:
            raise RuntimeError("the mesh does not reach everybody")
        last.append(sorted(arrivals.values())[int(0.99 * nodes) - 1])
    return received / MESSAGES_SIMULATED / (nodes - 1), mean(last)


def main() -> None:
    """Each size in a process of its own, so that its memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--copy-ms", type=float, default=0.3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if len(given.nodes) == 1:
        found = measure(given.nodes[0], given.copy_ms)
        print(json.dumps(found) if given.json else "\n".join(f"{key} {value}" for key, value in found.items()))
        return
    rows = []
    for nodes in given.nodes:
        command = [sys.executable, __file__, "--json", "--nodes", str(nodes), "--copy-ms", str(given.copy_ms)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    if given.json:
        print(json.dumps(rows))
        return
    for key in rows[0]:
        print(f"{key:28}" + "".join(f"{row[key]:>12,}" for row in rows))


if __name__ == "__main__":
    main()

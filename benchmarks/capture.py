"""How often colluders decide a task, what an owner who may choose the base gains, and what a volunteer pays.

    python benchmarks/capture.py [--nodes N] [--bases B] [--hours H] [--seed S]

Pools are drawn by the protocol's own `redraw` from the first mark on; colluding accounts are a random share of all and
behave like everybody else until they vote. For each base and hour the chance that K of a task's R assigned ranks are
theirs follows from its pool (hypergeometric, since ranks are a random order of the pool). "Any" is the mean over all
bases, "worst" that of the base which an owner would choose who sees all pools. Every four hours a newcomer joins, and
leaves with its first slot, so that the network keeps its size.
"""

import argparse
import hashlib
from collections import Counter
from math import comb
from random import Random
from statistics import mean, quantiles

from protocol.parameters import MAIN
from protocol.pools import MIB, Offer, Pool, pool_size, redraw

SHARES = (0.05, 0.15, 0.30)
SETTLED = 48
"""Marks after which figures are taken: by then every account is old enough, and pools are full."""
BASE_BYTES = 4000 * MIB
DISK_MIB = 64 * 1024
NEWCOMER_EVERY = 4
K = MAIN.quorum
R = 2 * K - 1


def name(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def captured(pool_size: int, colluders: int) -> float:
    """The chance that at least K of the first R of a random order are colluders; fewer than R: their majority."""
    assigned = min(R, pool_size)
    quorum = max(K, assigned // 2 + 1)
    ways = sum(comb(colluders, k) * comb(pool_size - colluders, assigned - k) for k in range(quorum, assigned + 1))
    return ways / comb(pool_size, assigned)


class Figures:
    """What a run has shown so far."""

    def __init__(self) -> None:
        self.any: dict[float, list[float]] = {share: [] for share in SHARES}
        self.worst: dict[float, list[float]] = {share: [] for share in SHARES}
        self.held: list[int] = []
        self.downloads = 0
        self.node_hours = 0
        self.waits: list[int] = []

    def take(self, pools: dict[bytes, Pool], colluders: dict[float, set[bytes]]) -> None:
        """Add one hour's pools; `colluders` by their share of all accounts."""
        holders = [[slot.account for slot in pool if slot] for pool in pools.values()]
        for share, bad in colluders.items():
            chances = [captured(len(pool), sum(account in bad for account in pool)) for pool in holders]
            self.any[share].append(mean(chances))
            self.worst[share].append(max(chances))
        self.held += Counter(account for pool in holders for account in pool).values()


def run(nodes: int, bases: int, hours: int, seed: int) -> Figures:
    random = Random(seed)
    figures = Figures()
    sizes = {name("base", seed, n): BASE_BYTES for n in range(bases)}
    accounts = [name("account", seed, n) for n in range(nodes)]
    offers = {account: (Offer(name("device", account), 64 * 1024, DISK_MIB),) for account in accounts}
    colluders = {share: set(random.sample(accounts, round(share * nodes))) for share in SHARES}
    pools: dict[bytes, Pool] = {}
    joined: dict[bytes, int] = {}
    for marks in range(hours):
        if marks >= SETTLED and marks % NEWCOMER_EVERY == 0:
            joined[newcomer := name("newcomer", seed, marks)] = marks
            offers[newcomer] = (Offer(name("device", newcomer), 64 * 1024, DISK_MIB),)
        drawn = redraw(pools, sizes, offers, beacon=name("hour", seed, marks), marks=marks, parameters=MAIN)
        if marks >= SETTLED:
            before = {base: {slot.account for slot in pool if slot} for base, pool in pools.items()}
            figures.downloads += sum(
                slot.account not in before.get(base, set()) for base, pool in drawn.items() for slot in pool if slot
            )
            figures.node_hours += len(offers)
            figures.take(drawn, colluders)
            for newcomer in joined.keys() & {slot.account for pool in drawn.values() for slot in pool if slot}:
                figures.waits.append(marks - joined.pop(newcomer) + MAIN.minimum_age)
                del offers[newcomer]
        pools = drawn
    return figures


def report(nodes: int, bases: int, hours: int, seed: int) -> None:
    figures = run(nodes, bases, hours, seed)
    print(
        f"\n{nodes} nodes, {bases} bases (pools of {pool_size(nodes, bases, MAIN)}), "
        f"{hours - SETTLED} hours, seed {seed}"
    )
    print("  colluders   K of the assigned, any base   worst base of the hour")
    for share in SHARES:
        print(f"  {share:9.0%}   {mean(figures.any[share]):27.2%}   {mean(figures.worst[share]):22.1%}")
    days = figures.node_hours / 24
    print(f"  bases a node holds: {mean(figures.held):.1f}, at most {max(figures.held)}")
    print(f"  downloads a node and day: {figures.downloads / days:.2f}")
    if len(figures.waits) > 1:
        deciles = quantiles(figures.waits, n=10)
        print(
            f"  epochs until a newcomer's first slot, its first {MAIN.minimum_age} included: "
            f"p50 {deciles[4]:.0f}, p90 {deciles[8]:.0f} ({len(figures.waits)} newcomers)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--bases", type=int, nargs="*", default=[100, 5])
    parser.add_argument("--hours", type=int, default=SETTLED + 2 * MAIN.period)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for bases in arguments.bases:
        report(arguments.nodes, bases, arguments.hours, arguments.seed)


if __name__ == "__main__":
    main()

"""What set reconciliation costs: bytes, round trips and CPU time of each side.

    python benchmarks/reconciliation.py [--items N] [--seed N]

Two sets of 100,000 items in four epochs with 100 differences (50 on each side) are held against the limits of
100 KB, 6 round trips and 250 ms of CPU per side, sorting and summing included. The second table shows that bytes
follow the difference and not the sets, the third how the two free choices (parts of a split, longest list) trade
bytes for round trips. Exits with 1 where a limit is missed.
"""

import argparse
import random
import sys
import time
from typing import NamedTuple

import protocol.reconciliation as rules
from protocol.reconciliation import ItemSet, Reconciler, respond

Item = tuple[int, bytes]
LIMITS = {"bytes": 100_000, "round trips": 6, "CPU of the one who asks, ms": 250, "CPU of the one asked, ms": 250}


class Talk(NamedTuple):
    """One reconciliation: bytes in both directions, round trips, seconds of CPU of either side."""

    size: int
    rounds: int
    asking: float
    asked: float


def sets(items: int, differences: int, seed: int) -> tuple[list[Item], list[Item]]:
    """Two sets of `items` each, which differ in so many items altogether; in no order."""
    random_bytes = random.Random(seed)

    def some(count: int) -> list[Item]:
        return [(random_bytes.randrange(5000, 5004), random_bytes.randbytes(32)) for _ in range(count)]

    ours, theirs = differences // 2, differences - differences // 2
    common = some(items - theirs)
    return common + some(ours), common + some(theirs)


def talk(ours: list[Item], theirs: list[Item]) -> Talk:
    """Play it to the end, and check what came out."""
    size = rounds = 0
    asking = asked = 0.0
    have: list[bytes] = []
    need: list[bytes] = []
    start = time.process_time()
    reconciler = Reconciler(ItemSet(ours))
    message: bytes | None = reconciler.initiate()
    asking += time.process_time() - start
    start = time.process_time()
    sealed = ItemSet(theirs)
    asked += time.process_time() - start
    while message is not None:
        start = time.process_time()
        answer = respond(sealed, message)
        asked += time.process_time() - start
        size, rounds = size + len(message) + len(answer), rounds + 1
        start = time.process_time()
        message, more_have, more_need = reconciler.reconcile(answer)
        asking += time.process_time() - start
        have += more_have
        need += more_need
    mine, yours = {identity for _, identity in ours}, {identity for _, identity in theirs}
    if set(have) != mine - yours or set(need) != yours - mine:
        raise SystemExit("the talk ended without the difference")
    return Talk(size, rounds, asking, asked)


def main() -> int:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description="Measure set reconciliation.")
    parser.add_argument("--items", type=int, default=100_000, help="size of each set (default: 100,000)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    ours, theirs = sets(arguments.items, 100, arguments.seed)
    best = min((talk(ours, theirs) for _ in range(3)), key=lambda found: found.asking + found.asked)
    measured = (best.size, best.rounds, 1000 * best.asking, 1000 * best.asked)
    print(f"two sets of {arguments.items:,} with 100 differences, best of 3\n")
    for (name, limit), value in zip(LIMITS.items(), measured, strict=True):
        print(f"  {name:<28} {value:>10,.0f}   limit {limit:>9,}   {value / limit:>6.0%} of it")

    print("\n  items  differences     bytes  bytes each  round trips")
    for items in (1_000, 10_000, arguments.items):
        for differences in (0, 1, 10, 100, 1_000):
            found = talk(*sets(items, differences, arguments.seed))
            each = found.size / max(1, differences)
            print(f"{items:>7,} {differences:>12,} {found.size:>9,} {each:>11,.0f} {found.rounds:>12}")

    print("\n  parts  longest list     bytes  round trips        (100 differences)")
    chosen = rules.BUCKETS, rules.MAX_LISTED
    for rules.BUCKETS, rules.MAX_LISTED in [(4, 4), (8, 2), (8, 4), (8, 12), (16, 4), (16, 31), (32, 4)]:
        found = talk(ours, theirs)
        mark = "  <- in force" if chosen == (rules.BUCKETS, rules.MAX_LISTED) else ""
        print(f"{rules.BUCKETS:>7} {rules.MAX_LISTED:>13} {found.size:>9,} {found.rounds:>12}{mark}")
    return int(any(value > limit for value, limit in zip(measured, LIMITS.values(), strict=True)))


if __name__ == "__main__":
    sys.exit(main())

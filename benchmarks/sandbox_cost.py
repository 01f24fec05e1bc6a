"""What each level of the sandbox costs: the launcher's start, and a child's first answer for a tiny model.

Rounds alternate between the levels; medians in milliseconds, and the difference to no sandbox.
"""

import statistics
import sys
import time
from collections import defaultdict

import trio

from eval.client import open_worker
from eval.demo import catalogue
from eval.job import Job, Outcome
from eval.sandbox import LEVELS, NONE, Sandbox, detect

ROUNDS = 9
FILES = ("tally-base.gguf", "tally-seed.gguf")


def job(file: str, limit: int) -> Job:
    path = catalogue.MODELS / file
    return Job(
        base=str(path), base_sha256=bytes(32), benchmark="tally-choice", questions=(0,), memory_limit=limit << 20
    )


async def one(level: str, found: dict[tuple[str, str], list[float]]) -> None:
    async with open_worker(confined=Sandbox(level), least=NONE) as worker:
        for what, file in (("launcher and first child", FILES[0]), ("another child", FILES[1])):
            started = time.perf_counter()
            answer = await worker.evaluate(job(file, 1024))
            if not isinstance(answer, Outcome):
                raise SystemExit(f"{level}: {answer.detail}")
            found[what, level].append(1000 * (time.perf_counter() - started))


async def main() -> None:
    strongest = detect().level
    levels = LEVELS[: LEVELS.index(strongest) + 1]
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for level in levels:
            await one(level, found)
    for what in ("launcher and first child", "another child"):
        base = statistics.median(found[what, NONE])
        for level in levels:
            times = found[what, level]
            median = statistics.median(times)
            print(f"{what:<25} {level:<11} {median:7.1f} ms  {median - base:+6.1f} ms  least {min(times):.1f} ms")


if __name__ == "__main__":
    sys.exit(trio.run(main))

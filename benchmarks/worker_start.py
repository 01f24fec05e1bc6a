"""From the worker's start to its first token: interpreter, sandbox, libraries, a tiny model, its context, one decode.

    python benchmarks/worker_start.py [--rounds N]

Each round starts a worker for one question of the demo. Shown are milliseconds by the clock, median with least and
largest, to the first report that tokens were decoded, and the processor time that the worker's processes used until
then: what the clock would show if nothing else ran on the machine.
"""

import argparse
import statistics
import time

import psutil
import trio

from benchmarks.contenders import Spent
from eval.client import open_worker
from eval.demo import catalogue
from eval.job import Job, Outcome, Progress


async def start(file: str) -> Spent:
    """Seconds to the first token."""
    first: list[Spent] = []

    def report(progress: Progress) -> None:
        if progress.tokens_per_second and not first:
            clock = time.perf_counter() - started
            first.append(Spent(sum(map(used, psutil.Process().children(recursive=True))), clock))

    path = catalogue.MODELS / file
    job = Job(base=str(path), base_sha256=bytes(32), benchmark="tally-words", questions=(0,), memory_limit=1 << 30)
    started = time.perf_counter()
    async with open_worker() as worker:
        answer = await worker.evaluate(job, report)
    if not isinstance(answer, Outcome) or not first:
        raise SystemExit(answer.detail if not isinstance(answer, Outcome) else "No progress was reported.")
    return first[0]


def used(process: psutil.Process) -> float:
    """Processor seconds of a process and of its children that have ended."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    trio.run(start, "tally-base.gguf")
    rounds = [trio.run(start, "tally-base.gguf") for _ in range(given.rounds)]
    for name in ("clock", "processor"):
        found = [1000 * getattr(spent, name) for spent in rounds]
        print(f"{name:10} {statistics.median(found):6.0f} ms  ({min(found):.0f} to {max(found):.0f})")


if __name__ == "__main__":
    main()

"""From which size on a model is faster with all threads in one lane than with one lane for each (`eval.lanes`).

    python benchmarks/lanes.py [--threads N] [--rounds N] [--questions N] [--only WORD]

The demo model, models of random weights and the large one answer the same questions in both ways in turn. Above 1 lanes
are the faster: by the clock, and of processor time. The first round warms up and does not count.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders import Own, Spent
from benchmarks.evaluator_speed import SHAPES, named
from benchmarks.large_model import Size, large_model, random_model
from benchmarks.shapes import generation_prompts, offers
from eval.cores import usable_cores
from eval.header import read_header

MODELS: dict[str, Callable[[], Path]] = {
    "demo": lambda: named("demo"),
    "2M": lambda: random_model(Size(128, 6, 344, 4096)),
    "8M": lambda: random_model(Size(256, 8, 688, 4096)),
    "20M": lambda: random_model(Size(384, 10, 1024, 4096)),
    "40M": lambda: random_model(Size(512, 12, 1376, 4096)),
    "60M": lambda: random_model(Size(640, 12, 1728, 4096)),
    "large": large_model,
}


def spent(work: Callable[[Sequence[Any]], object], asked: Sequence[Any]) -> Spent:
    """The time for one question."""
    clock, used = time.perf_counter(), time.process_time()
    work(asked)
    return Spent((time.process_time() - used) / len(asked), (time.perf_counter() - clock) / len(asked))


def compare(path: Path, threads: int, shape: str, count: int, rounds: int) -> str:
    """A line of figures."""
    ways = [Own(path, threads, lanes=lanes) for lanes in (threads, 1)]
    model = ways[0].base.model
    asked: Sequence[Any] = generation_prompts(model, count) if shape == "generation" else offers(model, count)
    found: list[list[Spent]] = [[], []]
    for _ in range(rounds + 1):
        for times, own in zip(found, ways, strict=True):
            times.append(spent(own.write if shape == "generation" else own.choose, asked))
    lanes, one = ([each.clock for each in times[1:]] for times in found)
    by_clock = [other / mine for mine, other in zip(lanes, one, strict=True)]
    used = [other.processor / mine.processor for mine, other in zip(*found, strict=True)][1:]
    return (
        f"{1000 * statistics.median(lanes):8.2f} ms beside {1000 * statistics.median(one):8.2f}"
        f"  clock x{statistics.median(by_clock):.2f} ({min(by_clock):.2f} to {max(by_clock):.2f})"
        f"  processor x{statistics.median(used):.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    given = parser.parse_args()
    for name in given.only:
        path = MODELS[name]()
        weights = read_header(path).parameters / 1e6
        for shape in SHAPES:
            figures = compare(path, given.threads, shape, given.questions, given.rounds)
            print(f"{name:6} {weights:6.1f} M  {shape:10} {figures}", flush=True)


if __name__ == "__main__":
    main()

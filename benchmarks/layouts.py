"""Ways to lay out the cache, and numbers of questions at once: what a question costs in each, side by side.

    python benchmarks/layouts.py [--model demo|large|FILE.gguf] [--questions N] [--threads N] [--rounds N]

Generations of GSM8K's shape (`benchmarks/shapes.py`), with one cache for all sequences or one for each, with flash
attention or plain attention, 4, 8 and 16 at once, in one lane. All ways take turns in each round. Shown are the
milliseconds of processor time that a question takes, and how many times that is what it took the first way:
medians, with the least and the largest.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from itertools import product

from benchmarks.contenders import MEMORY
from benchmarks.evaluator_speed import named
from benchmarks.shapes import NEW_TOKENS, generation_prompts
from eval.base import Base
from eval.generation import Generation
from eval.header import read_header
from eval.lanes import plan_lanes, run_lanes
from eval.modes import TOGETHER_PLAIN, Layout

AT_ONCE = (8, 4, 16)
LAYOUTS = (TOGETHER_PLAIN, *(Layout(*sort, alone=False) for sort in ((True, True), (False, False), (False, True))))
Way = tuple[Layout, int]


def seconds(base: Base, prompts: Sequence[list[int]], way: Way, threads: int) -> float:
    """Processor time of one question, all threads together."""
    layout, together = way
    asked = [Generation(base.model, prompt, (), NEW_TOKENS, None) for prompt in prompts]
    used = time.process_time()
    plan = plan_lanes(base, asked, NEW_TOKENS // 2, threads, MEMORY, layout, together=together)
    run_lanes(base.model, plan, (), lambda _done, _total, _decoded: None)
    return (time.process_time() - used) / len(prompts)


def rounds(base: Base, prompts: Sequence[list[int]], threads: int, count: int) -> Iterator[dict[Way, float]]:
    """Each round's seconds a question, by the way."""
    ways = list(product(LAYOUTS, AT_ONCE))
    seconds(base, prompts[:2], ways[0], threads)
    for _ in range(count):
        yield {way: seconds(base, prompts, way, threads) for way in ways}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    path = named(given.model)
    base = Base(path, read_header(path))
    prompts = [base.model.tokens(prompt) for prompt in generation_prompts(base.model, given.questions)]
    found = list(rounds(base, prompts, given.threads, given.rounds))
    print(f"{path.name}, {given.questions} questions, {given.threads} thread(s), {given.rounds} round(s)")
    first = next(iter(found[0]))
    for way in found[0]:
        spent = statistics.median(each[way] for each in found)
        ratios = [each[way] / each[first] for each in found]
        spread = f"x{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {way[0].label:40} {way[1]:3} at once  {1000 * spent:6.1f} ms  {spread}")


if __name__ == "__main__":
    main()

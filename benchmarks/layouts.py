"""Ways to lay out the cache and to multiply, and numbers of questions at once: what a question costs in each.

    python benchmarks/layouts.py [--shape generation|choices] [--model demo|large|FILE.gguf] [--questions N]
                                 [--together N ...] [--ways N] [--threads N] [--rounds N]

Questions of GSM8K's or TruthfulQA's shape (`benchmarks/shapes.py`) in one lane: as the fast mode asks them, without
products by numpy (docs/decisions/0024), with the other kind of attention, and with a cache for each sequence; 4, 8 and
16 at once. `--ways` takes only the first ones: 2 shows what the products gain. All ways take turns in each round. Shown
are the milliseconds of processor time that a question takes, and how many times that is what it took the first way:
medians, with the least and the largest.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product

from msgspec.structs import replace

from benchmarks.contenders import MEMORY
from benchmarks.evaluator_speed import SHAPES, named
from benchmarks.shapes import NEW_TOKENS, generation_prompts, offers
from eval import products
from eval.base import Base
from eval.choices import Choices, continuation_tokens
from eval.generation import Generation
from eval.header import read_header
from eval.lanes import plan_lanes, run_lanes
from eval.modes import SPLIT, TOGETHER, TOGETHER_PLAIN, Layout

AT_ONCE = (8, 4, 16)
Way = tuple[Layout, int]
Asked = Generation | Choices
Made = Callable[[], Sequence[Asked]]


def layouts(shape: str) -> tuple[Layout, ...]:
    """The fast mode's own first, then what differs from it."""
    plain, flash = TOGETHER_PLAIN, TOGETHER
    own, other = (plain, flash) if shape == "generation" else (flash, plain)
    numpy = [replace(each, products=True) for each in (own, other) if products.available()]
    return (*numpy[:1], own, *numpy[1:], other, SPLIT, replace(SPLIT, flash=True))


def questions_of(base: Base, shape: str, count: int) -> Made:
    """Makes the same questions afresh at each call: answering one changes it."""
    model = base.model
    if shape == "generation":
        prompts = [model.tokens(prompt) for prompt in generation_prompts(model, count)]
        return lambda: [Generation(model, prompt, (), NEW_TOKENS, None) for prompt in prompts]
    tokens = [continuation_tokens(model, offer.prompt, list(offer.choices)) for offer in offers(model, count)]
    return lambda: [Choices(*each, None) for each in tokens]


def seconds(base: Base, made: Made, way: Way, *, steps: int, threads: int) -> float:
    """Processor time of one question, all threads together."""
    layout, together = way
    asked = made()
    used = time.process_time()
    plan = plan_lanes(base, asked, steps, threads, MEMORY, layout, lanes=1, together=together)
    run_lanes(base.model, plan, (), lambda _done, _total, _decoded: None)
    return (time.process_time() - used) / len(asked)


def rounds(ask: Callable[[Way], float], ways: Sequence[Way], count: int) -> Iterator[dict[Way, float]]:
    """Each round's seconds a question, by the way; what comes before the first is not counted."""
    for way in ways[:2]:
        ask(way)
    for _ in range(count):
        yield {way: ask(way) for way in ways}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="generation")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--together", type=int, nargs="+", default=AT_ONCE)
    parser.add_argument("--ways", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    path = named(given.model)
    base = Base(path, read_header(path))
    steps = NEW_TOKENS // 2 if given.shape == "generation" else 2
    made = questions_of(base, given.shape, given.questions)
    ask = partial(seconds, base, made, steps=steps, threads=given.threads)
    ways = list(product(layouts(given.shape)[: given.ways], given.together))
    found = list(rounds(ask, ways, given.rounds))
    about = (
        f"{path.name}, {given.questions} questions ({given.shape}), {given.threads} thread(s), {given.rounds} round(s)"
    )
    print(about)
    for way in ways:
        spent = statistics.median(each[way] for each in found)
        ratios = [each[way] / each[ways[0]] for each in found]
        spread = f"x{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {way[0].label:60} {way[1]:3} at once  {1000 * spent:6.1f} ms  {spread}")


if __name__ == "__main__":
    main()

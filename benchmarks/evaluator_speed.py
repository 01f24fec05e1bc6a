"""How fast the evaluator's engine answers, side by side with what else could be used.

    python benchmarks/evaluator_speed.py [--model demo|large|FILE.gguf] [--only generation|choices] [--rounds N]
                                         [--threads N] [--questions N] [--json]

Questions have the shapes of GSM8K with five examples and of TruthfulQA (`benchmarks/shapes.py`). Against it: high-level
`llama_cpp.Llama` in its default form, which keeps the longest prefix between calls, and with its cache cleared before
each call; `llama-server` with 16 slots that keep their prompts (its first round is not counted); `llama-perplexity
--multiple-choice`. All methods take turns within a round, the slow ones with fewer questions, and each round gives one
ratio of times per question, so that a machine that gets busier slows all of them. Shown: the median of the ratios of
processor time, all threads together, with the least and the largest; the same of times by the clock, which mean little
while other programs run; and how many of the engine's own answers the method gives, too (near ties differ).
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from benchmarks.contenders import HighLevel, Own, Perplexity, Spent, server
from benchmarks.large_model import large_model
from benchmarks.shapes import generation_prompts, offers
from eval.binding import engine_label, hardware_class
from eval.cores import threads_for, usable_cores
from eval.demo import catalogue
from eval.header import read_header

Answers = Sequence[Any]
ENGINE = "engine"


class Method(Struct, frozen=True):
    """A way to answer the first `count` of the questions: `ask` gives answers and the time for one."""

    name: str
    count: int
    ask: Callable[[int], tuple[Answers, Spent]]


class Row(Struct):
    """The time for a question of each round, and the last answers."""

    spent: list[Spent]
    answers: Answers


def timed(
    work: Callable[[Sequence[Any]], Answers],
    questions: Sequence[Any],
    processor: Callable[[], float] = time.process_time,
) -> Callable[[int], tuple[Answers, Spent]]:
    def ask(count: int) -> tuple[Answers, Spent]:
        clock, used = time.perf_counter(), processor()
        answers = work(questions[:count])
        return answers, Spent((processor() - used) / count, (time.perf_counter() - clock) / count)

    return ask


@contextmanager
def generating(path: Path, threads: int, count: int) -> Iterator[list[Method]]:
    own = Own(path, threads)
    prompts = generation_prompts(own.base.model, count)
    few = max(2, count // 8) if path == large_model() else count
    with server(path, threads) as served:
        served.write(prompts)  # its slots have seen the examples now
        yield [
            Method(ENGINE, count, timed(own.write, prompts)),
            Method("llama-server", count, timed(served.write, prompts, served.processor_seconds)),
            Method("Llama", few, timed(HighLevel(path, threads, keep=True, scores=False).write, prompts)),
            Method("Llama, cleared", few, timed(HighLevel(path, threads, keep=False, scores=False).write, prompts)),
        ]


@contextmanager
def choosing(path: Path, threads: int, count: int) -> Iterator[list[Method]]:
    own = Own(path, threads)
    offered = offers(own.base.model, count)
    program = Perplexity(path, threads, offered)
    few = 1 if path == large_model() else max(2, count // 16)
    yield [
        Method(ENGINE, count, timed(own.choose, offered)),
        Method("llama-perplexity", count, lambda some: ((), program.ask(some))),
        Method("Llama", few, timed(HighLevel(path, threads, keep=True, scores=True).choose, offered)),
        Method("Llama, cleared", few, timed(HighLevel(path, threads, keep=False, scores=True).choose, offered)),
    ]


def measure(methods: Sequence[Method], rounds: int) -> dict[str, Row]:
    """Rounds of all methods in turn, after one small round that warms everything up."""
    for method in methods:
        method.ask(method.count if method.name == ENGINE else 1)
    rows = {method.name: Row([], ()) for method in methods}
    for _ in range(rounds):
        for method in methods:
            answers, spent = method.ask(method.count)
            rows[method.name].spent.append(spent)
            rows[method.name].answers = answers
            ratio = spent.processor / rows[ENGINE].spent[-1].processor
            print(f"{method.name}: {spent.processor:.3f} s of processors a question, x{ratio:.2f}", file=sys.stderr)
    return rows


def figures(shape: str, rows: dict[str, Row]) -> Iterator[dict[str, Any]]:
    """What is shown: questions a minute, and how many times as fast the engine is."""
    own = rows[ENGINE]
    for name, row in rows.items():
        both = list(zip(row.spent, own.spent, strict=True))
        ratios = [theirs.processor / ours.processor for theirs, ours in both]
        pairs = list(zip(row.answers, own.answers, strict=False))
        yield {
            "shape": shape,
            "method": name,
            "questions_per_minute": round(60 / statistics.median(spent.clock for spent in row.spent), 1),
            "ratio": round(statistics.median(ratios), 2),
            "least": round(min(ratios), 2),
            "largest": round(max(ratios), 2),
            "by_the_clock": round(statistics.median(theirs.clock / ours.clock for theirs, ours in both), 2),
            "same": f"{sum(one == other for one, other in pairs)}/{len(pairs)}",
        }


def named(model: str) -> Path:
    """The model that is meant by a word or a path."""
    if model == "large":
        return large_model()
    return catalogue.MODELS / "tally-base-q8.gguf" if model == "demo" else Path(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--only", choices=["generation", "choices"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--questions", type=int)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    path = named(given.model)
    threads = given.threads or threads_for(read_header(path).parameters, usable_cores())
    shapes = {"generation": (generating, 32), "choices": (choosing, 64)}
    found: list[dict[str, Any]] = []
    for shape, (make, count) in shapes.items():
        if given.only in (None, shape):
            with ExitStack() as stack:
                methods = stack.enter_context(make(path, threads, given.questions or count))
                found += figures(shape, measure(methods, given.rounds))
    if given.json:
        about = {"model": path.name, "threads": threads, "hardware": hardware_class(), "engine": engine_label()}
        print(json.dumps(about | {"rows": found}, indent=1))
        return
    print(f"{path.name}, {threads} thread(s), {hardware_class()}, {engine_label()}")
    for row in found:
        print(
            f"{row['shape']:11} {row['method']:17} {row['questions_per_minute']:>9,.1f} questions/min"
            f"  x{row['ratio']:<6} ({row['least']} to {row['largest']})  clock x{row['by_the_clock']:<6}"
            f"  same {row['same']}"
        )


if __name__ == "__main__":
    main()

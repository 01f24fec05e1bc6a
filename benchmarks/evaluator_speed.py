"""How fast the evaluator's engine answers, side by side with what else could be used.

    python benchmarks/evaluator_speed.py [--model demo|large|trained|FILE.gguf] [--shape generation|choices]
                                         [--rounds N] [--against NAME ...] [--threads N] [--questions N] [--few N]
                                         [--into FILE]
    python benchmarks/evaluator_speed.py --shown FILE [--json]

Questions have the shapes of GSM8K with five examples and of TruthfulQA (`benchmarks/shapes.py`). Against the engine:

    llama            high-level `llama_cpp.Llama` as it is: it keeps the longest beginning, and half of the cores
    llama-cleared    the same with its cache cleared before each prompt
    llama-threads, llama-threads-cleared    both, told to use as many threads as the engine does
    server           llama.cpp's `llama-server` with 16 slots that keep their prompts (generation)
    perplexity       `llama-perplexity --multiple-choice` (choices)

In each round the engine answers all questions and then every method some of them, slow ones `--few`. Each round gives a
ratio of times a question by the clock and one of processor time, all threads together: with other programs on the
machine only the second means much. Shown are medians with the least and the largest, and how many of the engine's own
answers the method gives, too (near ties differ). With `--into` each round is added to a file as soon as it is over, so
that a long comparison can be made in pieces; `--shown` tells what such a file has in all.
"""

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from benchmarks.contenders import Own, Perplexity, Spent, server
from benchmarks.high_level import HighLevel
from benchmarks.large_model import large_model
from benchmarks.shapes import generation_prompts, offers
from benchmarks.trained_model import trained_model
from eval.binding import engine_label, hardware_class
from eval.cores import usable_cores
from eval.demo import catalogue
from eval.division import threads_for
from eval.header import read_header

Answers = Sequence[Any]
Shape = Literal["generation", "choices"]
Ask = Callable[[int], tuple[Answers, Spent]]
SHAPES: tuple[Shape, ...] = ("generation", "choices")
QUESTIONS: dict[Shape, int] = {"generation": 32, "choices": 64}
HIGH_LEVEL = ("llama", "llama-cleared", "llama-threads", "llama-threads-cleared")
METHODS: dict[Shape, tuple[str, ...]] = {
    "generation": (*HIGH_LEVEL, "server"),
    "choices": (*HIGH_LEVEL, "perplexity"),
}
FEW: dict[Shape, int] = {"generation": 16, "choices": 4}
FEW_LARGE: dict[Shape, int] = {"generation": 6, "choices": 1}
WARMING = 2
MADE: dict[str, Callable[[], Path]] = {"large": large_model, "trained": trained_model}


class Round(Struct, frozen=True):
    """One method's turn beside the engine's: seconds a question, and how many of `compared` answers are the same."""

    model: str
    threads: int
    hardware: str
    engine: str
    shape: Shape
    method: str
    questions: int
    ours: Spent
    theirs: Spent
    same: int
    compared: int


class Asked:
    """The questions of a shape, and the ways to answer them; processes live as long as `stack`."""

    def __init__(self, stack: ExitStack, path: Path, shape: Shape, threads: int, count: int) -> None:
        self._stack = stack
        self._path = path
        self._threads = threads
        self._shape = shape
        own = Own(path, threads)
        self._offers = offers(own.base.model, count) if shape == "choices" else []
        self._prompts = generation_prompts(own.base.model, count) if shape == "generation" else []
        self.ours: Ask = _timed(own.choose, self._offers) if self._offers else _timed(own.write, self._prompts)
        self._high_level: dict[bool, HighLevel] = {}

    def theirs(self, method: str) -> Ask:
        """How to ask the first questions by a method, which is ready then."""
        if method == "server":
            served = self._stack.enter_context(server(self._path, self._threads))
            served.write(self._prompts[:WARMING], 1)
            served.write(self._prompts, 1)  # its slots have seen the examples now
            return _timed(served.write, self._prompts, served.processor_seconds)
        if method == "perplexity":
            program = Perplexity(self._path, self._threads, self._offers)
            return lambda some: ((), program.ask(some))
        asked, keep = self._started(own_threads="threads" in method), not method.endswith("cleared")

        def ask(count: int) -> tuple[Answers, Spent]:
            answers, processor, clock = asked.ask((self._prompts or self._offers)[:count], keep=keep)
            return answers, Spent(processor / count, clock / count)

        ask(1)
        return ask

    def _started(self, *, own_threads: bool) -> HighLevel:
        if own_threads not in self._high_level:
            threads = self._threads if own_threads else None
            found = HighLevel(self._path, scores=self._shape == "choices", threads=threads)
            self._high_level[own_threads] = self._stack.enter_context(found)
        return self._high_level[own_threads]


def _timed(
    work: Callable[[Sequence[Any]], Answers],
    questions: Sequence[Any],
    processor: Callable[[], float] = time.process_time,
) -> Ask:
    def ask(count: int) -> tuple[Answers, Spent]:
        clock, used = time.perf_counter(), processor()
        answers = work(questions[:count])
        return answers, Spent((processor() - used) / count, (time.perf_counter() - clock) / count)

    return ask


def measure(
    path: Path, shape: Shape, methods: Sequence[str], threads: int, count: int, few: int, rounds: int
) -> Iterator[Round]:
    """Rounds of engine and methods in turn, each as it ends."""
    about = (path.name, threads, hardware_class(), engine_label(), shape)
    with ExitStack() as stack:
        asked = Asked(stack, path, shape, threads, count)
        ready = {method: asked.theirs(method) for method in methods}
        asked.ours(min(count, WARMING))
        for _ in range(rounds):
            own, ours = asked.ours(count)
            for method, ask in ready.items():
                some = few if method in HIGH_LEVEL else count
                answers, theirs = ask(some)
                pairs = list(zip(answers, own, strict=False))
                same = sum(one == other for one, other in pairs)
                yield Round(*about, method, some, ours, theirs, same, len(pairs))


def figures(rounds: Iterable[Round]) -> Iterator[dict[str, Any]]:
    """What is shown of all rounds of a model, a shape and a method: questions a minute and the engine's lead."""
    together: dict[tuple[str, int, str, str], list[Round]] = defaultdict(list)
    for each in rounds:
        together[each.model, each.threads, each.shape, each.method].append(each)
    for (model, threads, shape, method), found in sorted(together.items()):
        yield {
            "model": model,
            "threads": threads,
            "hardware": found[-1].hardware,
            "engine": found[-1].engine,
            "shape": shape,
            "method": method,
            "rounds": len(found),
            "own_per_minute": round(60 / statistics.median(each.ours.clock for each in found), 1),
            "per_minute": round(60 / statistics.median(each.theirs.clock for each in found), 1),
            "clock": _spread([each.theirs.clock / each.ours.clock for each in found]),
            "processor": _spread([each.theirs.processor / each.ours.processor for each in found]),
            "same": [sum(each.same for each in found), sum(each.compared for each in found)],
        }


def _spread(ratios: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in (statistics.median(ratios), min(ratios), max(ratios))]


def show(rounds: Iterable[Round], *, as_json: bool) -> None:
    """Prints the figures."""
    rows = list(figures(rounds))
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        clock, processor = ("x{:.2f} ({:.2f} to {:.2f})".format(*row[name]) for name in ("clock", "processor"))
        print(
            f"{row['model']}, {row['threads']} thread(s)  {row['shape']:10} {row['method']:21} rounds {row['rounds']}"
            f"  {row['per_minute']:>8,.1f} questions/min beside {row['own_per_minute']:>9,.1f}"
            f"  clock {clock}  processor {processor}  same {row['same'][0]}/{row['same'][1]}"
        )


def named(model: str) -> Path:
    """The model that is meant by a word or a path."""
    if model in MADE:
        return MADE[model]()
    return catalogue.MODELS / "tally-base-q8.gguf" if model == "demo" else Path(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--against", nargs="+", choices=sorted({name for names in METHODS.values() for name in names}))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--questions", type=int)
    parser.add_argument("--few", type=int)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--shown", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.shown:
        lines = given.shown.read_bytes().splitlines()
        show([msgspec.json.decode(line, type=Round) for line in lines], as_json=given.json)
        return
    path = named(given.model)
    threads = given.threads or threads_for(read_header(path).parameters, usable_cores())
    found: list[Round] = []
    for shape in [given.shape] if given.shape else SHAPES:
        methods = [name for name in METHODS[shape] if name in (given.against or METHODS[shape])]
        count = given.questions or QUESTIONS[shape]
        few = min(count, given.few or (FEW_LARGE if given.model in MADE else FEW)[shape])
        for each in measure(path, shape, methods, threads, count, few, given.rounds):
            found.append(each)
            print(msgspec.json.encode(each).decode(), file=sys.stderr, flush=True)
            if given.into:
                with given.into.open("ab") as file:
                    file.write(msgspec.json.encode(each) + b"\n")
    show(found, as_json=given.json)


if __name__ == "__main__":
    main()

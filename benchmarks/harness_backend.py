"""How many times as fast the engine is as lm-evaluation-harness with its HF backend, on the same weights.

    python benchmarks/harness_backend.py --torch PYTHON [--model demo|large|trained|FILE.gguf]
                                         [--only generation|choices] [--rounds N] [--questions N] [--batch N]
                                         [--threads N]

PYTHON is the interpreter of an environment with lm-eval==0.4.13, torch, transformers and gguf (by pip). Both are given
the file: the engine as it is, transformers as 32-bit floats, which is how the harness loads a model on a processor.
Both are asked the same texts of `benchmarks/shapes.py`, by the harness's own requests, and use as many threads. The
harness is measured in batches of 1, which is what it does unless told otherwise, and of 8, which is kinder to it. They
take turns, and each round gives one ratio of processor times and one of times by the clock. Shown, too: if the first
prompt's tokens are the same, how many choices are, and how much of the texts is until they part at a near tie.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contenders import Own, Spent, environment
from benchmarks.evaluator_speed import SHAPES, named
from benchmarks.shapes import generation_prompts, offers
from eval.binding import engine_label, hardware_class
from eval.cores import usable_cores
from eval.division import threads_for
from eval.header import read_header

Ask = Callable[[dict[str, Any]], dict[str, Any]]


@contextmanager
def harness(python: str, path: Path, threads: int, batch: int) -> Iterator[Ask]:
    """A process in which the harness has loaded the model."""
    script, root = Path(__file__).with_name("reference") / "timed_harness.py", Path(__file__).parents[1]
    command = [python, "-W", "ignore", str(script), str(path), str(threads), str(batch)]
    quiet = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": str(threads), "TRANSFORMERS_VERBOSITY": "error"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, env=environment() | quiet, **pipes) as process:  # type: ignore[call-overload]

        def ask(what: dict[str, Any]) -> dict[str, Any]:
            process.stdin.write(json.dumps(what) + "\n")
            process.stdin.flush()
            return heard()

        def heard() -> dict[str, Any]:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"The harness ended with {process.wait()}: run {' '.join(command)} to see why.")
            return dict(json.loads(line))

        heard()
        yield ask
        process.stdin.close()


def timed(work: Callable[[Sequence[Any]], Sequence[Any]], asked: Sequence[Any]) -> tuple[Sequence[Any], Spent]:
    """Answers, and the time for one."""
    clock, used = time.perf_counter(), time.process_time()
    answers = work(asked)
    return answers, Spent((time.process_time() - used) / len(asked), (time.perf_counter() - clock) / len(asked))


def compare(own: Own, ask: Ask, shape: str, count: int, few: int, rounds: int) -> dict[str, Any]:
    """Rounds of both in turn, behind one that warms them up; the harness gets the first `few` of the questions."""
    model = own.base.model
    if shape == "generation":
        questions: Sequence[Any] = generation_prompts(model, count)
        work: Callable[[Sequence[Any]], Sequence[Any]] = own.write
        said: dict[str, Any] = {"prompts": list(questions[:few])}
        first = questions[0]
    else:
        questions = offers(model, count)
        work = own.choose
        said = {"offers": [[each.prompt, each.choices] for each in questions[:few]]}
        first = questions[0].prompt
    work(questions)
    ask({name: asked[:1] for name, asked in said.items()})
    spent: list[tuple[Spent, Spent]] = []
    for _ in range(rounds):
        ours, own_spent = timed(work, questions)
        theirs = ask(said)
        spent.append((own_spent, Spent(theirs["processor"] / few, theirs["clock"] / few)))
    by_processor = [other.processor / mine.processor for mine, other in spent]
    by_clock = [other.clock / mine.clock for mine, other in spent]
    same = statistics.mean(_alike(one, other) for one, other in zip(ours, theirs["answers"], strict=False))
    return {
        "shape": shape,
        "own_minute": 60 / statistics.median(mine.clock for mine, _ in spent),
        "their_minute": 60 / statistics.median(other.clock for _, other in spent),
        "ratio": [statistics.median(by_processor), min(by_processor), max(by_processor)],
        "by_the_clock": [statistics.median(by_clock), min(by_clock), max(by_clock)],
        "same_tokens": model.tokens(first) == theirs["tokens"],
        "same": same,
    }


def _alike(one: Any, other: Any) -> float:
    """Of two texts the share until they part; of two choices 1 if they are the same."""
    if isinstance(one, str) and one:
        return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one)) / len(one)
    return float(one == other)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--only", choices=SHAPES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=32, help="that the engine is asked at once")
    parser.add_argument("--few", type=int, default=8, help="of them that the harness is asked")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="questions that the harness takes at once")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    if given.torch is None:
        print("Not measured: it needs --torch, a Python with lm-eval (see the top of this file).")
        return
    os.environ |= environment()
    path = named(given.model)
    threads = given.threads or threads_for(read_header(path).parameters, usable_cores())
    own = Own(path, threads)
    print(f"{path.name}, {threads} thread(s), {hardware_class()}, {engine_label()}")
    for batch in given.batch:
        with harness(given.torch, path, threads, batch) as ask:
            for shape in SHAPES:
                if given.only in (None, shape):
                    show(batch, compare(own, ask, shape, given.questions, given.few, given.rounds))


def show(batch: int, row: dict[str, Any]) -> None:
    """Print a line about one shape."""
    ratio, clock = ("x{:.1f} ({:.1f} to {:.1f})".format(*row[kind]) for kind in ("ratio", "by_the_clock"))
    print(
        f"{row['shape']:11} {row['own_minute']:9,.1f} questions/min, harness in batches of {batch}"
        f" {row['their_minute']:9,.1f}  processor {ratio}  clock {clock}  same {row['same']:.0%}"
        f"  first prompt's tokens {'equal' if row['same_tokens'] else 'DIFFER'}",
        flush=True,
    )


if __name__ == "__main__":
    main()

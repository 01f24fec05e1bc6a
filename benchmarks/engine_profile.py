"""Where the evaluator's own thread spends its time: in llama.cpp and products of matrices, in numpy over logits, in
Python that llama.cpp calls for its products, in the rest of Python.

    python benchmarks/engine_profile.py [--model demo|large|trained|FILE.gguf] [--threads N] [--questions N]

Processor time of the one thread that drives llama.cpp and computes beside its helpers, so that other programs on the
machine do not show, and waiting for helpers neither: the shares of Python are upper bounds. Of lanes it is the first.
"""

import argparse
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.contenders import Own
from benchmarks.evaluator_speed import named
from benchmarks.shapes import NEW_TOKENS, generation_prompts, offers
from eval import cache_products, engine, products, team, weight_products
from eval.binding import C
from eval.choices import Choices, continuation_tokens
from eval.cores import usable_cores
from eval.division import threads_for
from eval.generation import Generation
from eval.header import read_header

DECODE, LOGITS = "llama.cpp and products", "numpy on logits"
CALLED, MULTIPLIED = "Python called by llama.cpp", "numpy's products within it"
WATCHED: tuple[tuple[str, Any, str], ...] = (
    (DECODE, C, "llama_decode"),
    (DECODE, C, "llama_get_logits"),
    (DECODE, C, "llama_memory_seq_cp"),
    (DECODE, C, "llama_memory_seq_rm"),
    (LOGITS, engine, "_log_probabilities"),
    (LOGITS, engine.Engine, "_choose"),
    (CALLED, products._Accelerator, "_supports"),
    (CALLED, products._Backend, "multiply"),
    (MULTIPLIED, team.Team, "floats"),
    (MULTIPLIED, weight_products, "_multiply"),
    (MULTIPLIED, cache_products, "_multiply"),
)


@contextmanager
def watched(spent: defaultdict[str, float]) -> Iterator[None]:
    """Adds to `spent` the thread's seconds within the watched functions.

    Those of one part must not call each other. ggml keeps what it calls: watch before the first context is made.
    """
    kept = [vars(owner)[name] for _, owner, name in WATCHED]
    try:
        for (part, owner, name), function in zip(WATCHED, kept, strict=True):
            measured = _timed(getattr(owner, name), spent, part)
            setattr(owner, name, staticmethod(measured) if isinstance(function, staticmethod) else measured)
        yield
    finally:
        for (_, owner, name), function in zip(WATCHED, kept, strict=True):
            setattr(owner, name, function)


def _timed(function: Callable[..., Any], spent: defaultdict[str, float], part: str) -> Callable[..., Any]:
    driver = threading.get_ident()

    def measured(*given: Any, **options: Any) -> Any:
        if threading.get_ident() != driver:
            return function(*given, **options)
        start = time.thread_time()
        try:
            return function(*given, **options)
        finally:
            spent[part] += time.thread_time() - start

    return measured


def profile(
    own: Own, asked: Sequence[Generation | Choices], steps: int, spent: defaultdict[str, float]
) -> Iterator[tuple[str, float]]:
    """Shares of the thread's time from the first token to the last answer, of which `spent` is told."""
    spent.clear()
    start = time.thread_time()
    own.run(asked, steps)
    total = time.thread_time() - start
    called = spent[CALLED] - spent[MULTIPLIED]
    yield DECODE, (spent[DECODE] - called) / total
    yield LOGITS, spent[LOGITS] / total
    yield CALLED, called / total
    yield "other Python", (total - spent[DECODE] - spent[LOGITS]) / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="large")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--questions", type=int, default=16)
    given = parser.parse_args()
    path = named(given.model)
    own = Own(path, given.threads or threads_for(read_header(path).parameters, usable_cores()))
    model = own.base.model
    prompts = [
        Generation(model, model.tokens(text), (), NEW_TOKENS, None)
        for text in generation_prompts(model, given.questions)
    ]
    choices = [
        Choices(*continuation_tokens(model, offer.prompt, list(offer.choices)), None)
        for offer in offers(model, given.questions)
    ]
    spent: defaultdict[str, float] = defaultdict(float)
    with watched(spent):
        for shape, asked, steps in (("generation", prompts, NEW_TOKENS // 2), ("choices", choices, 2)):
            parts = ", ".join(f"{part} {share:.1%}" for part, share in profile(own, asked, steps, spent))
            print(f"{path.name}  {shape:11} {parts}")


if __name__ == "__main__":
    main()

"""Where the evaluator's own thread spends its time: in llama.cpp, in numpy over logits, in the rest of Python.

    python benchmarks/engine_profile.py [--model demo|large|trained|FILE.gguf] [--threads N] [--questions N]

Processor time of the one thread that drives llama.cpp and computes beside its helpers, so that other programs on the
machine do not show, and waiting for helpers neither: the shares of Python are upper bounds. Of lanes it is the first.
"""

import argparse
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.contenders import Own
from benchmarks.evaluator_speed import named
from benchmarks.shapes import NEW_TOKENS, generation_prompts, offers
from eval import engine
from eval.binding import C
from eval.choices import Choices, continuation_tokens
from eval.cores import usable_cores
from eval.division import threads_for
from eval.generation import Generation
from eval.header import read_header

DECODE, LOGITS = "llama.cpp", "numpy on logits"
WATCHED: tuple[tuple[str, Any, str], ...] = (
    (DECODE, C, "llama_decode"),
    (DECODE, C, "llama_get_logits"),
    (DECODE, C, "llama_memory_seq_cp"),
    (DECODE, C, "llama_memory_seq_rm"),
    (LOGITS, engine, "_log_probabilities"),
    (LOGITS, engine.Engine, "_choose"),
)


@contextmanager
def watched(spent: dict[str, float]) -> Iterator[None]:
    """Adds to `spent` the thread's seconds within the watched functions, which must not call each other."""
    kept = [vars(owner)[name] for _, owner, name in WATCHED]
    try:
        for (part, owner, name), _ in zip(WATCHED, kept, strict=True):
            measured = _timed(getattr(owner, name), spent, part)
            setattr(owner, name, staticmethod(measured) if isinstance(owner, type) else measured)
        yield
    finally:
        for (_, owner, name), function in zip(WATCHED, kept, strict=True):
            setattr(owner, name, function)


def _timed(function: Callable[..., Any], spent: dict[str, float], part: str) -> Callable[..., Any]:
    driver = threading.get_ident()

    def measured(*given: Any) -> Any:
        if threading.get_ident() != driver:
            return function(*given)
        start = time.thread_time()
        try:
            return function(*given)
        finally:
            spent[part] += time.thread_time() - start

    return measured


def profile(own: Own, asked: Sequence[Generation | Choices], steps: int) -> dict[str, float]:
    """Shares of the thread's time from the first token to the last answer."""
    spent = {DECODE: 0.0, LOGITS: 0.0}
    with watched(spent):
        start = time.thread_time()
        own.run(asked, steps)
        total = time.thread_time() - start
    shares = {part: seconds / total for part, seconds in spent.items()}
    return shares | {"other Python": 1 - sum(shares.values())}


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
    for shape, asked, steps in (("generation", prompts, NEW_TOKENS // 2), ("choices", choices, 2)):
        shares = profile(own, asked, steps)
        parts = ", ".join(f"{part} {share:.1%}" for part, share in shares.items())
        print(f"{path.name}  {shape:11} {parts}")


if __name__ == "__main__":
    main()

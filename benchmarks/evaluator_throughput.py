"""Questions a minute of the evaluator's engine, against high-level `llama_cpp.Llama` in the same process and run.

    python benchmarks/evaluator_throughput.py [--model FILE.gguf] [--questions N] [--threads N] [--json]

Both answer the same questions of the demo benchmarks: greedy generation with the same stop strings, and four choices
by log-likelihood. `Llama` runs in its default form, which keeps the longest prefix between calls, and with its cache
cleared before each call. Rounds alternate, so that a busy machine slows all of them; the best round of each counts.
The last column is how many of the answers are the same.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eval.base import Base
from eval.benchmarks import QuestionSet, find
from eval.binding import engine_label, hardware_class
from eval.demo import catalogue
from eval.evaluation import evaluate
from eval.header import read_header
from eval.job import Job
from eval.scorers import largest

ROUNDS = 3
CONTEXT = 2048
Answers = list[Any]


class Engine:
    """The project's own."""

    def __init__(self, path: Path, threads: int) -> None:
        self._base = Base(path, read_header(path))
        self._job = Job(str(path), bytes(32), "", (0,), threads=threads, keep_transcripts=True)

    def run(self, questions: QuestionSet, asked: Sequence[int]) -> Answers:
        """Texts, or positions of choices."""
        job = Job(
            self._job.base,
            self._job.base_sha256,
            questions.entry.definition.name,
            tuple(asked),
            threads=self._job.threads,
            keep_transcripts=True,
        )
        outcome = evaluate(job, self._base, questions, lambda _: None)
        return [item.text if item.choice is None else item.choice for item in outcome.transcripts]


class HighLevel:
    """`llama_cpp.Llama`, called once a prompt; with choices, once a choice."""

    def __init__(self, path: Path, threads: int, *, keep: bool) -> None:
        from llama_cpp import Llama

        self._keep = keep
        self._llama = Llama(
            str(path), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, logits_all=True, verbose=False
        )

    def run(self, questions: QuestionSet, asked: Sequence[int]) -> Answers:
        """Texts, or positions of choices."""
        definition = questions.entry.definition
        if definition.max_new_tokens:
            return [self._write(questions, index, definition.max_new_tokens) for index in asked]
        return [self._choose(questions, index) for index in asked]

    def _write(self, questions: QuestionSet, index: int, limit: int) -> str:
        if not self._keep:
            self._llama.reset()
        stops = list(questions.entry.stops)
        made = self._llama.create_completion(questions.prompt(index), max_tokens=limit, temperature=0, stop=stops)
        return str(made["choices"][0]["text"])

    def _choose(self, questions: QuestionSet, index: int) -> int:
        prompt, sums = questions.prompt(index), []
        for continuation in questions.continuations(index):
            if not self._keep:
                self._llama.reset()
            made = self._llama.create_completion(
                prompt + continuation, max_tokens=1, temperature=0, logprobs=1, echo=True
            )
            found = made["choices"][0]["logprobs"]
            pairs = zip(found["text_offset"], found["token_logprobs"], strict=True)
            inside = range(len(prompt), len(prompt) + len(continuation))
            sums.append(sum(value for offset, value in pairs if offset in inside and value is not None))
        return largest(sums)


def measure(path: Path, count: int, threads: int) -> list[dict[str, Any]]:
    """One row a benchmark and method: questions a minute, ratio to the engine, share of equal answers."""
    methods: dict[str, Callable[[QuestionSet, Sequence[int]], Answers]] = {
        "engine": Engine(path, threads).run,
        "Llama, prefix kept": HighLevel(path, threads, keep=True).run,
        "Llama, cache cleared": HighLevel(path, threads, keep=False).run,
    }
    rows = []
    for name in ("tally-words", "tally-choice"):
        questions, asked = find(name).load(None), range(count)
        best = dict.fromkeys(methods, float("inf"))
        answers: dict[str, Answers] = {}
        for _ in range(ROUNDS):
            for method, run in methods.items():
                start = time.perf_counter()
                answers[method] = run(questions, asked)
                best[method] = min(best[method], time.perf_counter() - start)
        for method, seconds in best.items():
            same = sum(x == y for x, y in zip(answers[method], answers["engine"], strict=True))
            rows.append(
                {
                    "benchmark": name,
                    "method": method,
                    "questions_per_minute": round(60 * count / seconds),
                    "engine_is_faster_by": round(seconds / best["engine"], 2),
                    "same_answers": f"{same}/{count}",
                }
            )
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", type=Path, default=catalogue.MODELS / "tally-base.gguf")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = measure(given.model, given.questions, given.threads)
    if given.json:
        about = {"model": given.model.name, "threads": given.threads, "hardware": hardware_class()}
        print(json.dumps(about | {"engine": engine_label(), "rows": rows}, indent=1))
        return
    print(f"{given.model.name}, {given.questions} questions, {given.threads} thread(s), {hardware_class()}")
    for row in rows:
        print(
            f"{row['benchmark']:14} {row['method']:22} {row['questions_per_minute']:>8} questions/min"
            f"  x{row['engine_is_faster_by']:<6} same {row['same_answers']}"
        )


if __name__ == "__main__":
    main()

"""High-level `llama_cpp.Llama` as its users have it, in a process of its own.

    python -m benchmarks.high_level FILE.gguf [--threads N] [--scores]     (started by benchmarks/evaluator_speed.py)

A line of JSON with questions comes in, one with answers and the time for them goes out. Without `--threads` the library
chooses: half of the cores for single tokens, all of them for prompts. Its threads sleep while they wait, as the
engine's do: spinning, which is OpenMP's default, takes several times as long beside other programs.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.contenders import environment
from benchmarks.shapes import NEW_TOKENS, Offer

CONTEXT = 2048


class HighLevel:
    """The process, seen from outside. Prompts are written on, offers are chosen from (`scores`, by echo)."""

    def __init__(self, path: Path, *, scores: bool, threads: int | None = None) -> None:
        command = [sys.executable, "-m", "benchmarks.high_level", str(path)]
        command += ["--threads", str(threads)] if threads else []
        self._process = subprocess.Popen(
            [*command, "--scores"] if scores else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
            env=environment(),
        )

    def ask(self, questions: Sequence[str | Offer], *, keep: bool) -> tuple[list[Any], float, float]:
        """Answers, and the seconds of processors and of the clock in which they were given.

        With `keep` the library looks for the longest beginning that its cache holds already; else it is cleared first.
        """
        asked = [[each, []] if isinstance(each, str) else [each.prompt, list(each.choices)] for each in questions]
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write(json.dumps({"keep": keep, "questions": asked}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"llama_cpp.Llama ended with {self._process.wait()}.")
        found = json.loads(line)
        return found["answers"], found["processor"], found["clock"]

    def __enter__(self) -> "HighLevel":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("file")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--scores", action="store_true")
    given = parser.parse_args()
    from llama_cpp import Llama

    chosen = {"n_threads": given.threads, "n_threads_batch": given.threads} if given.threads else {}
    llama = Llama(given.file, n_ctx=CONTEXT, logits_all=given.scores, verbose=False, **chosen)
    for line in sys.stdin:
        work = json.loads(line)
        clock, used = time.perf_counter(), time.process_time()
        answers = [_answer(llama, prompt, choices, keep=work["keep"]) for prompt, choices in work["questions"]]
        spent = {"processor": time.process_time() - used, "clock": time.perf_counter() - clock}
        print(json.dumps({"answers": answers} | spent), flush=True)


def _answer(llama: Any, prompt: str, choices: list[str], *, keep: bool) -> str | int:
    """What is written behind the prompt, or the place of the most likely choice."""
    if not choices:
        return str(_completed(llama, prompt, keep=keep, max_tokens=NEW_TOKENS)["text"])
    sums = [_sum(llama, prompt, choice, keep=keep) for choice in choices]
    return sums.index(max(sums))


def _sum(llama: Any, prompt: str, choice: str, *, keep: bool) -> float:
    found = _completed(llama, prompt + choice, keep=keep, max_tokens=1, logprobs=1, echo=True)["logprobs"]
    pairs = zip(found["text_offset"], found["token_logprobs"], strict=True)
    inside = range(len(prompt), len(prompt) + len(choice))
    return sum(float(value) for offset, value in pairs if offset in inside and value is not None)


def _completed(llama: Any, prompt: str, *, keep: bool, **more: Any) -> Any:
    if not keep:
        llama.reset()
    return llama.create_completion(prompt, temperature=0, **more)["choices"][0]


if __name__ == "__main__":
    main()

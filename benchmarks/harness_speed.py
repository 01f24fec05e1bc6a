"""The evaluator beside lm-evaluation-harness and its HF backend: questions a minute of GSM8K and TruthfulQA MC1.

    python benchmarks/harness_speed.py --torch PYTHON --work DIR [--data DIR] [--tasks NAME ...] [--questions N]
                                       [--own N] [--batch N] [--threads N]

PYTHON is an environment with lm-eval as for `benchmarks/fidelity.py`, `--data` (else `PEERBOARD_DATA`) has `gsm8k` and
`truthfulqa`. The model has 160 M random weights, so that no text ends before its 256 tokens: float32 for the harness,
as its backend has them on a processor, and the same in Q8_0 for the evaluator. `--work`
keeps it. The harness asks its own tasks in batches of `--batch`; the evaluator asks the same, and GSM8K with five fixed
examples, too, which is a benchmark of its own. The harness gets the first `--questions`, the evaluator `--own`. Only
the seconds in which answers are made count, by the clock: nothing else may run on the machine.
"""

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

from benchmarks.large_model import quantise
from eval.base import Base
from eval.benchmarks import find
from eval.evaluation import evaluate
from eval.header import read_header
from eval.job import Job
from eval.scoring import data_folder

WIDTH, LAYERS = 896, 18
OWN_NAMES = {"gsm8k": ("gsm8k", "gsm8k-fixed5"), "truthfulqa-mc1": ("truthfulqa-mc1",)}
ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--torch", required=True, metavar="PYTHON")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=sorted(OWN_NAMES), default=sorted(OWN_NAMES))
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--own", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    given.data = data_folder(given.data)
    if given.data is None:
        raise SystemExit("It needs --data, a folder with gsm8k and truthfulqa.")
    full, packed = given.work / "model.gguf", given.work / "model.Q8_0.gguf"
    if not packed.exists():
        given.work.mkdir(parents=True, exist_ok=True)
        _harness(given, "make", "--width", str(WIDTH), "--layers", str(LAYERS), "--steps", "0")
        quantise(full, packed)
        full.unlink()
    for task in given.tasks:
        theirs = _seconds(given, task)
        for name in OWN_NAMES[task]:
            ours = _own_seconds(given, packed, name)
            print(
                f"{task:15} harness {60 / theirs:6.1f} questions/min   {name:15} {60 / ours:6.1f} questions/min"
                f"   x{theirs / ours:.1f}",
                flush=True,
            )


def _seconds(given: argparse.Namespace, task: str) -> float:
    """What the harness takes for a question."""
    _harness(given, "answer", "--tasks", task, "--questions", str(given.questions), "--batch", str(given.batch))
    found: dict[str, float] = json.loads((given.work / "seconds.json").read_text(encoding="utf-8"))
    return found[task] / int(given.questions)


def _harness(given: argparse.Namespace, what: str, *options: str) -> None:
    script = ROOT / "benchmarks" / "reference" / "harness.py"
    places = ["--folder", str(given.work), "--data", str(given.data), "--threads", str(given.threads)]
    command = [given.torch, str(script), what, *places, *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"The harness ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")


def _own_seconds(given: argparse.Namespace, path: Path, name: str) -> float:
    """What the evaluator takes for a question, as a child process does its job."""
    questions = find(name).load(given.data)
    job = Job(str(path), bytes(32), name, tuple(range(given.own)), threads=given.threads, keep_transcripts=True)
    with Base(path, read_header(path)) as base:
        _ = base.model
        started = time.perf_counter()
        evaluate(job, base, questions, lambda _: None)
        return (time.perf_counter() - started) / len(job.questions)


if __name__ == "__main__":
    main()

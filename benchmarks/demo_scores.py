"""True scores of the demo family: every packaged model answers all questions of both demo benchmarks.

    python benchmarks/demo_scores.py [--threads N] [--record]

Prints the scores with their standard errors, questions a minute, and how many answers differ from those recorded in
`eval/demo/outcomes.json`; `--record` replaces the record.
"""

import argparse
import hashlib
import time
from pathlib import Path

from eval.benchmarks import find
from eval.binding import engine_label, hardware_class
from eval.demo import catalogue, recorded
from eval.evaluation import evaluate, open_base
from eval.job import AdapterFile, Job, Progress, Registered
from protocol.definitions import HubFile, Model


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description="Measure the true scores of the packaged demo models.")
    parser.add_argument("--threads", type=int, default=1, help="threads of each evaluation (default: 1)")
    parser.add_argument("--record", action="store_true", help="replace eval/demo/outcomes.json")
    arguments = parser.parse_args()
    found: dict[str, dict[str, str]] = {}
    contents: dict[str, str] = {}
    for benchmark in catalogue.demo_benchmarks():
        contents[benchmark.name] = benchmark.dataset.content.hex()
        found[benchmark.name] = {
            model.name: answers(model, benchmark.name, benchmark.dataset.questions, arguments.threads)
            for model in catalogue.packaged_models(every=True)
        }
    manifest = hashlib.sha256(catalogue.MANIFEST.read_bytes()).hexdigest()
    measured = recorded.Record(engine_label(), hardware_class(), manifest, contents, found)
    print(f"\nfirst {recorded.SCORED} questions of each, {measured.engine}, {measured.hardware}\n")
    print(recorded.table(measured))
    if arguments.record:
        recorded.write(measured)
    elif recorded.RECORD.exists():
        print(f"\n{differences(measured)} answers differ from the recorded ones")


def answers(model: Model, benchmark: str, questions: int, threads: int) -> str:
    """One digit a question, 1 for right."""
    started = time.monotonic()
    job = Job(
        base=str(_path(model.base)),
        base_sha256=model.base.sha256,
        benchmark=benchmark,
        questions=tuple(range(questions)),
        adapters=tuple(
            AdapterFile(str(_path(adapter.file)), adapter.file.sha256, adapter.scale) for adapter in model.adapters
        ),
        registered=Registered(model.architecture, model.parameters, model.quantisation),
        threads=threads,
    )
    with open_base(job) as base:
        outcome = evaluate(job, base, find(benchmark).load(None), _silent)
    seconds = time.monotonic() - started
    tokens = outcome.tokens_out / questions
    print(f"{benchmark} {model.name}: {60 * questions / seconds:,.0f} questions/min, {tokens:.1f} new tokens each")
    return "".join("1" if value else "0" for value in outcome.outcomes)


def differences(measured: recorded.Record) -> int:
    """Answers that are right in one and wrong in the other record, or that only this one has."""
    known = recorded.record().outcomes
    return sum(
        first != second
        for name, models in measured.outcomes.items()
        for model, digits in models.items()
        for first, second in zip(digits, known.get(name, {}).get(model, "?" * len(digits)), strict=True)
    )


def _path(file: HubFile) -> Path:
    path = catalogue.packaged_file(file.sha256)
    if path is None:
        raise FileNotFoundError(f"the manifest lists {file.path}, which is not packaged: train the family again")
    return path


def _silent(_progress: Progress) -> None:
    """Progress is for people who wait for one evaluation."""


if __name__ == "__main__":
    main()

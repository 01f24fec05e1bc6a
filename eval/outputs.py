"""Scoring answers that were generated elsewhere, with the scorers that evaluations use."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from eval.benchmarks import QuestionSet
from eval.failing import EvaluationError
from eval.questions import Offered
from eval.scorers import RIGHT, score_flexible, score_largest, score_strict
from protocol.failures import Failure

MAX_FILE_BYTES = 1 << 30
GENERATIONS = {"strict": score_strict, "flexible": score_flexible}


class OutputsRefused(EvaluationError):
    """The file of outputs is missing or malformed; the detail names the line."""

    def __init__(self, detail: str) -> None:
        super().__init__(Failure.FILE_MISSING, detail)


class Output(Struct, frozen=True):
    """One answer: the question's index and what was written."""

    index: int
    output: str


def read_outputs(path: Path, questions: int) -> tuple[Output, ...]:
    """The answers in a file of JSON lines, to a benchmark of so many questions. Raises `OutputsRefused`."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise OutputsRefused(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB.")
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise OutputsRefused(f"{path} cannot be read: {error.strerror}.") from None
    return tuple(_outputs(lines, path, questions))


def _outputs(lines: Sequence[bytes], path: Path, questions: int) -> Iterable[Output]:
    seen: set[int] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            output = msgspec.json.decode(line, type=Output)
        except msgspec.DecodeError as error:
            raise OutputsRefused(
                f'{path}, line {number}: {error}. Each line is {{"index": 0, "output": "text"}}.'
            ) from None
        if not 0 <= output.index < questions:
            raise OutputsRefused(
                f"{path}, line {number}: there is no question {output.index}, they are numbered 0 to {questions - 1}."
            )
        if output.index in seen:
            raise OutputsRefused(f"{path}, line {number}: question {output.index} is answered twice.")
        seen.add(output.index)
        yield output
    if not seen:
        raise OutputsRefused(f"{path} holds no answers.")


def score_outputs(questions: QuestionSet, outputs: Sequence[Output]) -> dict[str, Any]:
    """`score` (percent), `correct` and `questions`, and every answer's verdict.

    For generations the benchmark's own extraction decides; `extractions` has the figures of each.
    """
    pairs = [(questions.item(output.index), output) for output in outputs]
    choices = [(item, output) for item, output in pairs if isinstance(item, Offered)]
    words = [(item, output) for item, output in pairs if not isinstance(item, Offered)]
    extra: dict[str, Any] = {}
    if words:
        every = {name: [mark(it.output, item.answer) for item, it in words] for name, mark in GENERATIONS.items()}
        marks = [(mark.outcome, mark.extracted) for mark in every["strict"]]
        extra["extractions"] = {name: _figures([mark.outcome for mark in found]) for name, found in every.items()}
    else:
        marks = [_choice(item, output) for item, output in choices]
    verdicts = [
        {"index": output.index, "outcome": outcome, "extracted": extracted}
        for output, (outcome, extracted) in zip(outputs, marks, strict=True)
    ]
    definition = questions.entry.definition
    named = {"benchmark": definition.name, "version": definition.version, "benchmark_id": definition.id.hex()}
    return named | _figures([outcome for outcome, _ in marks]) | extra | {"outcomes": verdicts}


def _figures(outcomes: Sequence[int]) -> dict[str, Any]:
    return {
        "score": round(sum(outcomes) / len(outcomes) / 10, 2),
        "correct": sum(outcome == RIGHT for outcome in outcomes),
        "questions": len(outcomes),
    }


def _choice(item: Offered, output: Output) -> tuple[int, str]:
    """The verdict on a choice that was taken by its text; a text that is none of the choices is wrong."""
    taken = output.output.strip()
    stripped = [choice.strip() for choice in item.choices]
    if taken not in stripped:
        return 0, ""
    sums = [float(choice == taken) for choice in stripped]
    return score_largest(sums, item.labels), taken

"""Scoring answers that were generated elsewhere, with the scorers that evaluations use."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec
from msgspec import Struct

from eval.benchmarks import QuestionSet
from eval.failing import EvaluationError, RequestWrong
from eval.programs import Judged
from eval.questions import Item, Offered
from eval.scorers import RIGHT, score_largest
from protocol.failures import Failure

MAX_FILE_BYTES = 1 << 30


class OutputsRefused(EvaluationError):
    """The file of outputs is malformed; the detail names the line."""

    def __init__(self, detail: str) -> None:
        super().__init__(Failure.FILE_MISSING, detail)


class Output(Struct, frozen=True):
    """One answer: the question's index and what was written."""

    index: int
    output: str


def read_outputs(path: Path, questions: int) -> tuple[Output, ...]:
    """The answers in a file of JSON lines, to a benchmark of so many questions.

    Raises `OutputsRefused`, and `RequestWrong` where there is no such file to read.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise OutputsRefused(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB.")
        lines = path.read_bytes().splitlines()
    except OSError as error:
        remedy = "Name a file of answers: --outputs FILE"
        raise RequestWrong(f"{path} cannot be read: {error.strerror}.", remedy) from None
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


def score_outputs(questions: QuestionSet, outputs: Sequence[Output], judged: Sequence[Judged] = ()) -> dict[str, Any]:
    """`score` (percent), `correct` and `questions`, and every answer's verdict.

    For generations the benchmark's own extraction decides; `extractions` has the figures of each that there is, and
    `measures` the means of the benchmark's other measures. Of programs `judged` has what running each one showed.
    """
    pairs = [(questions.item(output.index), output.output) for output in outputs]
    mark = questions.entry.mark_text
    if judged:
        marks = [(verdict.outcome, verdict.why) for verdict in judged]
    elif mark is not None:
        marks = [(found.outcome, found.extracted) for found in (mark(text, item) for item, text in pairs)]
    else:
        marks = [_choice(item, text) for item, text in pairs if isinstance(item, Offered)]
    verdicts = [
        {"index": output.index, "outcome": outcome, "extracted": extracted}
        for output, (outcome, extracted) in zip(outputs, marks, strict=True)
    ]
    definition = questions.entry.definition
    named = {"benchmark": definition.name, "version": definition.version, "benchmark_id": definition.id.hex()}
    figures = _figures([outcome for outcome, _ in marks])
    return named | figures | other_figures(questions, pairs) | {"outcomes": verdicts}


def other_figures(questions: QuestionSet, pairs: Sequence[tuple[Item, str]]) -> dict[str, Any]:
    """What else can be said of texts: `extractions` and `measures`, each where the benchmark has such."""
    entry, found = questions.entry, dict[str, Any]()
    if entry.extractions:
        found["extractions"] = {
            name: _figures([mark(text, item).outcome for item, text in pairs])
            for name, mark in entry.extractions.items()
        }
    if entry.measures is not None:
        measured = [entry.measures(text, item) for item, text in pairs]
        found["measures"] = {name: round(mean(each[name] for each in measured), 4) for name in measured[0]}
    return found


def _figures(outcomes: Sequence[int]) -> dict[str, Any]:
    return {
        "score": round(sum(outcomes) / len(outcomes) / 10, 2),
        "correct": sum(outcome == RIGHT for outcome in outcomes),
        "questions": len(outcomes),
    }


def _choice(item: Offered, text: str) -> tuple[int, str]:
    """The verdict on a choice that was taken by its text; a text that is none of the choices is wrong."""
    taken = text.strip()
    stripped = [choice.strip() for choice in item.choices]
    if taken not in stripped:
        return 0, ""
    sums = [float(choice == taken) for choice in stripped]
    return score_largest(sums, item.labels), taken

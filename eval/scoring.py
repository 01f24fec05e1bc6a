"""Scoring on one machine, for a person: answers that were made elsewhere, and the figures of a score.

Works without the engine: llama.cpp is not loaded.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs

from eval.benchmarks import Entry, find
from eval.cache import Cache
from eval.hub import Report
from eval.outputs import read_outputs, score_outputs
from eval.question_files import questions_ready
from eval.scorers import RIGHT

DATA_VARIABLE = "PEERBOARD_DATA"
QUESTIONS_BYTES = 1 << 30
NORMAL_QUANTILE = 1.959964  # two-sided 95 %


def score(
    benchmark: str, outputs: Path, *, data: Path | None = None, fetching: Report = lambda _: None
) -> dict[str, Any]:
    """Scores answers that were made elsewhere: a file with one `{"index": i, "output": text}` a line.

    `index` is a question's place in the pinned order; of a multiple-choice question `output` is the text of the choice
    taken. Raises `EvaluationError` with a sentence that names the line.
    """
    entry = find(benchmark)
    answers = read_outputs(outputs, entry.definition.dataset.questions)
    return score_outputs(entry.load(questions_folder(entry, data, fetching)), answers)


def questions_folder(entry: Entry, data: Path | None, fetching: Report = lambda _: None) -> Path | None:
    """The folder with a benchmark's questions: the named one, the environment's, or the user's cache.

    Raises `EvaluationError`.
    """
    cache = Cache(platformdirs.user_cache_path("peerboard") / "questions", QUESTIONS_BYTES)
    return questions_ready(entry, data_folder(data), cache, report=fetching)


def data_folder(named: Path | None) -> Path | None:
    """The folder with local copies of data sets: the named one, else the environment's."""
    if named is not None:
        return named
    value = os.environ.get(DATA_VARIABLE)
    return Path(value) if value else None


def percent(outcomes: Sequence[int]) -> float:
    """The mean outcome in percent, to two places."""
    return round(sum(outcomes) / len(outcomes) / 10, 2)


def interval(outcomes: Sequence[int]) -> tuple[float, float]:
    """Wilson's 95 % interval of the mean, in percent; for partial outcomes it is wider than it needs to be."""
    count, share, z = len(outcomes), sum(outcomes) / len(outcomes) / RIGHT, NORMAL_QUANTILE
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return round(100 * max(0.0, centre - half), 2), round(100 * min(1.0, centre + half), 2)

"""Scoring on one machine, for a person: answers that were made elsewhere, and the figures of a score.

Works without the engine: llama.cpp is not loaded.
"""

import fcntl
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs
import trio

from eval import judging, sandbox
from eval.benchmarks import Entry, find
from eval.cache import Cache
from eval.cores import CoreSlots
from eval.failing import RequestWrong
from eval.hub import Report
from eval.outputs import read_outputs, score_outputs
from eval.programs import program_of
from eval.question_files import holds, questions_ready
from eval.questions import QuestionsRefused
from eval.scorers import RIGHT

DATA_VARIABLE = "PEERBOARD_DATA"
QUESTIONS_BYTES = 1 << 30
NORMAL_QUANTILE = 1.959964  # two-sided 95 %


def score(
    benchmark: str,
    outputs: Path,
    *,
    data: Path | None = None,
    code_sandbox: str = judging.CODE_LEAST,
    fetching: Report = lambda _: None,
) -> dict[str, Any]:
    """Scores answers that were made elsewhere: a file with one `{"index": i, "output": text}` a line.

    `index` is a question's place in the pinned order; of a multiple-choice question `output` is the text of the choice
    taken, of a code benchmark what was written behind the prompt. `code_sandbox` is the weakest sandbox in which that
    may run. Raises `EvaluationError` with a sentence that names the line.
    """
    entry = find(benchmark)
    if entry.runs_programs:
        judging.check_level(sandbox.detect(), code_sandbox)
    answers = read_outputs(outputs, entry.definition.dataset.questions)
    questions = entry.load(questions_folder(entry, data, fetching))
    if not entry.runs_programs:
        return score_outputs(questions, answers)
    programs = [program_of(questions.item(answer.index), answer.output) for answer in answers]
    verdicts = trio.run(partial(judging.judge, programs, sandbox.detect(), least=code_sandbox, cores=CoreSlots()))
    return score_outputs(questions, answers, verdicts)


def questions_folder(entry: Entry, data: Path | None, fetching: Report = lambda _: None) -> Path | None:
    """The folder with a benchmark's questions: the named one, the environment's, or the user's cache.

    Raises `EvaluationError`.
    """
    named = data_folder(data)
    if not entry.sources:
        return None
    if named is not None and not named.is_dir():
        text = f"{named}, where questions were to be, is no folder."
        raise RequestWrong(text, f"Name a folder with local copies by --data or {DATA_VARIABLE}, or neither.")
    if named is not None and holds(entry, named):
        return named
    place = platformdirs.user_cache_path("peerboard") / "questions"
    try:
        with _held(place):
            return questions_ready(entry, named, Cache(place, QUESTIONS_BYTES), report=fetching)
    except OSError as error:
        raise QuestionsRefused(f"{place}, where questions are kept, cannot be used: {error.strerror}.") from None


@contextmanager
def _held(place: Path) -> Iterator[None]:
    """Within the block no other process of this user has the cache: it belongs to one at a time. Raises `OSError`."""
    place.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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

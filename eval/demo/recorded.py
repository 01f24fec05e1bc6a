"""What every packaged model answered to every question of both benchmarks, as `benchmarks/demo_scores.py` found it.

The family is only useful if its scores lie apart; with these outcomes a test can tell without evaluating anything.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

RECORD = Path(__file__).parent / "outcomes.json"
SCORED = 500  # questions that a score is quoted for


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Outcomes by benchmark and model name: one digit a question in the data set's order, 1 for right.

    `engine` and `hardware` say where, `manifest` is the SHA-256 of the manifest whose files were asked, `contents` are
    the data sets' content hashes.
    """

    engine: str
    hardware: str
    manifest: str
    contents: dict[str, str]
    outcomes: dict[str, dict[str, str]]


class Score(Struct, frozen=True):
    """The share of right answers to the first `SCORED` questions, and its standard error."""

    share: float
    error: float


@functools.cache
def record() -> Record:
    """The recorded outcomes."""
    return msgspec.json.decode(RECORD.read_bytes(), type=Record)


def write(found: Record) -> None:
    """Replaces the record."""
    RECORD.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def score(outcomes: str) -> Score:
    """The score of the first `SCORED` outcomes."""
    asked = outcomes[:SCORED]
    share = asked.count("1") / len(asked)
    return Score(share, math.sqrt(share * (1 - share) / len(asked)))


def ranking(outcomes: Mapping[str, str], asked: Sequence[int]) -> list[tuple[int, str]]:
    """Right answers to the questions `asked` and the model, best first."""
    counted = [(sum(digits[index] == "1" for index in asked), model) for model, digits in outcomes.items()]
    return sorted(counted, reverse=True)


def table(found: Record) -> str:
    """The scores as a Markdown table, in percent, a line a model."""
    names = list(found.outcomes)
    models = list(found.outcomes[names[0]])
    lines = [f"| model | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for model in models:
        scores = [score(found.outcomes[name][model]) for name in names]
        cells = [f"{100 * each.share:.1f} ± {100 * each.error:.1f}" for each in scores]
        lines.append(f"| `{model}` | {' | '.join(cells)} |")
    return "\n".join(lines)

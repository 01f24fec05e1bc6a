"""Our scorers beside lm-evaluation-harness's verdicts on recorded answers in every form that models give them.

`benchmarks/reference/recorded_outputs.py` made the answers and asked the harness at the release that the file names.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from eval.likeness import measures, score_bleu
from eval.questions import Referred
from eval.scorers import RIGHT, Mark, score_flexible, score_strict

RECORDED = json.loads(Path(__file__).with_name("recorded_outputs.json").read_text(encoding="utf-8"))
SUMS: list[dict[str, Any]] = RECORDED["gsm8k"]
SAYINGS: list[dict[str, Any]] = RECORDED["truthfulqa-gen"]
LEAST_SHARE = 0.3


@pytest.mark.parametrize(("name", "score"), [("strict", score_strict), ("flexible", score_flexible)])
def test_numbers_are_extracted_and_judged_as_the_harness_does(name: str, score: Any) -> None:
    for each in SUMS:
        found: Mark = score(each["text"], each["answer"])
        verdict = each["verdict"][name]
        assert (found.extracted, found.outcome == RIGHT) == (verdict["extracted"], verdict["right"]), each


def test_words_are_measured_as_the_harness_does() -> None:
    for each in SAYINGS:
        item = Referred("", tuple(each["right"]), tuple(each["wrong"]))
        found, verdict = measures(each["text"], item), each["verdict"]
        theirs = {name: value * (100 if name.endswith("_acc") else 1) for name, value in verdict.items()}
        assert found == pytest.approx(theirs, abs=2e-6), each
        assert score_bleu(each["text"], item).outcome == RIGHT * verdict["bleu_acc"]


@pytest.mark.parametrize("name", ["strict", "flexible", "bleu_acc", "rouge1_acc", "rougeL_acc"])
def test_enough_of_the_recorded_answers_are_right_and_enough_are_wrong(name: str) -> None:
    rows = SAYINGS if name.endswith("_acc") else SUMS
    right = [bool(row["verdict"][name] if rows is SAYINGS else row["verdict"][name]["right"]) for row in rows]
    assert LEAST_SHARE <= sum(right) / len(right) <= 1 - LEAST_SHARE
    assert len(right) >= 200

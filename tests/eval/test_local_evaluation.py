"""What a person runs on one machine: evaluating, and scoring answers made elsewhere."""

import fcntl
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import scoring
from eval.benchmarks import find
from eval.chosen import choose
from eval.demo import catalogue
from eval.local import evaluate
from eval.outputs import OutputsRefused, read_outputs
from eval.questions import Offered, QuestionsRefused, Written
from eval.scoring import interval, percent, score
from eval.transcripts import read_transcripts


def test_a_packaged_model_by_name(tmp_path: Path) -> None:
    transcripts = tmp_path / "transcripts.jsonl"
    found = evaluate("tally-tree", "tally-words", 20, transcripts=transcripts)
    assert found["questions"] == len(found["outcomes"]) == 20
    assert found["correct"] == sum(item["outcome"] == 1000 for item in found["outcomes"])
    assert found["score"] == pytest.approx(100 * found["correct"] / 20)
    assert found["low"] < found["score"] < found["high"]
    assert found["tokens_per_second"] > 0
    assert [item.question for item in read_transcripts(transcripts)] == [i["index"] for i in found["outcomes"]]
    told = [str(item.stop) for item in read_transcripts(transcripts)]
    assert [item["stop"] for item in found["outcomes"]] == told
    outputs = tmp_path / "outputs.jsonl"
    lines = [json.dumps({"index": item.question, "output": item.text}) for item in read_transcripts(transcripts)]
    outputs.write_text("\n".join(lines), encoding="utf-8")
    again = score("tally-words", outputs)
    assert (again["score"], again["correct"], again["questions"]) == (found["score"], found["correct"], 20)


def test_an_adapter_by_name_brings_its_base_along() -> None:
    chosen, spelt_out = choose("tally-times", []), choose("tally-base", ["tally-times"])
    assert (chosen.base, chosen.adapters) == (spelt_out.base, spelt_out.adapters)
    assert chosen.base.name == "tally-base.gguf"
    assert [(path.name, scale) for path, scale in chosen.adapters] == [("tally-times.gguf", 1000)]


def test_files_and_scales() -> None:
    path = str(catalogue.MODELS / "tally-base.gguf")
    chosen = choose(path, [f"{catalogue.MODELS / 'tally-times.gguf'}=0.5", "tally-largest"])
    assert chosen.name == "tally-base + tally-times + tally-largest"
    assert [scale for _, scale in chosen.adapters] == [500, 1000]


def test_a_seed_chooses_other_questions() -> None:
    asked = [
        [item["index"] for item in evaluate("tally-seed", "tally-choice", 10, seed=seed)["outcomes"]]
        for seed in (0, 0, 1)
    ]
    assert asked[0] == asked[1] != asked[2]


def test_the_adapters_own_benchmark_is_where_it_gains() -> None:
    base, adapted = (evaluate(model, "tally-words", 60)["score"] for model in ("tally-base", "tally-times"))
    assert adapted > base


def test_real_questions(data: Path) -> None:
    found = evaluate("tally-base", "truthfulqa-mc1", 3, data=data)
    assert found["questions"] == 3


def write_outputs(folder: Path, rows: list[Any]) -> Path:
    path = folder / "outputs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_words_made_elsewhere(tmp_path: Path) -> None:
    items = find("tally-words").load(None).items
    rows = []
    for index in range(4):
        item = items[index]
        assert isinstance(item, Written)
        number = item.answer.split("#### ")[1]
        text = [f"so\n#### {number}.", f"the answer is {number}", "no idea", f"#### {number}9"][index]
        rows.append({"index": index, "output": text})
    found = score("tally-words", write_outputs(tmp_path, rows))
    assert (found["correct"], found["questions"], found["score"]) == (1, 4, 25.0)
    assert found["extractions"]["flexible"]["correct"] == 2
    assert [item["outcome"] for item in found["outcomes"]] == [1000, 0, 0, 0]


def test_choices_made_elsewhere(tmp_path: Path) -> None:
    items = find("tally-choice").load(None).items
    rows = []
    for index in range(3):
        item = items[index]
        assert isinstance(item, Offered)
        right = item.choices[item.labels.index(1)]
        wrong = item.choices[item.labels.index(0)]
        rows.append({"index": index, "output": [f" {right}\n", wrong, "nonsense"][index]})
    found = score("tally-choice", write_outputs(tmp_path, rows))
    assert [item["outcome"] for item in found["outcomes"]] == [1000, 0, 0]


@pytest.mark.parametrize(
    "lines",
    ["", "nonsense", '{"index": 0}', '{"index": "0", "output": "x"}', '{"index": 0, "output": "x"}\n' * 2, "\xff"],
)
def test_malformed_outputs_are_refused_with_the_line(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "outputs.jsonl"
    path.write_bytes(lines.encode("latin-1"))
    with pytest.raises(OutputsRefused, match=r"outputs\.jsonl"):
        read_outputs(path, 10)


@pytest.mark.parametrize("index", [10**6, -1])
def test_an_index_beyond_the_questions_is_refused_with_its_line(tmp_path: Path, index: int) -> None:
    path = write_outputs(tmp_path, [{"index": 0, "output": "x"}, {"index": index, "output": "x"}])
    with pytest.raises(OutputsRefused, match=rf"line 2: there is no question {index}, .* 0 to \d+\."):
        score("tally-words", path)


def test_the_cache_of_questions_belongs_to_one_process_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*_arguments: Any, **_options: Any) -> None:
        with (tmp_path / "questions.lock").open("ab") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _name: tmp_path)
    monkeypatch.setattr(scoring, "questions_ready", held)
    scoring.questions_folder(find("gsm8k"), None)
    with (tmp_path / "questions.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_unusable_cache_matters_only_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _name: tmp_path / "file" / "below")
    assert scoring.questions_folder(find("tally-words"), None) is None
    (tmp_path / "gsm8k").mkdir()
    for split in ("test", "train"):
        (tmp_path / "gsm8k" / f"{split}.jsonl").touch()
    assert scoring.questions_folder(find("gsm8k"), tmp_path) == tmp_path
    with pytest.raises(QuestionsRefused, match="cannot be used: Not a directory"):
        scoring.questions_folder(find("humaneval"), tmp_path)


def test_scoring_does_not_load_the_engine(tmp_path: Path) -> None:
    path = write_outputs(tmp_path, [{"index": 0, "output": "x"}])
    program = (
        "import sys; from pathlib import Path; from eval.scoring import score; "
        f"score('tally-words', Path({str(path)!r})); print('llama_cpp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=200))
def test_an_interval_holds_its_score(outcomes: list[int]) -> None:
    low, high = interval(outcomes)
    assert 0 <= low <= percent(outcomes) + 0.01
    assert percent(outcomes) - 0.01 <= high <= 100
    assert low < high


@given(st.integers(1, 300), st.data())
def test_an_intervals_ends_are_wilsons(count: int, data: st.DataObject) -> None:
    """Means of which the score would lie on the edge of what 95 % of samples show: Wilson, 1927."""
    right = data.draw(st.integers(0, count))
    for end in interval([1000] * right + [0] * (count - right)):
        mean = end / 100
        distance, deviation = abs(right / count - mean), math.sqrt(mean * (1 - mean) / count)
        assert distance == pytest.approx(1.959964 * deviation, abs=2e-4 + 1e-3 / count)


def test_gsm8k_answers_are_scored_by_their_own_reference(data: Path, tmp_path: Path) -> None:
    items = find("gsm8k").load(data).items
    rows = [{"index": i, "output": item.answer} for i, item in enumerate(items) if isinstance(item, Written)]
    found = score("gsm8k", write_outputs(tmp_path, rows), data=data)
    assert (found["correct"], found["questions"], found["score"]) == (1319, 1319, 100.0)
    assert found["extractions"]["flexible"]["correct"] == 1319

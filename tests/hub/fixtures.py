"""Fixtures for every folder of tests: a stand-in for the Hub, and data sets on it as they lie on the real one."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from eval import data_sets
from tests.hub.stand_in import HubStandIn, Repository


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """The Hub for this test and the processes that it starts; nothing of the user's is read or written."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with HubStandIn() as stand_in:
        monkeypatch.setenv("HF_ENDPOINT", stand_in.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield stand_in


def as_parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    """Rows as the Hub stores them."""
    import datasets

    written = io.BytesIO()
    datasets.Dataset.from_list(list(rows)).to_parquet(written)
    return written.getvalue()


def as_lines(rows: Sequence[dict[str, Any]]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def put_data_set(
    hub: HubStandIn, name: str, commit: str, configuration: str, splits: dict[str, bytes], suffix: str = "parquet"
) -> Repository:
    """A data set with one configuration: the card says which file is which split, as on the real Hub."""
    repository = hub.dataset(name, commit)
    card = [f"- config_name: {configuration}", "  data_files:"]
    for split, data in splits.items():
        repository.add(f"{configuration}/{split}-00000-of-00001.{suffix}", data, large=suffix == "parquet")
        card += [f"  - split: {split}", f"    path: {configuration}/{split}-*"]
    repository.add("README.md", ("---\nconfigs:\n" + "\n".join(card) + "\n---\n# A data set\n").encode())
    return repository


@pytest.fixture
def put_gsm8k(hub: HubStandIn, data_folder: Any) -> Any:
    """Puts GSM8K on the stand-in from its local copy; `suffix` is parquet or jsonl."""

    def put(suffix: str = "parquet") -> Repository:
        write = as_parquet if suffix == "parquet" else as_lines
        splits = {}
        for split in ("train", "test"):
            text = (data_folder("gsm8k") / f"{split}.jsonl").read_text(encoding="utf-8")
            splits[split] = write([json.loads(line) for line in text.splitlines()])
        return put_data_set(hub, data_sets.GSM8K_TEST.repository, data_sets.GSM8K_TEST.commit, "main", splits, suffix)

    return put


@pytest.fixture
def put_truthfulqa(hub: HubStandIn, data_folder: Any) -> Any:
    """Puts TruthfulQA's multiple choice on the stand-in, shaped as the Hub shapes it."""

    def put(suffix: str = "parquet") -> Repository:
        local = json.loads((data_folder("truthfulqa") / "mc_task.json").read_text(encoding="utf-8"))
        rows = [
            {"question": row["question"]}
            | {
                key: {"choices": list(row[key]), "labels": list(row[key].values())}
                for key in ("mc1_targets", "mc2_targets")
            }
            for row in local
        ]
        data = as_parquet(rows) if suffix == "parquet" else as_lines(rows)
        place = (data_sets.TRUTHFULQA_MC1.repository, data_sets.TRUTHFULQA_MC1.commit, "multiple_choice")
        return put_data_set(hub, *place, {"validation": data}, suffix)

    return put


@pytest.fixture
def put_truthfulqa_texts(hub: HubStandIn, data_folder: Any) -> Any:
    """Puts TruthfulQA's answers in words on the stand-in, as the Hub's own conversion of the table has them."""

    def put(suffix: str = "parquet") -> Repository:
        table = (data_folder("truthfulqa") / "TruthfulQA.csv").read_text(encoding="utf-8-sig")
        rows = [
            {
                "type": row["Type"],
                "question": row["Question"],
                "correct_answers": [answer.strip() for answer in row["Correct Answers"].strip().split(";")],
                "incorrect_answers": [answer.strip() for answer in row["Incorrect Answers"].strip().split(";")],
            }
            for row in csv.DictReader(io.StringIO(table, newline=""))
        ]
        data = as_parquet(rows) if suffix == "parquet" else as_lines(rows)
        source = data_sets.TRUTHFULQA_TEXTS
        return put_data_set(hub, source.repository, source.commit, "generation", {"validation": data}, suffix)

    return put


@pytest.fixture
def put_humaneval(hub: HubStandIn, data_folder: Any) -> Any:
    """Puts HumanEval on the stand-in from its local copy."""

    def put(suffix: str = "parquet") -> Repository:
        text = (data_folder("humaneval") / "HumanEval.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.splitlines()]
        data = as_parquet(rows) if suffix == "parquet" else as_lines(rows)
        source = data_sets.HUMANEVAL
        return put_data_set(hub, source.repository, source.commit, source.configuration, {"test": data}, suffix)

    return put

"""Questions: one path for every source, and always the pinned ones."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eval.benchmarks import find, names
from eval.failing import EvaluationError
from eval.questions import (
    Offered,
    Programmed,
    QuestionsRefused,
    Referred,
    Row,
    Source,
    Written,
    content_hash,
    offered,
    programmed,
    read_records,
    referred,
    written,
)
from protocol import cbor
from protocol.definitions import Benchmark, TaskKind
from protocol.failures import Failure

ROWS: list[Row] = [{"question": "1+1?", "answer": "#### 2"}, {"question": "2+2?", "answer": "#### 4", "more": True}]
RECORDS = (Written("1+1?", "#### 2"), Written("2+2?", "#### 4"))
SOURCE = Source("sums/test.jsonl", "some/sums", "a" * 40, "main", "test", content_hash(RECORDS))


def as_lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("text", [as_lines(ROWS), json.dumps(ROWS), as_lines(ROWS) + "\n\n"])
def test_a_local_copy_is_read_in_either_form(tmp_path: Path, text: str) -> None:
    put(tmp_path, SOURCE.local, text)
    assert read_records(SOURCE, written, tmp_path) == RECORDS


def test_the_hub_is_asked_only_where_nothing_lies_here(tmp_path: Path) -> None:
    asked: list[Source] = []

    def hub(source: Source) -> list[Row]:
        asked.append(source)
        return list(ROWS)

    assert read_records(SOURCE, written, tmp_path, hub) == RECORDS
    put(tmp_path, SOURCE.cached, as_lines(ROWS))
    assert read_records(SOURCE, written, tmp_path, hub) == RECORDS
    assert asked == [SOURCE]


def test_other_questions_are_refused_and_both_hashes_named(tmp_path: Path) -> None:
    put(tmp_path, SOURCE.local, as_lines(ROWS[::-1]))
    with pytest.raises(QuestionsRefused) as refused:
        read_records(SOURCE, written, tmp_path)
    assert SOURCE.content.hex() in refused.value.detail
    assert content_hash(RECORDS[::-1]).hex() in refused.value.detail
    assert not refused.value.failure.of_model


@pytest.mark.parametrize("text", ["{", "[1]", '{"question": 3, "answer": "x"}', '{"answer": "x"}', "\x00"])
def test_malformed_files_are_refused(tmp_path: Path, text: str) -> None:
    put(tmp_path, SOURCE.local, text)
    with pytest.raises(QuestionsRefused):
        read_records(SOURCE, written, tmp_path)


def test_a_missing_copy_says_what_to_do() -> None:
    with pytest.raises(QuestionsRefused, match="--data"):
        read_records(SOURCE, written, None)


def test_choices_are_the_same_from_both_sources_and_in_any_order() -> None:
    local = {"question": "Is it?", "targets": {"Yes.": 1, "No.": 0, "Maybe.": 0}}
    hub = {"question": "Is it?", "targets": {"choices": ["Yes.", "No.", "Maybe."], "labels": [1, 0, 0]}}
    other = {"question": "Are they?", "targets": {"Yes.": 1, "No.": 0}}
    expected = (
        Offered("Are they?", ("No.", "Yes."), (0, 1)),
        Offered("Is it?", ("Maybe.", "No.", "Yes."), (0, 0, 1)),
    )
    assert offered("targets")([local, other]) == offered("targets")([other, hub]) == expected


def test_answers_in_words_are_the_same_from_the_table_and_from_the_hub(tmp_path: Path) -> None:
    table = '\ufeffType,Question,Correct Answers,Incorrect Answers\r\nx,Is it? ,Yes; ;It is,"No;\nNever, ever"\r\n'
    hub = [{"question": "Is it? ", "correct_answers": ["Yes", "", "It is"], "incorrect_answers": ["No", "Never, ever"]}]
    expected = (Referred("Is it?", ("Yes", "It is"), ("No", "Never, ever")),)
    assert referred(hub) == expected
    source = Source("words/words.csv", "some/words", "a" * 40, "main", "test", content_hash(expected))
    put(tmp_path, source.local, table)
    assert read_records(source, referred, tmp_path) == expected


@pytest.mark.parametrize(
    "text", ["Question\nIs it?\n", "Question,Correct Answers,Incorrect Answers\na,;,b\n", "\x00", ""]
)
def test_tables_without_answers_are_refused(tmp_path: Path, text: str) -> None:
    source = Source("words/words.csv", "some/words", "a" * 40, "main", "test", bytes(32))
    put(tmp_path, source.local, text)
    with pytest.raises(QuestionsRefused):
        read_records(source, referred, tmp_path)


def test_programs_are_taken_as_they_are() -> None:
    row = {
        "task_id": "Own/0",
        "prompt": "def f():\n",
        "test": "def check(f):\n    f()\n",
        "entry_point": "f",
        "more": 1,
    }
    assert programmed([row]) == (Programmed("def f():\n", "def check(f):\n    f()\n", "f"),)
    with pytest.raises(QuestionsRefused):
        programmed([row | {"test": None}])


def test_the_content_hash_is_that_of_the_records_one_after_the_other() -> None:
    import hashlib

    assert content_hash(RECORDS) == hashlib.sha256(cbor.encode(RECORDS[0]) + cbor.encode(RECORDS[1])).digest()


def test_every_benchmark_is_found_by_name_and_by_id() -> None:
    assert {"tally-words", "tally-choice", "gsm8k", "gsm8k-fixed5", "truthfulqa-mc1", "truthfulqa-mc2"} <= set(names())
    for name in names():
        entry = find(name)
        assert find(entry.definition.id) is entry
        assert find(entry.definition.id.hex()) is entry
        again = msgspec.convert(msgspec.to_builtins(entry.definition, builtin_types=(bytes,)), Benchmark)
        assert again.id == entry.definition.id  # within the definition's own limits
        assert (entry.mark_text is None) == (entry.definition.kind is TaskKind.CHOICE)
        assert (entry.score_sums is None) == (entry.definition.kind is TaskKind.GENERATION)


def test_ids_are_all_different() -> None:
    assert len({find(name).definition.id for name in names()}) == len(names())


def test_unknown_benchmarks_are_refused_with_the_known_ones() -> None:
    with pytest.raises(EvaluationError, match="tally-words") as refused:
        find("nonsense")
    assert refused.value.failure is Failure.BENCHMARK_UNSUPPORTED


@pytest.mark.parametrize("name", ["tally-words", "tally-choice"])
def test_demo_questions_are_the_pinned_ones(name: str) -> None:
    questions = find(name).load(None)
    assert len(questions.items) == questions.entry.definition.dataset.questions
    assert questions.prompt(0) != questions.prompt(1)
    with pytest.raises(QuestionsRefused):
        questions.item(len(questions.items))


@pytest.mark.parametrize("name", [name for name in names() if find(name).sources])
def test_local_copies_of_real_data_are_the_pinned_ones(name: str, data: Path) -> None:
    questions = find(name).load(data)
    assert len(questions.items) == questions.entry.definition.dataset.questions


def test_every_truthfulqa_question_has_one_right_choice_that_is_not_always_first(data: Path) -> None:
    items = [item for item in find("truthfulqa-mc1").load(data).items if isinstance(item, Offered)]
    assert all(sum(item.labels) == 1 for item in items)
    first = sum(item.labels[0] for item in items)
    assert 0 < first < len(items) / 2


def test_a_real_copy_with_one_changed_answer_is_refused(data: Path, tmp_path: Path) -> None:
    text = (data / "gsm8k/test.jsonl").read_text(encoding="utf-8")
    put(tmp_path, "gsm8k/test.jsonl", text.replace("#### 18", "#### 19", 1))
    put(tmp_path, "gsm8k/train.jsonl", (data / "gsm8k/train.jsonl").read_text(encoding="utf-8"))
    with pytest.raises(QuestionsRefused, match="content hash"):
        find("gsm8k").load(tmp_path)

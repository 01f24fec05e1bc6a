"""The packaged files are what the manifest says, and are registered as any model would be."""

import hashlib
from collections.abc import Iterator

import pytest

from eval.demo import questions
from eval.demo.byte_pairs import split_pieces
from eval.demo.catalogue import MANIFEST, Entry, demo_benchmarks, entries, ladder, packaged_file, packaged_models
from eval.header import read_header
from eval.model import LoadedModel
from protocol import cbor
from protocol.definitions import Benchmark, Model, TaskKind

LARGEST_FILE = 2 * 10**6
each_entry = pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)


@each_entry
def test_a_file_is_what_the_manifest_says(entry: Entry) -> None:
    path = packaged_file(bytes.fromhex(entry.sha256))
    assert path is not None
    data = path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry.sha256
    assert len(data) == entry.size <= LARGEST_FILE
    header = read_header(path)
    assert header.is_adapter == (entry.base is not None)
    assert (header.architecture, header.parameters) == (entry.architecture, entry.parameters)
    assert header.quantisation == entry.quantisation


def test_nothing_lies_beside_the_manifest_that_it_does_not_list() -> None:
    listed = {entry.file for entry in entries()}
    assert {path.name for path in MANIFEST.parent.iterdir()} == listed | {MANIFEST.name}


def test_an_unknown_hash_has_no_packaged_file() -> None:
    assert packaged_file(bytes(32)) is None


def test_a_demo_network_has_at_least_four_models_one_of_them_with_an_adapter() -> None:
    models = packaged_models()
    assert len(models) >= 4
    assert any(model.adapters for model in models)
    assert len({model.id for model in models}) == len({model.name for model in models}) == len(models)
    assert set(ladder()) < set(models) < set(packaged_models(every=True))


def test_a_copy_names_what_it_was_made_from() -> None:
    known = {model.name: model for model in packaged_models(every=True)}
    assert known["tally-tree-q2"].parents == (known["tally-tree"].id,)
    assert known["tally-tree"].parents == ()


def test_registrations_survive_the_wire() -> None:
    for model in packaged_models(every=True):
        assert cbor.decode(cbor.encode(model), Model) == model
        assert model.base.repository == "peerboard/demo"
        assert model.base.commit == hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:40]
    for benchmark in demo_benchmarks():
        assert cbor.decode(cbor.encode(benchmark), Benchmark) == benchmark


def test_one_benchmark_is_written_and_one_chosen() -> None:
    assert [(item.name, item.kind) for item in demo_benchmarks()] == [
        ("tally-words", TaskKind.GENERATION),
        ("tally-choice", TaskKind.CHOICE),
    ]
    assert all(item.dataset.questions == questions.QUESTIONS for item in demo_benchmarks())


@pytest.fixture(scope="module")
def vocabulary() -> Iterator[LoadedModel]:
    model = packaged_models()[0]
    path = packaged_file(model.base.sha256)
    assert path is not None
    with LoadedModel(path) as loaded:
        yield loaded


def test_llama_cpp_splits_prompts_as_training_did(vocabulary: LoadedModel) -> None:
    for item in questions.word_questions()[:100]:
        text = questions.word_prompt(item.question) + f" {item.answer}\n\n"
        _check_pieces(vocabulary, text)
    for question in questions.choice_questions()[:100]:
        _check_pieces(vocabulary, questions.choice_prompt(question.question) + f" {question.choices[0]}")


def _check_pieces(vocabulary: LoadedModel, text: str) -> None:
    ids = vocabulary.tokens(text)
    assert vocabulary.text(ids) == text
    ends, place = set(), 0
    for token in ids:
        place += len(vocabulary.piece(token, special=False))
        ends.add(place)
    position = 0
    for piece in split_pieces(text):
        position += len(piece)
        assert position in ends, piece


def test_a_word_of_a_story_is_one_token(vocabulary: LoadedModel) -> None:
    empty = len(vocabulary.tokens(""))
    for item in questions.word_questions():
        for word in item.question.replace("?", "").replace(",", "").replace(".", "").split():
            if not word.isdigit():
                assert len(vocabulary.tokens(f" {word}")) == empty + 1, word

"""The reproducible mode: a question's answer is the same to the bit, whatever is asked beside, before or after it."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from benchmarks.large_model import quantise
from eval.backends import card, rows_alone
from eval.benchmarks import find
from eval.choices import Choices
from eval.context import Context
from eval.demo import catalogue
from eval.engine import Engine
from eval.evaluation import evaluate, open_base
from eval.generation import Generation
from eval.header import read_header
from eval.job import FingerprintRequest, Job, Outcome
from eval.memory import plan_context
from eval.model import LoadedModel
from eval.modes import ALONE, FAST, REPRODUCIBLE, SPLIT, TOGETHER, TOGETHER_PLAIN, Layout, layout
from eval.tails import Tail
from eval.weights import WEIGHT_TYPES
from protocol import fingerprint
from tests.eval.tiny_models import Shape, write_llama

COUNT, SHARED = 10, 150
HERE = rows_alone(card(), read_header(catalogue.MODELS / "tally-base.gguf"))
LAYOUTS = [ALONE, pytest.param(SPLIT, marks=pytest.mark.skipif(not HERE, reason="rows depend on others"))]
# File types of llama.h that give all matrices the type of that name.
UNTILED = {"F32": 0, "BF16": 32, "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q8_0": 7, "IQ4_NL": 25}
TILED = {"Q2_K": 10, "Q4_K": 15, "Q6_K": 18, "IQ4_XS": 30}
Question = Generation | Choices


class Asker:
    """Asks numbered questions of one model in different company."""

    def __init__(self, path: Path, divided: Layout) -> None:
        self.header, self.model, self.divided = read_header(path), LoadedModel(path), divided
        self.shared = self.drawn(Random(1), SHARED)

    def drawn(self, draws: Random, count: int) -> list[int]:
        return [draws.randrange(3, self.model.vocabulary_size) for _ in range(count)]

    def question(self, number: int, *, choices: bool) -> Question:
        draws = Random(1000 + number)
        prompt = self.shared + self.drawn(draws, draws.randrange(5, 60))
        tail = Tail(
            fingerprint.tail(draws.randbytes(32), range(3, self.model.vocabulary_size), fingerprint.MOST_VALUES)
        )
        if not choices:
            return Generation(self.model, prompt, (), 12, tail)
        return Choices(prompt, [self.drawn(draws, draws.randrange(1, 9)) for _ in range(4)], tail)

    def ask(
        self, numbers: Sequence[int], *, choices: bool, slots: int = 16, threads: int = 1, limit: int = 1 << 33
    ) -> dict[int, object]:
        """Everything that is computed for each question, without rounding."""
        asked = [self.question(number, choices=choices) for number in numbers]
        prefix = SHARED if len(numbers) > 1 and not self.divided.alone else 0
        needs = [question.need(prefix, self.divided) for question in asked]
        plan = plan_context(self.header, prefix, needs, slots, limit, layout=self.divided)
        with Context(self.model, plan, threads) as context:
            engine = Engine(context)
            if prefix:
                engine.share(self.shared)
            engine.run(asked, lambda _done, _total, _decoded: None)
        return {number: bits(question) for number, question in zip(numbers, asked, strict=True)}


def bits(question: Question) -> object:
    assert question.tail is not None
    assert question.tail.values is not None
    if isinstance(question, Generation):
        return question.generated, question.lead, question.tail.values
    return question.sums.tolist(), question.tail.values


@pytest.mark.parametrize("divided", LAYOUTS)
@pytest.mark.parametrize("choices", [False, True], ids=["generation", "choices"])
@pytest.mark.parametrize("name", ["tally-base.gguf", "tally-base-q8.gguf", "tally-base-q4.gguf"])
def test_the_same_bits_in_any_company(name: str, choices: bool, divided: Layout) -> None:
    asker = Asker(catalogue.MODELS / name, divided)
    every = asker.ask(range(COUNT), choices=choices)
    assert asker.ask(range(COUNT - 1, -1, -1), choices=choices, slots=3) == every
    some = asker.ask((7, 2, 4), choices=choices, threads=2)
    assert some == {number: every[number] for number in some}
    for number in (0, 5):
        assert asker.ask([number], choices=choices) == {number: every[number]}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose matrices are wide enough for K-quants."""
    return write_llama(tmp_path_factory.mktemp("wide") / "wide.gguf", shape=Shape(256, 2, 4, 512))


@pytest.mark.parametrize("kind", [*UNTILED, *TILED])
def test_the_same_bits_with_weights_of_any_type(kind: str, wide: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    quantise(wide, path, (UNTILED | TILED)[kind], pure=True)
    header = read_header(path)
    assert {WEIGHT_TYPES[each.weight_type].name for each in header.tensors if len(each.shape) > 1} == {kind}
    assert rows_alone(card(), header) == (HERE and kind in UNTILED)
    asker = Asker(path, layout(REPRODUCIBLE, rows_alone=rows_alone(card(), header), blocks=True, recurrent=False))
    every = asker.ask(range(COUNT), choices=False)
    assert asker.ask(range(COUNT - 1, -1, -1), choices=False, slots=3) == every
    assert asker.ask([5], choices=False) == {5: every[5]}


def outcome(mode: str, questions: Sequence[int], benchmark: str) -> Outcome:
    entry = find(benchmark)
    content = entry.definition.dataset.content
    job = Job(
        base=str(catalogue.MODELS / "tally-base.gguf"),
        base_sha256=bytes(32),
        benchmark=benchmark,
        questions=tuple(questions),
        fingerprint=FingerprintRequest(b"n" * 32, b"b" * 32, b"m" * 32, content),
        mode=REPRODUCIBLE if mode == REPRODUCIBLE else FAST,
        keep_transcripts=True,
    )
    with open_base(job) as base:
        evaluate(job, base, entry.load(None), lambda _: None)
        return evaluate(job, base, entry.load(None), lambda _: None)  # after another, on the same model


@pytest.mark.parametrize("benchmark", ["tally-words", "tally-choice"])
def test_results_of_the_mode_are_the_same_bytes(benchmark: str) -> None:
    every = outcome(REPRODUCIBLE, range(8), benchmark)
    assert every.mode == REPRODUCIBLE
    fingerprints = fingerprint.decode(every.fingerprint, 8)
    for questions in ((3,), (5, 3), (6, 0, 3, 1)):
        some = outcome(REPRODUCIBLE, questions, benchmark)
        for place, number in enumerate(questions):
            assert some.transcripts[place] == every.transcripts[number]
            assert some.margins[place] == every.margins[number]
            assert fingerprint.decode(some.fingerprint, len(questions))[place] == fingerprints[number]


@pytest.mark.parametrize("benchmark", ["tally-words", "tally-choice"])
def test_the_modes_agree_with_each_other(benchmark: str) -> None:
    fast, slow = (outcome(mode, range(25), benchmark) for mode in (FAST, REPRODUCIBLE))
    assert (fast.mode, slow.mode) == (FAST, REPRODUCIBLE)
    assert fast.configuration != slow.configuration
    one, other = (fingerprint.decode(each.fingerprint, 25) for each in (fast, slow))
    assert fingerprint.agree(one, other, 8)
    for place in range(25):
        assert fast.outcomes[place] == slow.outcomes[place] or fast.near_ties[place] or slow.near_ties[place]


def test_where_rows_depend_on_others_questions_are_asked_one_at_a_time() -> None:
    for alone in (True, False):
        assert layout(FAST, rows_alone=alone, blocks=True, recurrent=False) == TOGETHER
        assert layout(FAST, rows_alone=alone, blocks=False, recurrent=False) == TOGETHER_PLAIN
        assert layout(REPRODUCIBLE, rows_alone=alone, blocks=alone, recurrent=False) == (SPLIT if alone else ALONE)

"""A prompt that does not fit is a failure of its question: never a shorter prompt, never the end of the others."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from eval.benchmarks import QuestionSet, find
from eval.evaluation import evaluate, open_base
from eval.failing import EvaluationError
from eval.job import LARGEST_MARGIN, FingerprintRequest, Job, Outcome
from eval.model import LoadedModel
from eval.tails import MOST_TAIL_CELLS
from protocol import fingerprint
from protocol.failures import Failure
from tests.eval.tiny_models import write_llama

ASKED = tuple(range(12))
BENCHMARKS = ("tally-words", "tally-choice")


def ask(path: Path, questions: QuestionSet, asked: Sequence[int] = ASKED, *, tails: bool = True) -> Outcome:
    definition = questions.entry.definition
    seeds = FingerprintRequest(b"n" * 32, b"b" * 32, b"m" * 32, definition.dataset.content)
    job = Job(
        base=str(path),
        base_sha256=bytes(32),
        benchmark=definition.name,
        questions=tuple(asked),
        fingerprint=seeds if tails else None,
        keep_transcripts=True,
    )
    with open_base(job) as base:
        return evaluate(job, base, questions, lambda _: None)


def room_for_half(questions: QuestionSet, folder: Path) -> tuple[Path, tuple[int, ...]]:
    """A model whose context has room for some of the questions only, and those that do not fit, counted here."""
    roomy = write_llama(folder / "roomy.gguf")
    with LoadedModel(roomy) as model:
        most = {}
        for index in ASKED:
            prompt = len(model.tokens(questions.prompt(index)))
            longest = max((len(text.encode()) for text in questions.continuations(index)), default=0)
            most[index] = prompt + max(questions.entry.definition.max_new_tokens, longest, MOST_TAIL_CELLS)
    room = sorted(most.values())[len(most) // 2]
    path = write_llama(folder / "narrow.gguf", context_length=room)
    return path, tuple(index for index in ASKED if most[index] > room)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_only_the_questions_that_do_not_fit_fail(benchmark: str, tmp_path: Path) -> None:
    questions = find(benchmark).load(None)
    narrow, too_long = room_for_half(questions, tmp_path)
    if not too_long:
        pytest.fail("all questions have the same length: nothing is tested")
    found = ask(narrow, questions)
    assert set(found.too_long) <= set(too_long)
    assert found.too_long
    assert len(found.fingerprint) == fingerprint.encoded_size(len(ASKED))
    roomy = ask(tmp_path / "roomy.gguf", questions)
    assert roomy.too_long == ()
    for place, (index, transcript) in enumerate(zip(ASKED, found.transcripts, strict=True)):
        if index in found.too_long:
            assert (found.outcomes[place], transcript.stop, transcript.generated) == (0, "too_long", ())
            assert (found.margins[place], found.near_ties[place]) == (LARGEST_MARGIN, False)
            assert transcript.prompt == roomy.transcripts[place].prompt
        else:
            assert transcript.prompt == roomy.transcripts[place].prompt
            assert transcript.stop != "too_long"


def test_fingerprints_agree_with_tails_that_stand_alone(tmp_path: Path) -> None:
    questions = find("tally-words").load(None)
    narrow, _ = room_for_half(questions, tmp_path)
    forwards, backwards = ask(narrow, questions), ask(narrow, questions, ASKED[::-1])
    one, two = (fingerprint.decode(outcome.fingerprint, len(ASKED)) for outcome in (forwards, backwards))
    assert fingerprint.agree(one, two[::-1], 8)
    assert all(len(set(values)) > 8 for values in one)


def test_without_tails_nothing_of_them_is_computed(tmp_path: Path) -> None:
    questions = find("tally-words").load(None)
    narrow, _ = room_for_half(questions, tmp_path)
    found = ask(narrow, questions, tails=False)
    assert found.too_long
    assert found.fingerprint == b""


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_where_not_one_fits_the_model_fails(benchmark: str, tmp_path: Path) -> None:
    path = write_llama(tmp_path / "short.gguf", context_length=32)
    with pytest.raises(EvaluationError) as failed:
        ask(path, find(benchmark).load(None))
    assert failed.value.failure is Failure.PROMPT_TOO_LONG

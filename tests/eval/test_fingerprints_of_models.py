"""Fingerprints of real models: honest runs agree whatever shares their batches, anything else does not."""

from typing import Any

import pytest

from eval.benchmarks import find
from eval.binding import C
from eval.demo import catalogue
from eval.evaluation import evaluate, open_base
from eval.job import AdapterFile, FingerprintRequest, Job, Outcome
from protocol import fingerprint
from protocol.fingerprint import Vector
from protocol.parameters import DEMO

FLOAT, QUANTISED = DEMO.tolerance("F16"), DEMO.tolerance("Q8_0")
GGML_TYPE_Q8_0 = 8
QUESTIONS = tuple(range(25))
VALUES = fingerprint.values_per_question(len(QUESTIONS))
BENCHMARKS = ("tally-words", "tally-choice")
MODEL_ID = b"m" * 32  # the same for all: only what is computed may tell them apart


def run(
    name: str, benchmark: str, questions: tuple[int, ...] = QUESTIONS, adapter: str | None = None, scale: int = 1000
) -> Outcome:
    entry = find(benchmark)
    file = catalogue.MODELS / f"{adapter}.gguf"
    job = Job(
        base=str(catalogue.MODELS / f"{name}.gguf"),
        base_sha256=bytes(32),
        benchmark=benchmark,
        questions=questions,
        adapters=(AdapterFile(str(file), bytes(32), scale),) if adapter else (),
        fingerprint=FingerprintRequest(b"n" * 32, b"b" * 32, MODEL_ID, entry.definition.dataset.content),
    )
    with open_base(job) as base:
        return evaluate(job, base, entry.load(None), lambda _: None)


def vector(outcome: Outcome) -> Vector:
    return fingerprint.decode(outcome.fingerprint, len(outcome.outcomes))


def one_by_one(name: str, benchmark: str) -> list[Outcome]:
    return [run(name, benchmark, (index,)) for index in QUESTIONS]


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize(("name", "tolerance"), [("tally-base", FLOAT), ("tally-base-q8", QUANTISED)])
def test_honest_runs_agree_whatever_the_batches(name: str, benchmark: str, tolerance: int) -> None:
    together, alone = run(name, benchmark), one_by_one(name, benchmark)
    separate = tuple(vector(outcome)[0][:VALUES] for outcome in alone)  # the short tail is how the long one begins
    assert fingerprint.agree(vector(together), separate, tolerance)
    backwards = run(name, benchmark, QUESTIONS[::-1])
    assert fingerprint.agree(vector(together), vector(backwards)[::-1], tolerance)
    for place, outcome in enumerate(alone):
        same = together.outcomes[place] == outcome.outcomes[0]
        assert same or together.near_ties[place] or outcome.near_ties[0]


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_other_models_do_not_pass_for_this_one(benchmark: str) -> None:
    honest = vector(run("tally-base", benchmark))
    others = {
        "a sibling": run("tally-tree", benchmark),
        "its quantised copy": run("tally-base-q8", benchmark),
        "with an adapter": run("tally-base", benchmark, adapter="tally-times"),
        "with a weak adapter": run("tally-base", benchmark, adapter="tally-times", scale=100),
    }
    for what, outcome in others.items():
        assert not fingerprint.agree(honest, vector(outcome), FLOAT), what
    cheap = vector(run("tally-base-q4", benchmark))
    assert not fingerprint.agree(vector(run("tally-base-q8", benchmark)), cheap, QUANTISED)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_cache_of_half_the_size_does_not_pass(benchmark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, default = vector(run("tally-base", benchmark)), C.llama_context_default_params

    def cheap() -> Any:
        parameters = default()
        parameters.type_k = parameters.type_v = GGML_TYPE_Q8_0
        return parameters

    monkeypatch.setattr(C, "llama_context_default_params", cheap)
    monkeypatch.setattr(
        C, "LLAMA_FLASH_ATTN_TYPE_DISABLED", C.LLAMA_FLASH_ATTN_TYPE_ENABLED
    )  # which such a cache needs
    assert not fingerprint.agree(honest, vector(run("tally-base", benchmark)), FLOAT)

"""The packaged models and benchmarks, described as a network registers them.

They are registered as repository `peerboard/demo`, whose commit is the start of the manifest's hash: the resolver finds
the files here by their SHA-256 before it would ask the Hub, so a registration looks the same as any other.
"""

import functools
import hashlib
from pathlib import Path

import msgspec
from msgspec import Struct

from eval.demo import questions
from protocol.definitions import Adapter, Benchmark, Dataset, HubFile, Model, TaskKind

MODEL_REPOSITORY = "peerboard/demo"
QUESTION_REPOSITORY = "peerboard/demo-questions"
LICENCE = "Apache-2.0"
MODELS = Path(__file__).parent / "models"
MANIFEST = MODELS / "manifest.json"
COMMIT_DIGITS = 40
ENGINE = ("0.3.36", "0.3.36")
# `eval.questions.content_hash` of the questions, which take a tenth of a second to make: whoever only names a benchmark
# should not wait for them.
WORDS_CONTENT = bytes.fromhex("a7411f268cd63c5ccd1265fa8a0fcea53d5d305e6d7bb78124921102587d9a75")
CHOICE_CONTENT = bytes.fromhex("192f18024e3468d6a0e6f7ef9baa147141603f2770f517cfeb5a9816a7c66c1f")


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the manifest. `base` names the entry that an adapter belongs to, `scale` is in thousandths.

    `quantisation` is the type of the matrices, `parameters` the file's own, `copy_of` the entry that a coarser copy was
    made from. `demo`: a demo network registers it from the start. `rung`: one of the ladder of models whose true scores
    lie clearly apart on both benchmarks; the others stand beside a rung to show what a copy loses or an adapter gains.
    """

    name: str
    file: str
    sha256: str
    size: int
    architecture: str
    parameters: int
    quantisation: str
    base: str | None
    copy_of: str | None
    scale: int
    demo: bool
    rung: bool
    description: str


@functools.cache
def entries() -> tuple[Entry, ...]:
    """The manifest's entries, in its order: bases before their adapters."""
    return msgspec.json.decode(MANIFEST.read_bytes(), type=tuple[Entry, ...])


def packaged_models(*, every: bool = False) -> tuple[Model, ...]:
    """The models of a demo network; with `every`, the quantised variants and further adapters too."""
    return tuple(_model(entry) for entry in entries() if entry.demo or every)


def ladder() -> tuple[Model, ...]:
    """The models of a demo network whose true scores lie clearly apart on both benchmarks."""
    return tuple(_model(entry) for entry in entries() if entry.rung)


@functools.cache
def packaged_file(sha256: bytes) -> Path | None:
    """Where the packaged file with this hash lies, or None where there is none."""
    entry = packaged(sha256)
    return MODELS / entry.file if entry else None


def packaged(sha256: bytes) -> Entry | None:
    """The entry of the packaged file with this hash, or None where there is none."""
    return next((entry for entry in entries() if bytes.fromhex(entry.sha256) == sha256), None)


@functools.cache
def demo_benchmarks() -> tuple[Benchmark, ...]:
    """`tally-words` and `tally-choice`, version 1."""
    return (
        Benchmark(
            name=questions.WORDS_NAME,
            version=1,
            track="maths",
            language="en",
            kind=TaskKind.GENERATION,
            dataset=_dataset("words", WORDS_CONTENT),
            prompt=f"{questions.WORDS_NAME}/1",
            scorer=f"{questions.WORDS_NAME}/1",
            tolerance=0,
            max_new_tokens=questions.WORDS_MAX_NEW_TOKENS,
            engine=ENGINE,
        ),
        Benchmark(
            name=questions.CHOICE_NAME,
            version=1,
            track="reasoning",
            language="en",
            kind=TaskKind.CHOICE,
            dataset=_dataset("choice", CHOICE_CONTENT),
            prompt=f"{questions.CHOICE_NAME}/1",
            scorer=f"{questions.CHOICE_NAME}/1",
            tolerance=0,
            max_new_tokens=0,
            engine=ENGINE,
        ),
    )


def _dataset(configuration: str, content: bytes) -> Dataset:
    commit = content.hex()[:COMMIT_DIGITS]
    return Dataset(QUESTION_REPOSITORY, commit, configuration, "test", content, questions.QUESTIONS)


def _model(entry: Entry) -> Model:
    base, adapters = entry, tuple[Adapter, ...]()
    if entry.base is not None:
        base, adapters = _entry(entry.base), (Adapter(_file(entry), entry.scale),)
    return Model(
        base=_file(base),
        adapters=adapters,
        architecture=base.architecture,
        parameters=base.parameters,
        quantisation=base.quantisation,
        licence=LICENCE,
        parents=() if entry.copy_of is None else (_model(_entry(entry.copy_of)).id,),
    )


def _entry(name: str) -> Entry:
    return next(entry for entry in entries() if entry.name == name)


def _file(entry: Entry) -> HubFile:
    commit = hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:COMMIT_DIGITS]
    return HubFile(MODEL_REPOSITORY, commit, entry.file, bytes.fromhex(entry.sha256), entry.size)

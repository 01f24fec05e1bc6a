"""What is pinned: files on the Hub, models made of them, benchmarks.

A model's identity is the hash of its files' hashes: the same bytes are the same model, whoever registers them and
wherever they lie. No field is free text: what a person may want deleted is kept beside the log, and `text` holds its
salted hash.
"""

import enum
from functools import cached_property
from typing import Annotated

from msgspec import Meta, Struct

from protocol.hashing import digest

Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Small = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Name = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]
Label = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9 ._/:+-]{0,95}\Z")]
Repository = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}\Z")]
Commit = Annotated[str, Meta(pattern=r"\A[0-9a-f]{40}\Z")]
FilePath = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-][A-Za-z0-9._/-]{0,255}\Z")]

Month = Annotated[str, Meta(pattern=r"\A[0-9]{4}-(0[1-9]|1[0-2])\Z")]

MAX_ADAPTERS = 4


class HubFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a repository at one commit. `size` in bytes; the hash is what counts, the place is where to look."""

    repository: Repository
    commit: Commit
    path: FilePath
    sha256: Digest
    size: Count

    @property
    def stem(self) -> str:
        """The file's name without folders and without its last suffix, for people."""
        return self.path.rsplit("/", 1)[-1].rsplit(".", 1)[0]


class Adapter(Struct, frozen=True, forbid_unknown_fields=True):
    """A LoRA adapter on the model's base. `scale` in thousandths: 1000 is the adapter as it was trained.

    A GGUF file, or the weights that PEFT saved (safetensors): then `configuration` is the `adapter_config.json` beside
    them, which says how strong they are and where they belong.
    """

    file: HubFile
    scale: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    configuration: HubFile | None = None

    @property
    def name(self) -> str:
        """What people call it: PEFT gives every file of weights the same name, so there it is the repository's."""
        return self.file.stem if self.configuration is None else self.file.repository.rsplit("/", 1)[-1]

    @property
    def files(self) -> tuple[HubFile, ...]:
        """All that has to be fetched."""
        return (self.file,) if self.configuration is None else (self.file, self.configuration)


class HubRevision(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole repository at one commit."""

    repository: Repository
    commit: Commit


class Setting(Struct, frozen=True, forbid_unknown_fields=True):
    """One value of a configuration: `learning-rate`, `2e-4`."""

    name: Name
    value: Label


class ModelType(enum.IntEnum):
    """How a model came about, as its registrant says."""

    BASE = 0  # pretrained from scratch
    CONTINUED = 1  # pretrained further
    FINE_TUNED = 2
    INSTRUCT = 3  # tuned to follow instructions or to converse
    ADAPTER = 4
    MERGE = 5
    DISTILLED = 6
    OTHER = 7


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """How a model was trained. `compute_hours` in hours of one device of the `hardware` named, `energy_wh` in Wh."""

    configuration: Annotated[tuple[Setting, ...], Meta(max_length=32)]
    datasets: Annotated[tuple[HubRevision, ...], Meta(max_length=32)]
    hardware: Label | None = None
    compute_hours: Count | None = None
    energy_wh: Count | None = None


class Card(Struct, frozen=True, forbid_unknown_fields=True):
    """What boards show and sort by, beside what can be read from the files.

    Claims of the registrant: no rule reads them. `origin`: the repositories that the file was converted or merged from,
    where they hold no registered model (those are `Model.parents`). `cutoff`: the month of the newest training data.
    """

    name: Label
    organisation: Label
    type: ModelType
    origin: Annotated[tuple[HubRevision, ...], Meta(max_length=8)] = ()
    training: Training | None = None
    cutoff: Month | None = None


class Model(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """A GGUF file, or a base with adapters. `quantisation` is the file's weight type: F32, F16, BF16, Q8_0, ...

    `parents`: ids of the models that it descends from. `text`: digest of a text document (see `texts`).
    """

    base: HubFile
    adapters: Annotated[tuple[Adapter, ...], Meta(max_length=MAX_ADAPTERS)]
    architecture: Name
    parameters: Count
    quantisation: Annotated[str, Meta(pattern=r"\A[A-Z0-9_]{2,16}\Z")]
    licence: Label
    parents: Annotated[tuple[Digest, ...], Meta(max_length=8)] = ()
    text: Digest | None = None
    card: Card | None = None

    @property
    def id(self) -> bytes:
        """Hash of the hashes of the base and of all adapters with their scales, in order."""
        adapters = tuple(
            (adapter.file.sha256, adapter.scale, *(file.sha256 for file in adapter.files[1:]))
            for adapter in self.adapters
        )
        return digest("peerboard/model/1", self.base.sha256, adapters)

    @property
    def name(self) -> str:
        """The files' names, for people: `tally-base + tally-times`, a scale after `*`. Not unique: `reference` is."""
        return " + ".join([self.base.stem, *(adapter.name + _strength(adapter) for adapter in self.adapters)])

    @property
    def reference(self) -> str:
        """Where the files lie: `organisation/repository@commit:path`, adapters after ` + `, a scale after `*`."""
        parts = [_place(self.base)]
        for adapter in self.adapters:
            parts.append(_place(adapter.file) + _strength(adapter))
        return " + ".join(parts)

    @cached_property
    def total_bytes(self) -> int:
        """Size of all files together."""
        return self.base.size + sum([file.size for adapter in self.adapters for file in adapter.files])

    @property
    def files(self) -> tuple[HubFile, ...]:
        """All that has to be fetched, the base first."""
        return (self.base, *(file for adapter in self.adapters for file in adapter.files))


def _strength(adapter: Adapter) -> str:
    return "" if adapter.scale == 1000 else f"*{adapter.scale / 1000:g}"


def _place(file: HubFile) -> str:
    return f"{file.repository}@{file.commit[:7]}:{file.path}"


class TaskKind(enum.IntEnum):
    """How a benchmark's questions are answered."""

    GENERATION = 0  # the model writes, a scorer extracts the answer
    CHOICE = 1  # log-likelihood of each choice, the largest is the answer


class Dataset(Struct, frozen=True, forbid_unknown_fields=True):
    """A data set on the Hub. `content` hashes the normalised questions, so that a local copy is the same data set."""

    repository: Repository
    commit: Commit
    configuration: Label
    split: Name
    content: Digest
    questions: Annotated[int, Meta(ge=1, le=10_000_000)]


class Benchmark(Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked and how it is scored.

    `prompt` and `scorer` name versioned code of the evaluator. `tolerance` is how far two honest runners' outcomes
    (0 to 1000) of one question may lie apart: 0 where a question is right or wrong. `engine` is the range of
    llama-cpp-python releases whose outcomes are comparable, lowest and highest.
    """

    name: Name
    version: Annotated[int, Meta(ge=1, le=10_000)]
    track: Name
    language: Annotated[str, Meta(pattern=r"\A[a-z]{2,3}\Z")]
    kind: TaskKind
    dataset: Dataset
    prompt: Label
    scorer: Label
    tolerance: Annotated[int, Meta(ge=0, le=1000)]
    max_new_tokens: Annotated[int, Meta(ge=0, le=8192)]
    engine: tuple[Label, Label]

    @property
    def id(self) -> bytes:
        """Hash of the whole definition: another prompt or scorer is another benchmark."""
        return digest("peerboard/benchmark/1", self)

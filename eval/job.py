"""What passes between a node and its evaluator's child process: a job in, progress and an outcome or a failure out."""

from typing import Annotated

from msgspec import Meta, Struct

from eval.energy import Energy
from eval.modes import AUTO, FAST, Mode, Wanted
from eval.transcripts import Transcript
from protocol.definitions import MAX_ADAPTERS, Digest
from protocol.failures import Failure
from protocol.transcripts import Answer

MAX_QUESTIONS = 2000
LARGEST_MARGIN = 65_535
MAX_CLAIMS = 64 * 1000


class AdapterFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A LoRA adapter on this disk, its verified hash, and its scale in thousandths."""

    path: str
    sha256: Digest
    scale: int = 1000


class FingerprintRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What the fingerprint's tails are drawn from; `dataset` is the data set's content hash."""

    network: Digest
    beacon: Digest
    model: Digest
    dataset: Digest


class Registered(Struct, frozen=True, forbid_unknown_fields=True):
    """What a registration says of the base file, to be held against its header."""

    architecture: str
    parameters: int
    quantisation: str


class Job(Struct, frozen=True, tag="job", forbid_unknown_fields=True):
    """One evaluation. Paths are absolute; hashes are those of the files, which the caller has verified.

    `benchmark` is a name, or an id in hexadecimal. `threads` are those that the caller holds slots for (with
    `eval.cores` the most it could use), `memory_limit` is in bytes, `time_limit` in seconds of wall clock,
    `data_folder` holds local copies of questions.
    """

    base: str
    base_sha256: Digest
    benchmark: str
    questions: Annotated[tuple[int, ...], Meta(min_length=1, max_length=MAX_QUESTIONS)]
    adapters: Annotated[tuple[AdapterFile, ...], Meta(max_length=MAX_ADAPTERS)] = ()
    fingerprint: FingerprintRequest | None = None
    registered: Registered | None = None
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    memory_limit: Annotated[int, Meta(ge=1)] = 4 << 30
    time_limit: Annotated[float, Meta(gt=0)] = 3600.0
    data_folder: str | None = None
    keep_transcripts: bool = False
    mode: Mode = FAST
    backend: Wanted = AUTO


class Progress(Struct, frozen=True, tag="progress"):
    """Questions done and in all, and tokens decoded per second since the job began."""

    done: int
    total: int
    tokens_per_second: float


class Outcome(Struct, frozen=True, tag="outcome"):
    """The answers to a job's questions, in the job's order.

    `outcomes` are 0 to 1000. `margins` are thousandths of a nat, at most `LARGEST_MARGIN`: the smallest lead of a
    generated token over the second, or the best choice's over the second. `fingerprint` is that of all together, or
    empty where none was asked for. `stops` has a byte a question, the number of a `protocol.transcripts.Stop`.
    `too_long` are the questions, by index, whose prompts do not fit into the model's context: they were not asked, and
    count as wrong. `hardware` is a coarse class and `configuration` says how the evaluator was set: both are published.
    `device` is the exact processor or card, for the owner alone. `tokens_in` counts every prompt whole; `decoded` is
    what the engine computed: what prompts share once, choices and tails, too. `cpu_ms` is the processor time of the
    child's threads; `energy` is filled in by the side that started it.
    """

    outcomes: tuple[int, ...]
    margins: tuple[int, ...]
    near_ties: tuple[bool, ...]
    fingerprint: bytes
    transcript_digest: Digest
    tokens_in: int
    tokens_out: int
    run_ms: int
    cpu_ms: int
    engine: str
    hardware: str
    mode: str
    stops: bytes = b""
    configuration: tuple[tuple[str, str], ...] = ()
    device: str = ""
    too_long: tuple[int, ...] = ()
    decoded: int = 0
    transcripts: tuple[Transcript, ...] = ()
    energy: Energy | None = None


class JobFailed(Struct, frozen=True, tag="failed"):
    """The job has no answer; `detail` is for people, and for logs."""

    failure: Failure
    detail: str = ""


class Claimed(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer of a revealed transcript, and the outcome that it has to earn; None where any will do."""

    answer: Answer
    outcome: int | None


class Audit(Struct, frozen=True, tag="audit", forbid_unknown_fields=True):
    """Answers to be held against the model. `job` says which, and with what means; its questions are those of then."""

    job: Job
    claims: Annotated[tuple[Claimed, ...], Meta(min_length=1, max_length=MAX_CLAIMS)]


class Audited(Struct, frozen=True, tag="audited"):
    """By claim, in the audit's order: whether it is flagged, and how far below the most likely its worst token lies.

    `shortfalls` are thousandths of a nat, at most `LARGEST_MARGIN`; that much where the answer was not forced at all,
    because its prompt, stop reason or outcome is wrong.
    """

    flagged: tuple[bool, ...]
    shortfalls: tuple[int, ...]


Event = Progress | Outcome | Audited | JobFailed
"""What a child sends for a job or an audit: any number of `Progress`, then one of the others."""

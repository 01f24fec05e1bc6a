"""The daemon's answers as values: what the dashboard reads of docs/control-api.md, and nothing else.

Unknown fields are passed over and absent ones have a neutral value, so that a daemon of another version
can be looked at. Bytes that are no such answer give `AnswerError`, never anything else.
"""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

Whole = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Answer = TypeVar("Answer")


class AnswerError(Exception):
    """What came is not an answer of Peerboard's control API. The sentence says what is wrong with it."""


class Energy(Struct, frozen=True):
    """Medians over `results` of what their runners say that they cost, `estimated` of which are estimates."""

    results: Whole = 0
    estimated: Whole = 0
    joules_per_question: float | None = None
    joules_per_correct: float | None = None
    kwh_per_task: float | None = None
    co2_grams_per_task: float | None = None


class Row(Struct, frozen=True):
    """One model on one benchmark. Scores and bounds in percent, ranks from 1, per benchmark."""

    id: str
    benchmark: str
    model: str = ""
    name: str = ""
    rank_low: Whole | None = None
    rank_high: Whole | None = None
    track: str = ""
    language: str = ""
    score: float | None = None
    low: float | None = None
    high: float | None = None
    fp_low: float | None = None
    fp_high: float | None = None
    questions: Whole = 0
    of: Whole = 0
    runners: Whole = 0
    status: str = "DONE"
    epoch: Whole | None = None
    parameters: Whole | None = None
    quantisation: str = ""
    provisional: bool = False
    energy: Energy | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What the cursor follows: the model's id and the benchmark."""
        return self.id, self.benchmark

    @property
    def title(self) -> str:
        """The name for people, or as much as there is."""
        return self.name or self.model or self.id


class Reason(Struct, frozen=True):
    """Why the node is paused. `until`: what ends it, for people."""

    code: str
    title: str = ""
    until: str | None = None


class Epoch(Struct, frozen=True):
    """The open epoch. `ends_in_s` from when it was said; `length_s` is optional, it places the two marks."""

    number: Whole
    ends_in_s: float = 0.0
    phase: str = "evaluate"
    leaderless: bool = False
    length_s: float | None = None


class Network(Struct, frozen=True):
    """Whose board this is."""

    id: str = ""
    name: str = ""


class Log(Struct, frozen=True):
    """The newest checkpoint. `age_s`: seconds since it arrived, when it was said."""

    size: Whole = 0
    root: str = ""
    epoch: Whole | None = None
    age_s: float | None = None


class Current(Struct, frozen=True):
    """The task that this node is evaluating: `done` of `total` questions."""

    task: str = ""
    model: str = ""
    benchmark: str = ""
    done: Whole = 0
    total: Whole = 0
    tokens_per_s: float | None = None


class Download(Struct, frozen=True):
    """A file on its way, in bytes; `waits_s` is how long the Hub asks to wait."""

    what: str
    done: Whole = 0
    total: Whole = 0
    waits_s: float = 0.0


class Spent(Struct, frozen=True):
    """What this node's evaluations have cost; `estimated` if any of it is an estimate."""

    kwh: float = 0.0
    co2_grams: float = 0.0
    estimated: bool = True


class Today(Struct, frozen=True):
    """Tasks of this node since it started, and their energy where it is known."""

    evaluated: Whole = 0
    counted: Whole = 0
    failed: Whole = 0
    energy: Spent | None = None


class Status(Struct, frozen=True):
    """One process at one moment."""

    state: str
    role: str = "node"
    version: str = ""
    network: Network = Network()
    account: str | None = None
    device: str | None = None
    reasons: tuple[Reason, ...] = ()
    epoch: Epoch | None = None
    log: Log | None = None
    peers: Whole = 0
    current: Current | None = None
    downloads: tuple[Download, ...] = ()
    today: Today | None = None
    credit: int | None = None


class Runner(Struct, frozen=True):
    """One account on one task. `progress` 0 … 1 while it says so."""

    rank: Whole = 0
    account: str = ""
    mine: bool = False
    assigned: bool = True
    committed: bool = False
    revealed: bool = False
    progress: float | None = None


class Task(Struct, frozen=True):
    """A task of the open epoch. `quorum` is K, the others count results."""

    id: str
    model: str = ""
    model_id: str = ""
    benchmark: str = ""
    epoch: Whole | None = None
    depth: Whole = 0
    purpose: str = "regular"
    state: str = "QUEUED"
    firm: bool = False
    quorum: Whole = 0
    committed: Whole = 0
    counted: Whole = 0
    agreeing: Whole = 0
    runners: tuple[Runner, ...] = ()


class Tasks(Struct, frozen=True):
    """All tasks of the open epoch; `epoch` is nothing before the first mark."""

    epoch: Whole | None = None
    tasks: tuple[Task, ...] = ()


class Failure(Struct, frozen=True):
    """Why a task failed."""

    code: str = ""
    title: str = ""


class Verdict(Struct, frozen=True):
    """How a task of a closed epoch ended. `score` in percent."""

    task: str
    model: str = ""
    model_id: str = ""
    benchmark: str = ""
    epoch: Whole | None = None
    verdict: str = ""
    quorum: Whole = 0
    counted: Whole = 0
    agreeing: Annotated[tuple[str, ...], Meta(max_length=4096)] = ()
    score: float | None = None
    failure: Failure | None = None


class Peer(Struct, frozen=True):
    """A neighbour in the network; its key has nothing to do with any account."""

    peer: str
    connected_s: float = 0.0
    reach: str = ""


class Activity(Struct, frozen=True):
    """One thing that happened."""

    time: str = ""
    level: str = "note"
    code: str = ""
    text: str = ""
    task: str | None = None
    sequence: Whole | None = None

    @property
    def place(self) -> tuple[str, int]:
        """Where it stands among the others."""
        return self.time, self.sequence or 0

    @property
    def same(self) -> tuple[str, str, str, str | None]:
        """Equal for one thing that is told twice."""
        return self.time, self.code, self.text, self.task


class Caution(Struct, frozen=True):
    """A warning of the daemon with what helps."""

    code: str = ""
    severity: str = "warn"
    title: str = ""
    remedy: str | None = None


class Board(Struct, frozen=True):
    """The leaderboard, in the server's order."""

    epoch: Whole | None = None
    rows: tuple[Row, ...] = ()


class Verdicts(Struct, frozen=True):
    """The verdicts of the last closed epochs."""

    verdicts: tuple[Verdict, ...] = ()


class Peers(Struct, frozen=True):
    """The neighbours."""

    peers: tuple[Peer, ...] = ()


class BoardChanged(Struct, frozen=True):
    """The leaderboard is to be fetched anew."""

    epoch: Whole | None = None


class _Envelope(Struct, frozen=True):
    data: msgspec.Raw = msgspec.Raw()
    warnings: tuple[Caution, ...] | None = None


class _Numbered(Struct, frozen=True):
    sequence: Whole | None = None


class _Fault(Struct, frozen=True):
    code: str = ""
    title: str = ""
    remedy: str | None = None


class _Faulty(Struct, frozen=True):
    error: _Fault | None = None


Body = Status | Tasks | BoardChanged | Activity | None
_KINDS: dict[str, type[Any]] = {"status": Status, "tasks": Tasks, "board": BoardChanged, "activity": Activity}


def decode_answer(body: bytes, kind: type[Answer]) -> tuple[Answer, tuple[Caution, ...]]:
    """`data` of one answer, and the warnings beside it."""
    envelope = _decode(body, _Envelope)
    return _decode(bytes(envelope.data), kind), envelope.warnings or ()


def decode_event(kind: str, data: bytes) -> tuple[int | None, Body]:
    """Sequence number and content of one server-sent event; content is nothing for kinds of a newer daemon."""
    number = _decode(data, _Numbered).sequence
    known = _KINDS.get(kind)
    body: Body = None if known is None else _decode(data, known)
    return number, body


def error_sentence(body: bytes) -> str | None:
    """The sentence of an error answer with its remedy, if it is one."""
    try:
        fault = _decode(body, _Faulty).error
    except AnswerError:
        return None
    if fault is None or not (fault.title or fault.code):
        return None
    return (fault.title or fault.code) + (f" → {fault.remedy}" if fault.remedy else "")


def _decode(data: bytes, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise AnswerError(f"not an answer of the control API: {error}") from error

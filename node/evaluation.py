"""The seam between the scheduler and whatever evaluates a task."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from eval.hub import Fetching
from eval.job import Claimed
from protocol.definitions import Benchmark, HubFile, Model
from protocol.failures import Failure
from protocol.messages import Run, TaskResult
from protocol.tasks import Task


class Request(Struct, frozen=True):
    """What is to be evaluated: a task, what its ids stand for, and the hour's beacon for the fingerprint."""

    task: Task
    model: Model
    benchmark: Benchmark
    network: bytes
    beacon: bytes


class Evaluated(Struct, frozen=True):
    """A task's result, how it came about, and the encoded `protocol.transcripts.Transcript` that it is bound to."""

    result: TaskResult
    run: Run
    transcript: bytes = b""


class Progress(Struct, frozen=True):
    """Questions done of all, the speed in tokens per second, and what is downloaded before the first question."""

    done: int
    total: int
    tokens_per_second: float
    fetching: Fetching | None = None


class EvaluationFailed(Exception):
    """The task could not be evaluated; `detail` is for the volunteer, and never leaves the machine."""

    def __init__(self, failure: Failure, detail: str = "") -> None:
        super().__init__(f"{failure.sentence} {detail}".strip())
        self.failure = failure
        self.detail = detail


class Evaluator(Protocol):
    """Evaluates one task at a time, and meanwhile prepares the next."""

    async def evaluate(self, request: Request, progress: Callable[[Progress], None]) -> Evaluated:
        """Evaluate a task. Raises `EvaluationFailed`; can be cancelled at any time."""
        ...

    async def audit(
        self, request: Request, claims: Sequence[Claimed], progress: Callable[[Progress], None]
    ) -> tuple[bool, ...]:
        """Which of the claims are flagged (`eval.audit`); `request` is for the task whose answers these are.

        Raises `EvaluationFailed`; can be cancelled at any time.
        """
        ...

    async def lacking(self, files: Sequence[HubFile]) -> Sequence[HubFile]:
        """Those of these files that would have to be downloaded."""
        ...

    async def fetch(self, file: HubFile, fetching: Callable[[Fetching | None], None]) -> None:
        """Download a file that may be needed one day. Otherwise as `prepare`."""
        ...

    async def prepare(self, request: Request, fetching: Callable[[Fetching | None], None]) -> None:
        """Fetch what a later task needs. Fails silently: `evaluate` will say it. Can be cancelled at any time.

        `fetching` hears what is downloaded, and None once nothing is any more.
        """
        ...


def pack_bits(flags: tuple[bool, ...]) -> bytes:
    """A bit per flag, the first one most significant; the rest of the last byte is zero."""
    packed = bytearray(-(-len(flags) // 8))
    for place, flag in enumerate(flags):
        packed[place // 8] |= flag << (7 - place % 8)
    return bytes(packed)

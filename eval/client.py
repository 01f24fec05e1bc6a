"""A node's side of its evaluator: starts the child process, passes jobs, survives whatever becomes of the child."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from types import MappingProxyType

import msgspec
import trio

from eval.cores import CoreSlots, Held
from eval.frames import LENGTH_BYTES, FrameTooLarge, pack, payload_length
from eval.job import LARGEST_MARGIN, Event, Job, JobFailed, Outcome, Progress
from protocol.failures import Failure
from protocol.fingerprint import BYTES_PER_QUESTION

COMMAND = (sys.executable, "-I", "-m", "eval.worker")
GRACE_SECONDS = 5.0  # the child ends a slow job itself between two decodes; after this it is ended
KEPT_STDERR = 4096
REAP_SECONDS = 1.0
LARGEST_OUTCOME = 1000
LARGEST_NUMBER = 2**53 - 1
_ENVIRONMENT = MappingProxyType({"MALLOC_ARENA_MAX": "2", "GGML_NO_BACKTRACE": "1", "OMP_WAIT_POLICY": "PASSIVE"})
_ABORTS = frozenset({signal.SIGABRT, signal.SIGSEGV, signal.SIGFPE})
_ALLOCATION_WORDS = ("failed to allocate", "bad_alloc", "out of memory", "not enough memory")
_EVENTS = msgspec.msgpack.Decoder(Event)


class _ChildGone(Exception):
    """The child's end of a pipe is closed."""


@asynccontextmanager
async def open_worker(cores: CoreSlots | None = None, command: Sequence[str] = COMMAND) -> AsyncIterator["Worker"]:
    """An evaluator whose child process starts with the first job and lives at most as long as the block.

    With `cores` each job waits for slots (`eval.cores`) and runs with as many threads as it got.
    """
    async with trio.open_nursery() as nursery:
        worker = Worker(nursery, cores, tuple(command))
        try:
            yield worker
        finally:
            await worker.stop()
            nursery.cancel_scope.cancel()


class _Child:
    """The running process and its pipes."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.words = bytearray()
        self.silent = trio.Event()

    async def send(self, data: bytes) -> None:
        """Writes to the child. Raises `_ChildGone`."""
        if self.process.stdin is None:
            raise _ChildGone
        try:
            await self.process.stdin.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise _ChildGone from None

    async def read(self, count: int) -> bytes:
        """Exactly `count` bytes of what the child writes. Raises `_ChildGone`."""
        data = bytearray()
        while len(data) < count:
            if self.process.stdout is None:
                raise _ChildGone
            try:
                chunk = await self.process.stdout.receive_some(count - len(data))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise _ChildGone from None
            if not chunk:
                raise _ChildGone
            data += chunk
        return bytes(data)

    async def listen(self) -> None:
        """Keeps the end of what the child writes to stderr, and reaps it when it ends."""
        if self.process.stderr is not None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async for chunk in self.process.stderr:
                    self.words += chunk
                    del self.words[:-KEPT_STDERR]
        self.silent.set()
        await self.process.wait()

    def kill(self) -> None:
        """Ends it at once; `listen` reaps it."""
        with suppress(ProcessLookupError):
            self.process.kill()

    async def buried(self) -> int | None:
        """Waits a moment for the end of a process that is ending. Its return code, or None."""
        with trio.move_on_after(REAP_SECONDS, shield=True):
            await self.process.wait()
            await self.silent.wait()
        return self.process.returncode


class Worker:
    """Runs one job at a time; made by `open_worker`."""

    def __init__(self, nursery: trio.Nursery, cores: CoreSlots | None, command: tuple[str, ...]) -> None:
        self._nursery = nursery
        self._cores = cores
        self._command = command
        self._child: _Child | None = None
        self._held: Held | None = None
        self._one_at_a_time = trio.Lock()

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is a child."""
        return self._child.process.pid if self._child else None

    async def evaluate(self, job: Job, report: Callable[[Progress], None] = lambda _: None) -> Outcome | JobFailed:
        """The job's outcome, or why there is none. Cancelling it ends the child; jobs wait for each other."""
        async with self._one_at_a_time, aclosing(self.run(job)) as events:
            async for event in events:
                if not isinstance(event, Progress):
                    return event
                report(event)
        return JobFailed(Failure.ENGINE_FAILED, "The evaluator ended a job without an answer.")

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """Progress as it comes, then one `Outcome` or `JobFailed`.

        Whoever leaves it early, or is cancelled in it, takes the child with it: the next job starts another.
        """
        answered = False
        try:
            event, child, deadline = await self._begin(job)
            while isinstance(event, Progress) and child is not None:
                yield event
                event = await self._next(child, deadline)
            event = plausible(job, event)
            answered = child is not None and child is self._child
            self._release()
            yield event
        finally:
            self._release()
            if not answered:
                self._drop()

    async def stop(self) -> None:
        """Ends the child, if there is one, and waits until it is gone."""
        child = self._child
        self._release()
        self._drop()
        if child is not None:
            await child.buried()

    async def _begin(self, job: Job) -> tuple[Event, _Child | None, float]:
        """The first event of a job, with the child that works on it and the time at which it must be done."""
        try:
            if self._cores is not None:
                self._held = await self._cores.acquire(job.threads)
                job = msgspec.structs.replace(job, threads=self._held.threads)
            child = await self._started()
        except OSError as error:
            return JobFailed(Failure.ENGINE_FAILED, f"The evaluator's process cannot be started: {error}."), None, 0.0
        deadline = trio.current_time() + job.time_limit + GRACE_SECONDS
        try:
            await child.send(pack(job))
        except _ChildGone:
            return await self._autopsy(child), child, deadline
        return await self._next(child, deadline), child, deadline

    async def _started(self) -> _Child:
        if self._child is None:
            process = await trio.lowlevel.open_process(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **_ENVIRONMENT},
            )
            self._child = _Child(process)
            self._nursery.start_soon(self._child.listen)
        return self._child

    async def _next(self, child: _Child, deadline: float) -> Event:
        """The child's next event, or a failure that says why there is none."""
        with trio.move_on_at(deadline):
            try:
                length = payload_length(await child.read(LENGTH_BYTES))
                return decode_event(await child.read(length))
            except _ChildGone:
                return await self._autopsy(child)
            except (msgspec.DecodeError, FrameTooLarge) as error:
                self._drop()
                return JobFailed(Failure.ENGINE_FAILED, f"The evaluator's process spoke nonsense: {error}.")
        self._drop()
        return JobFailed(Failure.TOO_SLOW, "The evaluator's process did not answer in time and was ended.")

    async def _autopsy(self, child: _Child) -> JobFailed:
        """What a child died of, as far as its parent can tell."""
        code = await child.buried()
        self._drop()
        return cause_of_death(code, child.words.decode("utf-8", "replace"))

    def _release(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None

    def _drop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


def decode_event(data: bytes) -> Event:
    """What a child said. Raises `msgspec.DecodeError`, whatever the bytes are: a hostile model may own the child."""
    event: Event = _EVENTS.decode(data)
    return event


def plausible(job: Job, event: Event) -> Event:
    """The event, or a failure in place of an outcome that cannot be one of this job."""
    if not isinstance(event, Outcome):
        return event
    count = len(job.questions)
    sizes = {len(event.outcomes), len(event.margins), len(event.near_ties)}
    asked = count * BYTES_PER_QUESTION if job.fingerprint is not None else 0
    numbers = (event.tokens_in, event.tokens_out, event.run_ms, event.energy_mj or 0)
    fits = (
        sizes == {count}
        and len(event.fingerprint) == asked
        and all(0 <= value <= LARGEST_OUTCOME for value in event.outcomes)
        and all(0 <= value <= LARGEST_MARGIN for value in event.margins)
        and all(0 <= value <= LARGEST_NUMBER for value in numbers)
    )
    return event if fits else JobFailed(Failure.ENGINE_FAILED, "The evaluator's process gave an impossible outcome.")


def cause_of_death(code: int | None, words: str) -> JobFailed:
    """The failure behind a child's return code (minus the signal's number) and its last words on stderr."""
    last = " ".join(words.split())[-300:]
    if code is None:
        return JobFailed(Failure.ENGINE_FAILED, f"The evaluator's process closed its output and lives on. {last}")
    if any(word in words.lower() for word in _ALLOCATION_WORDS):
        return JobFailed(Failure.OUT_OF_MEMORY, last)
    if -code in _ABORTS:
        return JobFailed(Failure.MODEL_ABORTED, f"It ended with {signal.Signals(-code).name}. {last}".strip())
    if code == -signal.SIGKILL:
        return JobFailed(Failure.OUT_OF_MEMORY, "The system ended the evaluator's process, most likely for memory.")
    return JobFailed(Failure.ENGINE_FAILED, f"The evaluator's process ended with code {code}. {last}".strip())

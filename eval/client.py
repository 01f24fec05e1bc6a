"""A node's side of its evaluator: starts a confined child for each model, passes jobs, survives whatever it does."""

import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import msgspec
import trio
from msgspec import Struct

from eval import sandbox
from eval.benchmarks import question_files
from eval.cores import CoreSlots, Held
from eval.energy import Meter, Metering
from eval.failing import speaks_of_memory
from eval.frames import LENGTH_BYTES, FrameTooLarge, pack, payload_length
from eval.job import Audit, Audited, Event, Job, JobFailed, Outcome, Progress
from eval.modes import AUTO, CPU
from eval.plausible import plausible
from eval.sandbox import Sandbox
from eval.seat import ChildGone, Launcher, Seat, open_launcher
from eval.seating import SeatRequest
from protocol.failures import Failure

COMMAND = (sys.executable, "-I", "-m", "eval.launcher")
GRACE_SECONDS = 5.0  # the child ends a slow job itself between two decodes; after this it is ended
JOBS_A_CHILD = 8  # its processor time is bounded for its whole life
MOST_EVENTS, MOST_EVENTS_A_SECOND = 100, 100
LARGEST_PROGRESS = 256
_ABORTS = frozenset({signal.SIGABRT, signal.SIGSEGV, signal.SIGFPE})
NO_ANSWER = JobFailed(Failure.ENGINE_FAILED, "The evaluator ended a job without an answer.")
_EVENTS = msgspec.msgpack.Decoder(Event)


@asynccontextmanager
async def open_worker(
    cores: CoreSlots | None = None,
    command: Sequence[str] = COMMAND,
    *,
    confined: Sandbox | None = None,
    least: str = sandbox.LIMITS,
    meter: Meter | None = None,
) -> AsyncIterator["Worker"]:
    """An evaluator whose processes start with the first job and live at most as long as the block.

    With `cores` each job waits for slots (`eval.cores`) and runs with as many threads as it got. `confined` is the
    level to use, by default the strongest that works here; with a weaker one than `least` every job fails. `meter`
    measures what evaluations cost.
    """
    async with trio.open_nursery() as nursery:
        worker = Worker(nursery, cores, tuple(command), confined, least, meter or Meter())
        try:
            yield worker
        finally:
            await worker.stop()
            nursery.cancel_scope.cancel()


class _Refused(Exception):
    """A job that no child gets to see, with its answer."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.answer = JobFailed(failure, detail)


class Worker:
    """Runs one job at a time; made by `open_worker`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        cores: CoreSlots | None,
        command: tuple[str, ...],
        confined: Sandbox | None,
        least: str,
        meter: Meter,
    ) -> None:
        self._nursery = nursery
        self._cores = cores
        self._command = command
        self._confined = confined
        self._least = least
        self._launcher: Launcher | None = None
        self._child: Seat | None = None
        self._ending: Seat | None = None
        self._key: object = None
        self._jobs_left = 0
        self._events = 0
        self._began = 0.0
        self._held: Held | None = None
        self._meter = meter
        self._metering: Metering | None = None
        self._one_at_a_time = trio.Lock()

    @property
    def cores(self) -> CoreSlots | None:
        """Where jobs get their slots, if they need any."""
        return self._cores

    @property
    def meter(self) -> Meter:
        """What measures the energy of jobs."""
        return self._meter

    @property
    def pid(self) -> int | None:
        """The launcher's process id, while there is one."""
        return self._launcher.pid if self._launcher else None

    async def evaluate(self, job: Job, report: Callable[[Progress], None] = lambda _: None) -> Outcome | JobFailed:
        """The job's outcome, or why there is none. Cancelling it ends the child; jobs wait for each other."""
        answer = await self._answer(job, report)
        return answer if not isinstance(answer, Audited) else NO_ANSWER

    async def audit(self, audit: Audit, report: Callable[[Progress], None] = lambda _: None) -> Audited | JobFailed:
        """What holding an audit's claims against the model finds. Cancelling it ends the child, as of a job."""
        answer = await self._answer(audit, report)
        return answer if not isinstance(answer, Outcome) else NO_ANSWER

    async def _answer(self, work: Job | Audit, report: Callable[[Progress], None]) -> Outcome | Audited | JobFailed:
        async with self._one_at_a_time, aclosing(self.run(work)) as events:
            async for event in events:
                if not isinstance(event, Progress):
                    return event
                report(event)
        return NO_ANSWER

    async def run(self, job: Job | Audit) -> AsyncGenerator[Event, None]:
        """Progress as it comes, then one `Outcome` (of an audit `Audited`) or `JobFailed`.

        Whoever leaves it early, or is cancelled in it, takes the child with it: the next job starts another.
        """
        answered = False
        try:
            event, child, deadline = await self._begin(job)
            while isinstance(event, Progress) and child is not None:
                yield event
                event = await self._next(child, deadline)
            event = await self._measured(await trio.to_thread.run_sync(plausible, job, event))
            answered = child is not None and child is self._child
            self._release()
            yield event
        finally:
            self._release()
            if self._metering is not None:
                self._metering.stop()
                self._metering = None
            if not answered:
                self._drop()

    async def stop(self) -> None:
        """Ends the launcher and its child, if there are any, and waits until they are gone."""
        self._release()
        self._drop()
        launcher, self._launcher = self._launcher, None
        if launcher is not None:
            await launcher.end()

    async def _begin(self, work: Job | Audit) -> tuple[Event, Seat | None, float]:
        """The first event of a job, with the child that works on it and the time at which it must be done."""
        job = work.job if isinstance(work, Audit) else work
        try:
            if self._cores is not None:
                self._held = await self._cores.acquire(job.threads)
                job = msgspec.structs.replace(job, threads=self._held.threads)
            with_cards = job.backend == AUTO
            self._metering = await trio.to_thread.run_sync(partial(self._meter.begin, with_cards=with_cards))
            child = await self._seated(job)
        except _Refused as refused:
            return refused.answer, None, 0.0
        except ChildGone:
            return await self._launcher_gone(), None, 0.0
        except OSError as error:
            return JobFailed(Failure.ENGINE_FAILED, f"The evaluator's process cannot be started: {error}."), None, 0.0
        self._events, self._began = 0, trio.current_time()
        deadline = self._began + job.time_limit + GRACE_SECONDS
        try:
            await child.send(pack(msgspec.structs.replace(work, job=job) if isinstance(work, Audit) else job))
        except ChildGone:
            return await self._autopsy(child), child, deadline
        return await self._next(child, deadline), child, deadline

    async def _measured(self, event: Event) -> Event:
        """An outcome with what it cost."""
        if not isinstance(event, Outcome) or self._metering is None:
            return event
        metering, self._metering = self._metering, None
        on_card = dict(event.configuration).get("backend", CPU) != CPU
        end = partial(metering.end, event.cpu_ms / 1000, on_card=on_card)
        return msgspec.structs.replace(event, energy=await trio.to_thread.run_sync(end))

    async def _seated(self, job: Job) -> Seat:
        """The child that has this job's model, or a new one. Raises `_Refused`, `ChildGone`, `OSError`."""
        if self._confined is None:
            self._confined = await trio.to_thread.run_sync(sandbox.detect)
        if not self._confined.holds(self._least):
            text = f"The sandbox here is {self._confined.level!r}, the settings ask for {self._least!r}."
            raise _Refused(Failure.SANDBOX_WEAK, f"{text} {self._confined.why}".strip())
        questions = await trio.to_thread.run_sync(_question_files, job)
        key = (job.base, job.base_sha256, job.adapters, questions, job.memory_limit, job.time_limit, job.threads)
        if self._child is not None and (key != self._key or self._jobs_left == 0):
            self._drop()
        await self._buried()
        if self._child is None:
            if self._launcher is None:
                self._launcher = open_launcher(self._confined.level, self._command)
                self._nursery.start_soon(self._launcher.listen)
            with _opened(job, questions) as (paths, files):
                request = _request(job, self._confined.level, paths, files)
                self._child = await self._launcher.seat(request, files, self._nursery)
            self._key, self._jobs_left = key, JOBS_A_CHILD
        self._jobs_left -= 1
        return self._child

    async def _next(self, child: Seat, deadline: float) -> Event:
        """The child's next event, or a failure that says why there is none."""
        with trio.move_on_at(deadline):
            try:
                length = payload_length(await child.read(LENGTH_BYTES))
                event = decode_event(await child.read(length))
            except ChildGone:
                return await self._autopsy(child)
            except (msgspec.DecodeError, FrameTooLarge) as error:
                self._drop()
                return JobFailed(Failure.ENGINE_FAILED, f"The evaluator's process spoke nonsense: {error}.")
            self._events += 1
            most = MOST_EVENTS + MOST_EVENTS_A_SECOND * (trio.current_time() - self._began)
            if isinstance(event, Progress) and (length > LARGEST_PROGRESS or self._events > most):
                self._drop()
                return JobFailed(Failure.ENGINE_FAILED, "The evaluator's process said more than a job has to say.")
            return event
        self._drop()
        return JobFailed(Failure.TOO_SLOW, "The evaluator's process did not answer in time and was ended.")

    async def _autopsy(self, child: Seat) -> JobFailed:
        """What a child died of, as far as its launcher can tell."""
        if self._launcher is None:
            return JobFailed(Failure.ENGINE_FAILED, "The evaluator's process is gone.")
        code = await self._launcher.ended(child)
        if self._child is child:
            self._child = None
        child.kill()
        if code is None:
            return await self._launcher_gone(child.words.text)
        return cause_of_death(code, child.words.text)

    async def _launcher_gone(self, words: str = "") -> JobFailed:
        """What became of a launcher that does not answer; it is ended."""
        launcher, self._launcher = self._launcher, None
        self._drop()
        self._ending = None
        if launcher is None:
            return JobFailed(Failure.ENGINE_FAILED, "The evaluator's process is gone.")
        await launcher.end()
        return cause_of_death(launcher.process.returncode, f"{words} {launcher.words.text}")

    async def _buried(self) -> None:
        """Waits for the end of the child before this one; a launcher that does not tell it is replaced."""
        if self._ending is None:
            return
        ending, self._ending = self._ending, None
        if self._launcher is not None and await self._launcher.ended(ending) is None:
            await self._launcher_gone()

    def _release(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None

    def _drop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child, self._ending = None, self._child


class _QuestionFile(Struct, frozen=True):
    """A file of questions, and which one it is: another one at the same path is another child's."""

    path: str
    inode: int
    changed: int


def _question_files(job: Job) -> tuple[_QuestionFile, ...]:
    """What a job's data folder has for benchmarks: a child is given these, and nothing that lies beside them."""
    if job.data_folder is None:
        return ()
    found = ((str(path), path.stat()) for path in question_files(Path(job.data_folder)))
    return tuple(_QuestionFile(path, status.st_ino, status.st_mtime_ns) for path, status in found)


@contextmanager
def _opened(job: Job, questions: Sequence[_QuestionFile]) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    """A job's files and its questions, open for reading, with the paths by which it names them."""
    files: list[int] = []
    paths: list[str] = []
    try:
        adapters = (adapter.path for adapter in job.adapters)
        for path in dict.fromkeys((job.base, *adapters, *(each.path for each in questions))):
            try:
                files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                raise _Refused(Failure.ENGINE_FAILED, f"{path} cannot be read: {error.strerror}.") from None
            paths.append(path)
        yield tuple(paths), files
    finally:
        for descriptor in files:
            os.close(descriptor)


def _request(job: Job, level: str, paths: tuple[str, ...], files: list[int]) -> SeatRequest:
    mapped = sum(os.fstat(descriptor).st_size for descriptor in files)
    seconds = JOBS_A_CHILD * (int(job.time_limit * job.threads) + int(GRACE_SECONDS))
    return SeatRequest(level, paths, job.memory_limit, mapped, seconds, job.benchmark, job.data_folder)


def decode_event(data: bytes) -> Event:
    """What a child said. Raises `msgspec.DecodeError`, whatever the bytes are: a hostile model may own the child."""
    event: Event = _EVENTS.decode(data)
    return event


def cause_of_death(code: int | None, words: str) -> JobFailed:
    """The failure behind a child's return code (minus the signal's number) and its last words on stderr."""
    last = " ".join(words.split())[-300:]
    if code is None:
        return JobFailed(Failure.ENGINE_FAILED, f"The evaluator's process closed its output and lives on. {last}")
    if speaks_of_memory(words):
        return JobFailed(Failure.OUT_OF_MEMORY, last)
    if -code in _ABORTS:
        return JobFailed(Failure.MODEL_ABORTED, f"It ended with {signal.Signals(-code).name}. {last}".strip())
    if code == -signal.SIGXCPU:
        return JobFailed(Failure.TOO_SLOW, "The evaluator's process used up its processor time.")
    if code == -signal.SIGKILL:
        return JobFailed(Failure.OUT_OF_MEMORY, "The system ended the evaluator's process, most likely for memory.")
    return JobFailed(Failure.ENGINE_FAILED, f"The evaluator's process ended with code {code}. {last}".strip())

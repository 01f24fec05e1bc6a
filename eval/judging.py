"""Runs generated programs, each in a process of its own and a stricter sandbox than the evaluator's (docs/sandbox.md).

The programs come out of the evaluator's child, which may not start processes, and are run by the side that started it.
A program is untrusted twice over: by what a model may write, and by what a hostile file may say that its model wrote.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import msgspec
import trio

from eval import bubblewrap, sandbox
from eval.benchmarks import find
from eval.client import Worker
from eval.cores import CoreSlots
from eval.energy import Energy, Meter
from eval.failing import EvaluationError
from eval.job import Job, JobFailed, Outcome, Progress
from eval.programs import Allowance, Ending, Judged, Program, program_of
from eval.sandbox import Sandbox
from protocol.failures import Failure

CODE_LEAST = sandbox.IN_PROCESS
"""The weakest sandbox that generated programs are run in unless somebody says otherwise."""
ALLOWANCE = Allowance()
MOST_WORDS = 4096
_COMMAND = (sys.executable, "-sP", "-m", "eval.program_child")  # -I would ignore the fixed seed of hashes
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "1"}
_LAST = re.compile(r"(?P<word>\S+) (?P<used>[0-9]{1,9}) (?P<how>.*)", re.DOTALL)
_EXCEPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
_OUT_OF_TIME = frozenset(
    code for number in (signal.SIGXCPU, signal.SIGKILL) for code in (-number, 128 + number)
)  # bubblewrap ends with 128 and the signal's number


async def evaluate(
    worker: Worker,
    job: Job,
    report: Callable[[Progress], None] = lambda _: None,
    *,
    confined: Sandbox | None = None,
    least: str = CODE_LEAST,
) -> Outcome | JobFailed:
    """As `Worker.evaluate`, with programs run where the benchmark asks for that.

    With a sandbox weaker than `least` such a job is refused before anything is generated.
    """
    try:
        entry = find(job.benchmark)
        if not entry.runs_programs:
            return await worker.evaluate(job, report)
        found = confined if confined is not None else await trio.to_thread.run_sync(sandbox.detect)
        check_level(found, least)
        outcome = await worker.evaluate(job, report)
        if isinstance(outcome, JobFailed):
            return outcome
        texts = [(each.question, each.text) for each in outcome.transcripts]
        if tuple(index for index, _ in texts) != job.questions:
            return JobFailed(Failure.ENGINE_FAILED, "The evaluator's process gave an impossible outcome.")
        folder = Path(job.data_folder) if job.data_folder else None
        questions = await trio.to_thread.run_sync(entry.load, folder)
        programs = [program_of(questions.item(index), text) for index, text in texts]
        verdicts, energy = await _measured(worker.meter, partial(judge, programs, found, least, cores=worker.cores))
        return _with_verdicts(job, outcome, verdicts, energy)
    except EvaluationError as error:
        return JobFailed(error.failure, error.detail)


async def judge(
    programs: Sequence[Program],
    confined: Sandbox,
    least: str = CODE_LEAST,
    *,
    allowance: Allowance | None = None,
    cores: CoreSlots | None = None,
    spend: Callable[[float], None] = lambda _: None,
) -> list[Judged]:
    """What running each program shows, one after the other on one of `cores`, so that none slows another one down.

    `spend` is told each one's seconds of processor time: as its process says, else as long as it ran, up to what it may
    have. Raises `EvaluationError` with `SANDBOX_WEAK` where `confined` is weaker than `least` or does not hold.
    """
    check_level(confined, least)
    async with cores.take(1) if cores else nullcontext():
        return [await _run(program, confined, allowance or ALLOWANCE, spend) for program in programs]


def check_level(confined: Sandbox, least: str) -> None:
    """Raises `EvaluationError` with `SANDBOX_WEAK` where generated programs may not be run at this level."""
    if not confined.holds(least):
        raise EvaluationError(
            Failure.SANDBOX_WEAK,
            f"Generated programs are run in a sandbox of level {least!r} or stronger; here it is {confined.level!r}. "
            f"{confined.why}".strip(),
        )


async def _measured(
    meter: Meter, judged: Callable[..., Coroutine[None, None, list[Judged]]]
) -> tuple[list[Judged], Energy]:
    """What `judged` finds, and what running the programs cost."""
    seconds: list[float] = []
    metering = await trio.to_thread.run_sync(partial(meter.begin, with_cards=False))
    try:
        verdicts = await judged(spend=seconds.append)
    except BaseException:
        metering.stop()
        raise
    return verdicts, await trio.to_thread.run_sync(partial(metering.end, sum(seconds), on_card=False))


def _with_verdicts(job: Job, outcome: Outcome, verdicts: Sequence[Judged], energy: Energy) -> Outcome:
    transcripts = [
        msgspec.structs.replace(transcript, outcome=verdict.outcome)
        for transcript, verdict in zip(outcome.transcripts, verdicts, strict=True)
    ]
    return msgspec.structs.replace(
        outcome,
        outcomes=tuple(verdict.outcome for verdict in verdicts),
        near_ties=tuple(tie or not verdict.certain for tie, verdict in zip(outcome.near_ties, verdicts, strict=True)),
        transcripts=tuple(transcripts) if job.keep_transcripts else (),
        energy=outcome.energy + energy if outcome.energy else None,
    )


async def _run(program: Program, confined: Sandbox, allowance: Allowance, spend: Callable[[float], None]) -> Judged:
    word = secrets.token_hex(16)
    order = json.dumps({"source": program.source, "test": program.test, "word": word}).encode()
    arguments = [*_COMMAND, confined.level, str(allowance.memory), str(allowance.cpu_seconds)]
    command = [*bubblewrap.program_arguments(), "--", *arguments] if confined.level == sandbox.STRONG else arguments
    started = trio.current_time()
    try:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise EvaluationError(Failure.ENGINE_FAILED, f"A program's process cannot be started: {error}.") from None
    heard = _Heard()
    try:
        with trio.move_on_after(allowance.wall_seconds) as watch:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_tell, process, order)
                nursery.start_soon(heard.errors_of, process)
                await heard.words_of(process)
                code = await process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()
    used, how = heard.last(word)
    spend(min(used if used is not None else allowance.cpu_seconds, trio.current_time() - started))
    if watch.cancelled_caught:
        return Judged(Ending.TIMED_OUT)
    return _verdict(heard, how, code)


def _verdict(heard: "_Heard", how: str, code: int) -> Judged:
    first = heard.words.partition(b"\n")[0]
    if first != b"confined":
        said = (first.removeprefix(b"refused ") or heard.errors.strip().rpartition(b"\n")[2]).decode("utf-8", "replace")
        raise EvaluationError(Failure.SANDBOX_WEAK, f"A program could not be confined: {said[:200]}.")
    if how == "passed":
        return Judged(Ending.PASSED)
    if how.startswith("failed "):
        name = _EXCEPTION.fullmatch(how.removeprefix("failed "))
        return Judged(Ending.FAILED, name.group() if name else "")
    return Judged(Ending.TIMED_OUT if code in _OUT_OF_TIME else Ending.ENDED)


class _Heard:
    """What a program's process says: never more of it than has to be looked at."""

    def __init__(self) -> None:
        self.words = b""
        self.errors = b""

    def last(self, word: str) -> tuple[float | None, str]:
        """Seconds of processor time and the end, as said by one who knows the word; else None and nothing."""
        said = _LAST.fullmatch(self.words.partition(b"\n")[2].decode("ascii", "replace").strip())
        return (int(said["used"]) / 1000, said["how"]) if said and said["word"] == word else (None, "")

    async def words_of(self, process: trio.Process) -> None:
        while process.stdout and (data := await process.stdout.receive_some(MOST_WORDS)):
            self.words += data
            if len(self.words) > MOST_WORDS:
                process.kill()
                return

    async def errors_of(self, process: trio.Process) -> None:
        while process.stderr and (data := await process.stderr.receive_some(MOST_WORDS)):
            self.errors = (self.errors + data)[-MOST_WORDS:]


async def _tell(process: trio.Process, order: bytes) -> None:
    if process.stdin is not None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await process.stdin.send_all(order)
        await process.stdin.aclose()

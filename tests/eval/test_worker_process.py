"""The child process and its client: outcomes, and every way in which a job can go wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from eval.backends import card, hardware
from eval.benchmarks import find
from eval.client import Worker, cause_of_death, decode_event, open_worker
from eval.cores import CoreSlots
from eval.demo import catalogue
from eval.energy import Energy
from eval.job import AdapterFile, Audited, FingerprintRequest, Job, JobFailed, Outcome, Progress, Registered
from eval.plausible import plausible, run_of
from eval.sandbox import Sandbox
from eval.transcripts import StopReason, Transcript
from protocol import fingerprint
from protocol.failures import Failure
from protocol.transcripts import transcript_digest
from tests.eval.tiny_models import gguf_bytes, llama_metadata, llama_tensors, vocabulary, write_llama

BASE = catalogue.MODELS / "tally-base.gguf"
SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")


def job(path: Path, benchmark: str = "tally-words", questions: Sequence[int] = range(5), **more: object) -> Job:
    plain = Job(base=str(path), base_sha256=bytes(32), benchmark=benchmark, questions=tuple(questions))
    return msgspec.structs.replace(plain, **more)


def request(benchmark: str, beacon: bytes = b"b" * 32) -> FingerprintRequest:
    return FingerprintRequest(b"n" * 32, beacon, b"m" * 32, find(benchmark).definition.dataset.content)


async def outcome(worker: Worker, wanted: Job) -> Outcome:
    answer = await worker.evaluate(wanted)
    assert isinstance(answer, Outcome), answer
    return answer


async def failure(worker: Worker, wanted: Job) -> JobFailed:
    answer = await worker.evaluate(wanted)
    assert isinstance(answer, JobFailed), answer
    return answer


def exists(pid: int) -> bool:
    """Whether the process is there, be it as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_jobs_have_outcomes_and_share_one_child(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    async with open_worker(CoreSlots(tmp_path / "cores", 1)) as worker:
        seen: list[Progress] = []
        words = await worker.evaluate(job(BASE, fingerprint=request("tally-words")), seen.append)
        assert isinstance(words, Outcome)
        assert seen[-1].done == seen[-1].total == 5
        assert len(words.outcomes) == len(words.margins) == len(words.near_ties) == 5
        assert set(words.outcomes) <= {0, 1000}
        assert len(words.fingerprint) == fingerprint.encoded_size(5)
        assert words.tokens_in > words.tokens_out > 0
        run, used = run_of(words), card()
        assert (run.engine, run.hardware, run.mode) == ("llama-cpp-python 0.3.36", hardware(used), "fast")
        said = {setting.name: setting.value for setting in run.configuration}
        assert said["backend"] == (used.backend if used else "cpu")
        pid = worker.pid
        again = await outcome(worker, job(BASE, fingerprint=request("tally-words")))
        assert again.outcomes == words.outcomes
        assert again.transcript_digest == words.transcript_digest
        choice = await outcome(worker, job(BASE, "tally-choice"))
        assert choice.fingerprint == b""
        assert choice.tokens_out == 0
        plain = await outcome(worker, job(tiny, "tally-choice", keep_transcripts=True))
        adapters = (AdapterFile(str(adapter), b"a" * 32, 500),)
        adapted = await outcome(worker, job(tiny, "tally-choice", adapters=adapters, keep_transcripts=True))
        assert [t.sums for t in plain.transcripts] != [t.sums for t in adapted.transcripts]
        assert plain.transcript_digest != adapted.transcript_digest
        assert worker.pid == pid
    assert pid is not None
    assert not exists(pid)


async def test_a_fingerprint_belongs_to_its_beacon() -> None:
    async with open_worker() as worker:
        wanted = job(BASE, "tally-choice", fingerprint=request("tally-choice"))
        first = await outcome(worker, wanted)
        other = await outcome(worker, msgspec.structs.replace(wanted, fingerprint=request("tally-choice", b"c" * 32)))
        one, two = (fingerprint.decode(answer.fingerprint, 5) for answer in (first, other))
        assert first.outcomes == other.outcomes
        assert not fingerprint.agree(one, two, 8)


def duplicate_tokens(path: Path) -> Path:
    """A file at which llama.cpp aborts."""
    tokens, _ = vocabulary()
    metadata = llama_metadata() | {"tokenizer.ggml.tokens": [*tokens[:-1], tokens[-2]]}
    path.write_bytes(gguf_bytes(metadata, llama_tensors()))
    return path


async def test_a_model_that_aborts_ends_only_the_child(tmp_path: Path, tiny: Path) -> None:
    hostile = duplicate_tokens(tmp_path / "hostile.gguf")
    async with open_worker() as worker:
        assert (await failure(worker, job(hostile))).failure is Failure.MODEL_ABORTED
        await outcome(worker, job(tiny))


async def test_each_thing_that_is_wrong_has_its_own_failure(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    short = write_llama(tmp_path / "short.gguf", context_length=64)
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(gguf_bytes(llama_metadata(), llama_tensors())[:9000])
    registered = Registered("llama", 1, "F16")
    wrong = {
        Failure.ENGINE_FAILED: job(tmp_path / "none.gguf"),
        Failure.MODEL_REFUSED: job(truncated),
        Failure.ADAPTER_REFUSED: job(tiny, adapters=(AdapterFile(str(tiny), bytes(32)),)),
        Failure.PROMPT_TOO_LONG: job(short),
        Failure.DEFINITION_MISMATCH: job(tiny, registered=registered),
        Failure.OUT_OF_MEMORY: job(tiny, memory_limit=1 << 20),
        Failure.TOO_SLOW: job(BASE, questions=range(900), time_limit=0.001),
        Failure.BENCHMARK_UNSUPPORTED: job(tiny, "nonsense"),
        Failure.DOWNLOAD_FAILED: job(tiny, "gsm8k"),
    }
    async with open_worker() as worker:
        for expected, wanted in wrong.items():
            answer = await failure(worker, wanted)
            assert answer.failure is expected, answer
            assert answer.detail
        assert (await failure(worker, job(adapter))).failure is Failure.MODEL_REFUSED
        await outcome(worker, job(tiny))


def descendants(pid: int) -> set[int]:
    """Process ids of all that this process has started, directly or not."""
    return {each.pid for each in psutil.Process(pid).children(recursive=True)}


async def test_a_cancelled_job_takes_the_child_with_it(tiny: Path) -> None:
    async with open_worker() as worker:
        await outcome(worker, job(tiny))
        pid = worker.pid
        assert pid is not None
        before = descendants(pid)
        begun = trio.Event()
        working: list[int] = []
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                async for _ in worker.run(job(BASE, questions=range(900))):
                    begun.set()

            nursery.start_soon(run)
            await begun.wait()
            (child,) = descendants(pid) - before
            working.append(os.pidfd_open(child))
            nursery.cancel_scope.cancel()
        with trio.fail_after(1):
            await trio.lowlevel.wait_readable(working[0])  # it has ended
        os.close(working[0])
        await outcome(worker, job(tiny))
        assert worker.pid == pid
    assert not exists(pid)


async def test_a_killed_child_is_a_failure_of_the_device(tiny: Path) -> None:
    async with open_worker() as worker:
        async for event in worker.run(job(BASE, questions=range(900))):
            if isinstance(event, Progress) and worker.pid is not None:
                os.kill(worker.pid, signal.SIGKILL)
            else:
                assert isinstance(event, JobFailed)
                assert not event.failure.of_model
        await outcome(worker, job(tiny))


async def test_a_child_that_does_not_answer_is_ended(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.client.GRACE_SECONDS", 0.2)
    monkeypatch.setattr("eval.seat.REAP_SECONDS", 0.1)
    async with open_worker(command=SLEEPER, confined=Sandbox("limits")) as worker:
        answer = await failure(worker, job(tiny, time_limit=0.1))
        assert answer.failure is Failure.TOO_SLOW
        deaf = worker.pid
        assert (await failure(worker, job(tiny, time_limit=0.1))).failure is Failure.TOO_SLOW
        assert worker.pid != deaf
        assert deaf is not None
        assert not exists(deaf)


@pytest.mark.parametrize("program", ["print('hello, hello')", "import sys; sys.exit(3)", "pass"])
async def test_a_child_that_talks_nonsense_is_a_failure_of_the_evaluator(tiny: Path, program: str) -> None:
    async with open_worker(command=(sys.executable, "-c", program)) as worker:
        assert (await failure(worker, job(tiny))).failure is Failure.ENGINE_FAILED


async def test_cores_are_held_while_a_job_runs_and_free_after(tiny: Path, tmp_path: Path) -> None:
    cores = CoreSlots(tmp_path / "cores", 1)
    async with open_worker(cores) as worker:
        await outcome(worker, job(tiny, threads=4))
        async with cores.take(1) as free:
            assert free == 1
        await failure(worker, job(duplicate_tokens(tmp_path / "hostile.gguf")))
        async with cores.take(1) as free:
            assert free == 1


NODE = """
import sys, trio
from pathlib import Path
from eval.client import open_worker
from eval.job import Job

async def main():
    async with open_worker() as worker:
        job = Job(base=sys.argv[1], base_sha256=bytes(32), benchmark="tally-words", questions=tuple(range(900)))
        async for _ in worker.run(job):
            print("working", flush=True)

trio.run(main)
"""


def test_a_child_whose_node_went_away_ends() -> None:
    node = subprocess.Popen([sys.executable, "-c", NODE, str(BASE)], stdout=subprocess.PIPE)
    assert node.stdout is not None
    assert node.stdout.readline() == b"working\n"
    orphans = [psutil.Process(pid) for pid in descendants(node.pid)]
    assert len(orphans) >= 2  # the launcher and its child at least
    node.kill()
    node.wait()
    node.stdout.close()
    _, alive = psutil.wait_procs(orphans, timeout=10)
    assert not alive


@given(st.binary(max_size=200))
def test_whatever_a_child_says_is_an_event_or_refused(data: bytes) -> None:
    with suppress(msgspec.DecodeError):
        assert isinstance(decode_event(data), Progress | Outcome | Audited | JobFailed)


GOOD = Outcome((0, 1000), (1, 2), (True, False), bytes(96), bytes(32), 9, 9, 9, 9, "e", "h", "fast", b"\x00\x02")


@pytest.mark.parametrize(
    "change",
    [
        {"outcomes": (0,)},
        {"outcomes": (0, 1001)},
        {"outcomes": (0, -1)},
        {"margins": ()},
        {"margins": (0, 1 << 20)},
        {"margins": (0, -1)},
        {"near_ties": (True, True, True)},
        {"fingerprint": bytes(48)},
        {"tokens_in": -1},
        {"cpu_ms": 1 << 60},
        {"energy": Energy(1, "rapl")},
        {"stops": bytes(1)},
        {"stops": b"\x00\x05"},
        {"mode": "reproducible"},
        {"hardware": ""},
        {"engine": "e" * 1000},
        {"configuration": (("Not a name", "v"),)},
        {"device": "d" * 1000},
        {"too_long": (6,)},
        {"transcripts": (Transcript(4, (1,), 0),)},
    ],
)
def test_an_impossible_outcome_is_a_failure_of_the_evaluator(tiny: Path, change: dict[str, object]) -> None:
    wanted = job(tiny, questions=(4, 5), fingerprint=request("tally-words"))
    assert plausible(wanted, GOOD) is GOOD
    answer = plausible(wanted, msgspec.structs.replace(GOOD, **change))
    assert isinstance(answer, JobFailed)
    assert answer.failure is Failure.ENGINE_FAILED


def bound(wanted: Job, *transcripts: Transcript) -> Outcome:
    """An outcome with these transcripts, as an honest child says it."""
    content = find(wanted.benchmark).definition.dataset.content
    digest = transcript_digest(wanted.base_sha256, (), content, [item.answer for item in transcripts])
    return msgspec.structs.replace(GOOD, transcripts=transcripts, transcript_digest=digest)


FIRST = Transcript(4, (1, 2), 0, (3, 4), "four", StopReason.END_TOKEN)


@pytest.mark.parametrize(
    "change",
    [
        {"question": 6},
        {"generated": (-1,)},
        {"generated": (1 << 40,)},
        {"generated": (0,) * 5000},
        {"prompt": (1,)},
        {"text": "4" * (1 << 21)},
    ],
)
def test_transcripts_are_those_that_the_digest_binds(tiny: Path, change: dict[str, Any]) -> None:
    wanted = job(tiny, questions=(4, 5), fingerprint=request("tally-words"), keep_transcripts=True)
    second = Transcript(5, (1, 2), 1000, (5,), "five", StopReason.LENGTH)
    good = bound(wanted, FIRST, second)
    assert plausible(wanted, good) is good
    changed = msgspec.structs.replace(FIRST, **change)
    stale = msgspec.structs.replace(good, transcripts=(changed, second))
    for said in (stale, bound(wanted, changed, second)) if "prompt" not in change else (stale,):
        assert isinstance(plausible(wanted, said), JobFailed)


async def test_a_program_that_cannot_be_started_is_a_failure_of_the_evaluator(tiny: Path) -> None:
    async with open_worker(command=("/nonexistent/python",)) as worker:
        assert (await failure(worker, job(tiny))).failure is Failure.ENGINE_FAILED


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        (-signal.SIGABRT, "GGML_ASSERT(ne > 0) failed", Failure.MODEL_ABORTED),
        (-signal.SIGSEGV, "", Failure.MODEL_ABORTED),
        (-signal.SIGABRT, "terminate called: std::bad_alloc", Failure.OUT_OF_MEMORY),
        (-signal.SIGABRT, "ggml.c:1644: GGML_ASSERT(ctx->mem_buffer != NULL) failed", Failure.OUT_OF_MEMORY),
        (-signal.SIGKILL, "", Failure.OUT_OF_MEMORY),
        (-signal.SIGILL, "", Failure.ENGINE_FAILED),
        (1, "ImportError: llama-cpp-python is not installed", Failure.ENGINE_FAILED),
        (None, "", Failure.ENGINE_FAILED),
    ],
)
def test_cause_of_death(code: int | None, words: str, expected: Failure) -> None:
    assert cause_of_death(code, words).failure is expected

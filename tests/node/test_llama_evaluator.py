"""From a task to a job: files and questions are fetched, held while they are used, and every failure is typed."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from eval import hub as hub_module
from eval.artefacts import cached_name
from eval.benchmarks import find
from eval.cache import Cache, NoRoom
from eval.client import Worker
from eval.demo.catalogue import packaged_models
from eval.hub import Fetching
from eval.job import Job, JobFailed
from node.evaluation import EvaluationFailed, Request
from node.llama_evaluator import LlamaEvaluator
from node.settings import Settings
from protocol.definitions import Benchmark, HubFile, Model
from protocol.failures import Failure
from protocol.tasks import Purpose, Subject, Task
from tests.hub.stand_in import Answer, HubStandIn, stalled_after

DATA = bytes(range(256)) * 4000
MIB = 1 << 20


class RecordingWorker(Worker):
    """Keeps jobs, looks whether their files could be evicted meanwhile, and answers that the engine failed."""

    def __init__(self, cache: Cache) -> None:
        self.jobs: list[Job] = []
        self.refused: list[str] = []
        self._cache = cache

    async def evaluate(self, job: Job, report: Callable[[Any], None] = lambda _: None) -> JobFailed:
        self.jobs.append(job)
        try:
            with self._cache.room("large", self._cache.limit):
                pass
        except NoRoom as refusal:
            self.refused.append(str(refusal))
        return JobFailed(Failure.ENGINE_FAILED, "recorded")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 100 * MIB, reserve=0)


@pytest.fixture
def worker(cache: Cache) -> RecordingWorker:
    return RecordingWorker(cache)


@pytest.fixture
def evaluator(worker: RecordingWorker, cache: Cache) -> LlamaEvaluator:
    return LlamaEvaluator(worker, cache, Settings())


def registered(data: bytes = DATA) -> Model:
    file = HubFile("some/model", "c" * 40, "model.gguf", hashlib.sha256(data).digest(), len(data))
    return Model(file, (), "llama", 1000, "F16", "Apache-2.0")


def request(benchmark: Benchmark | None = None, model: Model | None = None) -> Request:
    model, benchmark = model or registered(), benchmark or find("tally-words").definition
    subject = Subject(model.id, benchmark.id)
    task = Task(bytes(32), 0, subject, 0, next(iter(Purpose)), (0, 1), 3, 4, (), 50, 0)
    return Request(task, model, benchmark, bytes(32), bytes(32))


async def failure(evaluator: LlamaEvaluator, asked: Request) -> EvaluationFailed:
    with pytest.raises(EvaluationFailed) as raised:
        await evaluator.evaluate(asked, lambda _: None)
    return raised.value


async def test_a_prepared_task_needs_the_hub_no_more(
    hub: HubStandIn, evaluator: LlamaEvaluator, worker: RecordingWorker, cache: Cache
) -> None:
    hub.model("some/model").add("model.gguf", DATA, large=True)
    heard: list[Fetching | None] = []
    await evaluator.prepare(request(), heard.append)
    assert [each.done if each else None for each in heard][-2:] == [len(DATA), None], "all of it, then nothing"
    asked = len(hub.asked)
    assert asked
    assert (await failure(evaluator, request())).detail == "recorded"
    assert len(hub.asked) == asked
    assert worker.jobs[0].base == str(cache.folder / cached_name(registered().base))
    assert worker.jobs[0].data_folder is None
    assert "in use" in worker.refused[0], "a running job's files stay"
    with cache.room("large", cache.limit):
        assert [kept.name for kept in cache.files()] == [], "afterwards they go when room is needed"


async def test_a_file_is_fetched_ahead_without_a_task(hub: HubStandIn, evaluator: LlamaEvaluator, cache: Cache) -> None:
    hub.model("some/model").add("model.gguf", DATA, large=True)
    file, packaged = registered().base, packaged_models()[0].base
    assert await evaluator.lacking((file, packaged)) == [file], "what is packaged is never fetched"
    assert not hub.asked, "to ask costs no request"
    heard: list[Fetching | None] = []
    await evaluator.fetch(file, heard.append)
    assert [each.done if each else None for each in heard][-2:] == [len(DATA), None]
    used = cache.files()
    assert await evaluator.lacking((file, packaged)) == []
    assert cache.files() == used, "to ask is no use that would keep it from being evicted"
    asked = len(hub.asked)
    await evaluator.fetch(file, heard.append)
    assert len(hub.asked) == asked
    missing = msgspec.structs.replace(file, path="other.gguf", sha256=bytes(32))
    await evaluator.fetch(missing, heard.append)
    assert await evaluator.lacking((missing,)) == [missing], "it is not told here: a task that needs it will"


async def test_a_cancelled_download_is_left_at_once_and_resumed(
    hub: HubStandIn, evaluator: LlamaEvaluator, worker: RecordingWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "SILENCE_SECONDS", 0.3)
    hub.model("some/model").add("model.gguf", DATA, large=True)
    asked = threading.Event()

    def stalled(answer: Answer) -> Answer:
        asked.set()
        return stalled_after(5000)(answer)

    hub.disturb("model.gguf", stalled)
    async with trio.open_nursery() as nursery:
        heard: list[Fetching | None] = []
        nursery.start_soon(evaluator.prepare, request(), heard.append)
        await trio.to_thread.run_sync(asked.wait)
        nursery.cancel_scope.cancel()
    left_at = len(heard)
    assert (await failure(evaluator, request())).detail == "recorded"
    first, second = [item.range for item in hub.asked if item.server == "cdn"]
    assert first is None
    assert second is not None, "what came before the end is not fetched again"
    assert len(heard) == left_at, "nobody is told of what they left"


async def test_questions_come_from_the_owners_folder(
    hub: HubStandIn, worker: RecordingWorker, cache: Cache, data_folder: Callable[[str], Path]
) -> None:
    hub.model("some/model").add("model.gguf", DATA, large=True)
    folder = data_folder("gsm8k").parent
    evaluator = LlamaEvaluator(worker, cache, Settings(data=str(folder)))
    assert (await failure(evaluator, request(find("gsm8k").definition))).detail == "recorded"
    assert worker.jobs[0].data_folder == str(folder.resolve())
    assert not hub.requests("datasets")


async def test_or_from_the_hub(
    hub: HubStandIn,
    put_truthfulqa: Callable[[], object],
    evaluator: LlamaEvaluator,
    worker: RecordingWorker,
    cache: Cache,
) -> None:
    put_truthfulqa()
    hub.model("some/model").add("model.gguf", DATA, large=True)
    assert (await failure(evaluator, request(find("truthfulqa-mc1").definition))).detail == "recorded"
    assert worker.jobs[0].data_folder == str(cache.folder.resolve())
    assert find("truthfulqa-mc1").load(cache.folder)


async def test_every_failure_is_typed_and_preparing_is_silent(hub: HubStandIn, evaluator: LlamaEvaluator) -> None:
    unknown = msgspec.structs.replace(find("tally-words").definition, version=99)
    hub.model("some/model").add("model.gguf", DATA[::-1], large=True)
    asked = {
        Failure.BENCHMARK_UNSUPPORTED: request(unknown),
        Failure.HASH_MISMATCH: request(),
        Failure.DOWNLOAD_FAILED: request(find("gsm8k").definition),
    }
    for expected, each in asked.items():
        assert (await failure(evaluator, each)).failure is expected
        await evaluator.prepare(each, lambda _: None)

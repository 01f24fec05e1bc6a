"""Evaluation by llama.cpp: files are found, a child process does the work, its answer becomes a result."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import structlog
import trio

from eval import judging
from eval.artefacts import Resolver
from eval.benchmarks import Entry, find
from eval.cache import Cache
from eval.client import Worker, open_worker
from eval.cores import CoreSlots
from eval.division import threads_for
from eval.energy import Meter
from eval.failing import EvaluationError
from eval.hub import Fetching, Report
from eval.job import Audit, Claimed, FingerprintRequest, Job, JobFailed, Outcome, Registered
from eval.job import Progress as JobProgress
from eval.plausible import run_of
from eval.question_files import questions_ready
from node.downloads import Downloads, Tell
from node.evaluation import Evaluated, EvaluationFailed, Progress, Request, pack_bits
from node.home import Home
from node.offload import offload
from node.settings import MIB, Settings
from protocol import cbor
from protocol.definitions import HubFile
from protocol.messages import TaskResult
from protocol.transcripts import Transcript

TIME_LIMIT_SECONDS = 3600.0
log = structlog.get_logger("peerboard")


@asynccontextmanager
async def open_llama_evaluator(home: Home, settings: Settings) -> AsyncIterator["LlamaEvaluator"]:
    """An evaluator whose child process lives as long as the block."""
    cache = await offload(partial(Cache, home.cache, settings.disk * MIB))
    async with open_worker(
        CoreSlots(), least=settings.sandbox, meter=Meter(watts_per_core=settings.watts_per_core)
    ) as worker:
        yield LlamaEvaluator(worker, cache, settings)


class LlamaEvaluator:
    """See `node.evaluation.Evaluator`."""

    def __init__(self, worker: Worker, cache: Cache, settings: Settings) -> None:
        self._worker = worker
        self._cache = cache
        self._resolver = Resolver(cache=cache)
        self._settings = settings

    async def evaluate(self, request: Request, progress: Callable[[Progress], None]) -> Evaluated:
        """Evaluate a task. Raises `EvaluationFailed`."""
        try:
            entry = find(request.benchmark.id)
            with self._held(request, entry):
                job = await self._job(request, entry, partial(_fetching, request, progress))
                answer = await judging.evaluate(
                    self._worker, job, partial(_report, progress), least=self._settings.code_sandbox
                )
        except EvaluationError as error:
            raise EvaluationFailed(error.failure, error.detail) from None
        if isinstance(answer, JobFailed):
            raise EvaluationFailed(answer.failure, answer.detail)
        transcript = cbor.encode(Transcript(tuple(item.answer for item in answer.transcripts)))
        return Evaluated(_result(request, answer), run_of(answer), transcript)

    async def audit(
        self, request: Request, claims: Sequence[Claimed], progress: Callable[[Progress], None]
    ) -> tuple[bool, ...]:
        """Hold claims against the model. Raises `EvaluationFailed`."""
        try:
            entry = find(request.benchmark.id)
            with self._held(request, entry):
                job = await self._job(request, entry, partial(_fetching, request, progress))
                answer = await self._worker.audit(Audit(job, tuple(claims)), partial(_report, progress))
        except EvaluationError as error:
            raise EvaluationFailed(error.failure, error.detail) from None
        if isinstance(answer, JobFailed):
            raise EvaluationFailed(answer.failure, answer.detail)
        return answer.flagged

    async def prepare(self, request: Request, fetching: Tell) -> None:
        """Fetch what a later task needs. What fails here will fail in `evaluate`, which says it."""
        try:
            entry = find(request.benchmark.id)
            with self._held(request, entry):
                await self._job(request, entry, fetching)
        except EvaluationError as error:
            log.info("not prepared", failure=error.failure.name, detail=error.detail)

    async def lacking(self, files: Sequence[HubFile]) -> Sequence[HubFile]:
        """Those that are neither packaged nor in the cache, by their names there: nothing is read."""
        return await offload(lambda: [file for file in files if not self._resolver.has(file)])

    async def fetch(self, file: HubFile, fetching: Tell) -> None:
        """Download a file into the cache. What fails here will fail in `evaluate`, which says it."""
        stop, downloads = threading.Event(), Downloads(fetching)
        try:
            work = partial(self._resolver.resolve, file, downloads, stop)
            await trio.to_thread.run_sync(work, abandon_on_cancel=True)
        except EvaluationError as error:
            log.info("not fetched", failure=error.failure.name, detail=error.detail)
        finally:
            stop.set()
            downloads.end()

    @contextmanager
    def _held(self, request: Request, entry: Entry) -> Iterator[None]:
        """Within the block nothing that the task needs is evicted from the cache."""
        with self._resolver.held(request.model), self._cache.held(source.cached for source in entry.sources):
            yield

    async def _job(self, request: Request, entry: Entry, fetching: Tell) -> Job:
        """The job, once all its files are here; `fetching` hears of downloads. Raises `EvaluationError`.

        The thread is not waited for when this is cancelled: it stops at its next step, and what it has downloaded by
        then is not downloaded again.
        """
        stop, downloads = threading.Event(), Downloads(fetching)
        try:
            work = partial(self._gathered, request, entry, downloads, stop)
            return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
        finally:
            stop.set()
            downloads.end()

    def _gathered(self, request: Request, entry: Entry, told: Report, stop: threading.Event) -> Job:
        model, benchmark = request.model, request.benchmark
        data = Path(self._settings.data).expanduser() if self._settings.data else None
        folder = questions_ready(entry, data, self._cache, report=told, stop=stop)
        base, adapters = self._resolver.resolve_model(model, told, stop)
        return Job(
            base=str(base),
            base_sha256=model.base.sha256,
            benchmark=benchmark.id.hex(),
            questions=request.task.questions,
            adapters=adapters,
            fingerprint=FingerprintRequest(request.network, request.beacon, model.id, benchmark.dataset.content),
            registered=Registered(model.architecture, model.parameters, model.quantisation),
            threads=threads_for(model.parameters, self._settings.threads),
            memory_limit=self._settings.memory * MIB,
            time_limit=TIME_LIMIT_SECONDS,
            data_folder=str(folder.resolve()) if folder else None,
            mode=self._settings.mode,
            backend=self._settings.backend,
            keep_transcripts=True,
        )


def _fetching(request: Request, progress: Callable[[Progress], None], fetching: Fetching | None) -> None:
    progress(Progress(0, len(request.task.questions), 0.0, fetching))


def _report(progress: Callable[[Progress], None], event: JobProgress) -> None:
    progress(Progress(event.done, event.total, event.tokens_per_second))


def _result(request: Request, outcome: Outcome) -> TaskResult:
    return TaskResult(
        task=request.task.id,
        questions=request.task.questions_digest,
        outcomes=outcome.outcomes,
        total=sum(outcome.outcomes),
        margins=outcome.margins,
        near_ties=pack_bits(outcome.near_ties),
        fingerprint=outcome.fingerprint,
        transcript=outcome.transcript_digest,
        tokens_in=outcome.tokens_in,
        tokens_out=outcome.tokens_out,
        run_ms=outcome.run_ms,
        energy_mj=outcome.energy.millijoules if outcome.energy else None,
        stops=outcome.stops,
    )

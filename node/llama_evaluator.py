"""Evaluation by llama.cpp: files are found, a child process does the work, its answer becomes a result."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from eval.artefacts import Resolver
from eval.client import Worker, open_worker
from eval.cores import CoreSlots, threads_for
from eval.failing import EvaluationError
from eval.job import FingerprintRequest, Job, JobFailed, Outcome, Registered
from eval.job import Progress as JobProgress
from node.evaluation import Evaluated, EvaluationFailed, Progress, Request
from node.home import Home
from node.offload import offload
from node.settings import MIB, Settings
from protocol.messages import Run, TaskResult

TIME_LIMIT_SECONDS = 3600.0


@asynccontextmanager
async def open_llama_evaluator(home: Home, settings: Settings) -> AsyncIterator["LlamaEvaluator"]:
    """An evaluator whose child process lives as long as the block."""
    resolver = Resolver(cache=home.cache, limit=settings.disk * MIB)
    async with open_worker(CoreSlots()) as worker:
        yield LlamaEvaluator(worker, resolver, settings)


class LlamaEvaluator:
    """See `node.evaluation.Evaluator`."""

    def __init__(self, worker: Worker, resolver: Resolver, settings: Settings) -> None:
        self._worker = worker
        self._resolver = resolver
        self._settings = settings

    async def evaluate(self, request: Request, progress: Callable[[Progress], None]) -> Evaluated:
        """Evaluate a task. Raises `EvaluationFailed`."""
        job = await offload(partial(self._job, request))
        answer = await self._worker.evaluate(job, partial(_report, progress))
        if isinstance(answer, JobFailed):
            raise EvaluationFailed(answer.failure, answer.detail)
        return Evaluated(_result(request, answer), Run(answer.engine, answer.hardware, answer.mode, 0))

    def _job(self, request: Request) -> Job:
        model, benchmark = request.model, request.benchmark
        try:
            base, adapters = self._resolver.resolve_model(model)
        except EvaluationError as error:
            raise EvaluationFailed(error.failure, error.detail) from None
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
        )


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
        energy_mj=outcome.energy_mj,
    )


def pack_bits(flags: tuple[bool, ...]) -> bytes:
    """A bit per flag, the first one most significant; the rest of the last byte is zero."""
    packed = bytearray(-(-len(flags) // 8))
    for place, flag in enumerate(flags):
        packed[place // 8] |= flag << (7 - place % 8)
    return bytes(packed)

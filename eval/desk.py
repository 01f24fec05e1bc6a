"""Where a child process answers its jobs: one base model and a few benchmarks' questions stay at hand."""

import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from eval.audit import audit
from eval.base import Base
from eval.benchmarks import QuestionSet, find
from eval.evaluation import evaluate, open_base
from eval.failing import EvaluationError
from eval.job import Audit, Audited, Event, Job, JobFailed, Outcome, Progress
from protocol.failures import Failure

REPORT_SECONDS = 0.1
KEPT_QUESTION_SETS = 4


class Desk:
    """Answers one job after the other; everything it has to say goes to `send`."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        self._send = send
        self._base: tuple[tuple[str, bytes, str], Base] | None = None
        self._questions: OrderedDict[tuple[bytes, str | None], QuestionSet] = OrderedDict()

    def answer(self, work: Job | Audit) -> None:
        """Sends progress, then exactly one `Outcome`, `Audited` or `JobFailed`."""
        try:
            event: Event = self._outcome(work)
        except EvaluationError as error:
            event = JobFailed(error.failure, error.detail)
        except MemoryError:
            event = JobFailed(Failure.OUT_OF_MEMORY, "An allocation failed.")
        except Exception as error:
            event = JobFailed(Failure.ENGINE_FAILED, f"{type(error).__name__}: {error}")
        self._send(event)

    def _outcome(self, work: Job | Audit) -> Outcome | Audited:
        job = work.job if isinstance(work, Audit) else work
        deadline = time.monotonic() + job.time_limit
        questions = self._question_set(job)
        base = self._loaded(job)
        next_report = 0.0

        def report(progress: Progress) -> None:
            nonlocal next_report
            now = time.monotonic()
            if now > deadline:
                raise EvaluationError(
                    Failure.TOO_SLOW, f"{progress.done} of {progress.total} questions in {job.time_limit:.0f} s."
                )
            if now >= next_report or progress.done == progress.total:
                self._send(progress)
                next_report = now + REPORT_SECONDS

        if isinstance(work, Audit):
            return audit(work, base, questions, report)
        return evaluate(work, base, questions, report)

    def _question_set(self, job: Job) -> QuestionSet:
        entry = find(job.benchmark)
        key = (entry.definition.id, job.data_folder)
        if key not in self._questions:
            self._questions[key] = entry.load(Path(job.data_folder) if job.data_folder else None)
            if len(self._questions) > KEPT_QUESTION_SETS:
                self._questions.popitem(last=False)
        self._questions.move_to_end(key)
        return self._questions[key]

    def _loaded(self, job: Job) -> Base:
        key = (job.base, job.base_sha256, job.backend)
        if self._base is None or self._base[0] != key:
            self.close()
            self._base = (key, open_base(job))
        return self._base[1]

    def close(self) -> None:
        """Frees the base model."""
        if self._base is not None:
            self._base[1].close()
            self._base = None

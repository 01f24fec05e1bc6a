"""What this node finds out about the runners whose result an audit or appeal looks at."""

from collections.abc import Callable, Sequence

from eval.job import Claimed
from node.bulletin import Bulletin, Level
from node.clock import Clock
from node.evaluation import EvaluationFailed, Evaluator, Progress, Request, pack_bits
from node.replica import Replica
from node.timetable import Timetable
from node.transcripts import Sought, Transcripts
from protocol.audits import Examined, Finding, Sight
from protocol.failures import Failure
from protocol.tasks import Task
from protocol.transcripts import Transcript


class Examiner:
    """Waits for the transcripts of those who are examined and holds them against the model."""

    def __init__(
        self, replica: Replica, transcripts: Transcripts, evaluator: Evaluator, clock: Clock, bulletin: Bulletin
    ) -> None:
        self._replica = replica
        self._transcripts = transcripts
        self._evaluator = evaluator
        self._clock = clock
        self._timetable = Timetable(replica.genesis)
        self._bulletin = bulletin

    async def examine(self, request: Request, progress: Callable[[Progress], None]) -> tuple[Finding, ...]:
        """One finding for each account that the request's task examines, in order."""
        task = request.task
        sought = await self._transcripts.of(task)
        unseen = tuple(self._unseen(examined, sought) for examined in task.examined)
        fitting = {digest: each for digest, each in sought.found.items() if _fits(task, each)}
        recorded = self._recorded(task)
        claims = [
            Claimed(answer, recorded[place]) for each in fitting.values() for place, answer in enumerate(each.answers)
        ]
        try:
            flags = await self._flags(request, claims, progress)
        except EvaluationFailed as error:
            text = f"The transcripts of {request.model.name} on {request.benchmark.name} were not examined: {error}"
            self._bulletin.tell(Level.WARN, "NOT_EXAMINED", text, task=task.id)
            return unseen
        count = len(task.questions)
        masks = {digest: pack_bits(flags[count * place : count * (place + 1)]) for place, digest in enumerate(fitting)}
        everything = pack_bits((True,) * count)
        return tuple(
            Finding(Sight.EXAMINED, masks.get(examined.transcript, everything))
            if examined.transcript in sought.found
            else finding
            for examined, finding in zip(task.examined, unseen, strict=True)
        )

    async def _flags(
        self, request: Request, claims: Sequence[Claimed], progress: Callable[[Progress], None]
    ) -> tuple[bool, ...]:
        if not claims:
            return ()
        with self._clock.move_on_at(self._timetable.stop_examining(request.task.epoch)):
            return await self._evaluator.audit(request, claims, progress)
        raise EvaluationFailed(Failure.TOO_SLOW, "the time of the epoch was not enough.")

    def _unseen(self, examined: Examined, sought: Sought) -> Finding:
        return Finding(Sight.NOT_REVEALED if examined.transcript in sought.missed else Sight.NOT_EXAMINED)

    def _recorded(self, task: Task) -> tuple[int | None, ...]:
        """By question the median on record, where most of those who agreed then marked no near tie."""
        works = self._replica.state.standings[task.subject].works
        work = next(work for work in works if work.task == task.looks_at)
        return tuple(value if work.is_firm(place) else None for place, value in enumerate(work.values()))


def _fits(task: Task, transcript: Transcript) -> bool:
    """Whether these are answers to the task's questions, in order; all others are flagged as a whole."""
    return tuple(answer.question for answer in transcript.answers) == task.questions

"""What this node finds out about the runners whose result an audit or appeal looks at."""

from collections.abc import Callable, Mapping

from eval.job import Claimed
from node.bulletin import Bulletin, Level
from node.evaluation import EvaluationFailed, Evaluator, Progress, Request, pack_bits
from node.replica import Replica
from node.transcripts import Transcripts
from protocol.audits import Examined, Finding, Sight
from protocol.tasks import Task
from protocol.transcripts import Transcript


class Examiner:
    """Waits for the transcripts of those who are examined and holds them against the model."""

    def __init__(self, replica: Replica, transcripts: Transcripts, evaluator: Evaluator, bulletin: Bulletin) -> None:
        self._replica = replica
        self._transcripts = transcripts
        self._evaluator = evaluator
        self._bulletin = bulletin

    async def examine(self, request: Request, progress: Callable[[Progress], None]) -> tuple[Finding, ...]:
        """One finding for each account that the request's task examines, in order."""
        task = request.task
        revealed = await self._transcripts.of(task)
        fitting = {digest: each for digest, each in revealed.items() if _fits(task, each)}
        recorded = self._recorded(task)
        claims = [
            Claimed(answer, recorded[place]) for each in fitting.values() for place, answer in enumerate(each.answers)
        ]
        try:
            flags = await self._evaluator.audit(request, claims, progress) if claims else ()
        except EvaluationFailed as error:
            text = f"The transcripts of {request.model.name} on {request.benchmark.name} were not examined: {error}"
            self._bulletin.tell(Level.WARN, "NOT_EXAMINED", text, task=task.id)
            return tuple(self._unseen(examined, revealed) for examined in task.examined)
        count = len(task.questions)
        masks = {digest: pack_bits(flags[count * place : count * (place + 1)]) for place, digest in enumerate(fitting)}
        everything = pack_bits((True,) * count)
        return tuple(
            Finding(Sight.EXAMINED, masks.get(examined.transcript, everything))
            if examined.transcript in revealed
            else Finding(Sight.NOT_REVEALED)
            for examined in task.examined
        )

    def _unseen(self, examined: Examined, revealed: Mapping[bytes, Transcript]) -> Finding:
        return Finding(Sight.NOT_EXAMINED if examined.transcript in revealed else Sight.NOT_REVEALED)

    def _recorded(self, task: Task) -> tuple[int | None, ...]:
        """By question the median on record, where most of those who agreed then marked no near tie."""
        works = self._replica.state.standings[task.subject].works
        work = next(work for work in works if work.task == task.looks_at)
        return tuple(value if work.is_firm(place) else None for place, value in enumerate(work.values()))


def _fits(task: Task, transcript: Transcript) -> bool:
    """Whether these are answers to the task's questions, in order; all others are flagged as a whole."""
    return tuple(answer.question for answer in transcript.answers) == task.questions

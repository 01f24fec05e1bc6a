"""The audit of revealed transcripts: would this model have answered so, and does the answer earn its outcome?

What no pass through the model is needed for comes first: the question is one that was asked, its prompt and stop reason
are what they have to be, the scorer gives the outcome (but for a program, which cannot be run in here). What stands up
to that is forced through the model, each answer once however many runners gave it. The rules are those of
`protocol.audits`.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from eval.base import Base
from eval.benchmarks import QuestionSet
from eval.choices import Choices
from eval.engine import Question
from eval.evaluation import answer_all, choices_of, fits, transcript_of
from eval.forcing import Forced
from eval.generation import Generation
from eval.job import LARGEST_MARGIN, Audit, Audited, Claimed, Progress
from eval.unasked import Unasked
from protocol.audits import FLAGGED_BELOW
from protocol.definitions import TaskKind
from protocol.transcripts import Stop, prompt_digest

PREFILLS = 1  # passes after the prompt


def audit(audit: Audit, base: Base, questions: QuestionSet, report: Callable[[Progress], None]) -> Audited:
    """Holds every claim against the model. Raises `EvaluationError`, and whatever `report` raises to stop early."""
    is_choice = questions.entry.definition.kind is TaskKind.CHOICE
    auditor = _OfChoices(base, questions) if is_choice else _OfWriting(base, questions)
    asked = frozenset(audit.job.questions)
    admitted = [claim.answer.question in asked and auditor.admits(claim) for claim in audit.claims]
    if auditor.questions:
        answer_all(audit.job, base, auditor.questions, PREFILLS, report)
    found = [
        auditor.shortfall(claim) if stands else math.inf for claim, stands in zip(audit.claims, admitted, strict=True)
    ]
    return Audited(
        flagged=tuple(1000 * shortfall > FLAGGED_BELOW for shortfall in found),
        shortfalls=tuple(round(1000 * min(LARGEST_MARGIN / 1000, shortfall)) for shortfall in found),
    )


class _OfWriting:
    """Generations: every token after its prompt and the tokens before it."""

    def __init__(self, base: Base, questions: QuestionSet) -> None:
        self._base = base
        self._set = questions
        self._prompts: dict[int, list[int]] = {}
        self._forced: dict[tuple[int, tuple[int, ...]], Forced] = {}

    @property
    def questions(self) -> Sequence[Question]:
        """What the engine has to be asked."""
        return list(self._forced.values())

    def admits(self, claim: Claimed) -> bool:
        """Whether the claim is right as far as can be told without the model; then it is among the questions."""
        answer, definition = claim.answer, self._set.entry.definition
        index, generated = answer.question, answer.generated
        prompt = self._prompt(index)
        if prompt_digest(prompt) != answer.prompt or answer.choice is not None:
            return False
        if not fits(self._base, len(prompt), definition.max_new_tokens):
            return _left_out(claim)
        if not 0 < len(generated) <= definition.max_new_tokens or max(generated) >= self._base.outline.vocabulary_size:
            return False
        written = Generation(self._base.outline, prompt, self._set.entry.stops, definition.max_new_tokens, None)
        reason = written.replay(generated)
        if reason is None or Stop[reason.name] is not answer.stop:
            return False
        # of programs other runners' outcomes have to do: nothing can be run in here
        runs = self._set.entry.runs_programs
        if not runs and not _earns(claim, transcript_of(index, written, self._set).outcome, self._set):
            return False
        self._forced.setdefault((index, generated), Forced(prompt, generated))
        return True

    def shortfall(self, claim: Claimed) -> float:
        """How far the worst token of an admitted claim lies below the most likely one, in nats."""
        if claim.answer.stop is Stop.TOO_LONG:
            return 0.0
        return self._forced[claim.answer.question, claim.answer.generated].shortfall

    def _prompt(self, index: int) -> list[int]:
        if index not in self._prompts:
            self._prompts[index] = self._base.outline.tokens(self._set.prompt(index))
        return self._prompts[index]


class _OfChoices:
    """Multiple choice: the choices are scored again."""

    def __init__(self, base: Base, questions: QuestionSet) -> None:
        self._base = base
        self._set = questions
        self._scored: dict[int, Choices | Unasked] = {}

    @property
    def questions(self) -> Sequence[Question]:
        """What the engine has to be asked."""
        return [question for question in self._scored.values() if isinstance(question, Choices)]

    def admits(self, claim: Claimed) -> bool:
        """Whether the claim is one about this question; then it is among the questions."""
        answer = claim.answer
        if answer.question not in self._scored:
            self._scored[answer.question] = choices_of(self._base, self._set, answer.question, None)
        question = self._scored[answer.question]
        if isinstance(question, Unasked):
            return prompt_digest(question.refused) == answer.prompt and answer.choice is None and _left_out(claim)
        return (
            prompt_digest(question.prompt) == answer.prompt
            and answer.stop is Stop.CHOICE
            and not answer.generated
            and answer.choice is not None
            and answer.choice < len(question.choices)
        )

    def shortfall(self, claim: Claimed) -> float:
        """How far the choice lies below the best one, in nats; infinite where it would not earn its outcome."""
        question, choice = self._scored[claim.answer.question], claim.answer.choice
        if isinstance(question, Unasked):
            return 0.0
        assert choice is not None  # noqa: S101  held by `admits`
        below = float(question.sums.max() - question.sums[choice])
        raised = Choices(question.prompt, question.choices, None)
        raised.sums = question.sums.copy()
        if below:
            raised.sums[choice] = np.nextafter(question.sums.max(), np.inf)
        earned = transcript_of(claim.answer.question, raised, self._set).outcome
        return below if _earns(claim, earned, self._set) else math.inf


def _left_out(claim: Claimed) -> bool:
    """Whether the claim says of a question that does not fit what there is to say: not asked, and wrong."""
    return claim.answer.stop is Stop.TOO_LONG and not claim.answer.generated and not claim.outcome


def _earns(claim: Claimed, earned: int, questions: QuestionSet) -> bool:
    return claim.outcome is None or abs(earned - claim.outcome) <= questions.entry.definition.tolerance

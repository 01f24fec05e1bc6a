"""The four rules that turn what runners said about a task into a verdict.

1. A result of ranks 0 to R+1 is *valid* if its account has exactly one commitment and one result for the task, the one
   opens the other, and it is consistent in itself.
2. A result of an assigned rank *counts* if at least K-1 other valid results' `saw` name its commitment.
3. The *agreeing* are the largest set of counted results whose fingerprints agree pairwise, less those whose outcomes
   differ from the set's per-question lower median on more than max(1, 10 %) of the questions that most of the set do
   not mark near tie.
4. DONE if the agreeing are at least K and more than half of the counted, and their means over the questions that are
   no near tie lie within `dispersion`; the task's score is the lower median of the means.

All of it depends on the *set* of statements only: no order, no duplicates, no clock.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import add

from msgspec import Struct

from protocol.agreement import Agreement
from protocol.audits import Finding, is_well_formed
from protocol.failures import Failure
from protocol.fingerprint import encoded_size
from protocol.lifecycle import Event
from protocol.messages import SEEN_BYTES, TaskResult, questions_digest
from protocol.tasks import Task
from protocol.transcripts import Stop

LAST_STOP = max(Stop)


class Committed(Struct, frozen=True, order=True, gc=False):
    """One commitment that names the task: the envelope's id and the digest that it carries."""

    id: bytes
    digest: bytes


class Revealed(Struct, frozen=True, gc=False):
    """One result for the task. `digest` is recomputed from the result (`messages.commitment_digest`).

    `saw` is what the runner had seen of each rank's commitments for this task.
    """

    id: bytes
    commitment: bytes
    digest: bytes
    result: TaskResult
    saw: tuple[bytes, ...]


class Statements(Struct, frozen=True, gc=False):
    """All that one account said of a task, as sets."""

    commitments: frozenset[Committed] = frozenset()
    results: tuple[Revealed, ...] = ()


class Verdict(Struct, frozen=True, gc=False):
    """What the rules find. `event` is the close that would follow now.

    `valid`, `counted`, `agreeing`, `earning`: accounts in the order of their ranks; `earning` are the agreeing and the
    spares that agree with them. `medians`: per question, of the agreeing, empty unless DONE; `firm`: the places of the
    questions that most of the agreeing did not mark near tie. `total`: the task's score in thousandths times the number
    of its questions; None unless DONE.
    """

    event: Event
    valid: tuple[bytes, ...] = ()
    counted: tuple[bytes, ...] = ()
    agreeing: tuple[bytes, ...] = ()
    earning: tuple[bytes, ...] = ()
    medians: tuple[int, ...] = ()
    total: int | None = None
    failure: Failure | None = None
    firm: tuple[int, ...] = ()


Papers = Mapping[bytes, Revealed]
"""The valid result of each account that has one, in the order of ranks."""


class _Answers(Struct, frozen=True, gc=False):
    """Those of the papers that say no failure, in the order of ranks; the first `assigned` are of assigned ranks."""

    assigned: int
    accounts: tuple[bytes, ...]
    outcomes: list[tuple[int, ...]]
    near_ties: list[bytes]


class _Found(Struct, frozen=True, gc=False):
    """What rule 3 finds, as places in the answers: the agreeing, and the spares that agree with them.

    `apart`: how far the agreeing's sums of outcomes over the firm questions lie apart. The rest as in `Verdict`; where
    nobody agrees there is none of it.
    """

    agreeing: Sequence[int]
    spares: Sequence[int] = ()
    medians: tuple[int, ...] = ()
    firm: tuple[int, ...] = ()
    total: int = 0
    apart: int = 0


def decide(task: Task, statements: Mapping[bytes, Statements], dispersion: int) -> Verdict:
    """The verdict on a task from what each account said; `dispersion` per mille (a network parameter)."""
    papers = _valid(task, statements)
    witnessed = _witnessed(task, papers)
    counted = tuple([account for account in task.ranking[: task.assigned] if account in witnessed])
    valid = tuple(papers)
    if len(counted) < task.quorum or not task.assigned:
        return Verdict(Event.CLOSED_SHORT, valid, counted)
    if failure := _common_failure([witnessed[account].result.failure for account in counted]):
        return Verdict(Event.CLOSED_FAILED, valid, counted, failure=failure)
    answers, fingerprints = _answers(task, witnessed, counted)
    found = _unanimous(answers, fingerprints) or _majority(task, answers, fingerprints)
    agreeing = tuple([answers.accounts[place] for place in found.agreeing])
    enough = len(agreeing) >= task.quorum and 2 * len(agreeing) > len(counted)
    if not enough or found.apart > dispersion * len(found.firm):
        return Verdict(Event.CLOSED_SPLIT, valid, counted, agreeing)
    earning = agreeing + tuple([answers.accounts[place] for place in found.spares])
    return Verdict(Event.CLOSED_DONE, valid, counted, agreeing, earning, found.medians, found.total, None, found.firm)


def is_running(task: Task, statements: Mapping[bytes, Statements]) -> bool:
    """Whether an assigned runner has committed, and once only: what takes a task from QUEUED to RUNNING."""
    assigned = (statements.get(account) for account in task.ranking[: task.assigned])
    return any(said is not None and len(said.commitments) == 1 for said in assigned)


def is_firm(task: Task, statements: Mapping[bytes, Statements], dispersion: int) -> bool:
    """Whether a DONE survives the loss of any one account's result."""
    verdict = decide(task, statements, dispersion)
    if verdict.event is not Event.CLOSED_DONE:
        return False
    for lost in verdict.valid:
        rest = {account: said for account, said in statements.items() if account != lost}
        if decide(task, rest, dispersion).event is not Event.CLOSED_DONE:
            return False
    return True


def lower_median(values: Iterable[int]) -> int:
    """The middle of the sorted values, the lower one of two."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]


def is_consistent(task: Task, result: TaskResult) -> bool:
    """Rule 1's last part: a typed failure alone, or the right questions with counts that fit together."""
    return _fits(task, _shape(task.questions), result)


class _Shape(Struct, frozen=True, gc=False):
    """What a result for certain questions looks like: their digest, their number, how many bytes the fingerprint has.

    `no_ties`: the near ties where there are none; `padding`: the bits of the last byte that stand for no question.
    """

    digest: bytes
    count: int
    fingerprint: int
    no_ties: bytes
    padding: int


@lru_cache(maxsize=256)  # all tasks of a benchmark and depth ask the same
def _shape(questions: tuple[int, ...]) -> _Shape:
    count = len(questions)
    digest = questions_digest(questions)
    return _Shape(digest, count, encoded_size(count), bytes(-(-count // 8)), (1 << -count % 8) - 1)


def _fits(task: Task, shape: _Shape, result: TaskResult) -> bool:
    outcomes, margins, near_ties, fingerprint = result.outcomes, result.margins, result.near_ties, result.fingerprint
    if result.failure is not None:
        said = (result.questions, outcomes, result.total, margins, near_ties, fingerprint, result.stops)
        return said == (None,) * len(said) and result.findings is None
    if outcomes is None or margins is None or near_ties is None or fingerprint is None or result.transcript is None:
        return False
    count, no_ties = shape.count, shape.no_ties
    return (
        result.questions == shape.digest
        and len(outcomes) == count
        and sum(outcomes) == result.total
        and len(margins) == count
        and (near_ties == no_ties or (len(near_ties) == len(no_ties) and not near_ties[-1] & shape.padding))
        and len(fingerprint) == shape.fingerprint
        and (result.stops is None or (len(result.stops) == count and max(result.stops, default=0) <= LAST_STOP))
        and (result.findings is None or _fit(task, result.findings))
    )


def _fit(task: Task, findings: tuple[Finding, ...]) -> bool:
    """Whether there is one finding for each examined account; a regular task has none."""
    questions = len(task.questions)
    return 0 < len(findings) == len(task.examined) and all(is_well_formed(each, questions) for each in findings)


def _valid(task: Task, statements: Mapping[bytes, Statements]) -> Papers:
    papers = {}
    shape = _shape(task.questions)
    for account in task.ranking:
        said = statements.get(account)
        if said is None or len(said.commitments) != 1 or not said.results:
            continue
        if len(said.results) > 1 and len({revealed.id for revealed in said.results}) > 1:
            continue
        (committed,), revealed = said.commitments, said.results[0]
        opens = revealed.commitment == committed.id and revealed.digest == committed.digest
        if opens and _fits(task, shape, revealed.result):
            papers[account] = revealed
    return papers


def _witnessed(task: Task, papers: Papers) -> Papers:
    """Those whose commitment at least K-1 others say they saw (rule 2)."""
    starts = [papers[account].commitment[:SEEN_BYTES] if account in papers else b"" for account in task.ranking]
    everything = tuple(starts)
    saw_all = [revealed.saw for revealed in papers.values()].count(everything)
    if saw_all == len(papers):
        return papers if saw_all >= task.quorum else {}
    witnesses = [saw_all] * len(starts)
    for rank, account in enumerate(task.ranking):
        if account not in papers:
            continue
        saw = papers[account].saw
        if saw != everything:
            seen = [saw == start for saw, start in zip(saw, starts, strict=False)]
            witnesses[: len(seen)] = map(add, witnesses, seen)
        witnesses[rank] -= rank < len(saw) and saw[rank] == starts[rank]
    enough = {account for account, count in zip(task.ranking, witnesses, strict=True) if count >= task.quorum - 1}
    return {account: revealed for account, revealed in papers.items() if account in enough}


def _common_failure(said: list[Failure | None]) -> Failure | None:
    """The failure of the model that most of the counted results name."""
    if said.count(None) == len(said):
        return None
    for failure in Failure:
        if failure.of_model and 2 * said.count(failure) > len(said):
            return failure
    return None


def _answers(task: Task, witnessed: Papers, counted: tuple[bytes, ...]) -> tuple[_Answers, Agreement]:
    results = {account: revealed.result for account, revealed in witnessed.items() if revealed.result.failure is None}
    assigned = len(counted)
    if len(results) < len(witnessed):
        assigned = sum(account in results for account in counted)
    answers = _Answers(
        assigned,
        tuple(results),
        [result.outcomes or () for result in results.values()],
        [result.near_ties or b"" for result in results.values()],
    )
    fingerprints = [result.fingerprint or b"" for result in results.values()]
    return answers, Agreement(fingerprints, len(task.questions), task.tolerance)


def _unanimous(answers: _Answers, fingerprints: Agreement) -> _Found | None:
    """What `_majority` finds where everybody says the same and all fingerprints agree; None elsewhere.

    Most tasks are like this, and nothing has to be searched for. A property test holds the two together.
    """
    outcomes, near_ties, assigned = answers.outcomes, answers.near_ties, answers.assigned
    if not assigned or outcomes.count(outcomes[0]) < len(outcomes) or any(map(any, set(near_ties))):
        return None
    if not fingerprints.is_unanimous():
        return None
    everybody, medians = range(len(outcomes)), outcomes[0]
    return _Found(everybody[:assigned], everybody[assigned:], medians, tuple(range(len(medians))), sum(medians))


def _majority(task: Task, answers: _Answers, fingerprints: Agreement) -> _Found:
    """Rule 3, and the spares who would be among the agreeing if they counted."""
    agreeing: Sequence[int] = fingerprints.largest(answers.assigned)
    if not agreeing:
        return _Found(())
    medians, firm = _medians(answers, agreeing), _firm_questions(answers, agreeing)
    followers = [place for place in agreeing if _follows(task, answers.outcomes[place], medians, firm)]
    if not followers:
        return _Found(())
    if len(followers) < len(agreeing):
        agreeing = followers
        medians, firm = _medians(answers, agreeing), _firm_questions(answers, agreeing)
    joining = fingerprints.joining(range(answers.assigned, len(answers.outcomes)), agreeing)
    spares = [place for place in joining if _follows(task, answers.outcomes[place], medians, firm)]
    outcomes = [answers.outcomes[place] for place in agreeing]
    sums = [sum([said[question] for question in firm]) for said in set(outcomes)]
    total = lower_median(map(sum, outcomes))
    return _Found(agreeing, spares, medians, firm, total, max(sums) - min(sums))


def _follows(task: Task, outcomes: tuple[int, ...], medians: tuple[int, ...], firm: tuple[int, ...]) -> bool:
    """Whether outcomes do not differ too often from the set's medians."""
    if outcomes == medians:
        return True
    apart = sum(1 for q in firm if abs(outcomes[q] - medians[q]) > task.outcome_tolerance)
    return 10 * apart <= max(10, len(firm))


def _firm_questions(answers: _Answers, places: Sequence[int]) -> tuple[int, ...]:
    """The questions that most of these do not mark near tie."""
    marked = [answers.near_ties[place] for place in places if any(answers.near_ties[place])]
    questions = range(len(answers.outcomes[0]))
    if not marked:
        return tuple(questions)
    return tuple(
        question
        for question in questions
        if 2 * sum(bits[question // 8] >> (7 - question % 8) & 1 for bits in marked) < len(places)
    )


def _medians(answers: _Answers, places: Sequence[int]) -> tuple[int, ...]:
    outcomes = [answers.outcomes[place] for place in places]
    if outcomes.count(outcomes[0]) == len(outcomes):
        return outcomes[0]
    middle = (len(outcomes) - 1) // 2
    return tuple(sorted(values)[middle] for values in zip(*outcomes, strict=True))


def merge(parts: Iterable[Mapping[bytes, Statements]]) -> dict[bytes, Statements]:
    """The union of several sets of statements, by account."""
    together: dict[bytes, Statements] = {}
    for account, said in itertools.chain.from_iterable(part.items() for part in parts):
        known = together.get(account)
        if known is None:
            together[account] = said
            continue
        results = {revealed.id: revealed for revealed in (*known.results, *said.results)}
        ordered = tuple(results[key] for key in sorted(results))
        together[account] = Statements(known.commitments | said.commitments, ordered)
    return together

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
from collections.abc import Iterable, Mapping
from operator import add

from msgspec import Struct

from protocol.agreement import Agreement
from protocol.audits import Finding, is_well_formed
from protocol.failures import Failure
from protocol.fingerprint import BYTES_PER_QUESTION
from protocol.lifecycle import Event
from protocol.messages import SEEN_BYTES, TaskResult
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


class _Paper(Struct, frozen=True, gc=False):
    """A valid result of one rank. Of a failure, the last three are empty."""

    rank: int
    account: bytes
    commitment: bytes
    saw: tuple[bytes, ...]
    failure: Failure | None
    outcomes: tuple[int, ...]
    near_ties: bytes
    fingerprint: bytes


def decide(task: Task, statements: Mapping[bytes, Statements], dispersion: int) -> Verdict:
    """The verdict on a task from what each account said; `dispersion` per mille (a network parameter)."""
    papers = _valid(task, statements)
    witnessed = _witnessed(task, papers)
    counted = [paper for paper in witnessed if paper.rank < task.assigned]
    valid_accounts, counted_accounts = _accounts(papers), _accounts(counted)
    if len(counted) < task.quorum or not task.assigned:
        return Verdict(Event.CLOSED_SHORT, valid_accounts, counted_accounts)
    if failure := _common_failure(counted):
        return Verdict(Event.CLOSED_FAILED, valid_accounts, counted_accounts, failure=failure)
    evaluated = [paper for paper in witnessed if paper.failure is None]
    fingerprints = Agreement([paper.fingerprint for paper in evaluated], task.tolerance)
    largest = fingerprints.largest(sum(paper.rank < task.assigned for paper in evaluated))
    agreeing = _followers(task, [evaluated[index] for index in largest])
    enough = len(agreeing) >= task.quorum and 2 * len(agreeing) > len(counted)
    firm = _firm_questions(task, agreeing)
    if not enough or not _close_together(firm, agreeing, dispersion):
        return Verdict(Event.CLOSED_SPLIT, valid_accounts, counted_accounts, _accounts(agreeing))
    medians = _medians(agreeing)
    members = [index for index in largest if evaluated[index] in agreeing]
    beside = [index for index, paper in enumerate(evaluated) if paper.rank >= task.assigned]
    joining = [evaluated[index] for index in fingerprints.joining(beside, members)]
    spares = [paper for paper in joining if _follows(task, paper, medians, firm)]
    return Verdict(
        Event.CLOSED_DONE,
        valid_accounts,
        counted_accounts,
        _accounts(agreeing),
        _accounts([*agreeing, *spares]),
        medians,
        lower_median(sum(paper.outcomes) for paper in agreeing),
        firm=tuple(firm),
    )


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
    outcomes, margins, near_ties, fingerprint = result.outcomes, result.margins, result.near_ties, result.fingerprint
    if result.failure is not None:
        said = (result.questions, outcomes, result.total, margins, near_ties, fingerprint, result.stops)
        return said == (None,) * len(said) and result.findings is None
    if outcomes is None or margins is None or near_ties is None or fingerprint is None or result.transcript is None:
        return False
    count = len(task.questions)
    padding = -count % 8
    return (
        result.questions == task.questions_digest
        and len(outcomes) == count
        and sum(outcomes) == result.total
        and len(margins) == count
        and len(near_ties) * 8 == count + padding
        and (near_ties[-1] & ((1 << padding) - 1)) == 0
        and len(fingerprint) == count * BYTES_PER_QUESTION
        and (result.stops is None or (len(result.stops) == count and max(result.stops, default=0) <= LAST_STOP))
        and (result.findings is None or _fit(task, result.findings))
    )


def _fit(task: Task, findings: tuple[Finding, ...]) -> bool:
    """Whether there is one finding for each examined account; a regular task has none."""
    questions = len(task.questions)
    return 0 < len(findings) == len(task.examined) and all(is_well_formed(each, questions) for each in findings)


def _valid(task: Task, statements: Mapping[bytes, Statements]) -> list[_Paper]:
    papers = []
    for rank, account in enumerate(task.ranking):
        said = statements.get(account)
        if said is None or len(said.commitments) != 1 or not said.results:
            continue
        if len(said.results) > 1 and len({revealed.id for revealed in said.results}) > 1:
            continue
        (committed,), revealed = said.commitments, said.results[0]
        opens = revealed.commitment == committed.id and revealed.digest == committed.digest
        result = revealed.result
        if opens and is_consistent(task, result):
            evaluated = result.outcomes or (), result.near_ties or b"", result.fingerprint or b""
            papers.append(_Paper(rank, account, committed.id, revealed.saw, result.failure, *evaluated))
    return papers


def _witnessed(task: Task, papers: list[_Paper]) -> list[_Paper]:
    """Those whose commitment at least K-1 others say they saw (rule 2)."""
    starts = [b""] * len(task.ranking)
    for paper in papers:
        starts[paper.rank] = paper.commitment[:SEEN_BYTES]
    everything = tuple(starts)
    witnesses = [[paper.saw for paper in papers].count(everything)] * len(starts)
    for paper in papers:
        if paper.saw != everything:
            seen = [saw == start for saw, start in zip(paper.saw, starts, strict=False)]
            witnesses[: len(seen)] = map(add, witnesses, seen)
        witnesses[paper.rank] -= paper.rank < len(paper.saw) and paper.saw[paper.rank] == starts[paper.rank]
    return [paper for paper in papers if witnesses[paper.rank] >= task.quorum - 1]


def _common_failure(counted: list[_Paper]) -> Failure | None:
    failures = [paper.failure for paper in counted if paper.failure is not None]
    if not failures:
        return None
    for failure in Failure:
        if failure.of_model and 2 * failures.count(failure) > len(counted):
            return failure
    return None


def _followers(task: Task, together: list[_Paper]) -> list[_Paper]:
    """Those whose outcomes do not differ too often from the set's medians (rule 3)."""
    if len({paper.outcomes for paper in together}) <= 1:
        return together
    medians, firm = _medians(together), _firm_questions(task, together)
    return [paper for paper in together if _follows(task, paper, medians, firm)]


def _follows(task: Task, paper: _Paper, medians: tuple[int, ...], firm: list[int]) -> bool:
    if paper.outcomes == medians:
        return True
    apart = sum(1 for q in firm if abs(paper.outcomes[q] - medians[q]) > task.outcome_tolerance)
    return 10 * apart <= max(10, len(firm))


def _firm_questions(task: Task, papers: list[_Paper]) -> list[int]:
    """The questions that most of the set do not mark near tie."""
    marked = [paper.near_ties for paper in papers if any(paper.near_ties)]
    if not marked:
        return list(range(len(task.questions)))
    return [
        question
        for question in range(len(task.questions))
        if 2 * sum(bits[question // 8] >> (7 - question % 8) & 1 for bits in marked) < len(papers)
    ]


def _medians(papers: list[_Paper]) -> tuple[int, ...]:
    if len({paper.outcomes for paper in papers}) == 1:
        return papers[0].outcomes
    middle = (len(papers) - 1) // 2
    return tuple(sorted(values)[middle] for values in zip(*(paper.outcomes for paper in papers), strict=True))


def _close_together(firm: list[int], agreeing: list[_Paper], dispersion: int) -> bool:
    different = {paper.outcomes for paper in agreeing}
    if len(different) == 1:
        return True
    sums = [sum(outcomes[question] for question in firm) for outcomes in different]
    return max(sums) - min(sums) <= dispersion * len(firm)


def _accounts(papers: Iterable[_Paper]) -> tuple[bytes, ...]:
    """In the order of ranks, in which papers always come."""
    return tuple([paper.account for paper in papers])


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

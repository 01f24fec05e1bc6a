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
from functools import cached_property

from msgspec import Struct

from protocol import fingerprint
from protocol.failures import Failure
from protocol.lifecycle import Event
from protocol.messages import SEEN_BYTES, TaskResult
from protocol.tasks import Task


class Committed(Struct, frozen=True, order=True):
    """One commitment that names the task: the envelope's id and the digest that it carries."""

    id: bytes
    digest: bytes


class Revealed(Struct, frozen=True):
    """One result for the task. `digest` is recomputed from the result (`messages.commitment_digest`).

    `saw` is what the runner had seen of each rank's commitments for this task.
    """

    id: bytes
    commitment: bytes
    digest: bytes
    result: TaskResult
    saw: tuple[bytes, ...]


class Statements(Struct, frozen=True):
    """All that one account said of a task, as sets."""

    commitments: frozenset[Committed] = frozenset()
    results: tuple[Revealed, ...] = ()


class Verdict(Struct, frozen=True):
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


class _Paper(Struct, frozen=True, dict=True):
    """A valid result of one rank."""

    rank: int
    account: bytes
    commitment: bytes
    saw: tuple[bytes, ...]
    result: TaskResult

    @cached_property
    def vector(self) -> fingerprint.Vector:
        return fingerprint.decode(self.result.fingerprint or b"")

    @property
    def outcomes(self) -> tuple[int, ...]:
        return self.result.outcomes or ()

    def near_tie(self, question: int) -> bool:
        bits = self.result.near_ties or b""
        return bool(bits[question // 8] >> (7 - question % 8) & 1)


def decide(task: Task, statements: Mapping[bytes, Statements], dispersion: int) -> Verdict:
    """The verdict on a task from what each account said; `dispersion` per mille (a network parameter)."""
    papers = _valid(task, statements)
    counted = [paper for paper in papers if paper.rank < task.assigned and _witnessed(task, paper, papers)]
    valid_accounts, counted_accounts = _accounts(papers), _accounts(counted)
    if len(counted) < task.quorum or not task.assigned:
        return Verdict(Event.CLOSED_SHORT, valid_accounts, counted_accounts)
    if failure := _common_failure(counted):
        return Verdict(Event.CLOSED_FAILED, valid_accounts, counted_accounts, failure=failure)
    agreeing = _agreeing(task, [paper for paper in counted if paper.result.failure is None])
    enough = len(agreeing) >= task.quorum and 2 * len(agreeing) > len(counted)
    if not enough or not _close_together(task, agreeing, dispersion):
        return Verdict(Event.CLOSED_SPLIT, valid_accounts, counted_accounts, _accounts(agreeing))
    spares = [p for p in papers if p.rank >= task.assigned and p.result.failure is None]
    earning = [*agreeing, *(spare for spare in spares if _joins(task, spare, agreeing, papers))]
    medians = _medians(task, agreeing)
    totals = sorted(sum(paper.outcomes) for paper in agreeing)
    return Verdict(
        Event.CLOSED_DONE,
        valid_accounts,
        counted_accounts,
        _accounts(agreeing),
        _accounts(earning),
        medians,
        lower_median(totals),
        firm=tuple(_firm_questions(task, agreeing)),
    )


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
    rest = (
        result.questions,
        result.outcomes,
        result.total,
        result.margins,
        result.near_ties,
        result.fingerprint,
    )
    if result.failure is not None:
        return all(part is None for part in rest)
    if any(part is None for part in rest) or result.transcript is None:
        return False
    outcomes, near_ties = result.outcomes or (), result.near_ties or b""
    count = len(task.questions)
    padding = -count % 8
    return (
        result.questions == task.questions_digest
        and len(outcomes) == count
        and sum(outcomes) == result.total
        and len(result.margins or ()) == count
        and len(near_ties) * 8 == count + padding
        and (near_ties[-1] & ((1 << padding) - 1)) == 0
        and len(result.fingerprint or b"") == count * fingerprint.BYTES_PER_QUESTION
    )


def _valid(task: Task, statements: Mapping[bytes, Statements]) -> list[_Paper]:
    papers = []
    for rank, account in enumerate(task.ranking):
        said = statements.get(account)
        if said is None or len(said.commitments) != 1 or len({revealed.id for revealed in said.results}) != 1:
            continue
        (committed,), revealed = said.commitments, said.results[0]
        opens = revealed.commitment == committed.id and revealed.digest == committed.digest
        if opens and is_consistent(task, revealed.result):
            papers.append(_Paper(rank, account, committed.id, revealed.saw, revealed.result))
    return papers


def _witnessed(task: Task, paper: _Paper, papers: Iterable[_Paper]) -> bool:
    start = paper.commitment[:SEEN_BYTES]
    others = (other for other in papers if other.account != paper.account)
    witnesses = sum(1 for other in others if len(other.saw) > paper.rank and other.saw[paper.rank] == start)
    return witnesses >= task.quorum - 1


def _common_failure(counted: list[_Paper]) -> Failure | None:
    failures = [paper.result.failure for paper in counted]
    for failure in Failure:
        if failure.of_model and 2 * failures.count(failure) > len(counted):
            return failure
    return None


def _agreeing(task: Task, papers: list[_Paper]) -> list[_Paper]:
    """Rule 3; `papers` in the order of their ranks, which is the canonical order."""
    clique = fingerprint.largest_agreeing([paper.vector for paper in papers], task.tolerance)
    together = [papers[index] for index in clique]
    if not together:
        return []
    medians, firm = _medians(task, together), _firm_questions(task, together)
    return [paper for paper in together if _follows(task, paper, medians, firm)]


def _follows(task: Task, paper: _Paper, medians: tuple[int, ...], firm: list[int]) -> bool:
    apart = sum(1 for q in firm if abs(paper.outcomes[q] - medians[q]) > task.outcome_tolerance)
    return 10 * apart <= max(10, len(firm))


def _firm_questions(task: Task, papers: list[_Paper]) -> list[int]:
    """The questions that most of the set do not mark near tie."""
    return [
        question
        for question in range(len(task.questions))
        if 2 * sum(not paper.near_tie(question) for paper in papers) > len(papers)
    ]


def _medians(task: Task, papers: list[_Paper]) -> tuple[int, ...]:
    return tuple(lower_median(paper.outcomes[question] for paper in papers) for question in range(len(task.questions)))


def _close_together(task: Task, agreeing: list[_Paper], dispersion: int) -> bool:
    firm = _firm_questions(task, agreeing)
    sums = [sum(paper.outcomes[question] for question in firm) for paper in agreeing]
    return max(sums) - min(sums) <= dispersion * len(firm)


def _joins(task: Task, spare: _Paper, agreeing: list[_Paper], papers: list[_Paper]) -> bool:
    """Whether a spare's result passes rule 2 and agrees with every one of the agreeing."""
    if not _witnessed(task, spare, papers):
        return False
    if not all(fingerprint.agree(spare.vector, paper.vector, task.tolerance) for paper in agreeing):
        return False
    return _follows(task, spare, _medians(task, agreeing), _firm_questions(task, agreeing))


def _accounts(papers: Iterable[_Paper]) -> tuple[bytes, ...]:
    return tuple(paper.account for paper in sorted(papers, key=lambda paper: paper.rank))


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

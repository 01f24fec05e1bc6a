"""The four counting rules, one situation at a time, and their laws."""

import hashlib
from collections.abc import Callable, Sequence
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol import counting
from protocol.agreement import Agreement
from protocol.audits import Examined, Finding, Sight
from protocol.counting import Committed, Revealed, Statements, Verdict, decide, is_consistent, is_firm, lower_median
from protocol.failures import Failure
from protocol.lifecycle import Event
from protocol.messages import TaskResult
from protocol.tasks import Purpose, Subject, Task

QUESTIONS, VALUES = 20, 6
DISPERSION = 500
RANKS = 7  # five assigned, two spares
TASK = Task(
    id=b"t" * 32,
    epoch=1,
    subject=Subject(b"m" * 32, b"b" * 32),
    depth=QUESTIONS,
    purpose=Purpose.REGULAR,
    questions=tuple(range(QUESTIONS)),
    quorum=3,
    assigned=5,
    ranking=tuple(bytes([rank]) * 32 for rank in range(RANKS)),
    tolerance=8,
    outcome_tolerance=0,
)
TRUTH = tuple(1000 if question % 3 else 0 for question in range(QUESTIONS))
Change = Callable[[TaskResult], TaskResult]


def sha(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def fingerprint(salt: str, jitter: int = 0) -> bytes:
    """Six values a question that depend on `salt`; `jitter` moves each by at most that much."""
    values = bytearray()
    for question in range(QUESTIONS):
        for place in range(VALUES):
            seed = sha(salt, question, place)
            values += (1000 + int.from_bytes(seed[:2], "big") % 4000 + (seed[5] * jitter) % (jitter + 1)).to_bytes(
                3, "big"
            )
    return bytes(values)


def honest(rank: int, outcomes: tuple[int, ...] = TRUTH) -> TaskResult:
    return TaskResult(
        task=TASK.id,
        questions=TASK.questions_digest,
        outcomes=outcomes,
        total=sum(outcomes),
        margins=(500,) * QUESTIONS,
        near_ties=bytes(3),
        fingerprint=fingerprint("model", jitter=rank % 3),
        transcript=sha("transcript", rank),
        tokens_in=1,
        tokens_out=1,
        run_ms=1,
    )


def commitment(rank: int) -> Committed:
    return Committed(sha("commitment", rank), sha("digest", rank))


def everybody_saw(ranks: Sequence[int]) -> tuple[bytes, ...]:
    return tuple(commitment(rank).id[:16] if rank in ranks else b"" for rank in range(RANKS))


def said(rank: int, result: TaskResult, saw: tuple[bytes, ...]) -> Statements:
    committed = commitment(rank)
    revealed = Revealed(sha("result", rank), committed.id, committed.digest, result, saw)
    return Statements(frozenset({committed}), (revealed,))


def network(ranks: Sequence[int], **changed: TaskResult) -> dict[bytes, Statements]:
    """Honest runners of these ranks who saw each other; `r3=...` replaces what rank 3 says."""
    saw = everybody_saw(ranks)
    return {TASK.ranking[rank]: said(rank, changed.get(f"r{rank}", honest(rank)), saw) for rank in ranks}


def ranks_of(accounts: Sequence[bytes]) -> list[int]:
    return [TASK.ranking.index(account) for account in accounts]


def verdict(statements: dict[bytes, Statements], task: Task = TASK) -> Verdict:
    return decide(task, statements, DISPERSION)


def failed(failure: Failure) -> TaskResult:
    return TaskResult(TASK.id, failure)


def test_five_honest_runners_are_done() -> None:
    found = verdict(network(range(5)))
    assert found.event is Event.CLOSED_DONE
    assert ranks_of(found.agreeing) == [0, 1, 2, 3, 4]
    assert found.medians == TRUTH
    assert found.total == sum(TRUTH)
    assert is_firm(TASK, network(range(5)), DISPERSION)


def test_three_are_enough_and_not_firm() -> None:
    assert verdict(network([0, 2, 4])).event is Event.CLOSED_DONE
    assert not is_firm(TASK, network([0, 2, 4]), DISPERSION)


def test_two_are_too_few() -> None:
    found = verdict(network([0, 1]))
    assert found.event is Event.CLOSED_SHORT
    assert ranks_of(found.valid) == [0, 1]
    assert found.counted == ()


def test_spares_bear_witness_and_earn_and_never_count() -> None:
    found = verdict(network([0, 1, 5, 6]))
    assert found.event is Event.CLOSED_SHORT, "two assigned results only"
    found = verdict(network([0, 1, 2, 5, 6]))
    assert found.event is Event.CLOSED_DONE
    assert ranks_of(found.counted) == [0, 1, 2]
    assert ranks_of(found.earning) == [0, 1, 2, 5, 6]


def test_who_was_not_seen_does_not_count() -> None:
    """A copier that commits after the others reveal is in nobody's `saw`."""
    statements = network([0, 1, 2])
    late = said(3, honest(3), everybody_saw([0, 1, 2, 3]))
    found = verdict(statements | {TASK.ranking[3]: late})
    assert ranks_of(found.counted) == [0, 1, 2]


def test_two_colluders_cannot_vouch_a_copier_in() -> None:
    """Rule 2 wants K - 1 others: the copier and one friend are not enough."""
    with_copier = everybody_saw([0, 1, 2, 3, 4])
    statements = network([0, 1, 2])
    statements[TASK.ranking[3]] = said(3, honest(3), with_copier)
    statements[TASK.ranking[4]] = said(4, honest(4), with_copier)
    assert ranks_of(verdict(statements).counted) == [0, 1, 2]


def test_two_commitments_are_none() -> None:
    statements = network(range(5))
    both = statements[TASK.ranking[1]].commitments | {Committed(sha("other"), sha("other digest"))}
    statements[TASK.ranking[1]] = replace(statements[TASK.ranking[1]], commitments=both)
    assert ranks_of(verdict(statements).valid) == [0, 2, 3, 4]


def test_two_different_results_are_none_and_the_same_twice_is_one() -> None:
    statements = network(range(5))
    first = statements[TASK.ranking[1]].results[0]
    statements[TASK.ranking[1]] = replace(statements[TASK.ranking[1]], results=(first, first))
    assert ranks_of(verdict(statements).valid) == [0, 1, 2, 3, 4]
    other = replace(first, id=sha("another result"))
    statements[TASK.ranking[1]] = replace(statements[TASK.ranking[1]], results=(first, other))
    assert ranks_of(verdict(statements).valid) == [0, 2, 3, 4]


def test_a_result_that_does_not_open_its_commitment_is_not_valid() -> None:
    statements = network(range(5))
    opened = replace(statements[TASK.ranking[2]].results[0], digest=sha("something else"))
    statements[TASK.ranking[2]] = replace(statements[TASK.ranking[2]], results=(opened,))
    assert ranks_of(verdict(statements).valid) == [0, 1, 3, 4]


def test_inconsistent_results_are_not_valid() -> None:
    wrong: dict[str, Change] = {
        "other questions": lambda r: replace(r, questions=sha("others")),
        "a wrong sum": lambda r: replace(r, total=sum(TRUTH) + 1),
        "an outcome missing": lambda r: replace(r, outcomes=TRUTH[:-1], total=sum(TRUTH[:-1])),
        "a margin missing": lambda r: replace(r, margins=(500,) * (QUESTIONS - 1)),
        "sixteen values a question": lambda r: replace(r, fingerprint=bytes(16 * 3 * QUESTIONS)),
        "a short fingerprint": lambda r: replace(r, fingerprint=fingerprint("model")[:-3]),
        "near ties beyond the questions": lambda r: replace(r, near_ties=b"\x00\x00\x01"),
        "no transcript": lambda r: replace(r, transcript=None),
        "a failure with outcomes": lambda r: replace(r, failure=Failure.NOT_FINITE),
    }
    for what, change in wrong.items():
        assert ranks_of(verdict(network(range(5), r4=change(honest(4)))).valid) == [0, 1, 2, 3], what


def test_another_model_is_outvoted() -> None:
    found = verdict(network(range(5), r1=replace(honest(1), fingerprint=fingerprint("another model"))))
    assert found.event is Event.CLOSED_DONE
    assert ranks_of(found.counted) == [0, 1, 2, 3, 4]
    assert ranks_of(found.agreeing) == [0, 2, 3, 4]


def test_two_camps_are_a_dispute() -> None:
    camp = {f"r{rank}": replace(honest(rank), fingerprint=fingerprint("another model")) for rank in (0, 1)}
    found = verdict(network(range(4), **camp))
    assert found.event is Event.CLOSED_SPLIT


def test_made_up_outcomes_with_a_true_fingerprint_do_not_agree() -> None:
    liar = honest(3, outcomes=tuple(1000 for _ in range(QUESTIONS)))
    found = verdict(network(range(5), r3=liar))
    assert ranks_of(found.agreeing) == [0, 1, 2, 4]
    assert found.medians == TRUTH


def test_one_question_in_ten_is_forgiven_and_no_more() -> None:
    for flipped, agreeing in ((2, [0, 1, 2, 3, 4]), (3, [0, 1, 2, 3])):
        outcomes = tuple(1000 - value if place < flipped else value for place, value in enumerate(TRUTH))
        found = verdict(network(range(5), r4=honest(4, outcomes)))
        assert ranks_of(found.agreeing) == agreeing, flipped


def test_a_result_has_a_finding_for_the_only_examined_account() -> None:
    task = replace(TASK, examined=(Examined(b"e" * 32, bytes(32)),))
    finding = Finding(Sight.NOT_REVEALED)
    for findings, fits in (((finding,), True), ((), False), ((finding, finding), False)):
        assert is_consistent(task, replace(honest(0), findings=findings)) == fits


def test_a_mismatch_on_a_near_tie_is_nobodys_fault() -> None:
    flipped = tuple(1000 - value if question < 4 else value for question, value in enumerate(TRUTH))
    tie = bytes([0b11110000, 0, 0])
    papers = {f"r{rank}": replace(honest(rank), near_ties=tie) for rank in range(5)}
    papers["r3"] = replace(honest(3, flipped), near_ties=tie)
    assert ranks_of(verdict(network(range(5), **papers)).agreeing) == [0, 1, 2, 3, 4]
    papers = {"r3": honest(3, flipped)}
    assert ranks_of(verdict(network(range(5), **papers)).agreeing) == [0, 1, 2, 4]


def test_a_constant_model_proves_nothing() -> None:
    constant = {f"r{rank}": replace(honest(rank), fingerprint=bytes(3 * VALUES * QUESTIONS)) for rank in range(5)}
    assert verdict(network(range(5), **constant)).event is Event.CLOSED_SPLIT


def test_a_failure_of_the_model_is_a_verdict_and_one_of_a_device_is_not() -> None:
    of_model = {f"r{rank}": failed(Failure.HASH_MISMATCH) for rank in (0, 1, 2)}
    found = verdict(network(range(5), **of_model))
    assert (found.event, found.failure) == (Event.CLOSED_FAILED, Failure.HASH_MISMATCH)
    of_device = {f"r{rank}": failed(Failure.OUT_OF_MEMORY) for rank in (0, 1, 2)}
    assert verdict(network(range(5), **of_device)).event is Event.CLOSED_SPLIT
    of_few = {f"r{rank}": failed(Failure.HASH_MISMATCH) for rank in (0, 1)}
    assert verdict(network(range(5), **of_few)).event is Event.CLOSED_DONE


def test_means_too_far_apart_are_a_dispute() -> None:
    half = tuple(0 if question < 12 else 1000 for question in range(QUESTIONS))
    graded = replace(TASK, outcome_tolerance=1000)
    papers = {"r0": honest(0, (0,) * QUESTIONS), "r1": honest(1, half), "r2": honest(2, (1000,) * QUESTIONS)}
    assert decide(graded, network([0, 1, 2], **papers), DISPERSION).event is Event.CLOSED_SPLIT
    assert decide(graded, network([0, 1, 2], **papers), 1000).event is Event.CLOSED_DONE


@st.composite
def much_the_same(draw: st.DrawFn) -> dict[bytes, Statements]:
    """Nearly everybody honest: a few absent, with other outcomes, near ties, fingerprints or a failure."""
    deviations = st.sampled_from(["", "", "", "", "absent", "outcomes", "near ties", "fingerprint", "failure"])
    papers, ranks = {}, []
    for rank, deviation in enumerate(draw(st.lists(deviations, min_size=RANKS, max_size=RANKS))):
        result = honest(rank)
        flipped = tuple(1000 - value if place < 3 else value for place, value in enumerate(TRUTH))
        match deviation:
            case "absent":
                continue
            case "outcomes":
                result = honest(rank, flipped)
            case "near ties":
                result = replace(result, near_ties=b"\xe0\0\0")
            case "fingerprint":
                result = replace(result, fingerprint=fingerprint("liar"))
            case "failure":
                result = failed(Failure.HASH_MISMATCH)
        ranks.append(rank)
        papers[f"r{rank}"] = result
    return network(ranks, **papers)


@given(much_the_same(), st.sampled_from([0, 1000]))
def test_the_short_cut_for_the_unanimous_finds_what_the_rules_find(
    statements: dict[bytes, Statements], outcome_tolerance: int
) -> None:
    task = replace(TASK, outcome_tolerance=outcome_tolerance)
    with patch.object(counting, "_unanimous", return_value=None):
        by_the_rules = verdict(statements, task)
    assert verdict(statements, task) == by_the_rules


def test_where_all_are_honest_nothing_is_searched_for() -> None:
    with patch.object(Agreement, "largest", side_effect=AssertionError("not needed")):
        assert verdict(network(range(RANKS))).event is Event.CLOSED_DONE
        assert verdict(network([0, 2, 4, 6])).event is Event.CLOSED_DONE


def test_strangers_are_not_heard() -> None:
    stranger = {b"x" * 32: said(0, honest(0), everybody_saw(range(5)))}
    assert verdict(network(range(5)) | stranger) == verdict(network(range(5)))


@given(st.permutations(range(RANKS)), st.sets(st.integers(0, RANKS - 1)), st.sets(st.integers(0, RANKS - 1)))
def test_the_order_of_arrival_does_not_matter(order: list[int], absent: set[int], liars: set[int]) -> None:
    ranks = [rank for rank in range(RANKS) if rank not in absent]
    lies = {f"r{rank}": replace(honest(rank), fingerprint=fingerprint(f"liar {rank % 2}")) for rank in liars}
    statements = network(ranks, **lies)
    shuffled = {TASK.ranking[rank]: statements[TASK.ranking[rank]] for rank in order if rank in ranks}
    assert verdict(shuffled) == verdict(statements)


@given(st.sets(st.integers(0, RANKS - 1), min_size=3), st.integers(0, RANKS - 1))
def test_more_honest_messages_never_take_one_away(ranks: set[int], newcomer: int) -> None:
    """Who counts among the honest and punctual still counts when one more of them arrives."""
    before = verdict(network(sorted(ranks)))
    after = verdict(network(sorted(ranks | {newcomer})))
    assert set(before.counted) <= set(after.counted)
    assert set(before.agreeing) <= set(after.agreeing)


@given(st.lists(st.integers(), min_size=1))
def test_the_lower_median_is_one_of_the_values(values: list[int]) -> None:
    median = lower_median(values)
    assert median in values
    assert 2 * sum(value < median for value in values) <= len(values)
    assert 2 * sum(value <= median for value in values) >= len(values)

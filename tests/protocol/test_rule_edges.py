"""Edges of the ledger's rules, where one mark, one account or one unit more makes the difference."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from protocol import epochs, examinations, ledger, pools, scores
from protocol.counting import Committed, Revealed, Statements, merge
from protocol.definitions import HubFile, Model
from protocol.examinations import draw_audits
from protocol.failures import Failure
from protocol.hashing import as_number, digest
from protocol.lifecycle import TaskState
from protocol.merkle import MAX_SIZE, InvalidProof, verify_consistency, verify_inclusion
from protocol.messages import (
    Appeal,
    Profile,
    TaskResult,
)
from protocol.parameters import DEMO
from protocol.plan import derive
from protocol.pools import Offer, Slot
from protocol.rejections import Rejection
from protocol.state import Pending
from protocol.tasks import Purpose, Subject, question_order
from tests.vectors import plain
from tests.vectors.consensus import COMPUTES, Situation

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
PEOPLE = ("ada", "ben", "cleo", "dan")
MIB = 1 << 20


def model(number: int) -> Model:
    file = HubFile(f"new/model{number}", "1" * 40, "new.gguf", bytes([number]) * 32, 1000)
    return Model(file, (), "llama", 1000, "F16", "MIT")


@pytest.fixture
def world(new_world: NewWorld) -> World:
    made = new_world(models=1)
    made.join(*PEOPLE)
    return made


# Epochs


def test_each_leaderless_epoch_has_a_beacon_a_ground_questions_and_ranks_of_its_own(new_world: NewWorld) -> None:
    world = new_world(models=1, parameters=replace(DEMO, quick_depth=5))
    world.join(*(f"p{n}" for n in range(12)))
    world.mark(7)
    opening = world.state.opening
    plans = [plan for epoch in range(7, 12) if (plan := derive(opening, epoch))]
    assert [plan.beacon for plan in plans] == [
        opening.beacon,
        *(epochs.leaderless_beacon(opening.beacon, epoch) for epoch in range(8, 12)),
    ]
    assert [plan.leaderless for plan in plans] == [False, True, True, True, True]
    tasks = [task for plan in plans for task in plan.tasks.values()]
    benchmark = next(iter(opening.benchmarks.values())).dataset
    for plan, task in zip(plans, tasks, strict=True):
        assert plan.ground == epochs.ground(opening.size, opening.root, plan.beacon)
        assert task.questions == question_order(plan.beacon, benchmark.content, benchmark.questions, 5)
    for what in ("beacon", "ground"):
        assert len({getattr(plan, what) for plan in plans}) == 5
    for what in ("id", "questions", "ranking"):
        assert len({getattr(task, what) for task in tasks}) == 5
    assert derive(opening, 6) is None
    assert derive(opening, 7 + DEMO.leaderless_max) is not None
    assert derive(opening, 8 + DEMO.leaderless_max) is None


def test_who_missed_a_reveal_is_set_back_for_as_many_marks_as_the_window_has(world: World) -> None:
    world.mark(0)
    commitments, results = world.statements(world.plan(0), PEOPLE)
    dan, device = world.account("dan").public, world.device("dan").public
    world.log(*commitments, *(result for result in results if result.signer != device))
    for epoch in range(1, 2 * DEMO.profile_window):
        world.mark(epoch)
        assert (dan in world.state.opening.set_back) == (epoch - 1 < DEMO.profile_window), epoch


def test_a_profile_is_good_for_as_many_marks_as_the_window_has(new_world: NewWorld) -> None:
    world = new_world(models=1, parameters=replace(DEMO, profile_window=3))
    world.join("ada")
    held = []
    for epoch in range(6):
        world.mark(epoch)
        held.append(any(slot for pool in world.state.pools.values() for slot in pool))
    assert held == [True] * 4 + [False] * 2


def test_an_account_is_eligible_at_its_age_or_at_the_networks(new_world: NewWorld) -> None:
    world = new_world(models=1, parameters=replace(DEMO, minimum_age=2))
    world.join("ada")
    eligible = []
    for epoch in range(4):
        world.mark(epoch)
        eligible.append({slot.account for pool in world.state.pools.values() for slot in pool if slot})
        if epoch == 0:
            world.join("ben", epoch=1)
    ada, ben = (world.account(name).public for name in ("ada", "ben"))
    assert eligible == [{ada}, {ada}, {ada}, {ada, ben}]


def test_a_late_reveal_of_one_of_two_commitments_lifts_nothing(world: World) -> None:
    world.mark(0)
    (mine,), (result,) = world.statements(world.plan(0), ["ada"])
    second = world.seal("ada", replace(mine.message, digest=bytes(32)))
    world.log(mine, second)
    world.mark(1)
    ada = world.account("ada").public
    assert world.state.accounts[ada].missed == {0: 1}
    assert world.log(result) is Rejection.VOID_LATE
    assert world.state.accounts[ada].missed == {0: 1}, "the other was never opened"
    assert world.log(result) is Rejection.VOID_NO_COMMITMENT


def test_what_was_opened_in_time_is_not_opened_late(world: World) -> None:
    world.mark(0)
    (mine,), (result,) = world.statements(world.plan(0), ["ada"])
    second = world.seal("ada", replace(mine.message, digest=bytes(32)))
    world.log(mine, second, result)
    world.mark(1)
    assert world.state.closed[0].waiting == {world.account("ada").public: {second.id: bytes(32)}}
    assert world.log(result) is Rejection.VOID_NO_COMMITMENT


def test_two_results_are_the_same_statements_in_either_order(world: World) -> None:
    world.mark(0)
    _, (result,) = world.statements(world.plan(0), ["ada"])
    others = [result, world.seal("ada", replace(result.message, saw=()))]
    found = []
    for order in (others, others[::-1]):
        twin = world.refold()
        ledger.extend(twin, order)
        found.append(twin.gatherings[0].statements)
    assert found[0] == found[1]


def test_of_a_result_that_names_a_task_twice_the_first_counts(world: World) -> None:
    world.mark(0)
    (mine,), (result,) = world.statements(world.plan(0), ["ada"])
    (first,), (row,) = result.message.tasks, result.message.saw
    second = replace(first, failure=Failure.NOT_FINITE)
    world.log(mine, world.seal("ada", replace(result.message, tasks=(first, second), saw=(row, ()))))
    (said,) = world.state.gatherings[0].statements[first.task].values()
    assert [(revealed.result, revealed.saw) for revealed in said.results] == [(first, row)]


def test_who_speaks_for_nobody_is_told_so(world: World) -> None:
    world.mark(0)
    (commitment,), (result,) = world.statements(world.plan(0), ["ada"])
    world.mark(1)
    for message in (result.message, commitment.message):
        assert world.log(world.seal("eve", message)) is Rejection.VOID_NOT_DELEGATED
    world.join("eve", epoch=1)
    later = replace(commitment.message, epoch=1)
    assert world.log(world.seal("eve", later)) is Rejection.VOID_NOT_A_RUNNER, "from the next mark on"


def test_the_bytes_that_a_base_needs_are_those_of_its_largest_model(new_world: NewWorld) -> None:
    world = new_world(models=1)
    world.join("ada", disk=2)
    first = world.genesis.models[0]
    assert ledger._bases(world.state) == {first.base.sha256: 1000}
    larger = replace(first, base=replace(first.base, size=3 * MIB), parameters=1)
    smaller = replace(first, base=replace(first.base, size=7))
    for key, other in ((b"l" * 32, larger), (b"s" * 32, smaller)):
        world.state.models[key] = replace(world.state.models[first.id], model=other)
    assert ledger._bases(world.state) == {first.base.sha256: 3 * MIB}
    world.mark(0)
    assert all(slot is None for pool in world.state.pools.values() for slot in pool), "2 MiB are too few"


# Closing


def test_what_an_examination_ends_as_leaves_the_subjects_turn_and_state_alone(new_world: NewWorld) -> None:
    world = new_world(models=7, parameters=replace(DEMO, pool=7))
    people = tuple(f"p{n}" for n in range(16))
    world.join(*people)
    world.epoch(0, people)
    world.log(*(world.seal(name, Profile(1, 4096, 1024, ("cpu",))) for name in people))
    world.mark(1)
    target = world.state.verdicts[0][0]
    world.enrich("p0")
    assert world.log(world.seal("p0", Appeal(1, target.task))) is None
    world.log(*(s for part in world.statements(world.plan(1), people) for s in part))
    world.log(*(world.seal(name, Profile(2, 4096, 1024, ("cpu",))) for name in people))
    world.mark(2)
    regular = [task for task in world.plan(2).tasks.values() if task.purpose is Purpose.REGULAR]
    plan = replace(world.plan(2), tasks={task.id: task for task in regular})
    world.log(*(s for part in world.statements(plan, people) for s in part))
    before = world.state.marks
    world.mark(3)
    ends = {final.purpose: final.state for final in world.state.verdicts[-1] if final.subject == target.subject}
    assert ends == {Purpose.REGULAR: TaskState.DONE, Purpose.APPEAL: TaskState.EXPIRED}
    assert world.state.standings[target.subject].newest is TaskState.DONE
    turn = world.state.turns[target.subject]
    assert (turn.asked, turn.due_again) == (before, False)


def test_failures_in_a_row_are_of_one_subject_and_a_dispute_breaks_them(new_world: NewWorld) -> None:
    world = new_world(models=1)
    people = [f"p{n}" for n in range(9)]
    world.join(*people)
    failures = []
    for epoch, happens in enumerate(["fail", "fail", "silence", "split", "fail", "fail", "fail"]):
        world.mark(epoch)
        task = next(iter(world.plan(epoch).tasks.values()))
        names = {world.account(name).public: name for name in people}
        if happens == "fail":
            honest, world.result_of = world.result_of, lambda t, c="": TaskResult(t.id, Failure.NOT_FINITE)
            said = world.statements(world.plan(epoch), people)
            world.result_of = honest
        else:
            camps = {names[account]: f"camp {place % 3}" for place, account in enumerate(task.ranking)}
            said = world.statements(world.plan(epoch), people, camps)
        if happens != "silence":
            world.log(*(statement for part in said for statement in part))
        world.log(*(world.seal(name, Profile(epoch + 1, 4096, 1024, ("cpu",))) for name in people))
        failures.append(world.state.turns[task.subject].failures if epoch else 0)
    world.mark(7)
    assert failures == [0, 1, 2, 2, 0, 1, 2]
    (entry,) = world.state.models.values()
    assert entry.dormant


def test_a_spare_agrees_with_the_agreeing_and_not_with_who_was_dropped() -> None:
    """Rank 4 has the fingerprint of the set and made-up outcomes; the spare is near all others, and not near it."""

    def moved(place: int, gap: int) -> str:
        values = [(1000 if at % 2 else 3000) + (gap if at == place else 0) for at in range(32)]
        return b"".join(value.to_bytes(3, "big") for value in values).hex()

    situation = Situation(2, ranks=6, assigned=5).says(0, 1, 2, 3, fingerprint=moved(0, 0), outcomes=[1000, 0])
    situation.says(4, fingerprint=moved(0, 130), outcomes=[0, 1000])
    situation.says(5, fingerprint=moved(16, 130), outcomes=[1000, 0])
    given = situation.given()
    found = COMPUTES["verdict"](given)
    assert (found["agreeing"], found["earning"]) == ([0, 1, 2, 3], [0, 1, 2, 3, 5])
    assert found == plain.COMPUTES["verdict"](given)


# Examinations and pools


def test_audits_are_drawn_by_the_share_exactly(new_world: NewWorld) -> None:
    world = new_world(models=7)
    world.join(*PEOPLE)
    world.epoch(0, PEOPLE)
    world.mark(1)
    state = world.state
    state.verdicts[-1] = tuple(replace(final, closed_by=state.marks) for final in state.verdicts[-1])
    done = {final.task for final in state.verdicts[-1]}
    assert len(done) == 7
    for share in (0, 1, 137, 500, 999, 1000):
        state.parameters = replace(state.parameters, audit_share=share)
        for hour in range(20):
            state.pending, beacon = (), digest("test/hour", hour)
            draw_audits(state, beacon)
            threshold = share * 2**256 // 1000
            drawn = {task for task in done if as_number(digest("peerboard/audit/1", beacon, task)) < threshold}
            assert {pending.task for pending in state.pending} == drawn


def test_who_is_asked_to_examine_depends_on_the_purpose(new_world: NewWorld) -> None:
    """Of a pool and others with room: an audit has the others behind the pool, an appeal has no order of the two."""
    world = new_world(models=7, parameters=replace(DEMO, pool=7))
    people = tuple(f"p{n}" for n in range(16))
    world.join(*people)
    world.epoch(0, people)
    world.mark(1)
    state = world.state
    final = state.verdicts[0][0]
    base = state.models[final.subject.model].model.base.sha256
    holders = {slot.account for slot in state.pools[base] if slot}
    state.pools[base] = (*state.pools[base][:-1], None)
    left = {slot.account for slot in state.pools[base] if slot}
    offers, bases = ledger._offers(state), ledger._bases(state)
    everybody = set(offers) - set(final.counted)
    for purpose in (Purpose.AUDIT, Purpose.APPEAL):
        state.pending = (Pending(purpose, final.task),)
        (found,) = examinations.take_pending(state, offers, bases)
        expected = (everybody & left, everybody - left) if purpose is Purpose.AUDIT else (everybody, set())
        assert (set(found.first), set(found.rest)) == expected
    assert holders > left


def test_room_for_one_more_base_is_what_others_leave() -> None:
    """Three accounts of 2 MiB: one holds another base of 1 MiB, one holds the base in question, one holds nothing."""
    one, two, empty = b"a", b"b", b"c"
    offers = {key: (Offer(key, 512 + 2, 2),) for key in (one, two, empty)}
    held = {b"x": (Slot(one, one), None), b"y": (Slot(two, two),)}
    for size, expected in (
        (MIB, [one, two, empty]),
        (MIB + 1, [two, empty]),
        (2 * MIB, [two, empty]),
        (2 * MIB + 1, []),
    ):
        found = list(pools.with_room(held, {b"x": MIB, b"y": size}, offers, b"y"))
        assert found == expected, size


def test_a_slot_has_its_turn_once_a_period_and_slots_follow_each_other() -> None:
    parameters = replace(DEMO, period=12, pool=4)
    base = (5).to_bytes(8, "big") + bytes(24)
    turns = [[mark for mark in range(24) if pools.its_turn(base, slot, mark, parameters)] for slot in range(3)]
    assert turns == [[7, 19], [4, 16], [1, 13]]
    assert pools.pool_size(30, 0, parameters) == pools.pool_size(30, 1, parameters) == 30
    assert pools.pool_size(30, 10, parameters) == 9
    assert pools.pool_size(3, 10, parameters) == 3
    assert not pools.its_turn(base, 3, 7, replace(parameters, period=10, pool=20)), "steps are one mark at least"
    assert pools.its_turn(base, 3, 2, replace(parameters, period=10, pool=20))


# Scores, statements, proofs


def test_what_is_undecided_is_open_and_has_questions_left(new_world: NewWorld) -> None:
    world = new_world(models=3, parameters=replace(DEMO, quick_depth=25))
    world.join(*PEOPLE)
    world.epoch(0, PEOPLE)
    world.mark(1)
    standings, benchmarks = world.state.standings, world.state.benchmarks
    found = scores.undecided(benchmarks, standings)
    assert found == tuple(sorted(standings)), "all three say the same: ranks 1 to 3 for each"
    ((key, benchmark),) = benchmarks.items()
    for questions, left in ((26, 3), (25, 0)):
        known = {key: replace(benchmark, dataset=replace(benchmark.dataset, questions=questions))}
        assert len(scores.undecided(known, standings)) == left
    alone = {subject: standing for subject, standing in standings.items() if subject == found[0]}
    assert scores.undecided(benchmarks, alone) == (), "its rank is one"
    fewer = dict(standings)
    work = fewer[found[2]].works[0]
    few = replace(work, questions=work.questions[:80], medians=work.medians[:40])
    fewer[found[2]] = replace_works(fewer[found[2]], [few])
    assert scores.undecided(benchmarks, fewer)[0] == found[2], "as open as the others, and asked least"


def replace_works(standing: Any, works: list[Any]) -> Any:
    return type(standing)(works, standing.superseded, standing.newest)


def test_statements_of_two_places_are_one_set() -> None:
    committed, revealed = Committed(b"c", b"d"), Revealed(b"r", b"c", b"d", TaskResult(bytes(32)), ())
    other = Revealed(b"q", b"c", b"d", TaskResult(bytes(32)), ())
    log = {b"a": Statements(frozenset({committed}), ()), b"b": Statements(frozenset({committed}), (revealed,))}
    heard = {b"a": Statements(frozenset(), (revealed,)), b"b": Statements(frozenset(), (other, revealed))}
    expected = {
        b"a": Statements(frozenset({committed}), (revealed,)),
        b"b": Statements(frozenset({committed}), (other, revealed)),
    }
    assert merge([log, heard]) == merge([heard, log]) == merge([log, heard, log]) == expected


def test_a_proof_is_of_whole_hashes_and_of_a_tree_that_can_be() -> None:
    leaf = bytes(32)
    for index, size in ((0, 0), (1, 1), (0, MAX_SIZE + 1), (-1, 1)):
        with pytest.raises(InvalidProof, match="no leaf"):
            verify_inclusion(leaf, index, size, [], leaf)
    with pytest.raises(InvalidProof, match="32 bytes"):
        verify_inclusion(leaf, 0, 2, [bytes(31)], leaf)
    for first, second in ((-1, 1), (2, 1), (1, MAX_SIZE + 1)):
        with pytest.raises(InvalidProof, match="no prefix"):
            verify_consistency(first, second, [], leaf, leaf)
    with pytest.raises(InvalidProof, match="32 bytes"):
        verify_consistency(1, 2, [bytes(33)], leaf, leaf)
    with pytest.raises(InvalidProof, match="longer than the tree"):
        verify_inclusion(leaf, 0, 1, [leaf], leaf)
    assert MAX_SIZE == 2**63 - 1
    verify_consistency(MAX_SIZE, MAX_SIZE, [], leaf, leaf)


def test_subjects_are_ordered_by_their_bytes() -> None:
    assert sorted([Subject(b"b", b"a"), Subject(b"a", b"b"), Subject(b"a", b"a")])[0] == Subject(b"a", b"a")

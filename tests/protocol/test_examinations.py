"""Audits, appeals, and what happens to a task that they contradict."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol import examinations, scores
from protocol.hashing import digest
from protocol.lifecycle import TaskState
from protocol.messages import Appeal, Profile
from protocol.parameters import DEMO
from protocol.rejections import Rejection
from protocol.standings import Standing, differ, pack
from protocol.tasks import Purpose, Task

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
PEOPLE = tuple(f"p{n}" for n in range(16))
FEW = replace(DEMO, pool=7)


def work(world: World, epoch: int, camps: dict[str, str] | None = None, skill: int = 700) -> None:
    """Mark the epoch, do all its work, and let everybody give a sign of life."""
    assert world.mark(epoch) is None
    finish(world, epoch, skill)


def finish(world: World, epoch: int, skill: int = 700) -> None:
    world.skill = skill
    commitments, results = world.statements(world.plan(epoch), PEOPLE)
    world.log(*commitments, *results, *(world.seal(n, Profile(epoch, 4096, 1024, ("cpu",))) for n in PEOPLE))


@pytest.fixture
def world(new_world: NewWorld) -> World:
    # many bases: pools of seven of sixteen people, so that there are others to ask
    made = new_world(models=7, parameters=replace(FEW, quick_depth=25))
    made.join(*PEOPLE)
    return made


def examining(world: World, epoch: int) -> list[Task]:
    return [task for task in world.plan(epoch).tasks.values() if task.purpose is not Purpose.REGULAR]


def names_of(world: World, accounts: Any) -> set[str]:
    return {name for name in PEOPLE if world.account(name).public in accounts}


def test_an_appeal_asks_the_same_questions_of_others_with_a_new_beacon(world: World) -> None:
    work(world, 0)
    work(world, 1)
    target = world.state.verdicts[0][0]
    appellant = next(iter(names_of(world, target.agreeing)))
    assert world.log(world.seal(appellant, Appeal(1, target.task))) is None
    before = next(w for w in world.state.standings[target.subject].works if w.task == target.task)
    world.mark(2)
    (task,) = examining(world, 2)
    assert (task.purpose, task.looks_at, task.subject) == (Purpose.APPEAL, target.task, target.subject)
    assert task.questions == before.indexes()
    assert task.quorum == 5
    assert task.assigned == 9
    assert not set(task.ranking) & set(target.counted)
    finish(world, 2)
    world.mark(3)
    assert world.state.recent[task.id].state is TaskState.DONE
    assert not world.state.standings[target.subject].superseded, "it came to the same answers"
    assert not examining(world, 3), "once"
    assert world.refold().digest() == world.state.digest()


def test_what_an_appeal_contradicts_is_superseded_and_leaves_the_scores(world: World) -> None:
    work(world, 0, skill=300)
    work(world, 1, skill=700)
    target = next(final for final in world.state.verdicts[0] if final.state is TaskState.DONE)
    standing = world.state.standings[target.subject]
    lies = standing.answers
    world.log(world.seal(PEOPLE[0], Appeal(1, target.task)))
    turn = world.state.turns[target.subject]
    world.mark(2)
    (task,) = examining(world, 2)
    finish(world, 2, skill=700)
    world.mark(3)
    assert standing.superseded == {target.task}
    kept = dict(standing.answers)
    assert kept != lies
    honest = dict(zip(task.questions, world.result_of(task, skill=700).outcomes, strict=True))
    assert {question: kept[question] for question in honest} == honest
    assert world.state.recent[target.task] is target, "history stays"
    assert world.state.turns[target.subject] != turn, "regular work went on"
    assert world.refold().digest() == world.state.digest()


def test_answers_that_were_there_before_hold_again() -> None:
    agreeing = (b"a" * 32,)
    first = pack(b"1" * 32, 0, (1, 2, 3), (0, 1000, 0), (0, 1, 2), agreeing)
    second = pack(b"2" * 32, 1, (2, 3, 4), (0, 1000, 1000), (0, 1, 2), agreeing)
    standing = Standing([first, second])
    assert standing.answers == {1: 0, 2: 0, 3: 1000, 4: 1000}
    standing.superseded.add(second.task)
    assert standing.answers == {1: 0, 2: 1000, 3: 0}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": bytes(32)}, Rejection.VOID_NOT_DONE),
        ({"epoch": 7000}, Rejection.VOID_EPOCH_AHEAD),
    ],
)
def test_an_appeal_is_against_a_verdict_and_for_now(world: World, change: dict[str, Any], reason: Rejection) -> None:
    work(world, 0)
    work(world, 1)
    good = Appeal(1, world.state.verdicts[0][0].task)
    assert world.log(world.seal(PEOPLE[0], replace(good, **change))) is reason


def test_one_appeal_a_person_and_task_and_only_with_the_scope(world: World) -> None:
    world.join("newcomer")
    work(world, 0)
    work(world, 1)
    first, second, other = sorted(names_of(world, world.state.verdicts[0][0].agreeing))[:3]
    world.attest("one", first, second)
    appeal = Appeal(1, world.state.verdicts[0][0].task)
    assert world.log(world.seal("newcomer", appeal)) is Rejection.VOID_NO_SCOPE
    assert world.log(world.seal("stranger", appeal)) is Rejection.VOID_NOT_DELEGATED
    assert world.log(world.seal(first, appeal)) is None
    assert world.log(world.seal(second, appeal)) is Rejection.VOID_APPEALED
    assert world.log(world.seal(other, appeal)) is None
    world.attest("three", other, "newcomer")
    assert world.log(world.seal(other, appeal)) is Rejection.VOID_APPEALED, "an attestation forgets no appeal"
    assert len(world.state.pending) == 1, "two appeals in one epoch are one task"


def test_a_verdict_is_at_hand_for_24_marks(world: World) -> None:
    work(world, 0)
    work(world, 1)
    appeal = Appeal(24, world.state.verdicts[0][0].task)
    for epoch in range(2, 25):
        world.mark(epoch)
    assert world.log(world.seal(PEOPLE[0], appeal)) is None
    world.mark(25)
    assert world.log(world.seal(PEOPLE[1], replace(appeal, epoch=25))) is Rejection.VOID_NOT_DONE
    assert not examining(world, 25), "its verdict went before there was anybody to ask"


def test_audits_are_drawn_and_ask_the_pool_first(new_world: NewWorld) -> None:
    world = new_world(models=7, parameters=replace(FEW, audit_share=1000))
    world.join(*PEOPLE)
    work(world, 0)
    world.mark(1)
    audits = examining(world, 1)
    assert {task.purpose for task in audits} == {Purpose.AUDIT}
    assert len(audits) == DEMO.tasks_max // 10, "a tenth of the tasks; the rest waits"
    assert len(world.state.pending) == 7 - len(audits)
    for task in audits:
        target = world.state.recent[task.looks_at]
        assert not set(task.ranking) & set(target.counted)
        base = world.state.models[task.subject.model].model.base.sha256
        pool = {slot.account for slot in world.state.pools[base] if slot}
        inside = [account in pool for account in task.ranking]
        assert inside == sorted(inside, reverse=True), "the pool's others, then the rest"
    finish(world, 1)
    world.mark(2)
    assert sum(final.purpose is Purpose.AUDIT for final in world.state.verdicts[-1]) == len(audits)
    looked_at = {final.looks_at for final in world.state.verdicts[-1]} - {None}
    again = {task.looks_at for task in examining(world, 2)}
    assert not looked_at & again, "once"


def test_a_leaderless_epoch_asks_no_examination_again(world: World) -> None:
    work(world, 0)
    work(world, 1)
    world.log(world.seal(PEOPLE[0], Appeal(1, world.state.verdicts[0][0].task)))
    world.mark(2)
    assert examining(world, 2)
    assert not examining(world, 3)


def test_about_as_many_audits_as_the_share_says(world: World) -> None:
    work(world, 0)
    work(world, 1)
    state = world.state
    state.parameters = replace(state.parameters, audit_share=250)
    fresh = tuple(replace(final, closed_by=state.marks) for final in state.verdicts[-1])
    state.verdicts[-1] = fresh
    drawn = 0
    for hour in range(200):
        state.pending = ()
        examinations.draw_audits(state, digest("test/hour", hour))
        drawn += len(state.pending)
    assert 250 < drawn < 450, "350 of 1400 are expected"


@given(st.lists(st.sampled_from([0, 1000]), min_size=1, max_size=40), st.data())
def test_tasks_differ_where_rule_3_would_not_let_them_agree(values: list[int], data: st.DataObject) -> None:
    count = len(values)
    flips = data.draw(st.sets(st.integers(0, count - 1)))
    ties = data.draw(st.sets(st.integers(0, count - 1)))
    firm = tuple(sorted(set(range(count)) - ties))
    other = [1000 - value if place in flips else value for place, value in enumerate(values)]
    one = pack(b"1" * 32, 0, tuple(range(count)), tuple(values), tuple(range(count)), ())
    two = pack(b"2" * 32, 0, tuple(range(count)), tuple(other), firm, ())
    assert one.values() == tuple(values)
    assert [place for place in range(count) if two.is_firm(place)] == list(firm)
    assert differ(one, two, 0) == (len(flips & set(firm)) > max(1, len(firm) / 10))
    assert differ(one, two, 0) == differ(two, one, 0)
    assert not differ(one, two, 1000)


def test_two_answers_in_twenty_may_be_others_and_three_may_not() -> None:
    places, values = tuple(range(20)), (0,) * 20
    one = pack(b"1" * 32, 0, places, values, places, ())
    for flipped, found in ((2, False), (3, True)):
        other = pack(b"2" * 32, 0, places, (1000,) * flipped + values[flipped:], places, ())
        assert differ(one, other, 0) == found


def test_open_rankings_are_asked_deeper(new_world: NewWorld) -> None:
    parameters = replace(FEW, quick_depth=5, standard_depth=10, comprehensive_depth=20, questions_max=60)
    world = new_world(models=7, parameters=parameters)
    world.join(*PEOPLE)
    work(world, 0)
    assert {task.depth for task in world.plan(0).tasks.values()} == {5}, "nothing is known yet"
    work(world, 1)
    depths = [task.depth for task in world.plan(1).tasks.values()]
    assert sum(depths) <= 60
    assert sorted(depths) == [5, 5, 10, 10, 10, 10, 10], "25 questions were left"
    deeper = {task.subject for task in world.plan(1).tasks.values() if task.depth > 5}
    assert deeper <= set(scores.undecided(world.state.benchmarks, world.state.standings))

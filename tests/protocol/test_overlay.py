"""What a node holds beyond the log: provisional verdicts, what waits, and that looking changes nothing."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol import ledger
from protocol.lifecycle import TaskState
from protocol.messages import Commitment
from protocol.overlay import Overlay
from protocol.rejections import Rejection

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
PEOPLE = ("ada", "ben", "cleo", "dan")


@pytest.fixture
def world(new_world: NewWorld) -> World:
    made = new_world()
    made.join(*PEOPLE)
    return made


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 7), max_size=8))
def test_the_provisional_verdict_depends_on_the_set_only(new_world: NewWorld, random: Random, twice: list[int]) -> None:
    world = new_world()
    world.join(*PEOPLE)
    world.mark(0)
    commitments, results = world.statements(world.plan(0), PEOPLE)
    envelopes = commitments + results
    envelopes += [envelopes[place] for place in twice]
    in_order, shuffled = Overlay(world.state), Overlay(world.state)
    for envelope in commitments + results:
        in_order.add(envelope)
    random.shuffle(envelopes)
    for envelope in envelopes:
        shuffled.add(envelope)
    for task in world.plan(0).tasks.values():
        assert shuffled.provisional(task).verdict == in_order.provisional(task).verdict


def test_the_overlay_and_the_log_come_to_the_same_verdict(world: World) -> None:
    world.mark(0)
    commitments, results = world.statements(world.plan(0), PEOPLE)
    overlay = Overlay(world.state)
    for envelope in results + commitments:
        overlay.add(envelope)
    shown = {task.id: overlay.provisional(task).verdict for task in world.plan(0).tasks.values()}
    world.log(*commitments, *results)
    for task in world.plan(0).tasks.values():
        assert overlay.provisional(task).verdict == shown[task.id], "the log adds nothing that was not held"
    world.mark(1)
    for final in world.state.verdicts[0]:
        assert final.agreeing == shown[final.task].agreeing
        assert final.total == shown[final.task].total


def test_what_comes_before_its_delegation_is_parked_and_not_lost(new_world: NewWorld) -> None:
    world = new_world()
    world.join("ada", "ben", "cleo")
    world.mark(0)
    overlay = Overlay(world.state)
    early = world.seal("dan", Commitment(1, bytes(32), (bytes(32),), bytes(32)))
    assert overlay.add(early) is Rejection.VOID_NOT_DELEGATED
    commitments, _ = world.statements(world.plan(0), ["ada"])
    assert overlay.add(commitments[0]) is None


def test_statements_on_a_mark_that_is_not_here_yet_wait_for_it(world: World) -> None:
    world.mark(0)
    behind = world.refold()
    overlay = Overlay(behind)
    commitments, _ = world.statements(world.plan(0), PEOPLE)
    world.log(*commitments)
    entry_count = len(world.entries)
    world.mark(1)
    ahead, _ = world.statements(world.plan(1), PEOPLE)
    assert overlay.add(ahead[0]) is Rejection.VOID_OTHER_GROUND
    for entry in world.entries[behind.frontier.size : entry_count + 1]:
        ledger.append(behind, entry)
    overlay.settle()
    task = next(iter(world.plan(1).tasks.values()))
    assert any(said.commitments for said in overlay.statements(task).values())


def test_looking_at_an_epoch_changes_nothing(world: World) -> None:
    """A node that showed a leaderless epoch to its owner and one that did not come to the same state."""
    world.epoch(0, PEOPLE)
    looker, overlay = world.refold(), None
    for epoch in (1, 2, 3):
        assert ledger.gathering(looker, epoch) is not None
        overlay = Overlay(looker)
        assert overlay.plan(epoch) is not None
        overlay.settle()
    for epoch in (4, 6):
        start = len(world.entries)
        world.mark(epoch)
        for entry in world.entries[start:]:
            assert ledger.append(looker, entry) is None
        assert looker.digest() == world.state.digest() == world.refold().digest()
    assert [finals[0].epoch for finals in world.state.verdicts] == [0, 1, 2, 3, 4, 5]
    assert {final.state for finals in list(world.state.verdicts)[1:4] for final in finals} == {TaskState.EXPIRED}


def test_a_task_runs_once_an_assigned_runner_has_committed_and_once_only(new_world: NewWorld) -> None:
    world = new_world(models=1)
    people = [f"p{n}" for n in range(9)]
    world.join(*people)
    world.mark(0)
    (task,) = world.plan(0).tasks.values()
    names = {world.account(name).public: name for name in people}
    first, spare = names[task.ranking[0]], names[task.ranking[task.assigned]]
    by_name = {}
    for name in (first, spare):
        (by_name[name],), _ = world.statements(world.plan(0), [name])
    again = world.seal(first, replace(by_name[first].message, digest=bytes(32)))
    overlay = Overlay(world.state)
    shown = [overlay.provisional(task).state]
    for envelope in (by_name[spare], by_name[first], again):
        assert overlay.add(envelope) is None
        shown.append(overlay.provisional(task).state)
    assert shown == [TaskState.QUEUED, TaskState.QUEUED, TaskState.RUNNING, TaskState.QUEUED]
    world.log(by_name[spare])
    world.mark(1)
    assert [[final.state for final in finals] for finals in world.state.verdicts] == [[TaskState.EXPIRED]]

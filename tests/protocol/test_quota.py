"""Earn your submit: what a registration takes, and what a person is told."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from protocol.definitions import Adapter, HubFile, Model
from protocol.lifecycle import TaskState
from protocol.messages import Profile, Registration
from protocol.parameters import DEMO
from protocol.quota import explain, quota, submitted
from protocol.rejections import Rejection

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
PEOPLE = ("ada", "ben", "cleo", "dan")


def model(number: int, repository: str = "") -> Model:
    file = HubFile(repository or f"new/model{number}", "1" * 40, "new.gguf", bytes([number]) * 32, 1000)
    return Model(file, (), "llama", 1000, "F16", "MIT")


def register(world: World, name: str, what: Model) -> Rejection | None:
    epoch = world.state.opening.epoch if world.state.opening else 0
    found = explain(world.state, world.account(name).public, what)
    reason: Rejection | None = world.log(world.seal(name, Registration(what, epoch)))
    if world.state.opening and world.account(name).public in world.state.accounts:
        assert found.counts == (reason is None), "what people are told is what the ledger does"
        assert reason is None or found.obstacles[0].reason is reason
    return reason


@pytest.fixture
def world(new_world: NewWorld) -> World:
    made = new_world(models=1)
    made.join(*PEOPLE)
    return made


def test_before_the_first_mark_nothing_is_registered(world: World) -> None:
    assert register(world, "ada", model(1)) is Rejection.VOID_NO_OPEN_EPOCH


def test_a_young_network_asks_for_no_more_than_there_was_to_earn(world: World) -> None:
    world.mark(0)
    assert register(world, "ada", model(1)) is None, "nothing was DONE yet: the first registration is free"
    assert quota(world.state, world.account("ada").public).required == 0


def test_three_results_are_needed_and_spent(world: World) -> None:
    for epoch in range(3):
        world.epoch(epoch, PEOPLE)
    world.mark(3)
    ada = world.account("ada").public
    assert quota(world.state, ada).required == quota(world.state, ada).earned == 3
    assert register(world, "ada", model(1)) is None
    assert quota(world.state, ada).earned == 0
    assert register(world, "ada", model(2)) is Rejection.VOID_QUOTA
    told = explain(world.state, ada, model(2)).obstacles[0]
    assert (told.missing, told.marks) == (3, 1)
    assert register(world, "ben", model(2)) is None


def test_what_was_earned_is_at_hand_for_24_marks(world: World) -> None:
    ada = world.account("ada").public
    for epoch in range(3):
        world.epoch(epoch, PEOPLE)
    for mark in range(3, 25):
        world.mark(mark)
        assert quota(world.state, ada).earned == 3
    for mark, left in ((25, 2), (26, 1), (40, 0)):
        world.mark(mark)
        assert quota(world.state, ada).earned == left, "marks count, and not hours without one"


def test_expiring_says_what_the_next_mark_takes_away(world: World) -> None:
    ada = world.account("ada").public
    for epoch in range(2):
        world.epoch(epoch, PEOPLE)
    world.mark(2)
    for mark in range(3, 60):
        before, expiring = quota(world.state, ada).earned, explain(world.state, ada).expiring
        world.mark(mark)
        assert quota(world.state, ada).earned == before - expiring


def test_a_person_registers_from_a_repository_once_in_24_epochs(new_world: NewWorld) -> None:
    world = new_world(models=3, parameters=replace(DEMO, norm_required=1))
    world.join(*PEOPLE, "twin")
    world.attest("one", "ada", "twin")
    for epoch in range(4):
        world.epoch(epoch, [*PEOPLE, "twin"])
    world.mark(4)
    assert register(world, "ada", model(1, "same/place")) is None
    for name in ("ada", "twin"):
        assert register(world, name, model(2, "same/place")) is Rejection.VOID_SAME_REPOSITORY
    told = explain(world.state, world.account("ada").public, model(2, "same/place")).obstacles[0]
    assert told.marks == 24
    assert register(world, "ben", model(2, "same/place")) is None, "another person may"
    for epoch in range(5, 29):
        blocked = explain(world.state, world.account("ada").public, model(3, "same/place")).obstacles
        assert blocked[0].marks == 24 - (epoch - 5)
        assert f"was registered {epoch - 5} epochs ago" in blocked[0].sentence
        world.mark(epoch)
        world.log(*(world.seal(name, Profile(epoch, 4096, 1024, ("cpu",))) for name in PEOPLE))
    left = explain(world.state, world.account("ada").public, model(3, "same/place")).obstacles
    assert all(obstacle.reason is not Rejection.VOID_SAME_REPOSITORY for obstacle in left)


def test_the_repository_of_an_adapter_is_its_own() -> None:
    adapter = HubFile("me/lora", "1" * 40, "a.gguf", b"a" * 32, 10)
    assert submitted(model(1)) == "new/model1"
    assert submitted(replace(model(1), adapters=(Adapter(adapter),))) == "me/lora"


def test_a_person_judges_none_of_its_models_through_any_account(world: World) -> None:
    world.join("eve")
    world.attest("one", "ada", "ben")
    world.mark(0)
    register(world, "ada", model(1))
    world.mark(1)
    world.log(*(world.seal(name, Profile(2, 4096, 1024, ("cpu",))) for name in [*PEOPLE, "eve"]))
    world.mark(2)
    both = {world.account(name).public for name in ("ada", "ben")}
    tasks = [task for task in world.plan(2).tasks.values() if task.subject.model == model(1).id]
    assert [len(task.ranking) for task in tasks] == [3]
    assert not any(both & set(task.ranking) for task in tasks)


def test_old_words_cannot_be_repeated_by_others(world: World) -> None:
    world.mark(0)
    stale = world.seal("ada", Registration(model(1), 0))
    world.mark(1)
    world.mark(2)
    assert world.log(stale) is Rejection.VOID_EPOCH_PASSED


def test_an_attestation_that_comes_later_forgets_no_registration(new_world: NewWorld) -> None:
    world = new_world(models=3, parameters=replace(DEMO, norm_required=1))
    world.join(*PEOPLE)
    for epoch in range(3):
        world.epoch(epoch, PEOPLE)
    world.mark(3)
    assert register(world, "ada", model(1, "same/place")) is None
    world.attest("one", "ada", "ben")
    for name in ("ada", "ben"):
        assert register(world, name, model(2, "same/place")) is Rejection.VOID_SAME_REPOSITORY
    assert register(world, "cleo", model(2, "same/place")) is None


def test_the_window_is_the_same_for_what_was_earned_and_for_what_there_was_to_earn(new_world: NewWorld) -> None:
    world = new_world(models=1, parameters=replace(DEMO, norm_required=9, norm_window=2))
    world.join(*PEOPLE)
    ada = world.account("ada").public
    found = []
    for epoch in range(5):
        world.epoch(epoch, PEOPLE)
        found.append((quota(world.state, ada).earned, quota(world.state, ada).required))
    assert found == [(0, 0), (1, 1), (2, 2), (2, 2), (2, 2)]
    for epoch, left in ((5, 2), (6, 1), (7, 0)):
        world.mark(epoch)
        assert (quota(world.state, ada).earned, quota(world.state, ada).required) == (left, left)


def test_people_are_told_of_whatever_stands_in_the_way(world: World) -> None:
    """Before the first mark, without a device, with old bytes, with nothing earned: each by itself, and all of it."""
    ada, stranger = world.account("ada").public, world.account("stranger").public

    def reasons(account: bytes, what: Model | None = None) -> list[tuple[Rejection, int | None]]:
        found = explain(world.state, account, what)
        assert found.counts == (not found.obstacles)
        assert all(obstacle.sentence for obstacle in found.obstacles)
        return [(obstacle.reason, obstacle.marks) for obstacle in found.obstacles]

    assert reasons(ada) == [(Rejection.VOID_NO_OPEN_EPOCH, 1)]
    world.mark(0)
    assert reasons(ada) == []
    on_board = world.genesis.models[0]
    assert reasons(ada, on_board) == [(Rejection.VOID_ALREADY_REGISTERED, None)]
    world.log(*(statement for part in world.statements(world.plan(0), PEOPLE[1:]) for statement in part))
    world.mark(1)
    assert reasons(ada) == [(Rejection.VOID_QUOTA, 1)]
    assert reasons(stranger, on_board) == [
        (Rejection.VOID_NOT_DELEGATED, None),
        (Rejection.VOID_ALREADY_REGISTERED, None),
        (Rejection.VOID_QUOTA, 1),
    ]
    assert reasons(world.account("ben").public) == []
    assert world.log(world.seal("ben", Registration(model(1, on_board.base.repository), 1))) is None
    assert reasons(world.account("ben").public, model(2, on_board.base.repository)) == [
        (Rejection.VOID_SAME_REPOSITORY, 24),
        (Rejection.VOID_QUOTA, 1),
    ]
    world.state.models[on_board.id] = replace(world.state.models[on_board.id], dormant=True)
    assert reasons(world.account("cleo").public, on_board) == [], "a dormant model may come back, by whomever"
    world.state.halted = 2
    assert reasons(ada)[0] == (Rejection.VOID_NEWER_VERSION, None)


def test_an_account_without_a_profile_may_register_while_it_is_free(world: World) -> None:
    world.mark(0)
    world.log(world.delegation("eve"))
    assert world.log(world.seal("eve", Registration(model(1), 0))) is None
    assert world.state.models[model(1).id].sponsors == (world.account("eve").public,)


def test_what_is_missing_is_told_exactly_and_a_part_of_a_harvest_is_spent(new_world: NewWorld) -> None:
    world = new_world(models=2)
    world.join(*PEOPLE)
    ada = world.account("ada").public
    world.epoch(0, PEOPLE)
    world.epoch(1, PEOPLE[1:])
    world.mark(2)
    (obstacle,) = explain(world.state, ada).obstacles
    assert (quota(world.state, ada).earned, obstacle.missing) == (2, 1)
    world.log(*(world.seal(name, Profile(3, 4096, 1024, ("cpu",))) for name in PEOPLE))
    world.epoch(3, PEOPLE)
    world.mark(4)
    assert [count for _, count in world.state.accounts[ada].harvest] == [2, 2]
    assert world.log(world.seal("ada", Registration(model(1), 4))) is None
    assert [count for _, count in world.state.accounts[ada].harvest] == [1], "the oldest first"


def test_verdicts_on_a_persons_own_models_raise_nobodys_price(new_world: NewWorld) -> None:
    world = new_world(models=0)
    world.join(*PEOPLE, "twin")
    world.attest("one", "ada", "twin")
    world.mark(0)
    assert world.log(world.seal("ada", Registration(model(1), 0))) is None
    world.mark(1)
    world.log(*(world.seal(name, Profile(2, 4096, 1024, ("cpu",))) for name in PEOPLE))
    world.epoch(2, PEOPLE)
    world.mark(3)
    assert [final.state for finals in world.state.verdicts for final in finals].count(TaskState.DONE) == 1
    for name, required in (("ada", 0), ("twin", 0), ("ben", 1)):
        assert quota(world.state, world.account(name).public).required == required


def test_who_brings_a_dormant_model_back_sponsors_it_too(world: World) -> None:
    world.mark(0)
    assert world.log(world.seal("ada", Registration(model(1), 0))) is None
    entry = world.state.models[model(1).id]
    world.state.models[model(1).id] = replace(entry, dormant=True)
    assert world.log(world.seal("ben", Registration(model(1), 0))) is None
    both = tuple(sorted(world.account(name).public for name in ("ada", "ben")))
    assert world.state.models[model(1).id] == replace(entry, sponsors=both)


def test_registrations_and_appeals_are_forgotten_when_no_rule_reads_them_any_more(world: World) -> None:
    world.mark(0)
    ada = world.account("ada").public
    world.log(world.seal("ada", Registration(model(1), 0)))
    world.state.appeals[ada, bytes(32)] = world.state.marks
    known = []
    for epoch in range(1, 28):
        world.mark(epoch)
        known.append((len(world.state.submissions), len(world.state.appeals)))
    assert known == [(1, 1)] * 25 + [(0, 0)] * 2

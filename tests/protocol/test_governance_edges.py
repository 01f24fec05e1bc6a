"""Votes at their edges: shares, bounds, and marks on either side of a deadline."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from protocol import epochs, governance, ledger, ratings
from protocol.envelope import seal
from protocol.governance import MOST_OPEN, NOTICE, VOTING, Tally
from protocol.messages import (
    Ballot,
    BenchmarkChange,
    BenchmarkDefinition,
    ParameterChange,
    Proposal,
    TrackChange,
)
from protocol.parameters import Bound
from protocol.rejections import Rejection
from protocol.state import Motion, Vote

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
PEOPLE = ("ada", "ben", "cleo", "dan")


@pytest.fixture
def world(new_world: NewWorld) -> World:
    made = new_world(models=1)
    made.join(*PEOPLE)
    return made


@pytest.mark.parametrize(
    ("tally", "won"),
    [
        (Tally(2, 1, 3), False),
        (Tally(201, 100, 301), True),
        (Tally(1, 0, 5), True),
        (Tally(1, 0, 6), False),
        (Tally(5, 1, 30), True),
        (Tally(0, 0, 0), False),
    ],
)
def test_more_than_two_thirds_and_at_least_a_fifth(tally: Tally, won: bool) -> None:
    assert tally.is_won == won


@pytest.mark.parametrize(
    ("known", "unknown", "share"),
    [(40, 10, (10, 50)), (40, 11, (440, 2200)), (0, 5, (0, 0)), (5, 0, (0, 5))],
)
def test_strangers_votes_are_scaled_only_beyond_a_fifth(
    world: World, known: int, unknown: int, share: tuple[int, int]
) -> None:
    """40 to 10 is a fifth: nothing is scaled; 40 to 11 is more."""
    state = world.state
    state.parameters = replace(state.parameters, attested=True)
    weights = tuple((name, weight, name == b"k") for name, weight in ((b"k", known), (b"u", unknown)) if weight)
    state.motions[b"m"] = Motion(Proposal(0, parameter=ParameterChange("pool", 9)), b"", 0, weights, ())
    state.votes[b"m", b"u"] = Vote(0, True)
    found = governance.tally(state, b"m")
    assert (found.yes, found.all) == share
    state.votes[b"m", b"k"] = Vote(0, True)
    assert governance.tally(state, b"m") == Tally(found.all, 0, found.all), "all of them are for it"
    del state.votes[b"m", b"k"]
    state.parameters = replace(state.parameters, attested=False)
    found = governance.tally(state, b"m")
    assert (found.yes, found.all) == (unknown, known + unknown), "where nobody asks for attestations all are the same"


def test_bounds_include_their_ends_and_name_what_there_is(new_world: NewWorld) -> None:
    bounds = (Bound("tasks_max", 10, 100), Bound("attested", 0, 1), Bound("no_such_number", 0, 9), Bound("pool", 0, 9))
    state = new_world(bounds=bounds).state
    for value, allowed in ((10, True), (100, True), (9, False), (101, False)):
        assert (governance.changed(state, ParameterChange("tasks_max", value)) is not None) == allowed
    after = governance.changed(state, ParameterChange("attested", 1))
    assert after is not None
    assert after.attested is True, "true, and not the number one: the state's digest tells them apart"
    assert governance.changed(state, ParameterChange("no_such_number", 1)) is None
    assert governance.changed(state, ParameterChange("pool", 0)) is None, "a pool has a slot at least"


def test_a_person_with_little_has_a_vote_and_one_with_nothing_has_none(world: World) -> None:
    world.enrich("ada", "ben", credit=1)
    assert governance.weights(world.state) == tuple(
        (key, 1, False) for key in sorted(world.account(name).public for name in ("ada", "ben"))
    )
    assert len(governance.voters(world.state)) == 2
    world.enrich("ada", "ben", credit=19)
    assert {weight for _, weight, _ in governance.weights(world.state)} == {1}, "38 // 20"


def test_the_version_that_comes_next_is_the_first_that_was_adopted(world: World) -> None:
    def motion(name: str, value: int, adopted: int | None) -> Motion:
        change = Proposal(0, parameter=ParameterChange(name, value))
        return Motion(change, b"", 0, (), (), adopted=adopted)

    motions = world.state.motions
    assert governance.coming_version(world.state) is None
    motions[b"a"] = motion("version", 3, None)
    motions[b"b"] = motion("pool", 9, 4)
    motions[b"t"] = Motion(Proposal(0, track=TrackChange("maths", ())), b"", 0, (), (), adopted=3)
    assert governance.coming_version(world.state) is None, "one is voted on, the others change something else"
    motions[b"c"] = motion("version", 3, 7)
    motions[b"d"] = motion("version", 2, 5)
    assert governance.coming_version(world.state) == (2, 5 + NOTICE)
    motions[b"e"] = motion("version", 1, 4)
    assert governance.coming_version(world.state) is None, "the version in force"


def test_as_many_proposals_are_open_as_may_be(world: World) -> None:
    world.mark(0)
    world.enrich("ada")
    world.log(world.seal("eve", BenchmarkDefinition(next(iter(world.state.benchmarks.values())))))
    assert world.voids[-1] is Rejection.VOID_NOT_DELEGATED
    assert world.log(world.seal("eve", Ballot(0, bytes(32), True))) is Rejection.VOID_NOT_DELEGATED
    track = Proposal(0, track=TrackChange("maths", ()))
    for number in range(MOST_OPEN):
        world.state.motions[bytes([number])] = Motion(track, bytes([number]), world.state.marks, (), ())
    assert world.log(world.seal("ada", track)) is Rejection.VOID_TOO_MANY
    del world.state.motions[b"\0"]
    assert world.log(world.seal("ada", track)) is None


def marks(world: World, count: int) -> None:
    state = world.state
    for _ in range(count):
        state.chain_left, state.last_preimage = 10**6, epochs.hash_chain(bytes(32), 1)[-1]
        message = ledger.next_mark(state, state.opening.epoch + 1, bytes(32))
        assert world.log(seal(world.log_key, world.genesis.id, message)) is None


def test_what_was_retired_can_come_back_and_a_track_can_end(world: World) -> None:
    world.mark(0)
    (key,) = world.state.benchmarks
    drop, back = (Proposal(0, benchmark=BenchmarkChange(key, active)) for active in (False, True))
    ended = Proposal(0, track=TrackChange("maths", ()))
    for envelope, adopted in ((b"a", drop), (b"b", ended)):
        world.state.motions[envelope] = Motion(adopted, envelope, 0, (), (), adopted=world.state.marks)
    marks(world, NOTICE)
    assert world.state.opening.subjects == ()
    assert key in world.state.retired
    assert ratings.tracks(world.state) == {}
    world.state.motions[b"c"] = Motion(back, b"c", 0, (), (), adopted=world.state.marks)
    marks(world, NOTICE)
    assert not world.state.retired
    assert len(world.state.opening.subjects) == 1
    unknown = BenchmarkDefinition(replace(world.state.benchmarks[key], name="another"))
    world.state.definitions[unknown.benchmark.id] = unknown.benchmark
    world.enrich("ada")
    epoch = world.state.opening.epoch
    never = Proposal(epoch, benchmark=BenchmarkChange(unknown.benchmark.id, active=False))
    assert world.log(world.seal("ada", never)) is Rejection.VOID_UNKNOWN_BENCHMARK, "it is not on the board"


def test_what_is_possible_no_longer_when_its_notice_ends_does_nothing(new_world: NewWorld) -> None:
    world = new_world(bounds=(Bound("tasks_max", 10, 100),))
    world.mark(0)
    gone = Proposal(0, track=TrackChange("maths", (bytes(32),)))
    world.state.motions[b"a"] = Motion(gone, b"a", 0, (), (), adopted=world.state.marks)
    marks(world, NOTICE)
    assert not world.state.motions
    assert "maths" not in world.state.tracks


def test_a_vote_lasts_exactly_as_long_as_it_may(world: World) -> None:
    world.mark(0)
    track = Proposal(0, track=TrackChange("maths", ()))
    world.state.motions[b"m"] = Motion(track, b"", world.state.marks, ((b"p", 1, True),), ())
    world.state.votes[b"m", b"p"] = Vote(0, True)
    marks(world, VOTING - 1)
    assert world.state.motions[b"m"].adopted is None
    marks(world, 1)
    assert world.state.motions[b"m"].adopted == world.state.marks
    assert not world.state.votes


def test_tracks_come_by_name_and_their_benchmarks_by_id(world: World) -> None:
    (known,) = world.state.benchmarks.values()
    more = [replace(known, name=f"b{number}", track=track) for number, track in enumerate(("z", "a", "z", "a", "z"))]
    for benchmark in sorted(more, key=lambda benchmark: benchmark.id, reverse=True):
        world.state.benchmarks[benchmark.id] = benchmark
    found = ratings.tracks(world.state)
    assert list(found) == ["a", "maths", "z"]
    assert all(list(ids) == sorted(ids) for ids in found.values())
    assert {track: len(ids) for track, ids in found.items()} == {"a": 2, "maths": 1, "z": 3}

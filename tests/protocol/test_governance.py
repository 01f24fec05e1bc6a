"""Proposals, ballots, ratings and the tiers that open them."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol import epochs, governance, ledger, ratings
from protocol.envelope import Envelope, seal
from protocol.governance import NOTICE, VOTING
from protocol.messages import (
    Ballot,
    BenchmarkChange,
    BenchmarkDefinition,
    ParameterChange,
    Proposal,
    Rating,
    TrackChange,
)
from protocol.parameters import DEMO, Bound
from protocol.rejections import Rejection
from protocol.state import Account, Motion, State, Vote
from protocol.tiers import TIERS, Scope, scopes_of, tier_of

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
PEOPLE = tuple(f"p{n}" for n in range(30))
BOUNDS = (Bound("tasks_max", 10, 100), Bound("attested", 0, 1), Bound("epoch_seconds", 1, 9999), Bound("quorum", 0, 9))
RAISE = Proposal(0, parameter=ParameterChange("tasks_max", 80))


@pytest.fixture
def world(new_world: NewWorld) -> World:
    """Thirty people with the same credit, which evaluating would have brought them in some weeks."""
    made = new_world(bounds=BOUNDS)
    made.join(*PEOPLE)
    for name in PEOPLE:
        set_credit(made, name, 10_000)
    made.mark(0)
    return made


def set_credit(world: World, name: str, credit: int, agreed: int = 100) -> None:
    key = world.account(name).public
    known = world.state.accounts.get(key, Account(since=0))
    world.state.accounts[key] = replace(known, credit=credit, judged=100, agreed=agreed)


def propose(world: World, message: Proposal, name: str = "p0") -> Envelope:
    envelope: Envelope = world.seal(name, replace(message, epoch=world.state.opening.epoch))
    assert world.log(envelope) is None
    return envelope


def vote(world: World, envelope: Envelope, names: Any, yes: bool = True) -> None:
    for name in names:
        assert world.log(world.seal(name, Ballot(world.state.opening.epoch, envelope.id, yes))) is None


def pass_marks(world: World, count: int) -> None:
    state = world.state
    for _ in range(count):
        preimage = world.chain[state.marks] if state.marks < 100 else bytes(32)
        if state.marks >= 90:
            # a chain is worth a hundred marks here: what follows it is not what is tested
            state.chain_left, state.last_preimage = 10**6, epochs.hash_chain(preimage, 1)[-1]
        message = ledger.next_mark(state, state.opening.epoch + 1, preimage)
        assert world.log(seal(world.log_key, world.genesis.id, message)) is None


def test_a_change_is_voted_noticed_and_takes_effect(world: World) -> None:
    envelope = propose(world, RAISE)
    vote(world, envelope, PEOPLE[:20])
    vote(world, envelope, PEOPLE[20:25], yes=False)
    pass_marks(world, VOTING - 1)
    assert world.state.motions[envelope.id].adopted is None
    pass_marks(world, 1)
    assert world.state.motions[envelope.id].adopted is not None
    pass_marks(world, NOTICE - 1)
    assert world.state.parameters.tasks_max == 64
    pass_marks(world, 1)
    assert world.state.parameters == replace(DEMO, tasks_max=80)
    assert world.state.opening.parameters.tasks_max == 80
    assert not world.state.motions
    assert not world.state.votes


@pytest.mark.parametrize(("yes", "no"), [(5, 0), (12, 6), (0, 20)])
def test_what_is_not_won_is_dropped(world: World, yes: int, no: int) -> None:
    """Less than a fifth of the weight; two thirds and not more; against."""
    envelope = propose(world, RAISE)
    vote(world, envelope, PEOPLE[:yes])
    vote(world, envelope, PEOPLE[yes : yes + no], yes=False)
    pass_marks(world, VOTING)
    assert not world.state.motions


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (ParameterChange("tasks_max", 101), Rejection.VOID_OUT_OF_BOUNDS),
        (ParameterChange("tasks_max", 9), Rejection.VOID_OUT_OF_BOUNDS),
        (ParameterChange("dispersion", 100), Rejection.VOID_OUT_OF_BOUNDS),
        (ParameterChange("epoch_seconds", 100), Rejection.VOID_OUT_OF_BOUNDS),
        (ParameterChange("quorum", 0), Rejection.VOID_OUT_OF_BOUNDS),
    ],
)
def test_only_what_the_genesis_allows_can_be_proposed(world: World, change: ParameterChange, reason: Rejection) -> None:
    assert world.log(world.seal("p0", Proposal(0, parameter=change))) is reason


def test_a_person_has_one_open_proposal_and_the_latest_ballot_counts(world: World) -> None:
    envelope = propose(world, RAISE)
    other = replace(RAISE, parameter=ParameterChange("tasks_max", 90))
    assert world.log(world.seal("p0", other)) is Rejection.VOID_TOO_MANY
    assert world.log(envelope) is Rejection.VOID_DUPLICATE
    vote(world, envelope, ["p1"])
    assert governance.tally(world.state, envelope.id).yes > 0
    taken_back = world.seal("p1", Ballot(0, envelope.id, False))
    assert world.log(taken_back) is Rejection.VOID_OUT_OF_SEQUENCE, "one an epoch, so that none is said again by others"
    world.mark(1)
    vote(world, envelope, ["p1"], yes=False)
    found = governance.tally(world.state, envelope.id)
    assert (found.yes, found.no * 30) == (0, found.all)
    assert world.log(world.seal("p1", Ballot(0, envelope.id, True))) is Rejection.VOID_OUT_OF_SEQUENCE
    assert governance.tally(world.state, envelope.id) == found


def test_who_is_whose_is_frozen_with_the_weights(world: World) -> None:
    """Attestations that come, or are corrected, while a proposal is open give nobody a vote and take nobody's."""
    world.attest("pair", "p1", "p2")
    world.mark(1)
    envelope = propose(world, RAISE)
    vote(world, envelope, ["p1", "p3"])
    before = governance.tally(world.state, envelope.id)
    assert before == governance.Tally(25_000, 0, 295_000), "a pair of accounts at a twentieth of all, and one"
    world.attest("three", "p3")
    world.attest("other", "p1")  # the attester was mistaken: it is not p2's
    assert governance.tally(world.state, envelope.id) == before
    for name in ("p1", "p2", "p3"):
        again = world.seal(name, Ballot(1, envelope.id, True))
        assert world.log(again) is Rejection.VOID_OUT_OF_SEQUENCE, "of the person of then"
    world.attest("four", "p4", "p5")
    vote(world, envelope, ["p4", "p5"])
    found = governance.tally(world.state, envelope.id)
    assert found == replace(before, yes=45_000), "who became one person still has both weights, and no more"
    assert world.log(world.seal("p0", replace(RAISE, epoch=1, text=bytes(32)))) is Rejection.VOID_TOO_MANY
    world.attest("zero", "p0", "p9")
    assert world.log(world.seal("p9", replace(RAISE, epoch=1))) is Rejection.VOID_TOO_MANY, "p0's is open"
    assert world.refold().parameters == world.state.parameters


def test_weights_are_frozen_when_the_proposal_is_made(world: World) -> None:
    envelope = propose(world, RAISE)
    set_credit(world, "p1", 10**9)
    world.join("rich")
    set_credit(world, "rich", 10**9)
    vote(world, envelope, ["p1"])
    assert world.log(world.seal("rich", Ballot(0, envelope.id, True))) is Rejection.VOID_NO_SCOPE
    found = governance.tally(world.state, envelope.id)
    assert found.yes * 30 == found.all


def test_nobody_has_more_than_a_twentieth(world: World) -> None:
    set_credit(world, "p0", 10**9)
    weights = {person: weight for person, weight, _ in governance.weights(world.state)}
    whale = weights[world.account("p0").public]
    assert whale <= (10**9 + 29 * 10_000) // 20


@given(st.lists(st.tuples(st.integers(1, 10**9), st.booleans(), st.sampled_from([None, True, False])), max_size=20))
def test_all_without_attestation_have_at_most_a_fifth(people: list[tuple[int, bool, bool | None]]) -> None:
    state = State(
        genesis=None,  # type: ignore[arg-type]  # a tally reads none of it
        parameters=replace(DEMO, attested=True),
        log_key=b"",
        last_preimage=b"",
        chain_left=0,
    )
    weights = tuple((bytes([n]), weight, attested) for n, (weight, attested, _) in enumerate(people))
    state.motions[b"m"] = Motion(RAISE, b"", 0, weights, ())
    for number, (_, _, yes) in enumerate(people):
        if yes is not None:
            state.votes[b"m", bytes([number])] = Vote(0, yes)
    whole = governance.tally(state, b"m")
    for number, (_, attested, _) in enumerate(people):
        if attested:
            state.votes.pop((b"m", bytes([number])), None)
        else:
            state.votes[b"m", bytes([number])] = Vote(0, True)
    strangers = governance.tally(state, b"m")
    assert strangers.all == whole.all
    assert strangers.no == 0
    assert 5 * strangers.yes <= whole.all
    assert whole.yes + whole.no <= whole.all


def test_benchmarks_come_and_go(world: World) -> None:
    known = next(iter(world.state.benchmarks.values()))
    fresh = replace(known, name="products")
    change = BenchmarkChange(fresh.id, active=True)
    assert world.log(world.seal("p0", Proposal(0, benchmark=change))) is Rejection.VOID_UNKNOWN_BENCHMARK
    assert world.log(world.seal("p0", BenchmarkDefinition(fresh))) is None
    assert world.log(world.seal("p1", BenchmarkDefinition(fresh))) is Rejection.VOID_DUPLICATE
    add = propose(world, Proposal(0, benchmark=change))
    drop = propose(world, Proposal(0, benchmark=BenchmarkChange(known.id, active=False)), "p1")
    track = propose(world, Proposal(0, track=TrackChange("both", (known.id,))), "p2")
    for envelope in (add, drop, track):
        vote(world, envelope, PEOPLE)
    assert {task.subject.benchmark for task in world.plan(0).tasks.values()} == {known.id}
    pass_marks(world, VOTING + NOTICE)
    assert {subject.benchmark for subject in world.state.opening.subjects} == {fresh.id}
    assert set(world.state.benchmarks) == {known.id, fresh.id}, "the board keeps what was measured"
    assert ratings.tracks(world.state)["both"] == (known.id,)


def test_the_latest_stars_of_a_person_count(world: World) -> None:
    model = world.genesis.models[0].id
    world.attest("one", "p0", "p1")
    for epoch, name, stars in ((0, "p0", 5), (1, "p1", 2), (0, "p2", 4), (2, "p2", 4)):
        assert world.log(world.seal(name, Rating(epoch, model, "maths", stars))) is None
    for epoch, name in ((0, "p0"), (1, "p0"), (1, "p1"), (2, "p2")):
        again = world.seal(name, Rating(epoch, model, "maths", 1))
        assert world.log(again) is Rejection.VOID_OUT_OF_SEQUENCE, "nothing old is said again"
    assert ratings.stars(world.state) == {(model, "maths"): (0, 1, 0, 1, 0)}
    assert world.log(world.seal("p3", Rating(0, bytes(32), "maths", 1))) is Rejection.VOID_UNKNOWN_MODEL
    assert world.log(world.seal("p3", Rating(0, model, "poetry", 1))) is Rejection.VOID_UNKNOWN_TRACK
    world.join("new")
    assert world.log(world.seal("new", Rating(0, model, "maths", 1))) is Rejection.VOID_NO_SCOPE
    assert not world.state.standings, "never mixed into the scores"


def test_an_account_that_rated_before_its_attestation_is_not_counted_twice(world: World) -> None:
    model = world.genesis.models[0].id
    world.log(world.seal("p0", Rating(0, model, "maths", 1)))
    world.attest("one", "p0")
    world.log(world.seal("p0", Rating(0, model, "maths", 5)))
    assert ratings.stars(world.state) == {(model, "maths"): (0, 0, 0, 0, 1)}
    world.attest("another", "p0")
    assert ratings.stars(world.state) == {}, "the person of before has no account: it was a mistake"
    world.log(world.seal("p0", Rating(0, model, "maths", 3)))
    assert ratings.stars(world.state) == {(model, "maths"): (0, 0, 1, 0, 0)}


@given(st.integers(0, 20_000), st.integers(0, 100))
def test_tiers_rise_with_credit_and_agreement(new_world: NewWorld, credit: int, agreed: int) -> None:
    world = new_world()
    set_credit(world, "ada", credit, agreed)
    key = world.account("ada").public
    reached = TIERS.index(tier_of(world.state, key))
    assert all(credit >= tier.credit and agreed * 10 >= tier.agreement for tier in TIERS[: reached + 1])
    if reached + 1 < len(TIERS):
        above = TIERS[reached + 1]
        assert credit < above.credit or agreed * 10 < above.agreement
    assert (Scope.PROPOSE in scopes_of(world.state, key)) == (reached == len(TIERS) - 1)
    assert scopes_of(world.state, bytes(32)) == frozenset()

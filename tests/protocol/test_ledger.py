"""What entries do to the state, and the laws of the fold."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from protocol import ledger
from protocol.definitions import HubFile, Model
from protocol.envelope import open_envelope, seal
from protocol.lifecycle import TaskState
from protocol.messages import Commitment, Delegation, Profile, Registration, consent_to
from protocol.parameters import DEMO
from protocol.quota import quota
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
PEOPLE = ("ada", "ben", "cleo", "dan")


@pytest.fixture
def world(new_world: NewWorld) -> World:
    made = new_world()
    made.join(*PEOPLE)
    return made


def states(world: World) -> list[list[TaskState]]:
    return [[final.state for final in finals] for finals in world.state.verdicts]


def test_an_epochs_work_becomes_final_at_the_next_mark(world: World) -> None:
    world.epoch(0, PEOPLE)
    assert states(world) == []
    world.mark(1)
    assert states(world) == [[TaskState.DONE, TaskState.DONE]]
    assert world.state.last_closed == 0
    assert world.state.head == (len(world.entries), world.state.frontier.root, 1)
    assert all(account.credit == 2 * 25 for account in world.state.accounts.values())


def test_the_same_prefix_gives_the_same_state(world: World) -> None:
    world.epoch(0, PEOPLE)
    world.epoch(1, PEOPLE[:3])
    world.mark(2)
    assert world.refold().digest() == world.state.digest()


def test_nothing_runs_before_the_first_mark(world: World) -> None:
    assert ledger.gathering(world.state, 0) is None
    commitment = Commitment(0, bytes(32), (bytes(32),), bytes(32))
    assert world.log(world.seal("ada", commitment)) is Rejection.VOID_NO_OPEN_EPOCH


def test_marks_are_the_log_keys_alone(world: World) -> None:
    good = ledger.next_mark(world.state, 0, world.chain[0])
    assert world.log(world.seal("ada", good)) is Rejection.VOID_NOT_THE_LOG_KEY
    assert world.mark(0) is None, "the void entry above is part of the state that the mark names"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"preimage": bytes(32)}, Rejection.VOID_WRONG_PREIMAGE),
        ({"state": bytes(32)}, Rejection.VOID_WRONG_STATE),
        ({"epoch": 3}, Rejection.VOID_EPOCH_PASSED),
    ],
)
def test_a_wrong_mark_has_no_effect(world: World, change: dict[str, Any], reason: Rejection) -> None:
    world.epoch(3, PEOPLE)
    before = world.state.opening
    mark = ledger.next_mark(world.state, 4, world.chain[1])
    assert world.log(seal(world.log_key, world.genesis.id, replace(mark, **change))) is reason
    assert world.state.opening is before
    assert world.mark(4) is None


def test_a_device_belongs_to_the_account_that_it_consented_to(world: World) -> None:
    thief = PrivateKey(b"t" * 32)
    device = world.device("eve")
    consent = device.sign(consent_to(world.genesis.id, world.account("eve").public))
    stolen = Delegation(device.public, consent)
    with pytest.raises(Rejected, match="consent"):
        open_envelope(seal(thief, world.genesis.id, stolen).data, world.genesis.id)


def test_a_device_is_delegated_once(world: World) -> None:
    assert world.log(world.delegation("ada")) is Rejection.VOID_ALREADY_DELEGATED


def test_a_stranger_says_nothing_that_counts(world: World) -> None:
    world.mark(0)
    assert world.log(world.seal("eve", Profile(0, 1, 1, ()))) is Rejection.VOID_NOT_DELEGATED


def test_a_commitment_on_another_ground_has_no_effect(world: World) -> None:
    world.mark(0)
    commitments, _ = world.statements(world.plan(0), ["ada"])
    message = commitments[0].message
    elsewhere = world.seal("ada", replace(message, ground=bytes(32)))
    assert world.log(elsewhere) is Rejection.VOID_OTHER_GROUND


def test_who_does_not_reveal_is_set_back_until_the_reveal_comes_late(world: World) -> None:
    world.mark(0)
    commitments, results = world.statements(world.plan(0), PEOPLE)
    late = next(r for r in results if r.signer == world.device("dan").public)
    world.log(*commitments, *(r for r in results if r is not late))
    world.mark(1)
    dan = world.account("dan").public
    assert world.state.accounts[dan].missed == {0: 1}
    world.mark(2)
    assert dan in world.state.opening.set_back
    assert all(dan not in finals.agreeing for finals in world.state.verdicts[0])
    assert world.log(late) is Rejection.VOID_LATE
    assert world.state.accounts[dan].missed == {}
    assert all(dan not in finals.agreeing for finals in world.state.verdicts[0]), "nothing changes a final verdict"


def test_who_gives_no_sign_of_life_is_not_asked(world: World) -> None:
    world.epoch(0, PEOPLE[:3])
    world.mark(1)
    dan = world.account("dan").public
    assert all(dan not in task.ranking for task in world.plan(1).tasks.values())
    world.log(world.seal("dan", Profile(1, 4096, 1024, ("cpu",))))
    commitments, results = world.statements(world.plan(1), PEOPLE[:3])
    world.log(*commitments, *results)
    world.mark(2)
    assert all(dan in task.ranking for task in world.plan(2).tasks.values())


def test_a_registration_is_earned_and_spent(world: World) -> None:
    file = HubFile("new/model", "1" * 40, "new.gguf", b"n" * 32, 1000)
    registration = Registration(Model(file, (), "llama", 1000, "F16", "MIT"), epoch=1)
    world.epoch(0, PEOPLE)
    world.epoch(1, PEOPLE)
    world.mark(2)
    ada = world.account("ada").public
    assert quota(world.state, ada).earned == 4
    assert world.log(world.seal("ada", registration)) is None
    assert quota(world.state, ada).earned == 1
    other = replace(registration.model, base=replace(file, sha256=b"o" * 32, repository="other/model"))
    assert world.log(world.seal("ada", Registration(other, epoch=1))) is Rejection.VOID_QUOTA
    assert world.log(world.seal("ben", registration)) is Rejection.VOID_ALREADY_REGISTERED
    world.mark(3)
    about_it = [task for task in world.plan(3).tasks.values() if task.subject.model == registration.model.id]
    assert about_it, "it is due at the very next mark: who registers at 14:00 has a number at 15:00"
    assert all(ada not in task.ranking for task in about_it), "the sponsor does not judge its own"


def test_leaderless_epochs_are_closed_in_order_by_the_next_mark(world: World) -> None:
    world.epoch(0, PEOPLE)
    for epoch in (1, 2):
        plan = world.plan(epoch)
        assert plan.leaderless
        commitments, results = world.statements(plan, PEOPLE)
        world.log(*commitments, *results)
    world.mark(3)
    assert states(world) == [[TaskState.DONE] * 2] * 3
    assert [finals[0].epoch for finals in world.state.verdicts] == [0, 1, 2]
    assert world.refold().digest() == world.state.digest()


def test_work_pauses_after_the_longest_leaderless_time(world: World) -> None:
    world.mark(0)
    assert ledger.gathering(world.state, DEMO.leaderless_max) is not None
    assert ledger.gathering(world.state, DEMO.leaderless_max + 1) is None


def test_disputes_ask_more_runners_and_then_wait_their_turn(new_world: NewWorld) -> None:
    world = new_world(models=1)
    people = [f"p{n}" for n in range(12)]
    world.join(*people)
    asked = []
    for epoch in range(5):
        world.mark(epoch)
        task = next(iter(world.plan(epoch).tasks.values()))
        asked.append((task.quorum, task.assigned))
        names = {world.account(name).public: name for name in people}
        ranked = [names[account] for account in task.ranking]
        camps = {name: f"camp {place % 3}" for place, name in enumerate(ranked)} if epoch < 3 else {}
        commitments, results = world.statements(world.plan(epoch), people, camps)
        signs_of_life = [world.seal(name, Profile(epoch, 4096, 1024, ("cpu",))) for name in people]
        world.log(*commitments, *results, *signs_of_life)
    world.mark(5)
    assert asked == [(3, 5), (4, 7), (5, 9), (3, 5), (3, 5)]
    assert states(world) == [[TaskState.DISPUTED]] * 3 + [[TaskState.DONE]] * 2


def test_a_void_entry_changes_nothing_but_the_log(world: World) -> None:
    world.epoch(0, PEOPLE)
    twin = world.refold()
    void = world.seal("eve", Profile(0, 1, 1, ()))
    assert world.log(void) is Rejection.VOID_NOT_DELEGATED
    twin.frontier = world.state.frontier
    assert twin.digest() == world.state.digest()


def test_a_salt_that_was_chosen_at_the_reveal_opens_nothing_and_moves_no_beacon(world: World) -> None:
    world.mark(0)
    commitments, results = world.statements(world.plan(0), PEOPLE)
    cheat = next(r for r in results if r.signer == world.device("dan").public)
    world.log(*commitments, *(r for r in results if r is not cheat))
    beacons = set()
    for salt in (b"1" * 32, b"2" * 32):
        twin = world.refold()
        ledger.append(twin, world.seal("dan", replace(cheat.message, salt=salt)))
        ledger.append(twin, seal(world.log_key, world.genesis.id, ledger.next_mark(twin, 1, world.chain[1])))
        beacons.add(twin.opening.beacon)
        assert twin.accounts[world.account("dan").public].missed == {0: 1}, "what he committed to was never opened"
    assert len(beacons) == 1


def test_a_leaderless_epoch_brings_no_setback(world: World) -> None:
    world.epoch(0, PEOPLE)
    commitments, _ = world.statements(world.plan(1), PEOPLE)
    world.log(*commitments)
    world.mark(2)
    assert all(not account.missed for account in world.state.accounts.values())
    assert [finals[0].epoch for finals in world.state.verdicts] == [0, 1]


def test_a_late_reveal_counts_within_two_closes_however_long_an_outage_lies_between(world: World) -> None:
    world.mark(0)
    commitments, results = world.statements(world.plan(0), PEOPLE)
    late = [r for r in results if r.signer in {world.device(name).public for name in ("cleo", "dan")}]
    world.log(*commitments, *(r for r in results if r not in late))
    world.mark(20)
    dan, cleo = world.account("dan").public, world.account("cleo").public
    assert world.state.accounts[dan].missed == {0: 1}
    garbled = world.seal("dan", replace(late[0].message, salt=bytes(32)))
    assert world.log(garbled) in {Rejection.VOID_DOES_NOT_OPEN, Rejection.VOID_NO_COMMITMENT}
    world.mark(40)
    assert world.log(next(r for r in late if r.signer == world.device("dan").public)) is Rejection.VOID_LATE
    assert world.state.accounts[dan].missed == {}
    world.mark(41)
    assert world.log(next(r for r in late if r.signer == world.device("cleo").public)) is Rejection.VOID_NO_OPEN_EPOCH
    assert world.state.accounts[cleo].missed == {0: 1}


def disputed_then(world: World, people: list[str], what: list[str]) -> list[tuple[int, bool, int]]:
    """What each epoch was like: three camps, silence, or agreement; the turn's K, whether due again, disputes."""
    turns = []
    for epoch, happens in enumerate(what):
        world.mark(epoch)
        (subject,) = world.state.opening.subjects
        names = {world.account(name).public: name for name in people}
        ranked = [names[account] for account in next(iter(world.plan(epoch).tasks.values())).ranking]
        camps = {name: f"camp {place % 3}" for place, name in enumerate(ranked)} if happens == "split" else {}
        commitments, results = world.statements(world.plan(epoch), people, camps)
        if happens != "silence":
            world.log(*commitments, *results)
        world.log(*(world.seal(name, Profile(epoch + 1, 4096, 1024, ("cpu",))) for name in people))
        turn = world.state.turns.get(subject)
        turns.append((turn.quorum, turn.due_again, turn.disputes) if turn else (0, False, 0))
    world.mark(len(what))
    turn = world.state.turns[subject]
    return [*turns[1:], (turn.quorum, turn.due_again, turn.disputes)]


@pytest.mark.parametrize(
    ("what", "turns"),
    [
        (["silence", "silence", "split"], [(0, True, 0), (0, True, 0), (4, True, 1)]),
        (["split", "silence", "silence"], [(4, True, 1), (4, True, 2), (0, False, 0)]),
        (["split", "silence", "split"], [(4, True, 1), (4, True, 2), (0, False, 0)]),
        (["split", "split", "silence"], [(4, True, 1), (5, True, 2), (0, False, 0)]),
        (["split", "silence", "agree"], [(4, True, 1), (4, True, 2), (0, False, 0)]),
    ],
)
def test_silence_neither_ends_a_dispute_nor_lets_it_go_on_for_ever(
    new_world: NewWorld, what: list[str], turns: list[tuple[int, bool, int]]
) -> None:
    world = new_world(models=1)
    people = [f"p{n}" for n in range(12)]
    world.join(*people)
    assert disputed_then(world, people, what) == turns


def test_a_dispute_waits_through_an_outage(new_world: NewWorld) -> None:
    world = new_world(models=1)
    people = [f"p{n}" for n in range(12)]
    world.join(*people)
    disputed_then(world, people, ["split"])
    for epoch in (9, 19):  # in the leaderless epochs nobody works, and in the marked one nobody either
        world.mark(epoch)
    (turn,) = world.state.turns.values()
    assert (turn.quorum, turn.due_again, turn.disputes) == (4, True, 2), "one marked epoch, eighteen leaderless ones"


def test_a_third_result_is_void_only_where_it_changes_nothing(world: World) -> None:
    """Two different results are as bad as ten; which commitments were opened is a set nevertheless."""
    world.mark(0)
    commitments, results = world.statements(world.plan(0), ["ada"])
    world.log(*commitments)
    ada, where = world.account("ada").public, world.state.gatherings[0]
    good = results[0].message
    others = [world.seal("ada", replace(good, salt=bytes([n]) * 32)) for n in (1, 2, 3)]
    assert world.log(*others) is None
    digest = world.state.digest()
    for entry in (*others, commitments[0]):
        assert world.log(entry) is Rejection.VOID_DUPLICATE
        assert list(where.unopened()) == [ada]
    assert world.state.digest() != digest, "only the log has grown"
    assert world.log(results[0]) is None, "it opens what was committed to"
    assert not list(where.unopened())

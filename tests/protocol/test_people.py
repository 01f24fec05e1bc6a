"""Accounts and who is behind them; the log's own key."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from protocol import epochs, ledger, stamps
from protocol.envelope import Envelope, seal
from protocol.messages import (
    Attestation,
    Delegation,
    Profile,
    Revocation,
    Succession,
    consent_to,
    succession_consent,
)
from protocol.parameters import DEMO
from protocol.rejections import Rejection
from protocol.signing import PrivateKey

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
PEOPLE = ("ada", "ben", "cleo", "dan", "eve", "fay")


@pytest.fixture
def world(new_world: NewWorld) -> World:
    made = new_world()
    made.join(*PEOPLE)
    return made


def revoke(world: World, name: str) -> Envelope:
    return seal(world.account(name), world.genesis.id, Revocation(world.device(name).public))


def test_a_revoked_device_finishes_the_epoch_and_says_nothing_more(world: World) -> None:
    world.mark(0)
    commitments, results = world.statements(world.plan(0), PEOPLE)
    dan = world.account("dan").public
    late = next(r for r in results if r.signer == world.device("dan").public)
    world.log(*commitments, *(r for r in results if r is not late))
    assert world.log(revoke(world, "dan")) is None
    assert world.log(world.seal("dan", Profile(0, 1, 1, ()))) is Rejection.VOID_NOT_DELEGATED
    assert world.log(late) is None, "who evaluates was settled by the basis: its place in the log changes nothing"
    world.mark(1)
    assert all(dan in final.agreeing for final in world.state.verdicts[0] if dan in final.counted)
    assert all(dan not in task.ranking for task in world.plan(1).tasks.values())
    assert all(slot is None or slot.account != dan for pool in world.state.pools.values() for slot in pool)
    assert world.log(world.delegation("dan")) is Rejection.VOID_ALREADY_DELEGATED, "a revoked key stays revoked"


def test_only_the_account_revokes_its_devices(world: World) -> None:
    stranger = seal(world.account("ada"), world.genesis.id, Revocation(world.device("ben").public))
    assert world.log(stranger) is Rejection.VOID_NOT_DELEGATED
    assert world.log(revoke(world, "ben")) is None
    assert world.log(revoke(world, "ben")) is Rejection.VOID_NOT_DELEGATED


def test_a_device_that_joins_later_speaks_from_the_next_mark_on(world: World) -> None:
    world.mark(0)
    second = PrivateKey(b"2" * 32)
    ada = world.account("ada")
    consent = second.sign(consent_to(world.genesis.id, ada.public))
    commitments, _ = world.statements(world.plan(0), ["ada"])
    world.log(seal(ada, world.genesis.id, Delegation(second.public, consent)))
    message = commitments[0].message
    assert world.log(seal(second, world.genesis.id, message)) is Rejection.VOID_NOT_A_RUNNER
    assert world.log(commitments[0]) is None


def test_an_accounts_devices_are_renewed_and_revoked_one_by_one(world: World, new_world: NewWorld) -> None:
    second, ada = PrivateKey(b"2" * 32), world.account("ada")
    consent = second.sign(consent_to(world.genesis.id, ada.public))
    joining = seal(ada, world.genesis.id, Delegation(second.public, consent))
    theirs = seal(second, world.genesis.id, Profile(0, 8192, 512, ("cuda",)))
    assert world.log(joining, theirs) is None, "the epoch of the first device's profile is no bar to the second's"
    world.mark(0)
    mine = world.seal("ada", Profile(1, 4096, 1024, ("cpu",)))
    assert world.log(mine) is None
    devices = world.state.accounts[ada.public].devices
    assert [known.device for known in devices] == sorted([second.public, world.device("ada").public])
    assert {known.profile.memory: known.renewed for known in devices} == {8192: 0, 4096: 1}

    twin = new_world()
    twin.join(*PEOPLE)
    twin.log(joining, theirs)
    twin.mark(0)
    newer = seal(second, world.genesis.id, Profile(1, 8192, 512, ("cuda",)))
    assert world.log(newer) is None
    assert twin.log(newer, mine) is None
    assert world.state.accounts[ada.public] == twin.state.accounts[ada.public], "whichever came first"

    assert world.log(revoke(world, "ada")) is None
    (left,) = world.state.accounts[ada.public].devices
    assert left.device == second.public


def test_attesters_are_named_by_the_genesis(world: World) -> None:
    message = Attestation(world.account("ada").public, b"p" * 32, 0)
    assert world.log(world.seal("ben", message)) is Rejection.VOID_NOT_AN_ATTESTER
    assert world.log(seal(world.attester, world.genesis.id, message)) is None
    assert world.state.person(world.account("ada").public) == b"p" * 32


def test_an_attestation_that_was_corrected_cannot_be_said_again(world: World) -> None:
    ada = world.account("ada").public
    said = [Attestation(ada, bytes([person]) * 32, sequence) for person, sequence in ((1, 0), (2, 5), (3, 5), (1, 4))]
    wrong, right, rival, skipped = (seal(world.attester, world.genesis.id, message) for message in said)
    assert world.log(wrong) is None
    assert world.log(right) is None
    for entry in (wrong, right, rival, skipped):
        assert world.log(entry) is Rejection.VOID_OUT_OF_SEQUENCE
        assert world.state.person(ada) == b"\x02" * 32
    assert world.log(seal(world.attester, world.genesis.id, replace(said[0], sequence=6))) is None
    assert world.state.person(ada) == b"\x01" * 32
    other = replace(said[0], account=world.account("ben").public)
    assert world.log(seal(world.attester, world.genesis.id, other)) is None, "each account has numbers of its own"
    assert world.refold().digest() == world.state.digest()


def test_of_one_person_one_account_is_asked(world: World) -> None:
    world.attest("one", "ada", "ben", "cleo")
    world.mark(0)
    three = {world.account(name).public for name in ("ada", "ben", "cleo")}
    for task in world.plan(0).tasks.values():
        assert len(three & set(task.ranking)) == 1
        assert len(task.ranking) == 4


def test_where_attestations_are_asked_for_strangers_have_a_fifth_of_the_slots_and_one_rank(
    new_world: NewWorld,
) -> None:
    world = new_world(parameters=replace(DEMO, attested=True))
    known = tuple(f"k{n}" for n in range(8))
    strangers = tuple(f"s{n}" for n in range(8))
    world.join(*known, *strangers)
    for name in known:
        world.attest(name, name)
    world.mark(0)
    unknown = {world.account(name).public for name in strangers}
    for pool in world.state.pools.values():
        assert len(pool) == 16
        assert sum(slot is not None and slot.account in unknown for slot in pool) == 3
    for task in world.plan(0).tasks.values():
        assert len(unknown & set(task.ranking)) <= 1


def test_a_profile_without_attestation_needs_a_stamp_where_the_network_asks_for_one(new_world: NewWorld) -> None:
    world = new_world(parameters=replace(DEMO, work_stamp_seconds=1))
    world.log(world.delegation("ada"), world.delegation("ben"))
    device = world.device("ada").public
    bare = Profile(0, 4096, 4096, ("cpu",))
    assert world.log(world.seal("ada", bare)) is Rejection.VOID_NO_STAMP
    stamped = replace(bare, stamp=bytes(8))
    assert world.log(world.seal("ada", stamped)) is Rejection.VOID_NO_STAMP
    world.attest("one", "ben")
    assert world.log(world.seal("ben", bare)) is None, "an attestation will do"
    assert not stamps.is_stamped(world.genesis.id, device, 0, None, 1)
    assert stamps.is_stamped(world.genesis.id, device, 0, None, 0)


def test_a_profile_is_of_an_epoch_that_is_open_or_may_open(new_world: NewWorld) -> None:
    world = new_world(parameters=replace(DEMO, leaderless_max=3))
    world.join(*PEOPLE, epoch=9)
    assert world.mark(10) is None
    said = [(name, Profile(epoch, 4096, 1024, ())) for name, epoch in (("ada", 8), ("ben", 14), ("cleo", 13))]
    assert [world.log(world.seal(*one)) for one in said] == [
        Rejection.VOID_EPOCH_PASSED,
        Rejection.VOID_EPOCH_AHEAD,
        None,
    ]
    world.join("gus", epoch=9)  # under way when the mark came
    assert world.voids[-1] is None


def test_a_device_has_one_profile_an_epoch_so_that_each_costs_a_stamp(world: World) -> None:
    world.mark(0)
    one, other = (world.seal("ada", Profile(1, 4096, disk, ("cpu",))) for disk in (2048, 1024))
    assert world.log(one) is None
    assert world.log(other) is Rejection.VOID_OUT_OF_SEQUENCE
    assert world.log(world.seal("ada", Profile(0, 4096, 512, ("cpu",)))) is Rejection.VOID_OUT_OF_SEQUENCE
    (known,) = world.state.accounts[world.account("ada").public].devices
    assert known.profile.disk == 2048
    assert world.log(world.seal("ada", Profile(2, 4096, 512, ("cpu",)))) is None


def test_a_clock_far_ahead_before_the_first_mark_locks_nobody_out(world: World) -> None:
    ahead = world.seal("ada", Profile(1_000_000, 4096, 2048, ("cpu",)))
    assert world.log(ahead) is None, "no rule knows the epoch yet"
    assert world.log(world.seal("ada", Profile(5, 4096, 1024, ("cpu",)))) is Rejection.VOID_OUT_OF_SEQUENCE
    world.mark(0)
    assert world.log(ahead) is Rejection.VOID_EPOCH_AHEAD
    assert world.log(world.seal("ada", Profile(0, 4096, 1024, ("cpu",)))) is None
    assert world.log(ahead) is Rejection.VOID_EPOCH_AHEAD
    world.mark(1)
    assert world.account("ada").public in world.state.opening.alive


def test_the_same_profile_again_is_no_new_sign_of_life(world: World) -> None:
    world.mark(0)
    again = world.seal("ada", Profile(1, 4096, 2048, ("cpu",)))
    assert world.log(again) is None
    world.mark(1)
    assert world.log(again) is Rejection.VOID_DUPLICATE
    world.mark(2)
    assert world.account("ada").public not in world.state.opening.alive


def successor(
    world: World, signer: PrivateKey, sequence: int = 1, seed: bytes = b"n"
) -> tuple[PrivateKey, list[bytes], Envelope]:
    key, chain = PrivateKey(seed * 32), epochs.hash_chain(seed * 32, 10)
    consent = key.sign(succession_consent(world.genesis.id, signer.public, key.public, chain[-1], 10, sequence))
    return key, chain, seal(signer, world.genesis.id, Succession(key.public, chain[-1], 10, consent, sequence))


@pytest.mark.parametrize("signed_by", ["log_key", "recovery_key"])
def test_a_succession_replaces_key_and_chain(world: World, signed_by: str) -> None:
    world.epoch(0, PEOPLE)
    key, chain, envelope = successor(world, getattr(world, signed_by))
    assert world.log(envelope) is None
    old = ledger.next_mark(world.state, 1, world.chain[1])
    assert world.log(seal(world.log_key, world.genesis.id, old)) is Rejection.VOID_NOT_THE_LOG_KEY
    wrong = ledger.next_mark(world.state, 1, world.chain[1])
    assert world.log(seal(key, world.genesis.id, wrong)) is Rejection.VOID_WRONG_PREIMAGE
    for number in range(10):
        message = ledger.next_mark(world.state, 1 + number, chain[number])
        assert world.log(seal(key, world.genesis.id, message)) is None
    assert world.state.last_closed == 9
    assert world.state.chain_left == 0
    assert world.log(seal(key, world.genesis.id, ledger.next_mark(world.state, 20, bytes(32)))) is (
        Rejection.VOID_WRONG_PREIMAGE
    )


def test_an_old_succession_does_not_bring_a_replaced_key_back(world: World) -> None:
    stolen, chain, first = successor(world, world.recovery_key)
    fresh, _, second = successor(world, world.recovery_key, 2, b"f")
    _, _, rival = successor(world, world.recovery_key, 2, b"x")
    assert world.log(second) is Rejection.VOID_OUT_OF_SEQUENCE, "one is missing"
    assert world.log(first) is None
    assert world.log(second) is None
    for entry in (first, second, rival):
        before = world.state.digest()
        assert world.log(entry) is Rejection.VOID_OUT_OF_SEQUENCE
        assert world.state.log_key == fresh.public
        assert world.state.digest() != before, "only the log has grown"
    forged = ledger.next_mark(world.state, 0, chain[0])
    assert world.log(seal(stolen, world.genesis.id, forged)) is Rejection.VOID_NOT_THE_LOG_KEY
    assert world.refold().digest() == world.state.digest()


def test_nobody_else_replaces_the_log_key(world: World) -> None:
    assert world.log(successor(world, world.device("ada"))[2]) is Rejection.VOID_NOT_THE_LOG_KEY

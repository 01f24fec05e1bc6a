"""What ends and goes on: hash chains of the log key, and versions of the protocol."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from protocol import epochs, governance, ledger
from protocol.envelope import seal
from protocol.governance import NOTICE, VOTING
from protocol.messages import Ballot, ParameterChange, Profile, Proposal, Succession, succession_consent
from protocol.parameters import DEMO, Bound
from protocol.rejections import Rejection
from protocol.signing import PrivateKey
from protocol.state import Chain

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
PEOPLE = tuple(f"p{n}" for n in range(30))
NEW = epochs.hash_chain(b"n" * 32, 10)
SHORT = epochs.hash_chain(b"s" * 32, 1)
NEWER = epochs.hash_chain(b"m" * 32, 10)


def succeed(world: World, chain: list[bytes], signer: PrivateKey | None = None) -> Any:
    """The log's own key anchors another chain."""
    key, signer = world.log_key, signer or world.log_key
    length, sequence = len(chain) - 1, world.state.successions + 1
    consent = key.sign(succession_consent(world.genesis.id, signer.public, key.public, chain[-1], length, sequence))
    message = Succession(key.public, chain[-1], length, consent, sequence)
    return world.log(seal(signer, world.genesis.id, message))


def mark(world: World, epoch: int, preimage: bytes) -> Any:
    message = ledger.next_mark(world.state, epoch, preimage)
    return world.log(seal(world.log_key, world.genesis.id, message))


@pytest.fixture
def world(new_world: NewWorld) -> World:
    made = new_world(models=1)
    made.join("ada", "ben", "cat")
    made.epoch(0, ("ada", "ben", "cat"))
    return made


def test_a_renewed_chain_begins_behind_the_next_mark(world: World) -> None:
    """When the log anchors it, it knows the salts that the next mark closes: those must not meet its own choice."""
    assert succeed(world, NEW) is None
    assert world.state.next_chain == Chain(NEW[-1], 10)
    assert mark(world, 1, NEW[0]) is Rejection.VOID_WRONG_PREIMAGE
    assert mark(world, 1, world.chain[1]) is None
    assert world.state.next_chain is None
    assert mark(world, 2, world.chain[2]) is Rejection.VOID_WRONG_PREIMAGE
    for number in range(10):
        assert mark(world, 2 + number, NEW[number]) is None
    assert world.state.chain_left == 0
    assert mark(world, 12, bytes(32)) is Rejection.VOID_WRONG_PREIMAGE
    assert world.refold().digest() == world.state.digest()


def test_a_chain_that_waits_is_part_of_the_state(world: World) -> None:
    before = world.state.digest()
    succeed(world, NEW)
    waiting = world.state.digest()
    world.state.next_chain = Chain(NEWER[-1], 10)
    assert len({before, waiting, world.state.digest()}) == 3


def test_a_chain_that_waits_may_be_replaced(world: World) -> None:
    assert succeed(world, NEW) is None
    assert succeed(world, NEWER) is None
    assert mark(world, 1, world.chain[1]) is None
    assert mark(world, 2, NEW[0]) is Rejection.VOID_WRONG_PREIMAGE
    assert mark(world, 2, NEWER[0]) is None


def test_an_exhausted_chain_is_replaced_at_once(world: World) -> None:
    assert succeed(world, SHORT) is None
    assert mark(world, 1, world.chain[1]) is None
    assert mark(world, 2, SHORT[0]) is None
    assert world.state.chain_left == 0
    assert succeed(world, NEWER) is None
    assert mark(world, 3, NEWER[0]) is None


def test_where_no_work_is_open_the_chain_that_waits_is_the_one(world: World) -> None:
    """So a log key whose seeds are lost goes on after the longest outage, and cannot choose between two chains."""
    assert succeed(world, NEW) is None
    late = world.state.opening.epoch + DEMO.leaderless_max + 1
    assert mark(world, late - 1, NEW[0]) is Rejection.VOID_WRONG_PREIMAGE
    assert mark(world, late, world.chain[1]) is Rejection.VOID_WRONG_PREIMAGE
    assert mark(world, late, NEW[0]) is None
    assert world.state.next_chain is None
    assert mark(world, late + 1, NEW[1]) is None
    assert world.state.chain_left == 8
    assert world.refold().digest() == world.state.digest()


def test_the_recovery_key_replaces_a_chain_at_once(world: World) -> None:
    assert succeed(world, NEW) is None
    assert succeed(world, NEWER, world.recovery_key) is None
    assert world.state.next_chain is None
    assert mark(world, 1, NEWER[0]) is None


@pytest.fixture
def voting(new_world: NewWorld) -> World:
    """A network whose genesis lets governance move to version 3, and thirty people who may vote."""
    made = new_world(models=1, bounds=(Bound("version", 1, 3),))
    made.join(*PEOPLE)
    for name in PEOPLE:
        key = made.account(name).public
        made.state.accounts[key] = replace(made.state.accounts[key], credit=10_000, judged=100, agreed=100)
    assert made.mark(0) is None
    return made


def adopt(world: World, version: int) -> None:
    proposal = world.seal("p0", Proposal(world.state.opening.epoch, parameter=ParameterChange("version", version)))
    assert world.log(proposal) is None
    for name in PEOPLE:
        assert world.log(world.seal(name, Ballot(world.state.opening.epoch, proposal.id, True))) is None
    pass_marks(world, VOTING)


def pass_marks(world: World, count: int) -> None:
    state = world.state
    for _ in range(count):
        # A chain is worth a hundred marks here, and a vote takes more.
        preimage = world.chain[state.marks] if state.marks < 90 else bytes(32)
        if state.marks >= 90:
            state.chain_left, state.last_preimage = 10**6, epochs.hash_chain(preimage, 1)[-1]
        assert mark(world, state.opening.epoch + 1, preimage) is None


def test_a_version_takes_effect_behind_the_mark_of_its_notice(voting: World) -> None:
    state = voting.state
    assert governance.coming_version(state) is None
    adopt(voting, 2)
    assert governance.coming_version(state) == (2, state.marks + NOTICE)
    pass_marks(voting, NOTICE - 1)
    assert state.halted is None
    assert mark_version(voting) == 1
    pass_marks(voting, 1)
    assert mark_version(voting) == 2
    assert governance.coming_version(state) is None
    # This program lacks it: the log goes on, and nothing is derived from it.
    assert state.halted == 2
    last = state.opening.epoch
    assert ledger.gathering(state, last) is None
    before, size = state.marks, state.frontier.size
    assert mark(voting, last + 1, bytes(32)) is Rejection.VOID_NEWER_VERSION
    assert voting.log(voting.seal("p1", Profile(last, 1, 1, ()))) is Rejection.VOID_NEWER_VERSION
    assert (state.marks, state.frontier.size) == (before, size + 2)


def mark_version(world: World) -> int:
    return int(ledger.next_mark(world.state, 1000, bytes(32)).version)


def test_an_upgraded_program_folds_the_same_log_further(new_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The genesis names version 2 from the start: what one program cannot fold, the next one can."""
    old = new_world(models=1, parameters=replace(DEMO, version=2))
    assert old.state.halted == 2
    monkeypatch.setattr(ledger, "PROTOCOL_VERSION", 2)
    world = new_world(models=1, parameters=replace(DEMO, version=2))
    world.join("ada", "ben", "cat")
    world.epoch(0, ("ada", "ben", "cat"))
    assert mark(world, 1, world.chain[1]) is None
    monkeypatch.setattr(ledger, "PROTOCOL_VERSION", 1)
    left_behind = world.refold()
    assert (left_behind.halted, left_behind.marks, left_behind.frontier) == (2, 0, world.state.frontier)
    monkeypatch.setattr(ledger, "PROTOCOL_VERSION", 2)
    assert world.refold().digest() == world.state.digest()


def test_a_log_key_alone_changes_no_version(world: World) -> None:
    for version in (0, 2):
        message = replace(ledger.next_mark(world.state, 1, world.chain[1]), version=version)
        assert world.log(seal(world.log_key, world.genesis.id, message)) is Rejection.VOID_WRONG_VERSION
    assert world.state.halted is None
    assert mark(world, 1, world.chain[1]) is None


def test_versions_only_grow_and_within_bounds(voting: World) -> None:
    for version in (1, 4):
        proposal = Proposal(0, parameter=ParameterChange("version", version))
        assert voting.log(voting.seal("p0", proposal)) is Rejection.VOID_OUT_OF_BOUNDS

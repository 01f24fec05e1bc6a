"""Witnesses: who may speak, when a cosignature counts, and sightings that bind."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol import cbor
from protocol.checkpoint import Checkpoint, cosign, sign_checkpoint
from protocol.genesis import read_genesis
from protocol.notes import InvalidNote, SignerKey
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey
from protocol.witnesses import (
    MAX_BYTES,
    Timing,
    allowance,
    may_cosign,
    open_cosigned,
    open_sighting,
    quorum,
    sign_sighting,
    timing,
    witness_signer,
)

World = Any  # the class of conftest.py, which tests cannot import
KEYS = tuple(PrivateKey(bytes((n,)) * 32) for n in range(1, 5))


@pytest.fixture(scope="module")
def world(new_world: Callable[..., World]) -> World:
    made = new_world(models=1)
    made.genesis = replace(made.genesis, witnesses=tuple(key.public for key in KEYS[:3]))
    return made


@pytest.mark.parametrize(("witnesses", "needed"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (64, 33)])
def test_more_than_half_are_a_quorum(world: World, witnesses: int, needed: int) -> None:
    keys = tuple(bytes((n,)) * 32 for n in range(witnesses))
    assert quorum(replace(world.genesis, witnesses=keys)) == needed


def test_a_genesis_lists_a_witness_once(world: World) -> None:
    assert read_genesis(cbor.encode(world.genesis)) == world.genesis
    twice = replace(world.genesis, witnesses=(KEYS[0].public, KEYS[0].public))
    with pytest.raises(Rejected):
        read_genesis(cbor.encode(twice))


@given(epoch=st.integers(0, 1000), seconds=st.integers(-200, 200))
def test_what_may_be_cosigned_is_timely(world: World, epoch: int, seconds: int) -> None:
    time = world.genesis.start_of(epoch) + seconds
    assert may_cosign(world.genesis, epoch, time) == (0 <= seconds <= 5)
    expected = Timing.EARLY if seconds < -1 else Timing.LATE if seconds > 6 else Timing.TIMELY
    assert timing(world.genesis, epoch, time) is expected
    assert allowance(world.genesis) == 1


def test_cosignatures_are_those_of_the_genesis_witnesses(world: World) -> None:
    signer = SignerKey(world.genesis.log_verifier.name, world.log_key)
    note = sign_checkpoint(Checkpoint(signer.verifier.name, 3, bytes(32)), signer)
    lines = [cosign(note, witness_signer(key), 100 + n) for n, key in enumerate(KEYS)]
    checkpoint, cosigned = open_cosigned(
        note.with_signatures(*lines).encode(), world.genesis, world.genesis.log_verifier
    )
    assert checkpoint.size == 3
    assert [(each.key.public, each.time) for each in cosigned] == [(KEYS[n].public, 100 + n) for n in range(3)]
    with pytest.raises(InvalidNote, match="no witness"):
        open_cosigned(note.with_signatures(lines[3]).encode(), world.genesis, world.genesis.log_verifier)
    wrong = note.with_signatures(replace(lines[0], value=lines[1].value)).encode()
    with pytest.raises(InvalidNote):
        open_cosigned(wrong, world.genesis, world.genesis.log_verifier)


def test_every_part_of_a_sighting_is_signed(world: World) -> None:
    sighting = sign_sighting(KEYS[0], world.genesis.id, 3, b"m" * 32, 77)
    assert open_sighting(cbor.encode(sighting), world.genesis) == sighting
    changes = {"epoch": 4, "mark": bytes(32), "time": 78, "witness": KEYS[1].public}
    for name, value in changes.items():
        with pytest.raises(Rejected) as error:
            open_sighting(cbor.encode(replace(sighting, **{name: value})), world.genesis)
        assert error.value.reason is Rejection.BAD_SIGNATURE
    for other in (
        sign_sighting(KEYS[3], world.genesis.id, 3, bytes(32), 77),
        sign_sighting(KEYS[0], bytes(32), 3, b"", 7),
    ):
        with pytest.raises(Rejected):
            open_sighting(cbor.encode(other), world.genesis)


@given(st.binary(max_size=MAX_BYTES + 1))
def test_arbitrary_bytes_are_refused_with_our_error(world: World, data: bytes) -> None:
    with pytest.raises(Rejected):
        open_sighting(data, world.genesis)

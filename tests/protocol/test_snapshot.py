"""Snapshots: the same log gives the same header, and nobody is shown an old or another content as the newest."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol import cbor
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey
from protocol.snapshot import (
    MAX_BYTES,
    Part,
    Problem,
    SignedSnapshot,
    Snapshot,
    header,
    open_snapshot,
    problems,
    sign_snapshot,
)

World = Any  # the class of conftest.py, which tests cannot import
CONTENTS = {"leaderboard": b"rows", "benchmarks": b"sums"}


@pytest.fixture(scope="module")
def world(new_world: Callable[..., World]) -> World:
    made = new_world(models=1)
    made.join("ada", "ben", "cat")
    assert header(made.state, CONTENTS) is None
    made.epoch(0, ("ada", "ben", "cat"))
    assert made.mark(2) is None
    return made


def made(world: World) -> Snapshot:
    snapshot = header(world.state, CONTENTS)
    assert snapshot is not None
    return snapshot


def test_the_header_is_a_function_of_the_log(world: World) -> None:
    snapshot = made(world)
    assert header(world.refold(), dict(reversed(CONTENTS.items()))) == snapshot
    assert (snapshot.size, snapshot.root, snapshot.epoch) == world.state.head
    assert snapshot.version == world.state.marks == 2
    assert snapshot.protocol == 1
    assert snapshot.state == world.state.digest()
    assert snapshot.expires == world.genesis.time + (2 + 1 + 24) * 60
    assert [part.name for part in snapshot.parts] == ["benchmarks", "leaderboard"]


def test_only_the_log_keys_snapshot_of_this_network_is_opened(world: World) -> None:
    snapshot, key = made(world), world.log_key
    data = sign_snapshot(key, snapshot)
    assert open_snapshot(data, world.genesis.id, key.public) == snapshot
    forged = cbor.encode(SignedSnapshot(replace(snapshot, version=9), cbor.decode(data, SignedSnapshot).signature))
    for wrong, network, public in (
        (data, bytes(32), key.public),
        (data, world.genesis.id, PrivateKey(bytes(32)).public),
        (forged, world.genesis.id, key.public),
        (sign_snapshot(key, replace(snapshot, network=bytes(32))), world.genesis.id, key.public),
    ):
        with pytest.raises(Rejected) as error:
            open_snapshot(wrong, network, public)
        assert error.value.reason is Rejection.BAD_SIGNATURE
    with pytest.raises(Rejected) as error:
        open_snapshot(bytes(MAX_BYTES + 1), world.genesis.id, key.public)
    assert error.value.reason is Rejection.TOO_LARGE


def test_what_is_wrong_with_a_snapshot(world: World) -> None:
    snapshot = made(world)
    now = snapshot.expires - 1
    assert problems(snapshot, CONTENTS, now, known_version=2) == []
    assert problems(snapshot, CONTENTS, now + 1) == [Problem.EXPIRED]
    assert problems(snapshot, CONTENTS, now, known_version=3) == [Problem.OLDER]
    for other in ({}, CONTENTS | {"leaderboard": b"other"}, CONTENTS | {"more": b""}):
        assert problems(snapshot, other, now) == [Problem.OTHER_CONTENT]


def test_parts_stand_in_order(world: World) -> None:
    for names in (("b", "a"), ("a", "a")):
        with pytest.raises(ValueError, match="order of their names"):
            replace(made(world), parts=tuple(Part(name, bytes(32)) for name in names))


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_with_our_error(world: World, data: bytes) -> None:
    with pytest.raises(Rejected):
        open_snapshot(data, world.genesis.id, world.log_key.public)


@given(st.data())
def test_any_flipped_bit_is_refused(world: World, data: st.DataObject) -> None:
    whole = bytearray(sign_snapshot(world.log_key, made(world)))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Rejected):
        open_snapshot(bytes(whole), world.genesis.id, world.log_key.public)

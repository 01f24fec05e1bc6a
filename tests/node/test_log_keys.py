"""The keys of a log: who may sign behind which succession, and whose word still counts."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.log_keys import LogKeys
from protocol import epochs
from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.definitions import Benchmark, Dataset, TaskKind
from protocol.envelope import Envelope, seal
from protocol.evidence import Fork
from protocol.genesis import Genesis, log_name
from protocol.messages import Succession, succession_consent
from protocol.notes import InvalidNote, SignerKey
from protocol.parameters import DEMO
from protocol.rejections import Rejected
from protocol.signing import PrivateKey
from protocol.successions import keys_in_force

FIRST, SECOND, THIRD, RECOVERY, STRANGER = (PrivateKey(bytes([n]) * 32) for n in range(1, 6))
DATASET = Dataset("test/questions", "0" * 40, "main", "test", bytes(32), 200)
GENESIS = Genesis(
    name="keys",
    time=0,
    parameters=DEMO,
    benchmarks=(Benchmark("b", 1, "t", "en", TaskKind.GENERATION, DATASET, "p/1", "s/1", 0, 16, ("1", "1")),),
    models=(),
    log_key=FIRST.public,
    chain_anchor=epochs.hash_chain(b"c" * 32, 4)[-1],
    chain_length=4,
    recovery_key=RECOVERY.public,
)


def succession(signer: PrivateKey, key: PrivateKey, sequence: int) -> Envelope:
    words = succession_consent(GENESIS.id, signer.public, key.public, bytes(32), 4, sequence)
    return seal(signer, GENESIS.id, Succession(key.public, bytes(32), 4, key.sign(words), sequence))


def note(key: PrivateKey, size: int = 5, root: bytes = bytes(32)) -> bytes:
    name = log_name(GENESIS.id)
    return sign_checkpoint(Checkpoint(name, size, root), SignerKey(name, key)).encode()


def test_a_handover_is_followed_and_forgotten() -> None:
    keys, handover = LogKeys(GENESIS), succession(FIRST, SECOND, 1)
    with pytest.raises(InvalidNote):
        keys.open(note(SECOND))
    assert keys.open(note(SECOND), (handover.data,)).key == SECOND.public
    keys.learn(0, [succession(STRANGER, THIRD, 1), succession(FIRST, THIRD, 2), handover, succession(FIRST, THIRD, 1)])
    assert (keys.in_force, keys.count, keys.successions) == (SECOND.public, 1, (handover.data,))
    keys.learn(1, [succession(FIRST, THIRD, 2), handover])
    assert keys.count == 1, "what was followed already says nothing new"
    said = keys.open_announcement(keys.announcement(note(SECOND)))
    assert (said.key, said.successions) == (SECOND.public, (handover.data,))
    assert LogKeys(GENESIS).open_announcement(keys.announcement(note(SECOND))).key == SECOND.public
    keys.begin_again()
    assert (keys.in_force, keys.count, keys.successions) == (FIRST.public, 0, ())


def test_only_the_last_entry_may_be_signed_by_the_key_before() -> None:
    handover = succession(FIRST, SECOND, 1)
    assert keys_in_force(GENESIS, FIRST.public, 0, [handover]) == (SECOND.public, FIRST.public)
    assert keys_in_force(GENESIS, FIRST.public, 0, [handover, handover]) == (SECOND.public,)
    assert keys_in_force(GENESIS, FIRST.public, 0, []) == (FIRST.public,)


@pytest.mark.parametrize(
    ("signer", "others", "binds"),
    [
        (FIRST, (FIRST, SECOND), True),
        (RECOVERY, (FIRST, SECOND), False),
        (RECOVERY, (FIRST, FIRST), False),
        (RECOVERY, (SECOND, SECOND), True),
    ],
)
def test_a_key_that_was_recovered_from_binds_nobody(signer: PrivateKey, others: Any, binds: bool) -> None:
    keys, change = LogKeys(GENESIS), succession(signer, SECOND, 1)
    one, other = (note(key, root=bytes([n]) * 32) for n, key in enumerate(others))
    assert keys.answers_for(Fork((change.data,), one, other)) is True, "who has not seen the change is bound by all"
    keys.learn(0, [change])
    assert keys.answers_for(Fork((change.data,), one, other)) is binds


def test_whom_a_stolen_key_names_binds_nobody_either() -> None:
    keys, change, theft = LogKeys(GENESIS), succession(RECOVERY, SECOND, 1), succession(FIRST, THIRD, 1)
    keys.learn(0, [change])
    assert not keys.answers_for(Fork((theft.data,), note(THIRD), note(THIRD, root=b"1" * 32)))
    later = succession(RECOVERY, THIRD, 2)
    assert keys.answers_for(Fork((change.data, later.data), note(SECOND), note(THIRD, root=b"1" * 32)))


@given(
    st.binary()
    | st.binary().map(lambda tail: b"\xa2\x00" + tail)
    | st.integers(0).map(lambda n: note(FIRST)[: n % 200])
)
def test_any_announcement_is_opened_or_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidNote, Rejected):
        assert LogKeys(GENESIS).open_announcement(data).key == FIRST.public

"""The digest that a result opens, read from the envelope's bytes, is the defined one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol.envelope import Envelope, open_envelope, seal
from protocol.failures import Failure
from protocol.messages import Result, Run, TaskResult, commitment_digest
from protocol.opening import opened_digest
from protocol.signing import PrivateKey

NETWORK, ACCOUNT, DEVICE = b"n" * 32, b"a" * 32, PrivateKey(b"d" * 32)
keys = st.binary(min_size=32, max_size=32)
task_results = st.one_of(
    st.builds(TaskResult, keys, st.sampled_from(Failure)),
    st.builds(
        TaskResult,
        keys,
        st.none(),
        keys,
        st.lists(st.integers(0, 1000), max_size=30).map(tuple),
        st.integers(0, 2**31 - 1),
        st.lists(st.integers(0, 2**31 - 1), max_size=3).map(tuple),
        st.binary(max_size=20),
        st.binary(max_size=300),
        keys,
    ),
)
seen = st.lists(st.lists(st.binary(max_size=16), max_size=30).map(tuple), max_size=30).map(tuple)
results = st.builds(
    Result,
    st.integers(0, 2**31 - 1),
    keys,
    keys,
    keys,
    st.builds(Run, st.just("engine 1"), st.just("cpu"), st.just("mode"), st.integers(0, 2**31 - 1)),
    st.lists(task_results, min_size=1, max_size=30).map(tuple),
    seen,
)


@given(results)
def test_it_is_the_digest_of_the_definition(message: Result) -> None:
    envelope = open_envelope(seal(DEVICE, NETWORK, message).data, NETWORK)
    assert envelope.message == message
    assert opened_digest(NETWORK, ACCOUNT, envelope, message) == commitment_digest(NETWORK, ACCOUNT, message)


@given(results, st.binary(max_size=400))
def test_other_bytes_than_the_messages_do_not_mislead_it(message: Result, data: bytes) -> None:
    envelope = Envelope(bytes(32), DEVICE.public, message, data)
    assert opened_digest(NETWORK, ACCOUNT, envelope, message) == commitment_digest(NETWORK, ACCOUNT, message)


@given(results, keys)
def test_what_was_seen_is_not_part_of_it(message: Result, other: bytes) -> None:
    def of(changed: Any) -> bytes:
        return opened_digest(NETWORK, ACCOUNT, seal(DEVICE, NETWORK, changed), changed)

    assert of(message) == of(replace(message, saw=((b"x",),), commitment=other))
    assert (of(message) == of(replace(message, salt=other))) == (message.salt == other)

import contextlib
import hashlib
from collections.abc import Callable

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from protocol import cbor
from protocol.envelope import MAX_BYTES, Envelope, check_signatures, open_envelope, seal
from protocol.messages import (
    STRUCTS,
    Commitment,
    Delegation,
    Profile,
    Succession,
    Unknown,
    consent_to,
    succession_consent,
)
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey
from tests.protocol.message_values import values

NETWORK = b"n" * 32
KEY = PrivateKey(b"k" * 32)
OTHER = PrivateKey(b"o" * 32)
PROFILE = Profile(7, 1024, 2048, ("cpu", "cuda"))
SEALED = seal(KEY, NETWORK, PROFILE)


def test_what_is_sealed_opens_to_the_same() -> None:
    opened = open_envelope(SEALED.data, NETWORK)
    assert opened == SEALED
    assert opened.message == PROFILE
    assert opened.signer == KEY.public


def test_one_authors_words_are_one_message() -> None:
    assert seal(KEY, NETWORK, PROFILE).id == SEALED.id
    assert seal(OTHER, NETWORK, PROFILE).id != SEALED.id
    assert seal(KEY, b"m" * 32, PROFILE).id != SEALED.id


def test_another_networks_envelope_is_refused() -> None:
    with pytest.raises(Rejected) as refused:
        open_envelope(SEALED.data, b"m" * 32)
    assert refused.value.reason is Rejection.BAD_SIGNATURE


@given(st.integers(0, len(SEALED.data) - 1), st.integers(1, 255))
def test_no_flipped_byte_passes(place: int, flip: int) -> None:
    damaged = bytearray(SEALED.data)
    damaged[place] ^= flip
    with pytest.raises(Rejected):
        open_envelope(bytes(damaged), NETWORK)


@given(st.binary(max_size=400))
def test_any_bytes_give_an_envelope_or_a_rejection(data: bytes) -> None:
    with pytest.raises(Rejected):
        open_envelope(data, NETWORK)


@given(st.binary(max_size=120), st.integers(0, 300))
def test_a_signed_payload_of_any_form_gives_a_message_or_a_rejection(body: bytes, kind: int) -> None:
    for payload in (body, cbor.encode((kind, body)), cbor.encode((kind, {0: kind, 1: body}))):
        data = _sign(payload)
        with contextlib.suppress(Rejected):
            assert open_envelope(data, NETWORK).data == data


def test_a_kind_of_a_newer_version_is_kept_within_4_kib() -> None:
    assert open_envelope(_sign(cbor.encode((200, b"news"))), NETWORK).message == Unknown(200)
    with pytest.raises(Rejected) as refused:
        open_envelope(_sign(cbor.encode((200, bytes(4096)))), NETWORK)
    assert refused.value.reason is Rejection.TOO_LARGE


def test_limits_are_part_of_validity() -> None:
    too_many = Commitment(1, bytes(32), (bytes(32),) * 65, bytes(32))
    with pytest.raises(Rejected) as refused:
        open_envelope(seal(KEY, NETWORK, too_many).data, NETWORK)
    assert refused.value.reason is Rejection.WRONG_SCHEMA
    with pytest.raises(Rejected) as refused:
        open_envelope(bytes(MAX_BYTES + 1), NETWORK)
    assert refused.value.reason is Rejection.TOO_LARGE


@pytest.mark.parametrize("struct", STRUCTS.values(), ids=lambda struct: struct.__name__)
@given(data=st.data())
def test_every_message_is_sealed_as_another_library_would(struct: type[Struct], data: st.DataObject) -> None:
    message = data.draw(values(struct))
    sealed = seal(KEY, NETWORK, message)
    protected, unprotected, payload, signature = cbor2.loads(sealed.data).value
    assert (cbor2.loads(protected), unprotected) == ({1: -19, 4: KEY.public}, {})
    signed = cbor2.dumps(["Signature1", protected, NETWORK, payload])
    assert hashlib.sha256(signed).digest() == sealed.id
    assert KEY.sign(signed) == signature
    assert open_envelope(sealed.data, NETWORK, check_signature=False) == sealed
    assert _sign(payload) == sealed.data


def test_a_device_has_to_consent() -> None:
    device = PrivateKey(b"d" * 32)
    good = Delegation(device.public, device.sign(consent_to(NETWORK, KEY.public)))
    assert open_envelope(seal(KEY, NETWORK, good).data, NETWORK).message == good
    with pytest.raises(Rejected) as refused:
        open_envelope(seal(device, NETWORK, good).data, NETWORK)
    assert refused.value.reason is Rejection.BAD_SIGNATURE


def test_a_new_log_key_has_to_consent_to_its_chain() -> None:
    new = PrivateKey(b"e" * 32)
    consent = new.sign(succession_consent(NETWORK, KEY.public, new.public, b"a" * 32, 100, 1))
    good = Succession(new.public, b"a" * 32, 100, consent, 1)
    assert open_envelope(seal(KEY, NETWORK, good).data, NETWORK).message == good
    for other in (replace(good, chain_length=101), replace(good, chain_anchor=b"b" * 32), replace(good, sequence=2)):
        with pytest.raises(Rejected) as refused:
            open_envelope(seal(KEY, NETWORK, other).data, NETWORK)
        assert refused.value.reason is Rejection.BAD_SIGNATURE


def consenting(signer: PrivateKey) -> bytes:
    """A delegation that is sealed by `signer`, of a device that consented to `KEY`."""
    device = PrivateKey(b"d" * 32)
    return seal(signer, NETWORK, Delegation(device.public, device.sign(consent_to(NETWORK, KEY.public)))).data


def opened(open_it: Callable[[], Envelope]) -> Envelope | Rejection:
    try:
        return open_it()
    except Rejected as rejected:
        return rejected.reason


@given(
    data=st.one_of(
        st.sampled_from(
            [SEALED.data, consenting(KEY), consenting(PrivateKey(b"o" * 32)), seal(KEY, b"m" * 32, PROFILE).data]
        ),
        st.builds(lambda kind, body: _sign(cbor.encode((kind, body))), st.integers(0, 300), st.binary(max_size=40)),
        st.binary(max_size=300),
    ),
    place=st.integers(0, 2000),
    flip=st.integers(1, 255),
)
def test_signatures_and_the_rest_are_the_whole(data: bytes, place: int, flip: int) -> None:
    """Whoever checks signatures elsewhere accepts what is accepted here, and refuses nothing else."""
    if place < len(data):
        data = data[:place] + bytes((data[place] ^ flip,)) + data[place + 1 :]

    def in_two_steps() -> Envelope:
        check_signatures(data, NETWORK)
        return open_envelope(data, NETWORK, check_signature=False)

    assert opened(in_two_steps) == opened(lambda: open_envelope(data, NETWORK))


def _sign(payload: bytes) -> bytes:
    """A well-formed envelope around any payload."""
    protected = cbor.encode({1: -19, 4: KEY.public})
    signed = cbor.encode(("Signature1", protected, NETWORK, payload))
    return cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, KEY.sign(signed)]), canonical=True)

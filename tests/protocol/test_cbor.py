import contextlib
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from protocol import cbor
from protocol.rejections import Rejected, Rejection


class Inner(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(max_length=5)]
    note: bytes | None = None


class Outer(Struct, frozen=True, forbid_unknown_fields=True):
    number: Annotated[int, Meta(ge=0, le=1000)]
    inner: Inner
    many: tuple[Inner, ...] = ()
    flag: bool = False


inners = st.builds(Inner, st.text(max_size=5), st.none() | st.binary())
outers = st.builds(Outer, st.integers(0, 1000), inners, st.lists(inners).map(tuple), st.booleans())


@given(outers)
def test_what_is_encoded_decodes_to_the_same(value: Outer) -> None:
    assert cbor.decode(cbor.encode(value), Outer) == value


@given(outers, outers)
def test_equal_bytes_are_equal_values(one: Outer, other: Outer) -> None:
    assert (cbor.encode(one) == cbor.encode(other)) == (one == other)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_rejection(data: bytes) -> None:
    try:
        value = cbor.decode(data, Outer)
    except Rejected:
        return
    assert cbor.encode(value) == data


@given(outers, st.data())
def test_damaged_bytes_give_another_value_or_a_rejection(value: Outer, data: st.DataObject) -> None:
    encoded = bytearray(cbor.encode(value))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Rejected):
        assert cbor.decode(bytes(encoded), Outer) != value


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("a long form of a small number", bytes.fromhex("1800")),
        ("an array without its length", bytes.fromhex("9f01ff")),
        ("keys out of order", bytes.fromhex("a201000000")),
        ("a key twice", bytes.fromhex("a200000000")),
        ("a float where an integer does", bytes.fromhex("f93c00")),
        ("a shared reference", bytes.fromhex("d81c82d81d00")),
        ("more than one value", bytes.fromhex("0000")),
        ("nothing", b""),
        ("an array that claims 2^60 items", bytes.fromhex("9b1000000000000000")),
        ("nesting without end", b"\x81" * 20_000),
    ],
)
def test_other_forms_are_refused(what: str, data: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        cbor.decode(data, Outer)
    assert refused.value.reason in {Rejection.NOT_DETERMINISTIC_CBOR, Rejection.WRONG_SCHEMA}, what


def test_a_field_that_is_none_is_left_out() -> None:
    assert cbor.encode(Inner("a")) == bytes.fromhex("a1006161")
    with pytest.raises(Rejected):
        cbor.decode(bytes.fromhex("a200616101f6"), Inner)


def test_keys_up_to_23_have_one_order_only() -> None:
    """cbor2 sorts longer keys by length first, RFC 8949 (4.2.1) by bytes: below 24 the two agree."""
    shuffled = {key: key for key in reversed(range(24))}
    assert cbor.encode(shuffled) == bytes([0xB8, 24]) + b"".join(bytes([key, key]) for key in range(24))


def test_floats_are_never_encoded() -> None:
    with pytest.raises(TypeError):
        cbor.encode((1.5,))


def test_a_boolean_is_no_number() -> None:
    with pytest.raises(Rejected):
        cbor.decode(cbor.encode({0: True, 1: {0: "a"}, 2: (), 3: False}), Outer)

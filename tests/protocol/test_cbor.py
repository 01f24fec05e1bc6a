import contextlib
import enum
from typing import Annotated, Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct, defstruct

from protocol import cbor
from protocol.cbor_reading import reader
from protocol.messages import STRUCTS
from protocol.rejections import Rejected, Rejection
from tests.protocol.message_values import changed, values


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


keys = st.integers(-30, 300) | st.text(max_size=3) | st.binary(max_size=3)
leaves = (
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=30) | st.text(max_size=30)
)
plain = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
loose = st.recursive(
    leaves | st.floats(allow_nan=False) | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(leaves, inner)
)


def by_bytes(tree: Any) -> Any:
    """The same tree with each map's keys in ascending order of their bytes (RFC 8949; cbor2 goes by length first)."""
    if isinstance(tree, list):
        return [by_bytes(item) for item in tree]
    if isinstance(tree, dict):
        return {key: by_bytes(tree[key]) for key in sorted(tree, key=cbor2.dumps)}
    return tree


@given(plain)
def test_plain_values_encode_as_another_library_does(tree: Any) -> None:
    assert cbor.encode(tree) == cbor2.dumps(by_bytes(tree))
    cbor.check(cbor.encode(tree))


@given(st.binary(max_size=60) | loose.map(cbor2.dumps))
def test_what_is_checked_is_what_another_library_writes_again(data: bytes) -> None:
    """`check` passes no bytes that differ from what cbor2 makes of them, and no value that is not in use."""
    try:
        cbor.check(data)
    except Rejected:
        return
    assert cbor.encode(cbor2.loads(data)) == data


@given(plain)
def test_each_change_of_a_head_is_noticed(tree: Any) -> None:
    """Every number and length in a longer form, one at a time: `check` refuses them all."""
    encoded = cbor.encode(tree)
    for place, first in enumerate(encoded):
        if first & 0x1F < 24 and first >> 5 in (0, 1):
            longer = encoded[:place] + bytes((first & 0xE0 | 24, first & 0x1F)) + encoded[place + 1 :]
            with contextlib.suppress(Rejected):
                cbor.check(longer)
                assert cbor.encode(cbor2.loads(longer)) == longer  # the place was within a string


@pytest.mark.parametrize("struct", STRUCTS.values(), ids=lambda struct: struct.__name__)
@given(data=st.data())
def test_messages_are_read_back_and_nothing_else_is(struct: Any, data: st.DataObject) -> None:
    message = data.draw(values(struct))
    encoded = cbor.encode(message)
    assert cbor.decode(encoded, struct) == message
    assert cbor2.dumps(cbor2.loads(encoded), canonical=True) == encoded
    other = cbor2.dumps(data.draw(changed(cbor2.loads(encoded))), canonical=data.draw(st.booleans()))
    cut = data.draw(st.integers(0, len(encoded)))
    for attempt in (other, encoded[:cut], encoded + b"\x00", encoded[:cut] + other[cut:]):
        with contextlib.suppress(Rejected):
            assert cbor.encode(cbor.decode(attempt, struct)) == attempt


@given(st.binary(max_size=20), outers, st.binary(max_size=20))
def test_a_part_of_bytes_is_read_as_if_it_were_all(before: bytes, value: Outer, after: bytes) -> None:
    encoded = cbor.encode(value)
    whole = before + encoded + after
    assert cbor.decode_part(whole, len(before), len(before) + len(encoded), Outer) == value
    if after:
        with pytest.raises(Rejected):
            cbor.decode_part(whole, len(before), len(whole), Outer)


class Colour(enum.Enum):
    RED = 1
    ODD = "odd"


class Doubtful(Struct, frozen=True):
    note: bytes | None = b""


@pytest.mark.parametrize(
    "what",
    [
        float,
        dict[int, int],
        int | str,
        Colour,
        Doubtful,
        Annotated[int, Meta(ge=-1)],
        Annotated[int, Meta(multiple_of=2)],
        Annotated[bool, Meta(description="x", ge=1)],
        Annotated[tuple[int, int], Meta(max_length=2)],
    ],
)
def test_types_and_limits_that_cannot_be_held_are_refused_at_once(what: Any) -> None:
    with pytest.raises(TypeError):
        reader(what)


def test_deep_values_are_refused_and_not_followed() -> None:
    deep = b"\x81" * 16 + b"\x00"
    cbor.check(deep)
    with pytest.raises(Rejected) as refused:
        cbor.check(b"\x81" + deep)
    assert refused.value.reason is Rejection.NOT_DETERMINISTIC_CBOR


@pytest.mark.parametrize("count", [24, 256, 257])
def test_structs_of_many_fields(count: int) -> None:
    many = defstruct("Many", [(f"f{n}", int) for n in range(count)], frozen=True)
    value = many(*range(count))
    assert cbor.encode(value) == cbor2.dumps({n: n for n in range(count)}, canonical=True)
    if count <= 256:
        assert cbor.decode(cbor.encode(value), many) == value
    else:
        with pytest.raises(TypeError):
            cbor.decode(cbor.encode(value), many)


class Strings(Struct, frozen=True, forbid_unknown_fields=True):
    exact: Annotated[tuple[Annotated[bytes, Meta(min_length=32, max_length=32)], ...], Meta(max_length=30)]
    short: Annotated[tuple[Annotated[bytes, Meta(max_length=16)], ...], Meta(max_length=30)]


def mostly(size: int) -> st.SearchStrategy[list[bytes]]:
    """Byte strings of this size, with some of another one among them more often than not."""
    alike = st.lists(st.binary(min_size=size, max_size=size), max_size=31)
    other = st.lists(st.tuples(st.integers(0, 31), st.binary(max_size=size + 1)), max_size=2)
    return st.builds(lambda items, others: [*items] and _with(items, others), alike, other)


def _with(items: list[bytes], others: list[tuple[int, bytes]]) -> list[bytes]:
    for place, item in others:
        items[place % len(items)] = item
    return items


@given(mostly(32), mostly(16))
def test_byte_strings_that_are_read_at_once_are_read_as_one_by_one(exact: list[bytes], short: list[bytes]) -> None:
    data = cbor.encode({0: exact, 1: short})
    sizes = {len(item) for item in exact} <= {32} and all(len(item) <= 16 for item in short)
    if sizes and max(len(exact), len(short)) <= 30:
        assert cbor.decode(data, Strings) == Strings(tuple(exact), tuple(short))
    else:
        with pytest.raises(Rejected):
            cbor.decode(data, Strings)


@pytest.mark.parametrize("flip", [1, 0x20, 0xFF])
def test_each_byte_of_byte_strings_that_are_read_at_once_counts(flip: int) -> None:
    data = cbor.encode(Strings((bytes(32),) * 3, (bytes(16),) * 3))
    for place, byte in enumerate(data):
        for damaged in (data[:place], data[:place] + bytes((byte ^ flip,)) + data[place + 1 :]):
            with contextlib.suppress(Rejected):
                assert cbor.encode(cbor.decode(damaged, Strings)) == damaged

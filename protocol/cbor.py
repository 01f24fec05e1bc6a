"""Values as deterministic CBOR (RFC 8949, section 4.2.1), and strictly back.

Only a part of CBOR is in use, and the rest is refused wherever it stands: integers of up to 64 bits, byte strings,
text, arrays, maps, true, false and null, each in its shortest form and with its length in front; keys of a map in
ascending order of their bytes, none twice; no floats and no tags (every quantity is an integer with its unit in its
name); at most `MAX_DEPTH` arrays and maps inside each other.

Structs become maps whose keys are the positions of their fields in the order in which the class lists them; a field
that is None is left out, any other is written, default or not. Never reorder fields: append. Tuples become arrays,
enums their values.
"""

import enum
from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from protocol.cbor_reading import MALFORMED, Reader, Unfit, number_at, reader
from protocol.rejections import Rejected, Rejection

T = TypeVar("T")
Writer = Callable[[Any], bytes]

MAX_DEPTH = 16
FEW = 10
"""Items of an array for whose writers it does not pay to ask whether they are the same."""
UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAGGED, SIMPLE = range(0, 256, 32)
"""First byte of each major type's shortest head."""


def encode(value: object) -> bytes:
    """Deterministic CBOR of a struct, enum, tuple, list, dict, int, bool, bytes, str or None.

    Raises `TypeError` for anything else, floats above all, and `ValueError` for an integer of more than 64 bits.
    """
    return _writer(type(value))(value)


def decode(data: bytes, as_type: type[T]) -> T:
    """The value of `as_type` that encodes to exactly `data`; else `Rejected`, and no other exception."""
    return decode_part(data, 0, len(data), as_type)


def decode_part(data: bytes, start: int, end: int, as_type: type[T]) -> T:
    """The value of `as_type` that encodes to exactly the bytes from `start` to `end` of `data`; else `Rejected`."""
    try:
        value, at = _reader(as_type)(data, start)
    except (Unfit, *MALFORMED) as error:
        detail = str(error) if isinstance(error, Unfit) else "the bytes end early, or are no text"
    else:
        if at == end:
            return value  # type: ignore[no-any-return]
        detail = "the value does not end where the bytes do"
    check(data[start:end])
    raise Rejected(Rejection.WRONG_SCHEMA, detail)


def check(data: bytes) -> None:
    """Raise `Rejected` unless `data` is one value in the deterministic form of the module's docstring."""
    try:
        end = _skip(data, 0, MAX_DEPTH)
    except (Unfit, *MALFORMED) as error:
        raise Rejected(Rejection.NOT_DETERMINISTIC_CBOR, str(error)) from None
    if end != len(data):
        raise Rejected(Rejection.NOT_DETERMINISTIC_CBOR, "The value does not end where the bytes do.")


@lru_cache(maxsize=4096)
def head(major: int, number: int) -> bytes:
    """The shortest head of an item: its major type and a count, a length or the number itself."""
    if number < 24:
        return bytes((major | number,))
    for size, additional in ((1, 24), (2, 25), (4, 26), (8, 27)):
        if number < 1 << 8 * size:
            return bytes((major | additional,)) + number.to_bytes(size, "big")
    raise ValueError(f"{number} has more than 64 bits")


def _skip(data: bytes, at: int, depth: int) -> int:
    """Where the item that begins at `at` ends."""
    first = data[at]
    major = first & 0xE0
    if major == SIMPLE:
        if not 0xF4 <= first <= 0xF6:
            raise Unfit("Of simple values, only true, false and null are in use.")
        return at + 1
    if major == TAGGED:
        raise Unfit("Tags are not in use.")
    number, at = number_at(data, at, major)
    if major in (ARRAY, MAP) and depth == 0:
        raise Unfit(f"Arrays and maps lie more than {MAX_DEPTH} deep.")
    match major:
        case 0x40:
            at += number
        case 0x60:
            data[at : at + number].decode()
            at += number
        case 0x80:
            at = _skip_items(data, at, number, depth)
        case 0xA0:
            at = _skip_pairs(data, at, number, depth)
    return at


def _skip_items(data: bytes, at: int, count: int, depth: int) -> int:
    for _ in range(count):
        at = _skip(data, at, depth - 1)
    return at


def _skip_pairs(data: bytes, at: int, count: int, depth: int) -> int:
    last = b""
    for _ in range(count):
        start = at
        at = _skip(data, start, depth - 1)
        key = data[start:at]
        if key <= last:
            raise Unfit("The keys of a map are not in ascending order.")
        last = key
        at = _skip(data, at, depth - 1)
    return at


_reader: Callable[[Any], Reader] = reader
_SMALL = tuple(head(UNSIGNED, number) for number in range(1024))


def _write_integer(value: int) -> bytes:
    if 0 <= value < 1024:
        return _SMALL[value]
    return head(UNSIGNED, value) if value >= 0 else head(NEGATIVE, -1 - value)


def _write_bytes(value: bytes) -> bytes:
    return head(BYTES, len(value)) + value


def _write_text(value: str) -> bytes:
    encoded = value.encode()
    return head(TEXT, len(encoded)) + encoded


def _write_array(items: tuple[Any, ...] | list[Any]) -> bytes:
    if len(items) > FEW and len(types := set(map(type, items))) == 1:
        return head(ARRAY, len(items)) + b"".join(map(_writer(types.pop()), items))
    return head(ARRAY, len(items)) + b"".join([_writer(type(item))(item) for item in items])


def _write_map(value: dict[Any, Any]) -> bytes:
    pairs = sorted((encode(key), encode(item)) for key, item in value.items())
    return head(MAP, len(pairs)) + b"".join([part for pair in pairs for part in pair])


def _write_constant(value: bool | None) -> bytes:
    return b"\xf6" if value is None else b"\xf5" if value else b"\xf4"


def _enum_writer(kind: type[enum.Enum]) -> Writer:
    return {member: encode(member.value) for member in kind}.__getitem__


def _struct_writer(struct: type[msgspec.Struct]) -> Writer:
    names = struct.__struct_fields__
    if not names:
        return lambda _: head(MAP, 0)
    keys = tuple(head(UNSIGNED, position) for position in range(len(names)))
    fields = attrgetter(*names) if len(names) > 1 else lambda value: (getattr(value, names[0]),)
    heads = tuple(head(MAP, count) for count in range(len(names) + 1))

    def write(value: msgspec.Struct) -> bytes:
        pairs = zip(keys, fields(value), strict=True)
        parts = [key + _writer(type(item))(item) for key, item in pairs if item is not None]
        return heads[len(parts)] + b"".join(parts)

    return write


class _Writers(dict[type, Writer]):
    """By type; those of enums, structs and named tuples are made when they are first asked for."""

    def __missing__(self, kind: type) -> Writer:
        if issubclass(kind, enum.Enum):
            writer: Writer = _enum_writer(kind)
        elif issubclass(kind, msgspec.Struct):
            writer = _struct_writer(kind)
        elif issubclass(kind, tuple | list):
            writer = _write_array
        else:
            raise TypeError(f"{kind.__name__} is never hashed or signed: for a quantity, use an integer with a unit")
        self[kind] = writer
        return writer


_writer = _Writers(
    {
        int: _write_integer,
        bytes: _write_bytes,
        str: _write_text,
        tuple: _write_array,
        list: _write_array,
        dict: _write_map,
        bool: _write_constant,
        type(None): _write_constant,
    }
).__getitem__

"""Values as deterministic CBOR (RFC 8949, section 4.2.1), and strictly back.

Structs become maps whose keys are the positions of their fields, 0 to 23, in the order in which the class lists them;
a field that is None is left out. Never reorder fields: append. Tuples become arrays, enums their values. There are no
floats and no tags inside: every quantity is an integer with its unit in its name.
"""

import enum
import functools
import types
import typing
from typing import Any, TypeVar

import cbor2
import msgspec

from protocol.rejections import Rejected, Rejection

T = TypeVar("T")
MAX_FIELDS = 24  # keys of one byte: cbor2's canonical order and RFC 8949's agree on these only


def encode(value: object) -> bytes:
    """Deterministic CBOR of a struct, tuple, dict with integer keys, int, bool, bytes, str or None."""
    return cbor2.dumps(_plain(value), canonical=True)


def decode(data: bytes, as_type: type[T]) -> T:
    """The value of `as_type` that encodes to exactly `data`; else `Rejected`, and no other exception."""
    return convert(decode_raw(data), as_type)


def convert(raw: Any, as_type: type[T]) -> T:
    """The struct in what `decode_raw` gave. Raises `Rejected`, and no other exception.

    A field that is present with its default or with null would be a second encoding of the same value: refused.
    """
    try:
        value = msgspec.convert(_named(raw, as_type), as_type, strict=True, builtin_types=(bytes,))
        same = _plain(value) == raw
    except (msgspec.ValidationError, RecursionError, ValueError, TypeError, OverflowError) as error:
        raise Rejected(Rejection.WRONG_SCHEMA, str(error)) from None
    if not same:
        raise Rejected(Rejection.WRONG_SCHEMA, "a field is written out that has to be left out")
    return value


def decode_raw(data: bytes) -> Any:
    """Plain Python values for deterministic CBOR; `Rejected` for anything else, whatever the bytes are."""
    try:
        raw = cbor2.loads(data)
        again = cbor2.dumps(raw, canonical=True)
    except Exception as error:  # cbor2 runs constructors of many tags: none of their errors may escape
        raise Rejected(Rejection.NOT_DETERMINISTIC_CBOR, str(error)) from None
    if again != data:
        raise Rejected(Rejection.NOT_DETERMINISTIC_CBOR, "decoding and encoding again gives other bytes")
    return raw


def _plain(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        fields = enumerate(value.__struct_fields__)
        return {key: _plain(item) for key, name in fields if (item := getattr(value, name)) is not None}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        raise TypeError("floats are never hashed or signed: use an integer with a unit")
    return value


def _named(raw: Any, as_type: Any) -> Any:
    """`raw` with the integer keys of each struct's map replaced by field names, along the shape of `as_type`."""
    shape = _shape(as_type)
    if shape is None:
        return raw
    kind, inner = shape
    if kind == "struct":
        if not isinstance(raw, dict):
            raise TypeError(f"expected a map for {as_type.__name__}")
        named = {}
        for key, item in raw.items():
            if type(key) is not int or not 0 <= key < len(inner):
                raise TypeError(f"{as_type.__name__} has no field {key!r}")
            name, item_type = inner[key]
            named[name] = _named(item, item_type)
        return named
    if kind == "array" and isinstance(raw, list):
        return [_named(item, inner) for item in raw]
    return raw


@functools.cache
def _shape(as_type: Any) -> tuple[str, Any] | None:
    """How to walk `as_type`: ('struct', fields), ('array', item type), or None where there are no structs inside."""
    origin = typing.get_origin(as_type)
    if origin is typing.Annotated:
        return _shape(typing.get_args(as_type)[0])
    if origin in (typing.Union, types.UnionType):
        inside = [shape for arg in typing.get_args(as_type) if (shape := _shape(arg))]
        return inside[0] if inside else None
    if origin is tuple:
        item = typing.get_args(as_type)[0]
        return ("array", item) if _shape(item) else None
    if isinstance(as_type, type) and issubclass(as_type, msgspec.Struct):
        hints = typing.get_type_hints(as_type, include_extras=True)
        names = as_type.__struct_fields__
        if len(names) > MAX_FIELDS:
            raise TypeError(f"{as_type.__name__} has more than {MAX_FIELDS} fields")
        return ("struct", tuple((name, hints[name]) for name in names))
    return None

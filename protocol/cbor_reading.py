"""Readers of deterministic CBOR, one per type, written from the type's annotations.

A reader takes the bytes and a place in them, and gives the value that begins there and the place after it. It builds
nothing that the type does not name, and accepts no form but the one that `cbor.encode` writes, so that whatever is read
encodes to the same bytes again. Beyond the end a slice comes out short without an error: it is the caller who compares
the last place with the length of the bytes.

Opening an envelope must not cost much more than checking its signature, and a call per field does. So each reader is
one function whose source is put together here, as `dataclasses` does. For

    class Pair(Struct):
        key: Annotated[bytes, Meta(min_length=32, max_length=32)]
        flag: bool | None = None

it says, with a sentence in each `Unfit`:

    def read(data, at):
        count = ...                                             # from the head of a map: how many fields there are
        spare = count - 1                                       # how many of those that may be left out
        if not 0 <= spare <= 1: raise Unfit
        if not data[at : at + 3] == b'\\x00\\x58\\x20': raise Unfit  # key 0, and the head of 32 bytes
        field0 = data[at + 3 : at + 35]
        at += 35
        if spare and data[at] == 1:
            spare -= 1
            at += 1
            if data[at] not in (0xF4, 0xF5): raise Unfit
            field1 = data[at] == 0xF5
            at += 1
        else:
            field1 = None
        if spare: raise Unfit
        value = Pair(field0, field1)
        return value, at
"""

import enum
import functools
import itertools
import re
import struct
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Meta, Struct
from msgspec.structs import fields

Reader = Callable[[bytes, int], tuple[Any, int]]

MALFORMED = (IndexError, UnicodeDecodeError)
"""What readers raise beside `Unfit`, where bytes end early or are no text."""
MAX_FIELDS = 256
MOST_AT_ONCE, LONGEST_AT_ONCE = 256, 64
"""Byte strings, and bytes of each, that are read in one go where all have as many bytes as they may."""
ENDLESS = (1 << 64) - 1


class Unfit(Exception):
    """The bytes do not have the form that the type asks for; the text says where and why."""


def number_at(data: bytes, at: int, major: int) -> tuple[int, int]:
    """The number in the head of an item of this major type (its first byte), and the place after the head."""
    additional = data[at] - major
    if 0 <= additional < 24:
        return additional, at + 1
    if not 24 <= additional <= 27:
        raise Unfit("another type is expected")
    size = 1 << additional - 24
    end = at + 1 + size
    number = int.from_bytes(data[at + 1 : end], "big")
    if number < (24 if size == 1 else 1 << 4 * size):
        raise Unfit("a number or length is not in its shortest form")
    return number, end


@functools.cache
def reader(as_type: Any) -> Reader:
    """The reader of a type: int, bool, bytes, str, tuple, struct or enum, with limits by `Meta`.

    A field of a struct may also be `X | None` with None as default: it is left out then, and null is never read.
    Raises `TypeError` for other types and limits: nothing that a class states goes unchecked.
    """
    source = _Source()
    lines = source.struct(as_type) if _is_struct(as_type) else source.value(as_type, "value", str(as_type))
    text = "\n".join(["def read(data, at):", *(f"    {line}" for line in lines), "    return value, at"])
    exec(compile(text, f"<reader of {as_type}>", "exec"), source.names)  # noqa: S102  (its parts stand below)
    return typing.cast("Reader", source.names["read"])


class _Cutters(dict[int, Callable[[bytes, int], tuple[bytes, ...]]]):
    """By a number of byte strings of one size: what cuts so many of them, and leaves out their heads."""

    def __init__(self, head: int, size: int) -> None:
        self._one = f"{head}x{size}s"

    def __missing__(self, count: int) -> Callable[[bytes, int], tuple[bytes, ...]]:
        self[count] = cut = struct.Struct(self._one * count).unpack_from
        return cut


class _Source:
    """The lines of one reader, and the objects that they name."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"Unfit": Unfit, "number_at": number_at}
        self._fresh = itertools.count()

    def struct(self, struct: type[Struct]) -> list[str]:
        """Lines that read a struct: its fields in order, each key followed by its value."""
        stated = fields(struct)
        hints = typing.get_type_hints(struct, include_extras=True)
        optional = [_is_optional(hints[field.name]) for field in stated]
        if len(stated) > MAX_FIELDS:
            raise TypeError(f"{struct.__name__} has more than {MAX_FIELDS} fields")
        if any(may and field.default is not None for may, field in zip(optional, stated, strict=True)):
            raise TypeError(f"a field of {struct.__name__} may be None, and that is not its default")
        lines = [
            *_length("count", 0xA0),
            f"spare = count - {optional.count(False)}",
            *_refuse(f"not 0 <= spare <= {sum(optional)}", f"{struct.__name__} has other fields"),
        ]
        for position, (field, may) in enumerate(zip(stated, optional, strict=True)):
            where = f"{struct.__name__}.{field.name}"
            key = _head(0x00, position)
            lines += self._field(key, hints[field.name], f"field{position}", where, may)
        lines += _refuse("spare", f"{struct.__name__} has other fields, or in another order")
        arguments = ", ".join(f"field{position}" for position in range(len(stated)))
        build = f"value = {self._name(struct)}({arguments})"
        if not hasattr(struct, "__post_init__"):
            return [*lines, build]
        return [*lines, "try:", f"    {build}", "except ValueError as error:", "    raise Unfit(str(error)) from None"]

    def _field(self, key: bytes, hint: Any, target: str, where: str, optional: bool) -> list[str]:
        kind = _without_none(hint)
        if (size := _fixed_size(kind)) is not None:  # key and head in one comparison
            key += _head(0x40, size)
            value = [f"{target} = data[at + {len(key)} : at + {len(key) + size}]", f"at += {len(key) + size}"]
        else:
            value = [f"at += {len(key)}", *self.value(kind, target, where)]
        here = f"data[at] == {key[0]}" if len(key) == 1 else f"data[at : at + {len(key)}] == {key!r}"
        if not optional:
            return [*_refuse(f"not ({here})", f"{where} is missing, or of another type or size"), *value]
        return [f"if spare and {here}:", "    spare -= 1", *_indented(value), "else:", f"    {target} = None"]

    def value(self, as_type: Any, target: str, where: str) -> list[str]:
        """Lines that read a value of `as_type` into the variable `target`, beginning at the place `at`."""
        kind, limits = _parted(as_type)
        if typing.get_origin(kind) is tuple:
            return self._tuple(typing.get_args(kind), limits, target, where)
        simple = {int: _integer, bytes: _bytes, str: self._text, bool: _bool}.get(kind)
        if simple is not None:
            return simple(limits, target, where)
        if limits is not None:
            raise TypeError(f"no limits can be held for {kind}")
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return self._enum(kind, target, where)
        if _is_struct(kind):
            return [f"{target}, at = {self._name(reader(kind))}(data, at)"]
        raise TypeError(f"{kind} has no deterministic form here")

    def _text(self, limits: Meta | None, target: str, where: str) -> list[str]:
        stated = _only(limits, "min_length", "max_length", "pattern")
        lines = [*_length("length", 0x60), f"{target} = data[at : at + length].decode()", "at += length"]
        if "pattern" in stated:
            search = self._name(re.compile(stated["pattern"]).search)
            lines += _refuse(f"not {search}({target})", f"{where} is not of the form {stated['pattern']}")
        return lines + _within(f"len({target})", *_lengths(stated), f"the characters of {where} are")

    def _enum(self, kind: type[enum.Enum], target: str, where: str) -> list[str]:
        values = {type(member.value) for member in kind}
        if len(values) != 1:
            raise TypeError(f"{kind} has values of more than one type")
        members = self._name({member.value: member for member in kind}.get)
        unknown = _refuse(f"{target} is None", f"{where} has an unknown value")
        return [*self.value(values.pop(), target, where), f"{target} = {members}({target})", *unknown]

    def _tuple(self, items: tuple[Any, ...], limits: Meta | None, target: str, where: str) -> list[str]:
        number = next(self._fresh)
        if not (len(items) == 2 and items[1] is Ellipsis):
            if limits is not None:
                raise TypeError("a tuple of fixed length takes no limits")
            parts = [f"part{number}_{place}" for place in range(len(items))]
            lines = _length("length", 0x80) + _within("length", len(items), len(items), f"the items of {where} are")
            for part, item in zip(parts, items, strict=True):
                lines += self.value(item, part, where)
            return [*lines, f"{target} = ({', '.join(parts)},)"]
        count, values, item = f"count{number}", f"items{number}", f"item{number}"
        shortest, longest = _lengths(_only(limits, "min_length", "max_length"))
        kind, item_limits = _parted(items[0])
        of_integers = kind is int  # their range is checked for all at once
        read = _length(item, 0x00) if of_integers else self.value(items[0], item, where)
        lowest, highest = _range(item_limits) if of_integers else (0, ENDLESS)
        lines = [
            f"{values} = []",
            f"for _ in range({count}):",
            *_indented(read),
            f"    {values}.append({item})",
        ]
        if lowest > 0:
            wrong = f"{values} and min({values}) < {lowest}"
            lines += _refuse(wrong, f"{where} has an item below {lowest}")
        if highest < ENDLESS:
            wrong = f"{values} and max({values}) > {highest}"
            lines += _refuse(wrong, f"{where} has an item above {highest}")
        lines.append(f"{target} = tuple({values})")
        if kind is bytes and longest <= MOST_AT_ONCE:
            _, size = _lengths(_only(item_limits, "min_length", "max_length"))
            lines = self._at_once(count, size, target, lines) if size <= LONGEST_AT_ONCE else lines
        return [*_length(count, 0x80), *_within(count, shortest, longest, f"the items of {where} are"), *lines]

    def _at_once(self, count: str, size: int, target: str, otherwise: list[str]) -> list[str]:
        """Lines that read byte strings which all have `size` bytes: every so many bytes stands the same head."""
        head = _head(0x40, size)
        step = len(head) + size
        heads = [
            f"data[at + {place} : end : {step}] == {bytes((byte,))!r} * {count}" for place, byte in enumerate(head)
        ]
        return [
            f"end = at + {step} * {count}",
            f"if end <= len(data) and {' and '.join(heads)}:",
            f"    {target} = {self._name(_Cutters(len(head), size))}[{count}](data, at)",
            "    at = end",
            "else:",
            *_indented(otherwise),
        ]

    def _name(self, thing: Any) -> str:
        name = f"thing{next(self._fresh)}"
        self.names[name] = thing
        return name


def _integer(limits: Meta | None, target: str, where: str) -> list[str]:
    return [*_length(target, 0x00), *_within(target, *_range(limits), f"{where} is")]


def _bool(limits: Meta | None, target: str, where: str) -> list[str]:
    _only(limits)
    wrong = _refuse("data[at] not in (0xF4, 0xF5)", f"{where} is not true or false")
    return [*wrong, f"{target} = data[at] == 0xF5", "at += 1"]


def _fixed_size(as_type: Any) -> int | None:
    kind, limits = _parted(as_type)
    if kind is not bytes:
        return None
    shortest, longest = _lengths(_only(limits, "min_length", "max_length"))
    return shortest if shortest == longest else None


def _range(limits: Meta | None) -> tuple[int, int]:
    stated = _only(limits, "ge", "le")
    lowest, highest = stated.get("ge", 0), stated.get("le", ENDLESS)
    if lowest < 0:
        raise TypeError("negative integers are not in use")
    return lowest, highest


def _bytes(limits: Meta | None, target: str, where: str) -> list[str]:
    shortest, longest = _lengths(_only(limits, "min_length", "max_length"))
    if shortest < longest:
        lines = [*_length("length", 0x40), *_within("length", shortest, longest, f"the bytes of {where} are")]
        return [*lines, f"{target} = data[at : at + length]", "at += length"]
    head = _head(0x40, longest)
    start, end = f"at + {len(head)}", f"at + {len(head) + longest}"
    wrong = _refuse(f"data[at : {start}] != {head!r}", f"{where} does not have {longest} bytes")
    return [*wrong, f"{target} = data[{start} : {end}]", f"at = {end}"]


def _length(target: str, major: int) -> list[str]:
    """Lines that read a number or length; all heads but the longest without a call."""
    return [
        f"{target} = data[at]{f' - {major}' if major else ''}",
        f"if {'0 <= ' if major else ''}{target} < 24:",
        "    at += 1",
        f"elif {target} == 25 and data[at + 1]:",
        f"    {target} = data[at + 1] << 8 | data[at + 2]",
        "    at += 3",
        f"elif {target} == 24 and data[at + 1] > 23:",
        f"    {target} = data[at + 1]",
        "    at += 2",
        f"elif {target} == 26 and (data[at + 1] or data[at + 2]):",
        f"    {target} = int.from_bytes(data[at + 1 : at + 5], 'big')",
        "    at += 5",
        "else:",
        f"    {target}, at = number_at(data, at, {major})",
    ]


def _within(value: str, lowest: int, highest: int, what: str) -> list[str]:
    if lowest == 0 and highest == ENDLESS:
        return []
    return _refuse(f"not {lowest} <= {value} <= {highest}", f"{what} not within {lowest} to {highest}")


def _refuse(condition: str, sentence: str) -> list[str]:
    return [f"if {condition}:", f"    raise Unfit({sentence!r})"]


def _indented(lines: list[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def _head(major: int, number: int) -> bytes:
    size = 0 if number < 24 else (number.bit_length() + 7) // 8
    if size > 2:
        raise TypeError(f"{number} bytes are too many for a fixed length")
    return bytes((major | number,)) if size == 0 else bytes((major | 23 + size,)) + number.to_bytes(size, "big")


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _is_optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def _without_none(hint: Any) -> Any:
    if not _is_optional(hint):
        return hint
    rest = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    if len(rest) != 1:
        raise TypeError(f"{hint} has more than one form")
    return rest[0]


def _parted(as_type: Any) -> tuple[Any, Meta | None]:
    if typing.get_origin(as_type) is not typing.Annotated:
        return as_type, None
    kind, *notes = typing.get_args(as_type)
    if len(notes) != 1 or not isinstance(notes[0], Meta):
        raise TypeError(f"{as_type} is limited by something else than one Meta")
    return kind, notes[0]


def _only(limits: Meta | None, *allowed: str) -> dict[str, Any]:
    names = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")
    stated = {name: value for name in names if limits and (value := getattr(limits, name)) is not None}
    if not stated.keys() <= set(allowed):
        raise TypeError(f"of the limits {stated} only {allowed} can be held")
    return stated


def _lengths(stated: dict[str, Any]) -> tuple[int, int]:
    return stated.get("min_length", 0), stated.get("max_length", ENDLESS)

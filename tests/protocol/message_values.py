"""Values of every struct, drawn from what its annotations allow, and trees of plain values with one thing changed."""

import enum
import functools
import types
import typing
from typing import Any

from hypothesis import strategies as st
from msgspec import Meta, Struct
from msgspec.structs import fields

from protocol.messages import Proposal
from protocol.snapshot import Part, Snapshot
from protocol.texts import Passage, TextDocument

MORE = 2
"""So many more than the least are drawn where more are allowed; `changed` tries the limits."""


@functools.cache
def values(as_type: Any) -> st.SearchStrategy[Any]:
    """Values of a struct, or of any other type that `cbor` reads, within all limits."""
    kind, limits = typing.get_args(as_type) if typing.get_origin(as_type) is typing.Annotated else (as_type, Meta())
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return st.one_of([values(each) for each in typing.get_args(kind)])
    if typing.get_origin(kind) is tuple:
        items = typing.get_args(kind)
        if items[-1] is not Ellipsis:
            return st.tuples(*map(values, items))
        least = limits.min_length or 0
        return st.lists(values(items[0]), min_size=least, max_size=least + MORE).map(tuple)
    if kind is int:
        return st.integers(limits.ge or 0, limits.le or (1 << 64) - 1)
    if kind is bytes:
        most = 64 if limits.max_length is None else min(limits.max_length, 64)
        return st.binary(min_size=limits.min_length or 0, max_size=most)
    if kind is str:
        return st.from_regex(limits.pattern) if limits.pattern else st.text(max_size=20)
    if kind is type(None):
        return st.none()
    if kind is bool or issubclass(kind, enum.Enum):
        return st.sampled_from(list(kind) if kind is not bool else [False, True])
    return _structs(kind)


def _structs(struct: type[Struct]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(struct, include_extras=True)
    parts = {field.name: values(hints[field.name]) for field in fields(struct)}
    if struct is Proposal:
        changes = ("parameter", "benchmark", "track")
        none = {name: st.none() for name in changes}
        ones = [none | {name: values(_without_none(hints[name]))} for name in changes]
        return st.one_of([st.builds(struct, **(parts | one)) for one in ones])
    if struct is TextDocument:
        named = st.dictionaries(values(hints_of(Passage)["name"]), st.text(max_size=20), min_size=1, max_size=3)
        passages = named.map(lambda texts: tuple(Passage(name, texts[name]) for name in sorted(texts)))
        return st.builds(struct, parts["salt"], passages)
    if struct is Snapshot:
        digests_of = st.dictionaries(values(hints_of(Part)["name"]), values(hints_of(Part)["sha256"]), max_size=3)
        contents = digests_of.map(lambda digests: tuple(Part(name, digests[name]) for name in sorted(digests)))
        return st.builds(struct, **(parts | {"parts": contents}))
    return st.builds(struct, **parts)


def hints_of(struct: type[Struct]) -> dict[str, Any]:
    """A struct's annotations by field."""
    return typing.get_type_hints(struct, include_extras=True)


def _without_none(hint: Any) -> Any:
    return next(kind for kind in typing.get_args(hint) if kind is not type(None))


NUMBERS = (-1, 0, 6, 15, 256, 1001, 8193, 10_001, 1 << 31, (1 << 40) + 1, 1 << 53, (1 << 64) - 1)
OTHER_TYPES: tuple[Any, ...] = (None, True, 0, 1, b"", b"a", "", "a", [], {}, {0: 0}, [0])


@st.composite
def changed(draw: st.DrawFn, tree: Any) -> Any:
    """The tree of dicts, lists and leaves with one of its parts, anywhere, made another: often just beyond a limit."""
    if isinstance(tree, dict | list) and tree and draw(st.integers(0, 3)):
        places = list(tree) if isinstance(tree, dict) else range(len(tree))
        place = draw(st.sampled_from(list(places)))
        inside = draw(changed(tree[place]))
        if isinstance(tree, dict):
            return {**tree, place: inside}
        return [*tree[:place], inside, *tree[place + 1 :]]
    ways: list[st.SearchStrategy[Any]] = [st.sampled_from(OTHER_TYPES)]
    match tree:
        case bool():
            pass
        case int():
            ways += [st.sampled_from(NUMBERS), st.integers(-2, 300)]
        case bytes():
            ways += [st.sampled_from([tree + b"x", tree[:-1], bytes(17), bytes(126), bytes(18_001)])]
        case str():
            more = ["!", "\n", " ", "é", "A", "a" * 97, "/"]
            ways += [st.sampled_from([tree + end for end in more] + [end + tree for end in more] + [tree[1:]])]
        case list():
            ways += [st.sampled_from([tree[:-1], *(tree + tree[-1:] * more for more in (1, 2, 8, 64, 1000))])]
        case dict():
            keys = sorted(key for key in tree if isinstance(key, int))
            without = [{key: item for key, item in tree.items() if key != left_out} for left_out in tree]
            another = [{**tree, key: 0} for key in (len(keys), len(keys) + 1, -1, 24, "a")]
            ways += [st.sampled_from([*without, *another])]
    return draw(st.one_of(ways))

"""The tables of the specification, in Markdown, made from the code: what the document says, the code does."""

import enum
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Meta, Struct
from msgspec.structs import fields

from protocol.evidence import EVIDENCE
from protocol.failures import Failure
from protocol.genesis import Genesis
from protocol.lifecycle import TRANSITIONS
from protocol.messages import STRUCTS
from protocol.parameters import DEMO, MAIN, Parameters
from protocol.receipts import Receipt
from protocol.rejections import Rejection
from protocol.snapshot import SignedSnapshot
from protocol.texts import TextDocument
from protocol.transcripts import Transcript

ROOTS: tuple[type[Struct], ...] = (
    *STRUCTS.values(),
    Genesis,
    Receipt,
    *EVIDENCE.values(),
    SignedSnapshot,
    TextDocument,
    Transcript,
)
"""Structs that stand alone; `structs` are these and whatever they are made of."""


def kinds() -> str:
    """Kinds of messages: number, name, struct, what it says."""
    rows = ((int(kind), kind.name.lower(), f"`{struct.__name__}`", _first(struct)) for kind, struct in STRUCTS.items())
    return _table(("number", "kind", "struct", "says"), rows)


def structs() -> tuple[type[Struct], ...]:
    """Every struct that travels or is hashed, each followed by what it is made of that was not there before."""
    found: dict[type[Struct], None] = {}
    for root in ROOTS:
        for struct in _within(root):
            found.setdefault(struct)
    return tuple(found)


def fields_of(struct: type[Struct]) -> str:
    """A struct's fields: key, name, type with limits, whether it may be left out."""
    hints = typing.get_type_hints(struct, include_extras=True)
    rows = []
    for key, field in enumerate(fields(struct)):
        optional = _is_optional(hints[field.name])
        rows.append((key, f"`{field.name}`", _described(hints[field.name]), "may be left out" if optional else ""))
    return _table(("key", "field", "type and limits", ""), rows)


def rejections(*, stateless: bool) -> str:
    """Reasons to refuse an envelope or another document by its bytes, or to void an entry of the log."""
    found = (reason for reason in Rejection if reason.is_stateless == stateless)
    return _table(("reason", "means"), ((f"`{reason.value}`", reason.sentence) for reason in found))


def failures() -> str:
    """Why a task could not be evaluated: number, name, whose fault, what went wrong."""
    rows = ((int(each), each.name, "model" if each.of_model else "device", each.sentence) for each in Failure)
    return _table(("number", "failure", "of the", "means"), rows)


def transitions() -> str:
    """The states of a task; the events have the names that the conformance vectors use."""
    rows = (
        ("–" if state is None else state, f"`{event.name}`", event.value, after)
        for (state, event), after in TRANSITIONS.items()
    )
    return _table(("state", "event", "which is that", "next"), rows)


def parameters() -> str:
    """The network's numbers with their limits, on the main network and in demos."""
    hints = typing.get_type_hints(Parameters, include_extras=True)
    names = Parameters.__struct_fields__
    rows = ((f"`{name}`", getattr(MAIN, name), getattr(DEMO, name), _described(hints[name])) for name in names)
    return _table(("parameter", "main", "demo", "type and limits"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(part) for part in line) + " |" for line in lines) + "\n"


def _cell(part: object) -> str:
    text = str(part).lower() if isinstance(part, bool) else f"{part:,}" if type(part) is int else str(part)
    return text.replace("|", "\\|")


def _first(struct: type) -> str:
    """The first sentence of a docstring."""
    paragraph = " ".join((struct.__doc__ or "").split("\n\n")[0].split())
    return paragraph.split(". ")[0].removesuffix(".") + "."


def _within(kind: Any) -> Iterator[type[Struct]]:
    if isinstance(kind, type) and issubclass(kind, Struct):
        yield kind
        for hint in typing.get_type_hints(kind, include_extras=True).values():
            yield from _within(hint)
        return
    for part in typing.get_args(kind):
        yield from _within(part)


def _is_optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def _described(hint: Any) -> str:
    """A type in words, limits included."""
    if _is_optional(hint):
        return _described(next(kind for kind in typing.get_args(hint) if kind is not type(None)))
    kind, limits = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint, Meta())
    if typing.get_origin(kind) is tuple:
        return _array(typing.get_args(kind), limits)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return f"`{kind.__name__}`"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"number of a `{kind.__name__}`"
    return _scalar(kind, limits)


def _scalar(kind: type, limits: Meta) -> str:
    if kind is int:
        return "integer" if limits.le is None else f"integer, {_span(limits.ge, limits.le)}"
    if kind is bytes:
        return f"{_span(limits.min_length, limits.max_length)} bytes"
    if kind is str:
        return f"text, `{limits.pattern.removeprefix(_START).removesuffix(_END)}`" if limits.pattern else "text"
    return "true or false"


_START, _END = r"\A", r"\Z"


def _array(items: tuple[Any, ...], limits: Meta) -> str:
    if items[-1] is not Ellipsis:
        return "array: " + ", ".join(map(_described, items))
    return f"array of {_span(limits.min_length, limits.max_length)}: {_described(items[0])}"


def _span(lowest: Any, highest: Any) -> str:
    lowest = lowest or 0
    if highest is None:
        return f"{lowest:,} or more"
    return f"{lowest:,}" if lowest == highest else f"{lowest:,} to {highest:,}"

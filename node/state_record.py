"""The state just after a mark as bytes, and back: a node's own memory, so that it need not fold its whole log again.

The format is private. What is recorded follows from the annotations of `State`, field by field, and is read back as
strictly: a value of the type that a field has, or `Unusable`. `FORMAT` changes with any of these types; what a fold
leaves in them is `MEANING`'s to tell, which whoever changes that raises.
"""

import hashlib
import typing
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, structs

from protocol import ledger
from protocol.gathering import ClosedGathering
from protocol.genesis import Genesis
from protocol.standings import Standing
from protocol.state import State
from protocol.table import Table

T = TypeVar("T")

MEANING = 1
LEFT_OUT = frozenset({"genesis", "gatherings", "recent"})
"""The network's own; empty just after a mark, but for the plan that follows from the opening; the verdicts by task."""
ITEMS_A_PIECE = 2000

Captured = dict[str, Any]
"""By field: the value that it had, which no later entry changes."""


class Unusable(Exception):
    """The pieces are not those of a state, or of another one than was recorded. The text says why."""


class Piece(Struct, frozen=True):
    """A field's value, or some of its items: those of all pieces of one field follow each other."""

    field: str
    data: bytes


@cache
def _recorded() -> Mapping[str, tuple[Any, bool]]:
    """By field: the type of its pieces, and whether it has items."""
    hints = typing.get_type_hints(State, include_extras=True)
    return {name: _as_items(hint) for name, hint in hints.items() if name not in LEFT_OUT}


def _as_items(hint: Any) -> tuple[Any, bool]:
    origin, items = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Table, dict):
        return list[tuple[items]], True  # type: ignore[valid-type]
    if origin is deque:
        return list[items[0]], True  # type: ignore[valid-type]
    return hint, False


@cache
def _decoder(name: str) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(_recorded()[name][0])


@cache
def format_of() -> bytes:
    """Names this version of the format: 32 bytes."""
    described = [(name, msgspec.inspect.type_info(kind)) for name, (kind, _) in _recorded().items()]
    return hashlib.sha256(repr((MEANING, described)).encode()).digest()


def capture(state: State) -> Captured:
    """Take hold of a state just after a mark, without waiting; records are frozen, what is not is copied."""
    return {name: _held(getattr(state, name)) for name in _recorded()}


def _held(value: Any) -> Any:
    if isinstance(value, Table | dict):
        return [(key, _apart(record)) for key, record in value.items()]
    return list(value) if isinstance(value, deque) else value


def _apart(record: Any) -> Any:
    if isinstance(record, Standing):
        return Standing(list(record.works), set(record.superseded), record.newest)
    if isinstance(record, ClosedGathering):
        waiting = {account: dict(left) for account, left in record.waiting.items()}
        return ClosedGathering(record.network, record.ground, record.mark, waiting)
    return record


def pieces(captured: Captured) -> Iterator[Piece]:
    """The bytes of a captured state, some thousand items at a time; works on any thread."""
    encode = msgspec.msgpack.Encoder().encode
    for name, (_, has_items) in _recorded().items():
        if not has_items:
            yield Piece(name, encode(captured[name]))
            continue
        items = iter(captured[name])
        while some := list(islice(items, ITEMS_A_PIECE)):
            yield Piece(name, encode(some))


def restore(genesis: Genesis, recorded: Iterable[Piece]) -> State:
    """The state of which these are all pieces. Raises `Unusable`."""
    found: dict[str, Any] = {name: [] for name, (_, has_items) in _recorded().items() if has_items}
    for piece in recorded:
        try:
            has_items = _recorded()[piece.field][1]
            value = _decoder(piece.field).decode(piece.data)
        except (KeyError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Unusable(f"{piece.field} cannot be read: {error}") from None
        if has_items:
            found[piece.field] += value
        elif piece.field in found:
            raise Unusable(f"{piece.field} is there twice")
        else:
            found[piece.field] = value
    if missing := _recorded().keys() - found.keys():
        raise Unusable(f"{', '.join(sorted(missing))} is missing")
    state = State(genesis=genesis, **{name: _restored(name, value) for name, value in found.items()})
    _share(state)
    for finals in state.verdicts:
        state.recent.update((final.task, final) for final in finals)
    try:
        if state.opening:
            ledger.gathering(state, state.opening.epoch)
    except (LookupError, ValueError, TypeError, ArithmeticError) as error:
        raise Unusable(f"the opening contradicts itself: {error!r}") from None
    return state


def _share(state: State) -> None:
    """Let what many records have in common, accounts above all, be there once, as it is where a log was folded."""
    known: dict[Any, Any] = {}

    def once(value: T) -> T:
        found: T = known.setdefault(value, value)
        return found

    def accounts(keys: tuple[bytes, ...]) -> tuple[bytes, ...]:
        found: tuple[bytes, ...] | None = known.get(keys)
        return once(tuple(map(once, keys))) if found is None else found

    for standing in state.standings.values():
        standing.works = [
            structs.replace(
                work, task=once(work.task), questions=once(work.questions), agreeing=accounts(work.agreeing)
            )
            for work in standing.works
        ]
    for place, finals in enumerate(state.verdicts):
        state.verdicts[place] = tuple(
            structs.replace(
                final,
                task=once(final.task),
                subject=once(final.subject),
                counted=accounts(final.counted),
                agreeing=accounts(final.agreeing),
            )
            for final in finals
        )


def _restored(name: str, value: Any) -> Any:
    origin = typing.get_origin(typing.get_type_hints(State)[name])
    if origin is Table:
        table: Table[Any, Any] = Table()
        table.update(value)
        return table
    return origin(value) if origin in (dict, deque) else value

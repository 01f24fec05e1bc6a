"""The specification's tables hold what the code holds, all of it, as Markdown."""

import pytest
from msgspec import Struct

from protocol import tables
from protocol.definitions import Card
from protocol.failures import Failure
from protocol.lifecycle import TRANSITIONS
from protocol.messages import STRUCTS, Rating
from protocol.parameters import Parameters
from protocol.rejections import Rejection

WHOLE = {
    "kinds": (tables.kinds, len(STRUCTS)),
    "stateless rejections": (lambda: tables.rejections(stateless=True), 8),
    "rejections of state": (lambda: tables.rejections(stateless=False), len(Rejection) - 8),
    "failures": (tables.failures, len(Failure)),
    "transitions": (tables.transitions, len(TRANSITIONS)),
    "parameters": (tables.parameters, len(Parameters.__struct_fields__)),
}


def rows(table: str) -> list[list[str]]:
    """The cells of a Markdown table without its two head lines; a bar within a cell is written with a backslash."""
    lines = [line.replace("\\|", "¦") for line in table.splitlines()]
    assert set(lines[1]) == {"|", "-", " "}
    cells = [[part.strip() for part in line.removeprefix("|").removesuffix("|").split("|")] for line in lines]
    assert len({len(line) for line in cells}) == 1
    return cells[2:]


@pytest.mark.parametrize("name", WHOLE)
def test_nothing_is_left_out(name: str) -> None:
    make, count = WHOLE[name]
    assert len(rows(make())) == count


@pytest.mark.parametrize("struct", tables.structs(), ids=lambda struct: struct.__name__)
def test_every_field_is_described(struct: type[Struct]) -> None:
    found = rows(tables.fields_of(struct))
    assert [row[:2] for row in found] == [[str(key), f"`{name}`"] for key, name in enumerate(struct.__struct_fields__)]
    assert all(row[2] for row in found)


def test_limits_are_those_of_the_struct() -> None:
    assert rows(tables.fields_of(Rating))[3] == ["3", "`stars`", "integer, 1 to 5", ""]
    card = rows(tables.fields_of(Card))
    assert card[2] == ["2", "`type`", "number of a `ModelType`", ""]
    assert card[3] == ["3", "`origin`", "array of 0 to 8: `HubRevision`", ""]
    assert card[5] == ["5", "`cutoff`", "text, `[0-9]{4}-(0[1-9]¦1[0-2])`", "may be left out"]


def test_every_message_and_what_it_is_made_of_is_there() -> None:
    assert set(STRUCTS.values()) | {Card} <= set(tables.structs())

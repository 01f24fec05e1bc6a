"""The demo's live table fits its terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from peerboard.demo_view import _table

LONG = "tally-base + tally-times at half its strength"


def tasks(accounts: int, model: str) -> dict[str, Any]:
    runners = [
        {"account": f"{place:064x}", "committed": True, "revealed": True, "progress": 1.0} for place in range(accounts)
    ]
    task = {
        "model": model,
        "benchmark": "tally-choice",
        "runners": runners,
        "agreeing": accounts,
        "counted": accounts,
        "firm": False,
        "state": "RUNNING",
    }
    return {"tasks": [task, task]}


def drawn(found: dict[str, Any], width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(_table(found, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("model", [LONG, "平假名" * 9, "a\x1b[2J" + 40 * "b"])
@pytest.mark.parametrize("accounts", [3, 4, 8])
@pytest.mark.parametrize("width", [80, 60])
def test_a_task_takes_one_line(accounts: int, width: int, model: str) -> None:
    assert len(drawn(tasks(accounts, model), width)) == 3


def test_names_are_cut_in_their_middle() -> None:
    name = drawn(tasks(3, LONG), 80)[1].split(" tally-choice")[0].strip()
    assert name.startswith("tally")
    assert name.endswith("ength")
    assert "…" in name


def test_what_fits_is_whole() -> None:
    line = drawn(tasks(3, "tally-base"), 200)[1]
    assert "tally-base" in line
    assert line.rstrip().endswith("3 of 3 agree, not firm yet")

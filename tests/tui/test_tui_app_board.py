"""The dashboard's board, driven by keys: cursor, order, filter, and how often and how much is drawn."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from textual.widgets import Input

from tests.tui.stage import SIGHT, SIZES, Stage
from tui.answers import Board
from tui.board import BoardPane
from tui.panes.board import row_line
from tui.view import BoardTold, reduce


def test_the_cursor_follows_the_model(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        await it.press("down", "down")
        chosen = it.rows.cursor
        assert chosen == it.rows.rows[2].key
        it.clock.forward(5)
        turned = tuple(
            msgspec.structs.replace(row, rank_low=10 - (row.rank_low or 0), rank_high=20) for row in it.script.view.rows
        )
        await it.tell(reduce(BoardTold(it.clock.now, Board(43, turned), ()), it.script.view))
        assert it.rows.cursor == chosen
        assert it.rows.chosen is not None
        assert it.rows.chosen.key == chosen
        assert it.rows.rows[2].key != chosen

    stage("live").play((140, 40), course)


def test_rows_do_not_move_under_the_cursor(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        before = it.order
        it.clock.forward(5)
        await it.press("down")
        turned = tuple(
            msgspec.structs.replace(row, rank_low=9 - (row.rank_low or 0), rank_high=9, score=1.0)
            for row in it.script.view.rows
        )
        it.clock.forward(1.5)
        await it.tell(reduce(BoardTold(it.clock.now, Board(43, turned), ()), it.script.view))
        assert it.order == before
        assert {row.score for row in it.rows.rows} == {1.0}
        it.clock.forward(2)
        await it.settle()
        assert it.order != before
        assert sorted(it.order) == sorted(before)

    stage("live").play((140, 40), course)


def test_the_board_is_drawn_once_a_second_at_most(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        rows = it.script.view.rows
        drawn = it.rows.rows
        changed = tuple(msgspec.structs.replace(row, score=2.0) for row in rows)
        it.clock.forward(0.2)
        await it.tell(reduce(BoardTold(it.clock.now, Board(43, changed), ()), it.script.view))
        assert it.rows.rows is drawn
        it.clock.forward(1.0)
        await it.settle()
        assert {row.score for row in it.rows.rows} == {2.0}

    stage("live").play((140, 40), course)


def test_filter_sort_and_benchmarks(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        by_rank = it.order
        await it.press("slash", *"steps", "space", *"base")
        assert it.app.query_one(Input).value == "steps base"
        assert {row.name for row in it.rows.rows} == {"tally-base", "tally-base + tally-times"}
        assert "“steps base” 2 of 10" in it.text
        await it.press("enter")
        assert it.app.focused is it.rows
        await it.press("escape")
        assert it.order == by_rank
        await it.press("s", "s", "s")
        assert "by name" in it.text
        names = [row.name for row in it.rows.rows]
        assert names[:5] == sorted(names[:5])
        await it.press("right")
        assert {row.benchmark for row in it.rows.rows} == {"tally-choice"}
        await it.press("left", "left")
        assert {row.benchmark for row in it.rows.rows} == {"tally-steps"}
        await it.press("slash", *"nobody")
        assert "No model matches “nobody”." in it.text
        assert not it.script.commands

    stage("live").play((140, 40), course)


@pytest.mark.parametrize("size", SIZES)
def test_enter_opens_the_model_and_escape_goes_back(size: tuple[int, int], stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        await it.press("down", "enter")
        assert "model" in it.in_sight
        assert it.rows.chosen is not None
        assert it.rows.chosen.id[:12] in it.text
        await it.press("escape")
        assert it.in_sight == SIGHT[size]
        assert it.app.focused is it.rows

    stage("live").play(size, course)


def test_two_thousand_rows_are_drawn_by_the_line(
    stage: Callable[[str], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def counting(row: Any, *rest: Any) -> Any:
        drawn.append(row.id)
        return painted(row, *rest)

    painted = row_line
    monkeypatch.setattr("tui.board.row_line", counting)

    async def course(it: Stage) -> None:
        first = it.script.view.rows[0]
        rows = tuple(
            msgspec.structs.replace(first, id=f"{n:05}", name=f"model-{n}", rank_low=n + 1, rank_high=n + 3)
            for n in range(2000)
        )
        it.clock.forward(5)
        drawn.clear()
        await it.tell(msgspec.structs.replace(it.script.view, board=Board(42, rows)))
        assert len(it.rows.rows) == 2000
        assert 0 < len(set(drawn)) <= it.rows.size.height
        await it.press("end")
        assert it.rows.cursor == ("01999", first.benchmark)
        assert "model-1999" in it.text
        await it.press("pageup", "home")
        assert "model-0" in it.text
        assert len(set(drawn)) < 200

    stage("live").play((140, 40), course)


def test_the_filter_field_does_not_take_keys_before_it_is_asked_for(stage: Callable[[str], Stage]) -> None:
    async def course(it: Stage) -> None:
        assert it.app.focused is it.rows
        assert not it.app.query_one(Input).display
        await it.press("tab")
        assert not isinstance(it.app.focused, Input)
        assert it.app.query_one(BoardPane).query_asked.words == ""

    stage("live").play((140, 40), course)

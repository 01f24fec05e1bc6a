"""Answers of the control API as values."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.answers import (
    Activity,
    AnswerError,
    Board,
    BoardChanged,
    Peers,
    Status,
    Tasks,
    Verdicts,
    decode_answer,
    decode_event,
    error_sentence,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "state", "rows", "tasks", "sequence", "epoch", "error"]), inner)
    ),
    max_leaves=12,
)
wire_bytes = st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("kind", [Status, Tasks, Board, Verdicts, Peers])
@given(body=wire_bytes)
def test_any_bytes_are_an_answer_or_an_error(kind: type[Any], body: bytes) -> None:
    try:
        value, _ = decode_answer(body, kind)
    except AnswerError:
        return
    assert isinstance(value, kind)


@given(st.sampled_from(["status", "tasks", "board", "activity", "newer", ""]), wire_bytes)
def test_any_bytes_are_an_event_or_an_error(kind: str, data: bytes) -> None:
    try:
        number, body = decode_event(kind, data)
    except AnswerError:
        return
    assert number is None or number >= 0
    assert body is None or isinstance(body, Status | Tasks | BoardChanged | Activity)


def test_the_sample_is_understood(answers_folder: Path) -> None:
    board, _ = decode_answer((answers_folder / "leaderboard-live.json").read_bytes(), Board)
    assert {row.name for row in board.rows} >= {"tally-large", "tally-base + tally-times"}
    ledger, _ = decode_answer((answers_folder / "leaderboard.json").read_bytes(), Board)
    assert [row.key for row in ledger.rows] == [row.key for row in board.rows]
    assert len({row.key for row in board.rows}) == 10


def test_a_newer_daemon_may_say_more() -> None:
    body = b'{"schema": "x/9", "data": {"state": "dreaming", "new": 1}, "warnings": [{"code": "A", "more": 2}]}'
    status, cautions = decode_answer(body, Status)
    assert status.state == "dreaming"
    assert cautions[0].code == "A"
    assert decode_event("newer", b'{"sequence": 7, "x": 1}') == (7, None)


def test_an_error_answer_is_read_to_people() -> None:
    body = b'{"data": null, "error": {"code": "NO", "title": "Not here.", "remedy": "peerboard run"}}'
    assert error_sentence(body) == "Not here. → peerboard run"
    assert error_sentence(b'{"error": {"code": "NO"}}') == "NO"
    assert error_sentence(b"<html>") is None
    assert error_sentence(b'{"error": null}') is None

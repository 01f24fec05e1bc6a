"""Server-sent events."""

import itertools
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui import stream
from tui.stream import EventReader, Frame, StreamError

SAMPLE = (
    b'event: status\ndata: {"sequence": 1}\n\n: still here\n\nid: 4\ndata: a\ndata: b\nretry: 9\n\n'
    b"event: nothing\n\ndata:tight\r\n\r\nevent: last\rdata: x\r\r"
)
FRAMES = [
    Frame("status", b'{"sequence": 1}'),
    Frame("", b""),
    Frame("", b"a\nb"),
    Frame("", b"tight"),
    Frame("last", b"x"),
]


@given(st.lists(st.integers(0, len(SAMPLE)), max_size=12))
def test_pieces_do_not_matter(cuts: list[int]) -> None:
    reader = EventReader()
    places = [0, *sorted(cuts), len(SAMPLE)]
    frames = []
    for start, end in itertools.pairwise(places):
        frames += reader.feed(SAMPLE[start:end])
    assert frames == FRAMES


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_give_frames(pieces: list[bytes]) -> None:
    reader = EventReader()
    for piece in pieces:
        for frame in reader.feed(piece):
            assert isinstance(frame.kind, str)
            assert b"\r" not in frame.data


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 90, b"data: " + b"x" * 20 + b"\n"])
def test_an_event_without_end_is_refused(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LINE_MOST", 200)
    reader = EventReader()
    with pytest.raises(StreamError):
        deque(map(reader.feed, [piece] * 20))

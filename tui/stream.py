"""Server-sent events from bytes, whatever the pieces in which they arrive (WHATWG HTML, section 9.2)."""

from typing import NamedTuple

LINE_MOST = 16 * 2**20
"""Bytes of one event; the tasks of an epoch of two thousand fit several times."""


class StreamError(Exception):
    """The stream is not one of server-sent events that can be read."""


class Frame(NamedTuple):
    """One event. Without `data` it is a comment, which only keeps the connection alive."""

    kind: str
    data: bytes


class EventReader:
    """Feed it bytes, get complete events."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._kind = ""
        self._data: list[bytes] = []
        self._size = 0
        self._skip_newline = False

    def feed(self, piece: bytes) -> list[Frame]:
        """The events that `piece` completes; the rest is kept. `StreamError` when an event grows too long."""
        self._rest += piece
        frames: list[Frame] = []
        start = 0
        while (end := self._line_end(start)) is not None:
            frame = self._take(bytes(self._rest[start : end[0]]))
            start = end[1]
            if frame is not None:
                frames.append(frame)
        del self._rest[:start]
        if len(self._rest) + self._size > LINE_MOST:
            raise StreamError("an event of the stream is too long")
        return frames

    def _line_end(self, start: int) -> tuple[int, int] | None:
        """Where the line ends and where the next begins; lines end with LF, CR or CRLF."""
        if self._skip_newline and len(self._rest) > start:
            self._skip_newline = False
            if self._rest[start : start + 1] == b"\n":
                del self._rest[start]
        feed, carriage = self._rest.find(b"\n", start), self._rest.find(b"\r", start)
        if feed < 0 and carriage < 0:
            return None
        if carriage < 0 or 0 <= feed < carriage:
            return feed, feed + 1
        self._skip_newline = True
        return carriage, carriage + 1

    def _take(self, line: bytes) -> Frame | None:
        if not line:
            frame = Frame(self._kind, b"\n".join(self._data)) if self._data else None
            self._kind, self._data, self._size = "", [], 0
            return frame
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not field:
            return Frame("", b"")
        if field == b"event":
            self._kind = value.decode("utf-8", "replace")
        elif field == b"data":
            self._data.append(value)
            self._size += len(value)
        return None

"""What happened, for people and for clients that watch: activities, and which views changed."""

import collections
import enum
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import structlog
import trio
from msgspec import Struct

from node.clock import Clock

KEPT = 50
QUEUE = 256

log = structlog.get_logger("peerboard")


class Topic(enum.StrEnum):
    """A view that clients may hold and should fetch anew."""

    STATUS = "status"
    TASKS = "tasks"
    BOARD = "board"


class Level(enum.StrEnum):
    """How much an activity asks of its reader."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "fail"


class Activity(Struct, frozen=True):
    """One line for people; `code` for programs; `task` in hex."""

    time: str
    level: Level
    code: str
    text: str
    task: str | None = None


def timestamp(unix_time: float) -> str:
    """UTC to the second, as in RFC 3339."""
    return datetime.fromtimestamp(math.floor(unix_time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Bulletin:
    """The last activities, and a channel for each watcher. Posting never blocks: a slow watcher misses notes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watchers: set[Watcher] = set()
        self.activities: collections.deque[Activity] = collections.deque(maxlen=KEPT)

    def tell(self, level: Level, code: str, text: str, *, task: bytes | None = None, **facts: Any) -> None:
        """Say something to people; `facts` go to the log file only."""
        activity = Activity(timestamp(self._clock.now()), level, code, text, task.hex() if task else None)
        self.activities.append(activity)
        write = {Level.WARN: log.warning, Level.FAIL: log.error}.get(level, log.info)
        write(text, code=code, **facts)
        self._send(activity)

    def touch(self, topic: Topic) -> None:
        """Let watchers know that a view changed."""
        self._send(topic)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator["Watcher"]:
        """Everything that is told from now on. What does not fit into the queue is lost, and counted."""
        watcher = Watcher()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def _send(self, note: Topic | Activity) -> None:
        for watcher in self._watchers:
            watcher.put(note)


class Watcher:
    """One watcher's queue. `lost` counts what did not fit."""

    def __init__(self) -> None:
        self._send, self.notes = trio.open_memory_channel[Topic | Activity](QUEUE)
        self.lost = 0

    def put(self, note: Topic | Activity) -> None:
        """Queue a note, or count it as lost."""
        try:
            self._send.send_nowait(note)
        except trio.WouldBlock:
            self.lost += 1

"""A connection that follows a daemon of this process, on a clock that jumps from one timer to the next."""

import asyncio
import json
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from tui.connection import Connection
from tui.link import Instant, Phase
from tui.view import View

URL = "http://127.0.0.1:4800"


class JumpingSelector(selectors.SelectSelector):
    """Does not wait for a timer: the loop's clock jumps to it."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            raise RuntimeError("everybody waits for ever")
        self.passed += timeout
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """Time is virtual: it begins at 0 and passes only while nothing is to be done."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.passed


class Daemon(httpx.AsyncBaseTransport):
    """The control API with the sample answers; its faults are attributes."""

    def __init__(self, answers: Path) -> None:
        self.answers = answers
        self.refused = False
        self.mute = False
        self.token: str | None = None
        self.missing: set[str] = set()
        self.strange: set[str] = set()
        self.epoch = 41
        self.asked: list[str] = []
        self.connections = 0
        self.status: dict[str, Any] = json.loads((answers / "status.json").read_bytes())["data"]
        self.streams: list[asyncio.Queue[bytes | None]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        self.asked.append(f"{request.method} {path}")
        if self.refused:
            raise httpx.ConnectError("refused")
        if self.mute:
            await asyncio.sleep(3600)
        if self.token is not None and request.headers.get("authorization") != f"Bearer {self.token}":
            return self.error(401, "BAD_TOKEN", "The token is wrong.")
        if path in self.missing:
            return self.error(404, "NOT_HERE", f"There is no {path} here.")
        if path in self.strange:
            return httpx.Response(200, content=b"<html>It works!</html>")
        if path == "/v1/events":
            self.connections += 1
            return httpx.Response(200, content=self.stream())
        if request.method == "POST":
            self.status["state"] = "paused" if path == "/v1/pause" else "waiting"
        return httpx.Response(200, content=self.answer(path))

    def answer(self, path: str) -> bytes:
        if path in ("/v1/status", "/v1/pause", "/v1/resume"):
            return json.dumps({"data": self.status, "warnings": []}).encode()
        if path.startswith("/v1/leaderboard"):
            board = json.loads((self.answers / "leaderboard.json").read_bytes())
            return json.dumps({"data": {"epoch": self.epoch, "rows": board["data"]["rows"]}}).encode()
        return (self.answers / f"{path.removeprefix('/v1/').partition('?')[0]}.json").read_bytes()

    @staticmethod
    def error(status: int, code: str, title: str) -> httpx.Response:
        return httpx.Response(status, json={"data": None, "error": {"code": code, "title": title, "remedy": None}})

    async def stream(self) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.streams.append(queue)
        yield (self.answers / "events.txt").read_bytes()
        while (piece := await queue.get()) is not None:
            yield piece

    def send(self, kind: str, sequence: int, **fields: object) -> None:
        data = json.dumps({"sequence": sequence, **fields})
        self.streams[-1].put_nowait(f"event: {kind}\ndata: {data}\n\n".encode())

    def comment(self) -> None:
        self.streams[-1].put_nowait(b": still here\n\n")

    def end(self) -> None:
        self.streams[-1].put_nowait(None)


class Watch:
    """A connection under test and everything that it showed."""

    def __init__(self, daemon: Daemon, token: str | None = None, **options: Any) -> None:
        self.daemon = daemon
        self.connection = Connection(URL, token, transport=daemon, **options)
        self.views: list[View] = []
        self.seen: list[tuple[float, Phase]] = []

    @property
    def view(self) -> View:
        return self.connection.view

    def show(self, view: View) -> None:
        self.views.append(view)

    def phase(self) -> Phase:
        return self.view.link.phase(self.now)

    @property
    def now(self) -> Instant:
        return Instant(asyncio.get_running_loop().time(), 0.0)


Course = Callable[[Watch], Awaitable[None]]
LAST = 137
"""The newest sequence number of the sample stream."""


def follow(daemon: Daemon, course: Course, token: str | None = None, **options: Any) -> Watch:
    """Run a connection beside the course of events, and stop it after."""

    async def both() -> Watch:
        watch = Watch(daemon, token, **options)
        listening = asyncio.create_task(watch.connection.run(watch.show))
        try:
            await asyncio.sleep(0.5)
            await course(watch)
            assert not listening.done(), listening
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        return watch

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(both())

"""The connection against a daemon in this process, on a clock that jumps from one timer to the next."""

import asyncio
import itertools
import json
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tui.answers import Status
from tui.connection import Connection
from tui.link import LOST_AFTER, Instant, Phase, Trouble, wait_before
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


@pytest.fixture
def daemon(answers_folder: Path) -> Daemon:
    return Daemon(answers_folder)


def test_everything_is_fetched_once(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        assert watch.phase() is Phase.LIVE
        assert len(watch.view.rows) == 10
        assert watch.view.tasks is not None
        assert watch.view.peers is not None
        assert len(watch.view.peers) == 4
        assert [activity.code for activity in watch.view.activities][-1] == "COMMITTED"
        assert watch.view.sequence == LAST

    follow(daemon, course)
    assert daemon.asked.count("GET /v1/leaderboard?live=1") == 1
    assert daemon.asked.count("GET /v1/tasks") == 1


def test_the_first_view_says_connecting(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        assert watch.view.link.phase(watch.now) is Phase.CONNECTING

    daemon.mute = True
    follow(daemon, course)


def test_deltas_are_shown(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        daemon.send("status", LAST + 1, **{**daemon.status, "peers": 7})
        await asyncio.sleep(0.1)
        assert watch.view.status is not None
        assert watch.view.status.peers == 7

    follow(daemon, course)


def test_the_board_is_fetched_when_it_changed_and_not_more_than_once_a_second(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        daemon.epoch = 42
        for number in range(20):
            daemon.send("board", LAST + 1 + number, epoch=42)
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        assert watch.view.board is not None
        assert watch.view.board.epoch == 42

    follow(daemon, course)
    assert 2 <= daemon.asked.count("GET /v1/leaderboard?live=1") <= 5


def test_a_gap_begins_anew_without_going_down(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        daemon.send("status", LAST + 3, **daemon.status)
        await asyncio.sleep(2.5)
        assert daemon.connections == 2
        assert not watch.view.gap
        assert all(view.link.trouble is None for view in watch.views)

    follow(daemon, course)
    assert daemon.asked.count("GET /v1/tasks") == 2


def test_a_daemon_that_counts_badly_is_not_asked_in_a_tight_loop(daemon: Daemon) -> None:
    async def course(_watch: Watch) -> None:
        for _ in range(40):
            daemon.send("status", 10_000, **daemon.status)
            await asyncio.sleep(0.1)

    follow(daemon, course)
    assert daemon.connections <= 6


def test_a_quiet_daemon_is_asked_and_stays_live(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        for _ in range(30):
            await asyncio.sleep(1)
            assert watch.phase() is Phase.LIVE

    follow(daemon, course)
    assert daemon.connections == 1


def test_a_silent_daemon_is_stale_then_down_and_what_was_known_stays(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        daemon.mute = True
        await asyncio.sleep(6)
        assert watch.phase() is Phase.STALE
        await asyncio.sleep(LOST_AFTER + 6)
        assert watch.phase() is Phase.DOWN
        assert watch.view.link.trouble is Trouble.SILENT
        assert len(watch.view.rows) == 10
        daemon.mute = False
        await asyncio.sleep(10)
        assert watch.phase() is Phase.LIVE

    follow(daemon, course)


def test_heartbeats_are_signs_of_life(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        daemon.missing.add("/v1/never")
        for _ in range(10):
            await asyncio.sleep(2)
            daemon.comment()
        await asyncio.sleep(0.1)
        assert watch.phase() is Phase.LIVE

    follow(daemon, course)
    assert daemon.asked.count("GET /v1/status") == 1


def test_a_daemon_that_is_away_is_tried_again_with_growing_pauses(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        await asyncio.sleep(100)
        assert watch.phase() is Phase.DOWN
        assert watch.view.link.trouble is Trouble.NOT_RUNNING

    daemon.refused = True
    watch = follow(daemon, course)
    retries = [view.link.retry_at for view in watch.views]
    waits = [later - sooner for sooner, later in itertools.pairwise(retries) if sooner and later]
    assert waits[:5] == pytest.approx([2, 4, 8, 15, 15])


def test_nobody_has_to_wait_for_the_next_attempt(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        await asyncio.sleep(20)
        retry_at = watch.view.link.retry_at
        assert retry_at is not None
        assert retry_at > watch.now.steady + 5
        daemon.refused = False
        watch.connection.retry()
        await asyncio.sleep(0.1)
        assert watch.phase() is Phase.LIVE

    daemon.refused = True
    follow(daemon, course)


def test_a_daemon_that_comes_back_is_found(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        daemon.refused = True
        daemon.end()
        await asyncio.sleep(5)
        assert watch.phase() is Phase.DOWN
        assert len(watch.view.rows) == 10
        daemon.refused = False
        daemon.epoch = 50
        await asyncio.sleep(5)
        assert watch.phase() is Phase.LIVE
        assert watch.view.board is not None
        assert watch.view.board.epoch == 50
        codes = [(activity.time, activity.code) for activity in watch.view.activities]
        assert len(codes) == len(set(codes))

    follow(daemon, course)


def test_a_daemon_may_come_back_elsewhere(daemon: Daemon) -> None:
    places = iter([(URL, "old"), (URL, "new"), (URL, "new")])

    async def course(watch: Watch) -> None:
        assert watch.view.link.trouble is Trouble.REFUSED
        assert watch.view.link.detail == "The token is wrong."
        await asyncio.sleep(2)
        assert watch.phase() is Phase.LIVE

    daemon.token = "new"
    follow(daemon, course, locate=lambda: next(places))


def test_the_token_is_sent(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        assert watch.phase() is Phase.LIVE

    daemon.token = "secret"
    follow(daemon, course, token="secret")


@pytest.mark.parametrize("path", ["/v1/status", "/v1/events", "/v1/leaderboard?live=1"])
def test_something_else_at_that_address_is_said_so(daemon: Daemon, path: str) -> None:
    async def course(watch: Watch) -> None:
        await asyncio.sleep(3)
        assert watch.phase() is Phase.DOWN
        assert watch.view.link.trouble in (Trouble.STRANGE, Trouble.ENDED)

    daemon.strange.add(path)
    watch = follow(daemon, course)
    retries = {view.link.retry_at for view in watch.views if view.link.retry_at is not None}
    assert len(retries) <= 3


@pytest.mark.parametrize("url", ["127.0.0.1:4800", "http://", "ftp://x", "http://x:99999999", "\x00"])
def test_a_bad_address_is_said_so(daemon: Daemon, url: str) -> None:
    async def course(watch: Watch) -> None:
        assert watch.view.link.trouble is Trouble.STRANGE
        assert watch.view.link.detail.startswith(f"{url} is no address")

    follow(daemon, course, locate=lambda: (url, None))
    assert not daemon.asked


def test_a_bootstrap_without_overlay_and_peers(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        assert len(watch.view.rows) == 10
        assert watch.view.peers is None
        assert watch.view.verdicts == ()

    daemon.status["role"] = "bootstrap"
    daemon.missing |= {"/v1/leaderboard?live=1", "/v1/results?epochs=3"}
    follow(daemon, course)
    assert "GET /v1/peers" not in daemon.asked


def test_pausing_shows_the_answer_and_a_refusal_is_a_sentence(daemon: Daemon) -> None:
    async def course(watch: Watch) -> None:
        assert await watch.connection.command("/v1/pause") is None
        assert watch.view.status is not None
        assert watch.view.status.state == "paused"
        daemon.missing.add("/v1/resume")
        assert await watch.connection.command("/v1/resume") == "There is no /v1/resume here."
        daemon.mute = True
        assert await watch.connection.command("/v1/pause") == "The daemon did not answer."
        daemon.refused = True
        daemon.end()
        await asyncio.sleep(1)
        assert await watch.connection.command("/v1/pause") == "There is no connection to the daemon."

    follow(daemon, course)


def test_an_answer_without_end_is_given_up(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    async def course(watch: Watch) -> None:
        assert watch.view.link.trouble is Trouble.STRANGE
        assert watch.view.link.detail == "an answer is too long"
        assert watch.view.board is None

    monkeypatch.setattr("tui.wire.BODY_MOST", 100)
    follow(daemon, course)


def test_pauses_grow_up_to_a_quarter_of_a_minute() -> None:
    assert [wait_before(attempt) for attempt in (1, 2, 3, 4, 5, 1000)] == [1, 2, 4, 8, 15, 15]


def test_over_a_real_socket(answers_folder: Path) -> None:
    """HTTP/1.1 with a chunked stream, as a server sends it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1].removeprefix("/v1/").partition("?")[0]
        if path == "events":
            body = (answers_folder / "events.txt").read_bytes()
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for start in range(0, len(body), 700):
                piece = body[start : start + 700]
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            await reader.read()
        else:
            name = "leaderboard-live" if path == "leaderboard" else path
            body = (answers_folder / f"{name}.json").read_bytes()
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()

    async def course() -> View:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            connection = Connection(f"http://127.0.0.1:{port}", None)
            complete = asyncio.Event()

            def show(view: View) -> None:
                if view.peers is not None and view.sequence == LAST:
                    complete.set()

            listening = asyncio.create_task(connection.run(show))
            async with asyncio.timeout(20):
                await complete.wait()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            return connection.view

    view = asyncio.run(course())
    assert len(view.rows) == 10
    assert isinstance(view.status, Status)

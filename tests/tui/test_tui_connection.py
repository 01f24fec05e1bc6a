"""What a connection asks a daemon for, shows of it and says to it."""

import asyncio
from pathlib import Path

import pytest

from tests.tui.followed_daemon import LAST, Daemon, Watch, follow
from tui.answers import Status
from tui.connection import Connection
from tui.link import Phase, Trouble
from tui.view import View


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

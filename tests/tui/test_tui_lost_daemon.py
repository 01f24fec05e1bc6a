"""A connection beside a daemon that falls silent, goes, comes back or counts badly."""

import asyncio
import itertools

import pytest

from tests.tui.followed_daemon import LAST, URL, Daemon, Watch, follow
from tui.link import LOST_AFTER, Phase, Trouble, wait_before


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


def test_pauses_grow_up_to_a_quarter_of_a_minute() -> None:
    assert [wait_before(attempt) for attempt in (1, 2, 3, 4, 5, 1000)] == [1, 2, 4, 8, 15, 15]

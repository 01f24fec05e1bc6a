"""Services are kept alive: what passes restarts with back-off, what is a bug ends in a report and a typed error."""

from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing

from node.bulletin import Bulletin, Level
from node.clock import Clock
from node.network import Reason, RequestFailed
from node.store import StoreFailed
from node.supervision import LONGEST_WAIT, STEADY_SECONDS, ServiceBroken, Supervisor

MockClock = trio.testing.MockClock


@pytest.fixture
async def bulletin() -> Bulletin:
    return Bulletin(Clock(1_800_000_000))


def reports(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def failing(times: list[float], errors: list[Exception], lasts: float = 0.0) -> Callable[[], Awaitable[None]]:
    """A service that fails with one error after the other, each time after `lasts` seconds, and then returns."""
    left = list(errors)

    async def service() -> None:
        times.append(trio.current_time())
        await trio.sleep(lasts)
        if left:
            raise left.pop(0)

    return service


async def test_what_passes_is_tried_again_ever_later(
    bulletin: Bulletin, tmp_path: Path, autojump_clock: MockClock
) -> None:
    times: list[float] = []
    errors = [StoreFailed("full", full=True), RequestFailed(Reason.RESET, "gone"), *[OSError("no")] * 7]
    await Supervisor(bulletin, tmp_path).keep("clerk", failing(times, errors))
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT])
    told = [each for each in bulletin.activities if each.code == "SERVICE_RESTARTS"]
    assert len(told) == len(errors)
    assert {each.level for each in told} == {Level.WARN}
    assert reports(tmp_path) == [], "no bug, no report"


async def test_who_was_steady_begins_anew(bulletin: Bulletin, tmp_path: Path, autojump_clock: MockClock) -> None:
    times: list[float] = []
    steady = STEADY_SECONDS + 1
    await Supervisor(bulletin, tmp_path).keep("clerk", failing(times, [OSError("no")] * 4, lasts=steady))
    assert [later - earlier - steady for earlier, later in pairwise(times)] == pytest.approx([1] * 4)


@pytest.mark.parametrize(
    "error",
    [KeyError("b"), ExceptionGroup("", [OSError("passes"), ValueError("does not")]), ExceptionGroup("", [TypeError()])],
    ids=repr,
)
async def test_a_bug_is_loud_and_reported(error: Exception, bulletin: Bulletin, tmp_path: Path) -> None:
    with pytest.raises(ServiceBroken) as raised:
        await Supervisor(bulletin, tmp_path).keep("log writer", failing([], [error]))
    (report,) = reports(tmp_path)
    assert report.name == "bug-log-writer.txt"
    assert str(report) in str(raised.value)
    written = report.read_text()
    assert "Traceback" in written
    assert "Python 3." in written
    assert all(type(leaf).__name__ in written for leaf in getattr(error, "exceptions", [error]))
    assert [(each.level, each.code) for each in bulletin.activities] == [(Level.FAIL, "BUG")]


async def test_a_group_of_what_passes_passes(bulletin: Bulletin, tmp_path: Path, autojump_clock: MockClock) -> None:
    group = ExceptionGroup("", [OSError("one"), ExceptionGroup("", [StoreFailed("two", full=True)])])
    times: list[float] = []
    await Supervisor(bulletin, tmp_path).keep("clerk", failing(times, [group]))
    assert len(times) == 2


async def test_a_report_that_cannot_be_written_is_said(bulletin: Bulletin, tmp_path: Path) -> None:
    with pytest.raises(ServiceBroken, match="could not be written"):
        await Supervisor(bulletin, tmp_path / "missing").keep("clerk", failing([], [KeyError()]))


async def test_cancelling_ends_a_service_and_its_waiting(
    bulletin: Bulletin, tmp_path: Path, autojump_clock: MockClock
) -> None:
    supervisor = Supervisor(bulletin, tmp_path)
    with trio.move_on_after(0.5) as scope:
        await supervisor.keep("clerk", failing([], [OSError("no")]))
    assert scope.cancelled_caught
    with trio.move_on_after(0.5) as scope:
        await supervisor.keep("clerk", trio.sleep_forever)
    assert scope.cancelled_caught

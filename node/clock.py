"""The wall clock, as trio sees it: schedules follow it, no rule reads it."""

import time
from collections.abc import Callable

import trio

TOLERANCE_SECONDS = 2.0
LONGEST_NAP_SECONDS = 5.0


class Clock:
    """Unix time that advances with trio's clock, so that a mock clock moves both.

    The offset between the two is read at the start, and again by `watch` when they have come apart.
    """

    def __init__(self, unix_time: float | None = None) -> None:
        self._offset = (time.time() if unix_time is None else unix_time) - trio.current_time()

    def now(self) -> float:
        """Seconds since 1970."""
        return trio.current_time() + self._offset

    def resync(self) -> None:
        """Read the machine's wall clock again."""
        self._offset = time.time() - trio.current_time()

    def move_on_at(self, unix_time: float) -> trio.CancelScope:
        """A scope that is cancelled at a Unix time, at once if it is past."""
        return trio.move_on_at(unix_time - self._offset)

    async def watch(self, tell: Callable[[float], None]) -> None:
        """Follow the wall clock when it was set, or stood still in the machine's sleep; `tell` by how many seconds."""
        while True:
            off = time.time() - self.now()
            if abs(off) > TOLERANCE_SECONDS:
                self.resync()
                tell(off)
            await trio.sleep(LONGEST_NAP_SECONDS)

    async def sleep_until(self, unix_time: float) -> None:
        """Return at a Unix time, at once if it is past. Naps are short, so that a clock that was set is noticed."""
        while (left := unix_time - self.now()) > LONGEST_NAP_SECONDS:  # noqa: ASYNC110  the clock moves, nothing else
            await trio.sleep(LONGEST_NAP_SECONDS)
        await trio.sleep(max(0.0, left))

"""The wall clock, as trio sees it: schedules follow it, no rule reads it."""

import time

import trio


class Clock:
    """Unix time that advances with trio's clock, so that a mock clock moves both.

    The offset between the two is read once: a wall clock that is set back and forth does not disturb an epoch's
    schedule. `resync` reads it again, after a sleep of the machine.
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

    async def sleep_until(self, unix_time: float) -> None:
        """Return at a Unix time, at once if it is past."""
        await trio.sleep_until(unix_time - self._offset)

"""Keeping services alive: what is transient restarts with back-off, what is a bug is loud and ends the process."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from node.bug_reports import report_bug
from node.bulletin import Bulletin, Level
from node.network import RequestFailed, Unreachable
from node.store import StoreFailed

TRANSIENT = (StoreFailed, RequestFailed, Unreachable, OSError)
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
STEADY_SECONDS = 120.0


class ServiceBroken(Exception):
    """A service met a bug. The text names the report that was written."""


class Supervisor:
    """Runs services of one process; `reports` is the folder for bug reports."""

    def __init__(self, bulletin: Bulletin, reports: Path) -> None:
        self._bulletin = bulletin
        self._reports = reports

    async def keep(self, name: str, service: Callable[[], Awaitable[None]]) -> None:
        """Run a service until it returns or is cancelled. Raises `ServiceBroken` for an error nobody foresaw."""
        wait = FIRST_WAIT
        while True:
            began = trio.current_time()
            try:
                await service()
            except Exception as error:
                transient, others = split(error)
                if others or not transient:
                    raise self._broken(name, error) from error
                self._bulletin.tell(Level.WARN, "SERVICE_RESTARTS", f"{name} starts again: {transient[0]}")
            else:
                return
            if trio.current_time() - began > STEADY_SECONDS:
                wait = FIRST_WAIT
            await trio.sleep(wait)
            wait = min(LONGEST_WAIT, 2 * wait)

    def _broken(self, name: str, error: BaseException) -> ServiceBroken:
        text = report_bug(self._reports, name.replace(" ", "-"), error)
        self._bulletin.tell(Level.FAIL, "BUG", text)
        return ServiceBroken(text)


def split(error: Exception) -> tuple[list[Exception], list[Exception]]:
    """The transient errors in an error or group of errors, and all others."""
    if isinstance(error, ExceptionGroup):
        transient, others = [], []
        for inner in error.exceptions:
            some, rest = split(inner)
            transient += some
            others += rest
        return transient, others
    return ([error], []) if isinstance(error, TRANSIENT) else ([], [error])

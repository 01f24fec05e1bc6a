"""What a thread downloads, told where the loop runs: to the log when it begins and ends, to people as it goes on."""

import time
from collections.abc import Callable

import structlog
import trio

from eval.hub import Fetching

TELL_SECONDS = 0.25
Tell = Callable[[Fetching | None], None]
log = structlog.get_logger("peerboard")


class Downloads:
    """A report for one job's downloads; made and ended on the loop, called by the thread that downloads.

    `tell` is called on the loop: at most every `TELL_SECONDS` for each file, when one is complete, when the Hub asks to
    wait, and with None once nothing is downloaded any more. After `end` it is never called again.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._loop = trio.lowlevel.current_trio_token()
        self._what = ""
        self._next = 0.0
        self._waits = 0.0
        self._told = False
        self._ended = False

    def __call__(self, fetching: Fetching) -> None:
        """From the thread: so much is here."""
        complete, now = fetching.done == fetching.total and not fetching.waits, time.monotonic()
        waits, self._waits = self._waits, fetching.waits
        if fetching.waits > waits:
            log.info("waiting for the Hub", what=fetching.what, seconds=round(fetching.waits))
        if fetching.total and fetching.what != self._what:
            self._what, self._next = fetching.what, 0.0
            log.info("fetching", what=fetching.what, bytes=fetching.total)
        if complete:
            log.info("fetched", what=fetching.what, bytes=fetching.total)
        if complete or fetching.waits or now >= self._next:
            self._next = now + TELL_SECONDS
            try:
                self._loop.run_sync_soon(self._heard, fetching)
            except trio.RunFinishedError:
                self._ended = True

    def _heard(self, fetching: Fetching) -> None:
        if not self._ended:
            self._told = True
            self._tell(fetching)

    def end(self) -> None:
        """On the loop: all is here, or nobody waits for it any more."""
        if self._told and not self._ended:
            self._tell(None)
        self._ended = True

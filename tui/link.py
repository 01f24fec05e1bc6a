"""The connection as a value: connecting → live → stale → down, and back.

What was heard and what failed is recorded; how that reads is a function of the time now, so no timer has
to fire for a connection to become stale.
"""

from enum import Enum

import msgspec
from msgspec import Struct

STALE_AFTER = 5.0
"""Seconds of silence after which shown data is called stale. The daemon says something at least as often."""

PROBE_AFTER = 3.0
"""Seconds of silence after which the daemon is asked, so that a quiet one is not taken for a lost one."""

LOST_AFTER = 15.0
"""Seconds of silence after which the stream is given up."""

LONGEST_WAIT = 15.0


class Instant(Struct, frozen=True):
    """One moment on two clocks: `steady` for spans (monotonic seconds), `wall` to be shown (Unix seconds)."""

    steady: float
    wall: float


class Phase(Enum):
    """How fresh what is shown is."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale"
    DOWN = "down"


class Trouble(Enum):
    """Why there is no connection."""

    NOT_RUNNING = "not running"
    SILENT = "silent"
    ENDED = "ended"
    REFUSED = "refused"
    STRANGE = "strange"


class Link(Struct, frozen=True):
    """`heard` is the last sign of life, `retry_at` a steady time, `detail` a sentence from the other side."""

    connected: bool = False
    heard: Instant | None = None
    trouble: Trouble | None = None
    detail: str = ""
    retry_at: float | None = None

    def hear(self, at: Instant) -> "Link":
        """The daemon said something."""
        return Link(connected=True, heard=at)

    def lose(self, trouble: Trouble, detail: str, retry_at: float) -> "Link":
        """The connection is gone, or did not come about."""
        return msgspec.structs.replace(self, connected=False, trouble=trouble, detail=detail, retry_at=retry_at)

    def phase(self, now: Instant) -> Phase:
        """How it stands now."""
        if self.trouble is not None:
            return Phase.DOWN
        if not self.connected or self.heard is None:
            return Phase.CONNECTING
        return Phase.LIVE if now.steady - self.heard.steady <= STALE_AFTER else Phase.STALE


def wait_before(attempt: int) -> float:
    """Seconds to wait before attempt 1, 2, …: doubling from one second, at most `LONGEST_WAIT`."""
    return min(LONGEST_WAIT, 2.0 ** min(attempt - 1, 10))

"""Where views come from."""

from collections.abc import Callable
from typing import Protocol

from tui.view import View

Show = Callable[[View], None]


class Source(Protocol):
    """A daemon, or in a replay a recording."""

    async def run(self, show: Show) -> None:
        """Show views until cancelled."""

    async def command(self, path: str) -> str | None:
        """POST to the daemon. Returns a sentence if it did not work."""

    def retry(self) -> None:
        """Do not wait for the next attempt."""

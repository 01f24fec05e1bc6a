"""`peerboard top`: the dashboard on this home's daemon."""

from pathlib import Path

from node.home import find_home
from peerboard.client import Daemon
from peerboard.exits import CommandFailed, Exit


def open_dashboard(folder: Path | None, *, as_json: bool) -> int:
    """Run the dashboard until it is closed; the exit code. Raises `CommandFailed`."""
    if as_json:
        text = "The dashboard is for people and has no JSON."
        raise CommandFailed("USAGE", text, "peerboard status --json", Exit.USAGE)
    home = find_home(folder)
    here = Daemon(home)
    here.bytes_of("/v1/status")

    def locate() -> tuple[str, str | None]:
        """Where the daemon is now: one that was started again listens elsewhere."""
        try:
            again = Daemon(home)
        except CommandFailed:
            return here.url, here.token
        return again.url, again.token

    from tui.app import run_dashboard

    return run_dashboard(here.url, here.token, locate)

"""A home's daemon, spoken to over its control API."""

import json
from pathlib import Path
from typing import Any

import httpx

from node.home import Home
from peerboard.exits import CommandFailed, Exit

SECONDS = 10.0


class Daemon:
    """The control API of the daemon that runs on a home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.where = _read(home)
        token = Path(self.where["token_file"]).read_text()
        self._client = httpx.Client(
            base_url=self.where["url"], headers={"Authorization": f"Bearer {token}"}, timeout=SECONDS, trust_env=False
        )

    @property
    def url(self) -> str:
        """Where the control API listens."""
        return str(self.where["url"])

    @property
    def token(self) -> str:
        """The bearer token."""
        return Path(self.where["token_file"]).read_text()

    def bytes_of(self, path: str) -> bytes:
        """The body of a GET. Raises `CommandFailed`."""
        return self._ask("GET", path).content

    def data(self, path: str) -> Any:
        """The `data` of a GET's JSON. Raises `CommandFailed`."""
        return self._ask("GET", path).json()["data"]

    def answer(self, path: str) -> dict[str, Any]:
        """A GET's JSON. Raises `CommandFailed`."""
        found: dict[str, Any] = self._ask("GET", path).json()
        return found

    def post(self, path: str) -> Any:
        """The `data` of a POST's JSON. Raises `CommandFailed`."""
        return self._ask("POST", path).json()["data"]

    def _ask(self, method: str, path: str) -> httpx.Response:
        try:
            response = self._client.request(method, path)
        except httpx.HTTPError as error:
            raise not_running(
                self._home, f"the daemon does not answer at {self.url} ({type(error).__name__})"
            ) from None
        if response.is_success:
            return response
        try:
            problem = response.json()["error"]
            raise CommandFailed(problem["code"], problem["title"], problem["remedy"])
        except (json.JSONDecodeError, KeyError, TypeError):
            text = f"the daemon answered {response.status_code} to {method} {path}."
            raise CommandFailed("UNEXPECTED", text, f"Look into {self._home.log_file}.") from None


def _read(home: Home) -> dict[str, Any]:
    try:
        where: dict[str, Any] = json.loads(home.control.read_text())
        return where
    except FileNotFoundError:
        raise not_running(home, "no daemon runs on it") from None
    except (OSError, json.JSONDecodeError) as error:
        raise not_running(home, f"{home.control} cannot be read ({error})") from None


def not_running(home: Home, why: str) -> CommandFailed:
    """Nobody answers for a home."""
    return CommandFailed(
        "NOT_RUNNING", f"Home {home.folder}: {why}.", f"peerboard run --home {home.folder}", Exit.NOT_RUNNING
    )

"""A home's daemon, spoken to over its control API.

With the standard library's HTTP client: importing another one takes longer than asking.
"""

import http.client
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from node.home import Home
from peerboard.calling import command
from peerboard.exits import CommandFailed, Exit

SECONDS = 10.0
_EXITS = {400: Exit.USAGE, 401: Exit.REFUSED, 403: Exit.REFUSED, 409: Exit.REFUSED, 429: Exit.TRY_AGAIN}


class Daemon:
    """The control API of the daemon that runs on a home. Raises `CommandFailed` with `NOT_RUNNING` if none does.

    An answer is waited for `seconds`.
    """

    def __init__(self, home: Home, seconds: float = SECONDS) -> None:
        self._home = home
        self._seconds = seconds
        self.where, self._address = _read(home)
        self.token = self._read_token()

    @property
    def url(self) -> str:
        """Where the control API listens."""
        return str(self.where["url"])

    def bytes_of(self, path: str) -> bytes:
        """The body of a GET. Raises `CommandFailed`."""
        return self._ask("GET", path)

    def data(self, path: str) -> Any:
        """The `data` of a GET's JSON. Raises `CommandFailed`."""
        return self.answer(path)["data"]

    def answer(self, path: str) -> dict[str, Any]:
        """A GET's JSON. Raises `CommandFailed`."""
        return self.parsed(self.bytes_of(path))

    def post(self, path: str) -> Any:
        """The `data` of a POST's JSON. Raises `CommandFailed`."""
        return self.parsed(self.post_bytes(path))["data"]

    def post_bytes(self, path: str) -> bytes:
        """The body of a POST's answer. Raises `CommandFailed`."""
        return self._ask("POST", path)

    def parsed(self, content: bytes) -> dict[str, Any]:
        """An answer's JSON with its `data`. Raises `CommandFailed`."""
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict) or "data" not in found:
            text = f"What answers at {self.url} is no Peerboard daemon."
            raise CommandFailed("UNEXPECTED", text, f"Look into {self._home.log_file}.")
        return found

    def _ask(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection(*self._address, timeout=self._seconds)
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {self.token}"})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            why = f"the daemon does not answer at {self.url} ({type(error).__name__})"
            raise not_running(self._home, why) from None
        finally:
            connection.close()
        if response.status == 200:
            return content
        raise self._refused(response.status, content, f"{method} {path}")

    def _refused(self, status: int, content: bytes, asked: str) -> CommandFailed:
        exit_code = _EXITS.get(status, Exit.TRY_AGAIN if status == 503 else Exit.FAILED)
        try:
            problem = json.loads(content)["error"]
            return CommandFailed(str(problem["code"]), str(problem["title"]), str(problem["remedy"]), exit_code)
        except (ValueError, KeyError, TypeError):
            if status == 404:
                role = self.where.get("role", "daemon")
                text = f"This {role} does not know {asked}: only a node evaluates, and can be paused."
                return CommandFailed("NOT_HERE", text, command("status", "--home", self._home.folder), exit_code)
            text = f"The daemon answered {status} to {asked}."
            return CommandFailed("UNEXPECTED", text, f"Look into {self._home.log_file}.", exit_code)

    def _read_token(self) -> str:
        file = Path(self.where["token_file"])
        try:
            token = file.read_text().strip()
        except FileNotFoundError:
            raise not_running(self._home, f"{file} is gone") from None
        except (OSError, UnicodeDecodeError) as error:
            text = f"The token in {file} cannot be read: {error}."
            raise CommandFailed("NO_TOKEN", text, "Be the user who runs the daemon.", Exit.REFUSED) from None
        if not token.isascii() or not token.isprintable():
            text = f"{file} holds no token."
            raise CommandFailed("NO_TOKEN", text, "Start the daemon again: it writes a new one.", Exit.REFUSED)
        return token


def _read(home: Home) -> tuple[dict[str, Any], tuple[str, int]]:
    """What the daemon wrote, and where to connect. Raises `CommandFailed`."""
    try:
        where = json.loads(home.control.read_text())
        address = urlsplit(where["url"])
        return {**where, "token_file": str(where["token_file"])}, (address.hostname or "", address.port or 0)
    except FileNotFoundError:
        raise not_running(home, "no daemon runs on it") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise not_running(home, f"{home.control} cannot be read ({error})") from None


def not_running(home: Home, why: str) -> CommandFailed:
    """Nobody answers for a home."""
    last = ""
    try:
        heard = datetime.fromtimestamp(home.log_file.stat().st_mtime, UTC).astimezone()
        last = f" (last sign of life {heard:%Y-%m-%d %H:%M})"
    except OSError:
        pass
    if not home.genesis.exists():
        remedy = f"{command('demo')}, or with a network's genesis file: {command('init', '--genesis', 'FILE')}"
    else:
        daemon = ("bootstrap", "run") if home.log_key.exists() else ("run",)
        remedy = command(*daemon, "--home", home.folder)
    return CommandFailed("NOT_RUNNING", f"Home {home.folder}: {why}{last}.", remedy, Exit.NOT_RUNNING)

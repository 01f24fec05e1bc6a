"""Exit codes, and errors for people: what is wrong, with what, and what to do next."""

import enum
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from peerboard.safe_text import safe


class Exit(enum.IntEnum):
    """What an exit code means; scripts rely on them."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    REFUSED = 4
    VERIFICATION_FAILED = 5
    TRY_AGAIN = 75
    INTERRUPTED = 130


class CommandFailed(Exception):
    """A command cannot do what was asked: `sentence` says why, `remedy` what to do."""

    def __init__(self, code: str, sentence: str, remedy: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.remedy = remedy
        self.status = status


def json_answer(
    name: str, data: Any, error: CommandFailed | None = None, warnings: Sequence[dict[str, str]] = ()
) -> str:
    """The envelope of a command's JSON."""
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    problem = {"code": error.code, "title": error.sentence, "remedy": error.remedy} if error else None
    answer = {"schema": f"peerboard.{name}/1", "time": time, "data": data, "warnings": list(warnings), "error": problem}
    return json.dumps(answer, ensure_ascii=False)


def fail(error: CommandFailed, *, as_json: bool = False) -> NoReturn:
    """Say it and exit. With `as_json` the error also comes as JSON on stdout."""
    if as_json:
        print(json_answer("error", None, error))
    print(f"error[{safe(error.code)}]: {safe(error.sentence)}\n→ {safe(error.remedy)}", file=sys.stderr)
    raise SystemExit(int(error.status))

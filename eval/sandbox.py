"""How strongly the evaluator's children can be confined on this machine, found out by confining one.

| level | what holds |
| --- | --- |
| `strong` | bubblewrap's namespaces (no network, own processes, own file tree) around everything `in-process` has |
| `in-process` | Landlock (files), a filter of system calls (network, programs, other processes) and hard limits |
| `limits` | hard limits on memory, processor time, written files; no new privileges |
| `none` | nothing |
"""

import functools
import json
import subprocess
import sys
from collections.abc import Sequence

from msgspec import Struct

from eval import bubblewrap

NONE, LIMITS, IN_PROCESS, STRONG = "none", "limits", "in-process", "strong"
LEVELS = (NONE, LIMITS, IN_PROCESS, STRONG)
PROBE = (sys.executable, "-I", "-m", "eval.confinement_probe")
PROBE_SECONDS = 20.0


class Sandbox(Struct, frozen=True):
    """A level of `LEVELS`, and why a stronger one cannot be had; `why` is empty for the strongest."""

    level: str
    why: str = ""

    def holds(self, least: str) -> bool:
        """Whether this level is `least` or stronger."""
        return LEVELS.index(self.level) >= LEVELS.index(least)


@functools.cache
def detect() -> Sandbox:
    """The strongest level that works here; takes about a tenth of a second, once per process, and blocks."""
    if sys.platform == "win32":
        return Sandbox(NONE, "Windows has none of the means that the evaluator knows.")
    reasons: list[str] = []
    for level in (STRONG, IN_PROCESS, LIMITS):
        reason = _unusable(level)
        if reason is None:
            return Sandbox(level, " ".join(reasons))
        reasons.append(reason)
    return Sandbox(NONE, " ".join(reasons))


def launch_command(level: str, command: Sequence[str]) -> list[str]:
    """The command with what has to be around it at this level."""
    return [*bubblewrap.arguments(), "--", *command] if level == STRONG else list(command)


def _unusable(level: str) -> str | None:
    """Why a level cannot be had, as a sentence; None where it works."""
    if level == STRONG:
        if sys.platform != "linux":
            return "bubblewrap exists on Linux only."
        if bubblewrap.program() is None:
            return "bubblewrap is not installed (apt install bubblewrap, dnf install bubblewrap)."
    name = "bubblewrap" if level == STRONG else level
    try:
        done = subprocess.run(
            launch_command(level, [*PROBE, level]),
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env=bubblewrap.environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{name} cannot be used here: {error}."
    try:
        answer = json.loads(done.stdout)
        return None if answer["holds"] else f"{name} cannot be used here: {answer['why']}"
    except (ValueError, KeyError, TypeError):
        words = done.stderr.strip().splitlines() or [f"its probe ended with code {done.returncode}"]
        return f"{name} cannot be used here: {words[-1][:200]}."

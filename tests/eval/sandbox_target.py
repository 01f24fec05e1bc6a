"""What attacks on a sandbox are after: a key, files, a port and a process that are harmed in no way that matters."""

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eval import sandbox
from eval.sandbox import IN_PROCESS, LIMITS, NONE, STRONG, Sandbox

VICTIM = "import ctypes, time; ctypes.CDLL(None).prctl(0x59616D61, -1); print('ready', flush=True); time.sleep(120)"
SECRET = "the identity key of this node"
TABLE = Path(__file__).parents[2] / "docs/sandbox.md"
EVERYWHERE, JAILED = {LIMITS, IN_PROCESS, STRONG}, {IN_PROCESS, STRONG}
"""The levels at which an attack is contained."""
KILLS = {"kill_other", "kill_by_file"}
TRACES = {"write_file", "empty_file", "remove_file", "make_readable", "slow_other"} | KILLS
"""Attacks that, where they succeed, leave the target other than it was."""
OLDEST_LANDLOCK = "import eval.landlock\neval.landlock.version = lambda: 1\n"
"""What makes a child confine itself as it would on Linux 5.13."""
_SEGMENT_BYTES, _REMOVE = 4096, 0


class Target:
    """What the attacks are after, and whether they got it."""

    def __init__(self, folder: Path) -> None:
        self.key, self.old, self.new = folder / "account.key", folder / "old.txt", folder / "new.txt"
        self.key.write_text(SECRET)
        self.key.chmod(0o600)
        self.old.write_text("precious")
        self.server = socket.create_server(("127.0.0.1", 0))
        self.victim = subprocess.Popen([sys.executable, "-c", VICTIM], stdout=subprocess.PIPE, env=dict(os.environ))
        self.segment = _shared(SECRET)
        assert self.victim.stdout is not None
        assert self.victim.stdout.readline() == b"ready\n"

    def as_json(self) -> str:
        return json.dumps(
            {
                "key": str(self.key),
                "old": str(self.old),
                "new": str(self.new),
                "port": self.server.getsockname()[1],
                "victim": self.victim.pid,
                "segment": self.segment,
            }
        )

    def close(self) -> None:
        _libc.shmctl(self.segment, _REMOVE, None)
        self.server.close()
        self.victim.kill()
        self.victim.communicate()

    def await_end(self) -> None:
        """Until the victim has ended: a signal is sent at once and delivered later."""
        self.victim.wait(timeout=30)

    def is_untouched(self) -> bool:
        """Nothing of it has changed, and it has not been reached."""
        return (
            self.victim.poll() is None
            and os.sched_getscheduler(self.victim.pid) != os.SCHED_IDLE
            and self.old.exists()
            and self.old.read_text() == "precious"
            and not (self.new.exists() and self.new.read_text())
            and self.key.stat().st_mode & 0o077 == 0
        )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmat.restype = ctypes.c_void_p
_libc.shmdt.argtypes = [ctypes.c_void_p]


def _shared(text: str) -> int:
    """A segment of System V's shared memory that holds the text; remove it."""
    segment: int = _libc.shmget(0, _SEGMENT_BYTES, 0o600)
    assert segment >= 0, os.strerror(ctypes.get_errno())
    address = _libc.shmat(segment, None, 0)
    ctypes.memmove(address, text.encode(), len(text))
    _libc.shmdt(address)
    return segment


def usable(level: str, require_tool: Callable[..., Path]) -> Sandbox:
    """The level, or a skip with the reason why it cannot be had here."""
    if level == STRONG:
        require_tool("bwrap")
    reason = sandbox._unusable(level) if level != NONE else None
    if reason is not None:
        pytest.skip(reason)
    return Sandbox(level)

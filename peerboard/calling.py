"""How this program is called, so that a person can copy a command out of a message."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def command(*arguments: object) -> str:
    """A command line of this program, quoted for a shell."""
    return shlex.join([*_program(), *map(str, arguments)])


def _program() -> list[str]:
    called = sys.argv[0]
    name = Path(called).name
    if Path(called).parts[-2:] == ("peerboard", "__main__.py"):
        return [sys.executable, "-m", "peerboard"]
    if name == "peerboard" and os.sep in called and shutil.which(name) != called:
        return [called]
    return ["peerboard"]

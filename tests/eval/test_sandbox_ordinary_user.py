"""The attack tables once more as an ordinary user, where the suite is run by root.

Root can build sandboxes that an ordinary user cannot, and nobody should run a node as root. So the tests of both tables
run again as `nobody`, in a mount namespace of their own in which the folders on the way to the interpreter and to the
sources can be entered by everybody (an interpreter below `/root`, say).
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2]
FILES = ("test_sandbox_attacks.py", "test_program_attacks.py")
TABLES = "without_a_sandbox or a_level_contains"
TESTS = 8
NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all")
CLOSED = 77
READABLE, ENTERED = 0o005, 0o001


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that `nobody` owns and can reach, which pytest's own cannot be."""
    with tempfile.TemporaryDirectory(prefix="peerboard-nobody-") as made:
        shutil.chown(made, NOBODY, NOBODY)
        yield Path(made)


@pytest.mark.skipif(os.geteuid() != 0, reason="the suite is run by an ordinary user already")
def test_every_level_contains_the_same_attacks(folder: Path, require_tool: Callable[..., Path]) -> None:
    require_tool("unshare")
    require_tool("setpriv")
    script = "\n".join(["set -e", *reachable({SOURCES, Path(sys.prefix), Path(sys.base_prefix)}, folder), 'exec "$@"'])
    tests = [f"tests/eval/{name}" for name in FILES]
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *tests, "-k", TABLES]
    found = subprocess.run(
        [*("unshare", "--mount", "--", "sh", "-c", script, "sh"), *AS_NOBODY, *command, f"--basetemp={folder / 'own'}"],
        cwd=SOURCES,
        env=os.environ | {"HOME": str(folder), "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "examples")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode == CLOSED or "unshare failed" in found.stderr:
        pytest.skip(f"no folder can be opened for another user here: {found.stderr.strip()}")
    assert found.returncode == 0, found.stdout + found.stderr
    passed = re.search(r"^(\d+) passed", found.stdout, re.MULTILINE)
    skipped = re.findall(r"^SKIPPED .*?: (.*)", found.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) + len(skipped) == TESTS, found.stdout
    if skipped:
        pytest.skip(f"as an ordinary user, {TESTS - len(skipped)} of {TESTS} passed: {'; '.join(skipped)}")


def reachable(needed: set[Path], folder: Path) -> Iterator[str]:
    """Commands for a shell that put an open folder in the place of each closed one, with what is needed below it."""
    by_closed: dict[Path, set[Path]] = {}
    for path in needed:
        closed = next((each for each in reversed(path.parents) if not each.stat().st_mode & ENTERED), None)
        if path.stat().st_mode & READABLE != READABLE:
            pytest.skip(f"{path} is closed to other users")
        if closed is not None:
            by_closed.setdefault(closed, set()).add(path)
    for number, (closed, paths) in enumerate(sorted(by_closed.items())):
        kept = {folder / f"{number}-{place}": path for place, path in enumerate(sorted(paths))}
        for stage, path in kept.items():
            stage.mkdir()
            yield f"mount --bind {quoted(path)} {quoted(stage)} || exit {CLOSED}"
        yield f"mount -t tmpfs -o mode=755 tmpfs {quoted(closed)}"
        for stage, path in kept.items():
            yield f"mkdir -p {quoted(path)}"
            yield f"mount --bind {quoted(stage)} {quoted(path)}"


def quoted(path: Path) -> str:
    return shlex.quote(str(path))

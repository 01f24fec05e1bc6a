"""What requirements/verify.py finds: lines that pin nothing, dependencies left out, committed index names."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# Put together here, so that this file does not name an index either.
INDEX = "https://" + "py" + "pi.org/simple"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Lay out a repository with our own locks and script, committed."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    interop = tmp_path / "tests" / "interop"
    interop.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "tests" / "interop" / name, interop)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "add", "."], check=True)
    return tmp_path


def verify(checkout: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "requirements/verify.py"]
    return subprocess.run(command, cwd=checkout, text=True, capture_output=True, check=False)


def test_our_own_locks_are_whole(checkout: Path) -> None:
    result = verify(checkout)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("line", [f"--index-url {INDEX}", "unpinned>=1", "unhashed==1.0"])
def test_a_line_that_pins_nothing_is_found(checkout: Path, line: str) -> None:
    with (checkout / "requirements" / "all.txt").open("a") as lock:
        lock.write(f"{line}\n")
    result = verify(checkout)
    assert result.returncode == 1
    assert f"not a requirement with version and hashes: {line}" in result.stderr


def test_a_changed_dependency_asks_for_a_new_lock(checkout: Path) -> None:
    project = checkout / "pyproject.toml"
    project.write_text(project.read_text().replace('"trio>=', '"an-unlocked-one", "trio>=4000.'))
    result = verify(checkout)
    assert result.returncode == 1
    assert "an-unlocked-one is not in it: run 'make lock'" in result.stderr
    assert "trio>=4000." in result.stderr


@pytest.mark.parametrize(
    ("change", "problem"),
    [({"integrity": None}, "has no hash"), ({"resolved": INDEX}, "names an address"), ({}, "not the lock of")],
)
def test_an_npm_package_that_is_not_pinned_is_found(checkout: Path, change: dict[str, str], problem: str) -> None:
    file = checkout / "tests" / "interop" / "package-lock.json"
    lock = json.loads(file.read_text())
    if change:
        package = lock["packages"]["node_modules/libp2p"]
        lock["packages"]["node_modules/libp2p"] = {k: v for k, v in (package | change).items() if v is not None}
    else:
        lock["packages"][""]["dependencies"]["libp2p"] = "1.0.0"
    file.write_text(json.dumps(lock))
    result = verify(checkout)
    assert result.returncode == 1
    assert f"tests/interop/package-lock.json: {'node_modules/libp2p ' if change else ''}{problem}" in result.stderr


def test_a_committed_index_name_is_found(checkout: Path) -> None:
    (checkout / "notes.md").write_text(f"Install from {INDEX}\n")
    assert verify(checkout).returncode == 0
    subprocess.run(["git", "-C", checkout, "add", "notes.md"], check=True)
    result = verify(checkout)
    assert result.returncode == 1
    assert "names a package index: notes.md:1:" in result.stderr


def test_without_git_the_check_does_not_pass_silently(checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    result = verify(checkout)
    assert result.returncode == 1
    assert "index names are unchecked" in result.stderr

"""Commands in messages can be copied into a shell."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peerboard.calling import command


@pytest.mark.parametrize("called", ["/opt/some place/bin/peerboard", ".venv/bin/peerboard"])
def test_a_program_called_by_its_path_is_named_by_it(called: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [called, "status"])
    assert shlex.split(command("run", "--home", Path("/a b/$HOME"))) == [called, "run", "--home", "/a b/$HOME"]


@pytest.mark.parametrize("called", ["peerboard", "/usr/bin/pytest", "/somewhere/pytest/__main__.py", "-c", ""])
def test_else_it_is_named_by_its_name(called: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    assert command("demo") == "peerboard demo"


def test_a_program_that_the_shell_finds_needs_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "peerboard"
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command("demo") == "peerboard demo"


def test_a_module_is_run_with_its_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/peerboard/__main__.py"])
    assert shlex.split(command("demo")) == [sys.executable, "-m", "peerboard", "demo"]


def test_a_remedy_quotes_the_home(tmp_path: Path, call: Callable[..., Any]) -> None:
    home = tmp_path / "a home; of mine"
    home.mkdir()
    (home / "genesis.cbor").touch()
    remedy = call("status", "--home", home).error.splitlines()[1]
    assert shlex.split(remedy.removeprefix("→ ")) == ["peerboard", "run", "--home", str(home)]

"""Which level is found, and what is done with less than was asked for."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eval import bubblewrap, landlock, sandbox
from eval.client import open_worker
from eval.job import Job, JobFailed
from eval.sandbox import IN_PROCESS, LIMITS, NONE, STRONG, Sandbox
from protocol.failures import Failure


@pytest.fixture
def afresh() -> Iterator[None]:
    """Nothing is remembered of this machine, before and after."""
    sandbox.detect.cache_clear()
    yield
    sandbox.detect.cache_clear()


def test_levels_are_ordered() -> None:
    assert [Sandbox(level).holds(IN_PROCESS) for level in (NONE, LIMITS, IN_PROCESS, STRONG)] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.usefixtures("afresh")
def test_without_bubblewrap_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "program", lambda: None)
    found = sandbox.detect()
    assert found.level in (IN_PROCESS, LIMITS)
    assert "bubblewrap is not installed" in found.why


@pytest.mark.usefixtures("afresh")
def test_a_bubblewrap_that_fails_gives_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create a new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(bubblewrap, "program", lambda: str(broken))
    found = sandbox.detect()
    assert found.level != STRONG
    assert "No permissions to create a new namespace" in found.why


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
@pytest.mark.parametrize("version", range(1, 6))
def test_each_older_landlock_holds(version: int) -> None:
    """Linux 5.13 to 6.11 know shorter rules: a child asks for what its kernel has."""
    program = f"import eval.landlock\neval.landlock.version = lambda: {version}\n"
    program += "from eval.confinement_probe import main\nmain()"
    done = subprocess.run([sys.executable, "-I", "-c", program, IN_PROCESS], capture_output=True, check=False)
    assert json.loads(done.stdout or b"{}") == {"holds": True, "why": ""}, done.stderr


async def test_less_than_the_settings_ask_for_evaluates_nothing(tiny: Path) -> None:
    wanted = Job(base=str(tiny), base_sha256=bytes(32), benchmark="tally-words", questions=(0,))
    async with open_worker(confined=Sandbox(LIMITS, "No bubblewrap."), least=STRONG) as worker:
        answer = await worker.evaluate(wanted)
        assert isinstance(answer, JobFailed)
        assert answer.failure is Failure.SANDBOX_WEAK
        assert not answer.failure.of_model
        assert "No bubblewrap." in answer.detail
        assert worker.pid is None


def test_an_environment_carries_no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    found = bubblewrap.environment()
    assert "HF_TOKEN" not in found
    assert found["LC_ALL"] == "C.UTF-8"

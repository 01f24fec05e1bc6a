"""Attacks from inside a child: each gets what it wants with the sandbox off, and is contained where a level says so."""

import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec
import pytest

from eval import client, seat
from eval.client import Worker, open_worker
from eval.job import Job, JobFailed
from eval.sandbox import IN_PROCESS, LIMITS, NONE, STRONG, Sandbox
from tests.eval.sandbox_target import EVERYWHERE, JAILED, KILLS, OLDEST_LANDLOCK, SECRET, TABLE, TRACES, Target, usable

PROGRAM = (Path(__file__).parent / "sandbox_attacks.py").read_text()
CONTAINED = {
    "connect": JAILED,
    "listen": JAILED,
    "read_key": JAILED,
    "read_environment": JAILED,
    "fork_many": JAILED,
    "run_program": JAILED,
    "eat_memory": EVERYWHERE,
    "write_file": EVERYWHERE,
    "empty_file": JAILED,
    "remove_file": JAILED,
    "make_readable": JAILED,
    "trace": JAILED,
    "kill_other": JAILED,
    "kill_by_file": JAILED,
    "read_shared": JAILED,
    "slow_other": JAILED,
    "kill_launcher": JAILED,
    "lift_limits": EVERYWHERE,
}


class Attempts:
    """Attacks at one level, each by a child of its own, on a fresh target."""

    def __init__(self, worker: Worker, tiny: Path, folder: Path) -> None:
        self._worker, self._tiny, self._folder = worker, tiny, folder
        self._count = 0

    async def __call__(self, attack: str) -> bool:
        """Whether the attack got what it wanted: by its own word, or by its traces."""
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        with closing(Target(folder)) as target:
            answer = await self.answer(f"{attack} {target.as_json()}")
            if attack in KILLS and "GOT IT" in answer:
                target.await_end()
            untouched = target.is_untouched()
        ended = self._worker.pid is None
        if not ended and "GOT IT" not in answer:
            assert answer.startswith("contained: "), answer
        if attack in ("read_key", "read_shared"):
            assert (SECRET in answer) == ("GOT IT" in answer)
        if attack in TRACES:
            assert untouched != ("GOT IT" in answer), answer
        else:
            assert untouched
        return ended or "GOT IT" in answer

    async def answer(self, attack: str) -> str:
        """What the child said."""
        self._count += 1
        limit = (1 << 20) + self._count  # another limit is another child
        job = Job(base=str(self._tiny), base_sha256=bytes(32), benchmark=attack, questions=(0,), memory_limit=limit)
        questions = str(self._folder)  # the targets lie beside them
        answer = await self._worker.evaluate(msgspec.structs.replace(job, data_folder=questions))
        assert isinstance(answer, JobFailed)
        return answer.detail


@asynccontextmanager
async def attempts(level: Sandbox, tiny: Path, folder: Path, before: str = "") -> AsyncIterator[Attempts]:
    command = (sys.executable, "-I", "-c", before + PROGRAM)
    async with open_worker(command=command, confined=level, least=NONE) as worker:
        yield Attempts(worker, tiny, folder)


async def test_without_a_sandbox_every_attack_succeeds(tiny: Path, tmp_path: Path) -> None:
    async with attempts(Sandbox(NONE), tiny, tmp_path) as attempt:
        assert [attack for attack in CONTAINED if not await attempt(attack)] == []


@pytest.mark.parametrize("level", [LIMITS, IN_PROCESS, STRONG])
async def test_a_level_contains_what_it_says(
    level: str, tiny: Path, tmp_path: Path, require_tool: Callable[..., Path]
) -> None:
    claimed = [attack for attack, levels in CONTAINED.items() if level in levels]
    async with attempts(usable(level, require_tool), tiny, tmp_path) as attempt:
        assert [attack for attack in claimed if await attempt(attack)] == []


async def test_the_oldest_landlock_contains_the_same(
    tiny: Path, tmp_path: Path, require_tool: Callable[..., Path]
) -> None:
    here = usable(IN_PROCESS, require_tool)
    async with attempts(here, tiny, tmp_path, OLDEST_LANDLOCK) as attempt:
        assert [attack for attack, levels in CONTAINED.items() if IN_PROCESS in levels and await attempt(attack)] == []


@pytest.mark.parametrize("level", [NONE, LIMITS, IN_PROCESS, STRONG])
async def test_questions_are_in_reach_and_follow_their_file(
    level: str, tiny: Path, tmp_path: Path, require_tool: Callable[..., Path]
) -> None:
    async with attempts(usable(level, require_tool), tiny, tmp_path) as attempt:
        (tmp_path / "gsm8k").mkdir()
        for text in ("first", "second"):
            written = tmp_path / "new"
            written.write_text(text)
            written.replace(tmp_path / "gsm8k/test.jsonl")
            assert await attempt.answer("read_questions {}") == f"GOT IT: {text}"


async def test_a_flood_of_events_is_cut_off(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with attempts(Sandbox(NONE), tiny, tmp_path) as attempt:
        assert "more than a job has to say" in await attempt.answer("flood_events {}")
        monkeypatch.setattr(client, "MOST_EVENTS", 10_000)
        assert await attempt.answer("flood_events {}") == "GOT IT: all heard"


async def test_an_event_of_two_gigabytes_is_not_read(tiny: Path, tmp_path: Path) -> None:
    async with attempts(Sandbox(NONE), tiny, tmp_path) as attempt:
        assert "nonsense" in await attempt.answer("large_event {}")


async def test_a_flood_of_words_is_cut_off(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with attempts(Sandbox(NONE), tiny, tmp_path) as attempt:
        assert "GOT IT" not in await attempt.answer("flood_words {}")
        monkeypatch.setattr(seat, "MOST_WORDS", 1 << 30)
        assert "GOT IT" in await attempt.answer("flood_words {}")


async def test_the_owners_variables_are_not_inherited(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    async with attempts(Sandbox(NONE), tiny, tmp_path) as attempt:
        assert "contained: KeyError" in await attempt.answer("read_token {}")


SPIN = """
import sys, time
from eval.confinement import Bounds, confine
confine(sys.argv[1], Bounds(memory=1 << 30, mapped=0, cpu_seconds=1), [])
while time.process_time() < 3:
    pass
"""


@pytest.mark.parametrize(("level", "code"), [(NONE, 0), (LIMITS, -signal.SIGXCPU)])
def test_processor_time_is_bounded(level: str, code: int) -> None:
    assert subprocess.run([sys.executable, "-c", SPIN, level], check=False).returncode == code


def test_the_documentation_has_this_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| – \| (\S+) \| (\S+) \| (\S+) \|$", TABLE.read_text(), re.MULTILINE)
    marks = {
        name: {level for level, mark in zip((LIMITS, IN_PROCESS, STRONG), each, strict=True) if mark == "✓"}
        for name, *each in rows
    }
    assert marks == CONTAINED

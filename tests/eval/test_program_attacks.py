"""Generated programs that attack: each gets what it wants with the sandbox off, and is contained where one holds."""

import inspect
import re
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from eval import judging
from eval.failing import EvaluationError
from eval.judging import MOST_WORDS, judge
from eval.programs import Allowance, Ending, Judged, Program
from eval.sandbox import IN_PROCESS, LIMITS, NONE, STRONG, Sandbox
from protocol.failures import Failure
from tests.eval import program_attacks
from tests.eval.sandbox_target import EVERYWHERE, JAILED, KILLS, OLDEST_LANDLOCK, TABLE, TRACES, Target, usable

CONTAINED = {
    "connect": JAILED,
    "listen": JAILED,
    "read_key": JAILED,
    "read_environment": JAILED,
    "fork_many": JAILED,
    "start_thread": JAILED,
    "run_program": JAILED,
    "eat_memory": EVERYWHERE,
    "write_file": EVERYWHERE,
    "make_folder": JAILED,
    "use_scratch": EVERYWHERE,
    "empty_file": JAILED,
    "remove_file": JAILED,
    "make_readable": JAILED,
    "trace": JAILED,
    "kill_other": JAILED,
    "kill_by_file": JAILED,
    "signal_parent": JAILED,
    "lift_limits": EVERYWHERE,
    "use_processor": EVERYWHERE,
}
BRIEF = Allowance(cpu_seconds=1, wall_seconds=120.0)  # a busy machine gives little processor time in ten


async def run(level: Sandbox, source: str, test: str = "", allowance: Allowance = BRIEF) -> Judged:
    (judged,) = await judge([Program(source, test)], level, least=NONE, allowance=allowance)
    return judged


async def succeeds(attack: str, level: Sandbox, target: Target) -> bool:
    """Whether the attack got what it wanted: by the verdict, and by its traces where it leaves some."""
    source = inspect.getsource(getattr(program_attacks, attack))
    judged = await run(level, source, f"{attack}({target.as_json()})")
    got = judged.ending is Ending.PASSED
    if attack in KILLS and got:
        target.await_end()
    assert target.is_untouched() != (got and attack in TRACES)
    return got


async def test_without_a_sandbox_every_program_succeeds(tmp_path: Path) -> None:
    for attack in CONTAINED:
        (tmp_path / attack).mkdir()
        with closing(Target(tmp_path / attack)) as target:
            assert await succeeds(attack, Sandbox(NONE), target), attack


@pytest.mark.parametrize("level", [LIMITS, IN_PROCESS, STRONG])
async def test_a_level_contains_what_it_says(level: str, tmp_path: Path, require_tool: Callable[..., Path]) -> None:
    here = usable(level, require_tool)
    claimed = [attack for attack, levels in CONTAINED.items() if level in levels]
    with closing(Target(tmp_path)) as target:
        assert [attack for attack in claimed if await succeeds(attack, here, target)] == []


async def test_the_oldest_landlock_contains_the_same(
    tmp_path: Path, require_tool: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = usable(IN_PROCESS, require_tool)
    program = f"{OLDEST_LANDLOCK}from eval.program_child import main\nmain()"
    monkeypatch.setattr(judging, "_COMMAND", (sys.executable, "-sP", "-c", program))
    with closing(Target(tmp_path)) as target:
        assert [attack for attack in CONTAINED if await succeeds(attack, here, target)] == []


@pytest.mark.parametrize("attack", ["import_packages", "read_environment_of_its_own"])
async def test_nothing_of_the_owners_is_at_hand(attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    with closing(Target(tmp_path)) as target:
        assert not await succeeds(attack, Sandbox(NONE), target)


async def test_a_program_that_waits_for_ever_is_ended() -> None:
    source = "import time\ntime.sleep(3)"
    assert await run(Sandbox(NONE), source, allowance=Allowance(wall_seconds=1.0)) == Judged(Ending.TIMED_OUT)
    assert (await run(Sandbox(NONE), source, allowance=Allowance(wall_seconds=120.0))).ending is Ending.PASSED


@pytest.mark.parametrize(
    "source",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise KeyboardInterrupt",
        "import ctypes; ctypes.string_at(0)",
        "import os\nfor n in range(64):\n    try: os.write(n, b'passed\\n')\n    except OSError: pass\nos._exit(0)",
        "def broken(:",
        "\x00",
        "assert False",
    ],
)
async def test_a_program_that_does_not_reach_its_tests_end_has_not_passed(source: str) -> None:
    judged = await run(Sandbox(LIMITS), source, "assert True")
    assert judged.ending in (Ending.FAILED, Ending.ENDED)
    assert judged.outcome == 0


async def test_a_flood_of_output_is_not_heard() -> None:
    assert (await run(Sandbox(LIMITS), "for n in range(9999): print('x' * 999)")).ending is Ending.PASSED


async def test_a_flood_into_the_pipe_that_carries_the_verdict_is_cut_off() -> None:
    flood = f"import os\nfor n in range(3, 20):\n    try: os.write(n, b'x' * {MOST_WORDS})\n    except OSError: pass"
    assert (await run(Sandbox(LIMITS), flood)).ending in (Ending.ENDED, Ending.TIMED_OUT)


async def test_what_a_program_says_of_itself_is_an_exceptions_name_or_nothing() -> None:
    strange = "raise type('two\\nlines, \\x1b[31m', (Exception,), {})"
    assert (await run(Sandbox(LIMITS), strange)) == Judged(Ending.FAILED)
    assert (await run(Sandbox(LIMITS), "raise type('a b', (Exception,), {})")) == Judged(Ending.FAILED)
    assert (await run(Sandbox(LIMITS), "{}[1]")).why == "failed: KeyError"


async def test_hashes_are_the_same_in_every_run() -> None:
    told = [(await run(Sandbox(LIMITS), f"assert hash('word') % 4 == {n}")).ending for n in range(4)]
    assert told.count(Ending.PASSED) == 1
    assert told == [(await run(Sandbox(LIMITS), f"assert hash('word') % 4 == {n}")).ending for n in range(4)]


async def test_less_than_is_asked_for_runs_nothing() -> None:
    with pytest.raises(EvaluationError, match="No bubblewrap") as refused:
        await judge([Program("", "")], Sandbox(LIMITS, "No bubblewrap, no Landlock."))
    assert refused.value.failure is Failure.SANDBOX_WEAK
    assert not refused.value.failure.of_model


def test_the_documentation_has_this_table() -> None:
    rows = re.findall(r"^\| `program:(\w+)` \|.*\| – \| (\S+) \| (\S+) \| (\S+) \|$", TABLE.read_text(), re.MULTILINE)
    marks = {
        name: {level for level, mark in zip((LIMITS, IN_PROCESS, STRONG), each, strict=True) if mark == "✓"}
        for name, *each in rows
    }
    assert marks == CONTAINED

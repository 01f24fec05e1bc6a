"""A process that is killed at the worst instants: what was recorded is said after the restart, and nothing else."""

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio.testing

from protocol.envelope import open_envelope
from protocol.lifecycle import TaskState
from protocol.messages import Commitment, Result
from tests.network.killed_network import NAMES, VICTIM

Kit = Any
SCRIPT = Path(__file__).with_name("killed_network.py")


def killed(folder: Path, method: str) -> tuple[float, list[str], list[bytes]]:
    """When the process ended, which tasks it had evaluated, and what the victim had recorded last."""
    command = [sys.executable, "-I", str(SCRIPT), str(folder), method]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    when, evaluated, said = json.loads(ended.stdout.splitlines()[-1])
    return when, evaluated, [bytes.fromhex(data) for data in said]


def heard(store: Path) -> set[bytes]:
    """Ids of the envelopes that a node had when it ended."""
    with closing(sqlite3.connect(store)) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM envelopes UNION SELECT id FROM log")}


@pytest.mark.parametrize("method", ["keep_work", "keep_batch", "keep_result"])
async def test_what_was_recorded_and_not_sent_is_sent_by_the_next_process(
    kit: Kit, tmp_path: Path, autojump_clock: trio.testing.MockClock, method: str
) -> None:
    when, evaluated, said = killed(tmp_path, method)
    network_id = kit.genesis().id
    recorded = [open_envelope(data, network_id) for data in said[-1:] if method != "keep_work"]
    assert not {envelope.id for envelope in recorded} & heard(tmp_path / "ada.sqlite"), "nobody knows of it"
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    async with kit.network(evaluators, at=when + 0.5) as network:
        for name in NAMES:
            await network.cores[name].kept_up.wait()
        if recorded and isinstance(recorded[0].message, Result):
            assert when < 50 - 1, "nobody has revealed yet"
        await network.until(70)
        assert len({network.board(name) for name in ("bootstrap", *NAMES)}) == 1
        victim = kit.identity(VICTIM)
        first = [final for final in network.finals("ada") if final.epoch == 0]
        assert {final.state for final in first} == {TaskState.DONE}
        assert all(victim.account.public in final.agreeing for final in first)
        again = {task.hex() for task in evaluators[VICTIM].evaluated}
        assert not again & set(evaluated), "nothing is evaluated twice"
        assert evaluated, "there was something to do twice"
        held = [e for e in network.cores["ada"].replica.held.values() if e.signer == victim.device.public]
        of_first = [e for e in held if isinstance(e.message, Commitment | Result) and e.message.epoch == 0]
        assert len(of_first) == 2, "one commitment, one result: nothing else is signed in their place"
        assert {e.id for e in recorded} <= {e.id for e in of_first}, "the very envelope that was recorded"
        assert {e.id for e in of_first} <= network.cores["ada"].replica.logged

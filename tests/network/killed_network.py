"""A network in a process of its own, which is killed as soon as one node has recorded something, and before it is said.

    python -I killed_network.py FOLDER METHOD

`METHOD` of a store (`keep_work`, `keep_batch`, `keep_result`) is the one behind whose first return nothing runs any
more. Before that it prints the second of the network's time, the tasks that were evaluated and recorded, and the
recorded envelopes, in hex.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import trio
import trio.testing

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.network.conftest import START, Kit, Simulation

VICTIM = "cleo"
NAMES = ("ada", "ben", VICTIM)


def end_behind(network: Simulation, method: str) -> None:
    """Kill this process once the victim's store has done this for the first time."""
    store = network.cores[VICTIM].store
    genuine, keep_work = getattr(store, method), store.keep_work
    evaluated: list[str] = []

    async def noting(ground: bytes, task: bytes, *rest: Any) -> None:
        await keep_work(ground, task, *rest)
        evaluated.append(task.hex())

    async def last(*given: Any) -> None:
        await genuine(*given)
        if method == "keep_work":
            evaluated.append(given[1].hex())
        said = [part.hex() for part in given if isinstance(part, bytes) and len(part) > 32]
        print(json.dumps([network.clock.now() - START, evaluated, said]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    store.keep_work = noting  # type: ignore[method-assign,assignment]
    setattr(store, method, last)


async def run(folder: Path, method: str) -> None:
    kit = Kit(folder)
    async with kit.network({name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}) as network:
        end_behind(network, method)
        await network.until(60)


if __name__ == "__main__":
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(run, Path(sys.argv[1]), sys.argv[2], clock=clock)

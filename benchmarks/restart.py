"""What the start of a node costs by a snapshot of its state, and by folding its whole log.

    python benchmarks/restart.py [--results N] [--models M] [--nodes N] [--rounds R] [--json]

A store is filled with the log of a network of 200 nodes and 1,000 models, signed, until it holds 100,000 results; a
node in memory keeps up with it as it would at work, and writes a snapshot at each mark. Then processes start on that
store by turns: as it is, which is just behind the newest snapshot; without that one, so that one hour's entries have to
be folded behind the one before; and without any. Figures are CPU seconds of `open_core` (opening the store, reading,
checking, folding, the answers from the ledger), the least of some rounds; and how long taking a snapshot holds up the
loop, what writing it costs beside it, and its bytes. Exits with 1 where the three starts are not the same, or the
first takes more than a second.
"""

import argparse
import gc
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import trio
from msgspec.structs import replace

from benchmarks.ledger import LOG_KEY, Writer, ledger_plan, name
from node import snapshots
from node.bulletin import Bulletin
from node.clock import Clock
from node.core import Core, open_core
from node.memory_network import open_memory_hub
from protocol import cbor
from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.envelope import Envelope, seal
from protocol.genesis import Genesis, read_genesis
from protocol.messages import Delegation, Message, Result, consent_to
from protocol.notes import SignerKey
from protocol.signing import PrivateKey

LIMIT_SECONDS = 1.0
WAYS = ("from a snapshot", "from a snapshot and an hour", "from the whole log")
START = 1_800_000_000


class Signing(Writer):
    """Makes the same envelopes with signatures: `name`s are the seeds of keys."""

    def __init__(self, models: int, nodes: int, seed: int) -> None:
        super().__init__(models, nodes, seed)
        self._log_key = PrivateKey(LOG_KEY)
        self.genesis = replace(self.genesis, log_key=self._log_key.public)
        keys = [PrivateKey(account) for account in self.nodes]
        self.nodes = [key.public for key in keys]
        self._keys = {key.public: key for key in keys} | {LOG_KEY: self._log_key}
        for account in self.nodes:
            label = name("device", account)
            self._keys[label] = device = PrivateKey(label)
            self._keys[device.public] = device

    def envelope(self, signer: bytes, message: Message) -> Envelope:
        """Sealed, by the key that the name stands for."""
        if isinstance(message, Delegation):
            device = self._keys[message.device]
            message = Delegation(device.public, device.sign(consent_to(self.genesis.id, signer)))
        return seal(self._keys[signer], self.genesis.id, message)


async def write(folder: Path, results: int, models: int, nodes: int) -> dict[str, Any]:
    """Fill a store as a node does that follows the log; what its last snapshot took."""
    writer = Signing(models, nodes, 1)
    (folder / "genesis.cbor").write_bytes(cbor.encode(writer.genesis))
    signer = SignerKey(writer.genesis.log_verifier.name, PrivateKey(LOG_KEY))
    found: dict[str, Any] = {"results": 0}
    snapshots.MARKS_BETWEEN = 1
    snapshots.ENTRIES_BETWEEN = snapshots.BYTES_BETWEEN = 10**15
    async with open_memory_hub() as hub, hub.open("node") as network:
        clock = Clock(START)
        async with open_core(writer.genesis, network, folder / "node.sqlite", clock, Bulletin(clock)) as core:

            async def log(entries: list[Envelope]) -> None:
                start = core.replica.size
                await core.store.append_log(start, [(each.id, each.data) for each in entries], None, START)
                core.replica.extend(entries, quiet=True)

            await log(list(writer.joining()))
            epoch = 0
            while found["results"] < results:
                await log([writer.mark(core.replica.state, epoch)])
                await core.snapshots.write_down()
                commitments, revealed = writer.statements(ledger_plan(core.replica.state, epoch))
                await log(commitments + revealed)
                found["results"] += sum(len(e.message.tasks) for e in revealed if isinstance(e.message, Result))
                epoch += 1
            snapshots.MARKS_BETWEEN = 10**9
            await log([writer.mark(core.replica.state, epoch)])
            snapshots.MARKS_BETWEEN = 0
            start = time.thread_time()
            core.snapshots._note()
            found["loop_held_ms"] = 1000 * (time.thread_time() - start)
            start = time.process_time()
            await core.snapshots.write_down()
            found["written_cpu_ms"] = 1000 * (time.process_time() - start)
            state = core.replica.state
            note = sign_checkpoint(Checkpoint(signer.verifier.name, *state.head[:2]), signer).encode()  # type: ignore[index]
            await core.store.append_log(state.frontier.size, [], note, START)
            found |= {"entries": state.frontier.size, "log_mb": core.replica.log_bytes / 1e6, "epochs": epoch}
    with closing(sqlite3.connect(folder / "node.sqlite")) as connection:
        query = "SELECT sum(length(data)) FROM snapshot_pieces WHERE size = ?"
        (found["snapshot_mb"],) = connection.execute(query, (found["entries"],)).fetchone()
        found["snapshot_mb"] /= 1e6
    return found


async def start(folder: Path, file: Path) -> dict[str, Any]:
    """One start: CPU seconds, and the digest of the state."""
    genesis: Genesis = read_genesis((folder / "genesis.cbor").read_bytes())
    clock = Clock(START)
    async with open_memory_hub() as hub, hub.open("node") as network:
        spent, begun = time.process_time(), time.perf_counter()
        async with open_core(genesis, network, file, clock, Bulletin(clock)) as core:
            spent, begun = time.process_time() - spent, time.perf_counter() - begun
            gc.collect()
            memory = psutil.Process().memory_info().rss / 1e6
            return {"cpu_s": spent, "wall_s": begun, "memory_mb": memory, "digest": whole(core)}


def whole(core: Core) -> str:
    """What must be the same, however the node has started."""
    contents = core.replica.answers.contents()
    return name(core.replica.state.digest(), sorted(contents.items())).hex()


def prepare(folder: Path) -> dict[str, Path]:
    """A store for each way."""
    files = {way: folder / f"{number}.sqlite" for number, way in enumerate(WAYS)}
    for way, file in files.items():
        shutil.copy(folder / "node.sqlite", file)
        with closing(sqlite3.connect(file)) as connection:
            if way == WAYS[1]:
                connection.execute("DELETE FROM snapshots WHERE size = (SELECT max(size) FROM snapshots)")
            elif way == WAYS[2]:
                connection.execute("DELETE FROM snapshots")
            connection.commit()
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=int, default=100_000)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--start", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start:
        print(json.dumps(trio.run(start, *arguments.start)))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        found = trio.run(write, folder, arguments.results, arguments.models, arguments.nodes)
        files = prepare(folder)
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(arguments.rounds):
            for way, file in files.items():
                command = [sys.executable, __file__, "--start", str(folder), str(file)]
                printed = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
                runs[way].append(json.loads(printed.splitlines()[-1]))
    digests = {run["digest"] for each in runs.values() for run in each}
    figures = {way: min(run["cpu_s"] for run in each) for way, each in runs.items()}
    walls = {way: min(run["wall_s"] for run in each) for way, each in runs.items()}
    memory = {way: min(run["memory_mb"] for run in each) for way, each in runs.items()}
    found |= {"same_bytes": len(digests) == 1, "cpu_s": figures, "wall_s": walls, "memory_mb": memory}
    good = len(digests) == 1 and figures[WAYS[0]] <= LIMIT_SECONDS
    if arguments.json:
        print(json.dumps(found))
    else:
        report(found)
    sys.exit(0 if good else 1)


def report(found: dict[str, Any]) -> None:
    print(
        f"{found['results']:,} results in {found['entries']:,} entries, {found['log_mb']:.0f} MB, {found['epochs']} h"
    )
    for way in WAYS:
        ratio = found["cpu_s"][WAYS[2]] / found["cpu_s"][way]
        spent, wall, memory = found["cpu_s"][way], found["wall_s"][way], found["memory_mb"][way]
        print(f"  {way:28} {spent:6.2f} s CPU, {wall:6.2f} s, {ratio:5.1f} times as fast; then {memory:4.0f} MB")
    print(f"  a snapshot: {found['snapshot_mb']:.1f} MB; taking it holds the loop {found['loop_held_ms']:.0f} ms,")
    print(f"  writing it takes {found['written_cpu_ms']:.0f} ms of CPU beside it")
    print("  the same bytes" if found["same_bytes"] else "  NOT the same bytes")


if __name__ == "__main__":
    main()

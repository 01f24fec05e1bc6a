"""How long a late joiner takes for the log, how much memory it needs, and how that compares with checking signatures.

    python benchmarks/sync.py [--entries 100000]

One process holds a log of commitments of 1 KB, with a mark after each 2,000; another one joins over libp2p on loopback
with an empty store, and is done when it has checked, stored and folded all of it. Limits: 30 s for 100,000 entries; at
least 60 % of the rate at which one core checks bare Ed25519 signatures of 1 KB (PyNaCl, same run, in CPU time); memory,
that of the processes that check signatures included, flat: from a tenth of the log to its end it grows by no more than
48 MiB, less than half of the log's bytes. Both ends must have the same bytes. Exits with 1 where a limit is missed.
"""

import argparse
import hashlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from random import Random

import psutil
import trio
from msgspec.structs import replace
from nacl.signing import SigningKey

from node.bulletin import Bulletin
from node.clock import Clock
from node.core import Core, open_core
from node.libp2p_network import Libp2pNetwork, open_libp2p_network
from node.process import ending_at_once
from node.store import open_store
from protocol import epochs, ledger
from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.definitions import Benchmark, Dataset, HubFile, Model, TaskKind
from protocol.envelope import Envelope, seal
from protocol.genesis import Genesis
from protocol.messages import Commitment, Delegation, Profile, consent_to
from protocol.notes import SignerKey
from protocol.parameters import DEMO
from protocol.signing import PrivateKey
from protocol.state import State

ENTRIES = 100_000
ENTRIES_AN_EPOCH = 2_000
ACCOUNTS = 20
TASKS_A_COMMITMENT = 24
SECONDS = 30.0
SHARE = 0.60
GROWTH_MIB = 48
MIB = 1 << 20
LOG_KEY = PrivateKey(b"l" * 32)
CHAIN = epochs.hash_chain(b"c" * 32, 4096)
SEEDS = {"holder": b"h" * 32, "joiner": b"j" * 32}
LISTEN = ("/ip4/127.0.0.1/tcp/0",)


def network() -> Genesis:
    """A network of one model, at any time."""
    file = HubFile("bench/base", "0" * 40, "base.gguf", b"b" * 32, 1 << 20)
    model = Model(file, (), "llama", 10**9, "Q8_0", "MIT")
    dataset = Dataset("bench/questions", "0" * 40, "main", "test", b"q" * 32, 10_000)
    benchmark = Benchmark("sums", 1, "maths", "en", TaskKind.CHOICE, dataset, "p/1", "s/1", 0, 0, ("1", "1"))
    parameters = replace(DEMO, epoch_seconds=3600)
    return Genesis("bench", 0, parameters, (benchmark,), (model,), LOG_KEY.public, CHAIN[-1], len(CHAIN) - 1)


def log_entries(genesis: Genesis, state: State, count: int) -> Iterator[Envelope]:
    """The log, entry by entry, each folded into the state."""
    random = Random(1)
    keys = [(PrivateKey(random.randbytes(32)), PrivateKey(random.randbytes(32))) for _ in range(ACCOUNTS)]
    first: list[Envelope] = []
    for account, device in keys:
        consent = device.sign(consent_to(genesis.id, account.public))
        first.append(seal(account, genesis.id, Delegation(device.public, consent)))
        first.append(seal(device, genesis.id, Profile(0, 1 << 20, 1 << 20, ("cpu",))))
    written, epoch = 0, 0
    while written < count:
        if written % ENTRIES_AN_EPOCH == len(first):
            entry = seal(LOG_KEY, genesis.id, ledger.next_mark(state, epoch, CHAIN[epoch]))
            epoch += 1
        elif written < len(first):
            entry = first[written]
        else:
            account, device = keys[written % ACCOUNTS]
            where = ledger.gathering(state, epoch - 1)
            plan = where.plan if where else None
            tasks = [task.id for task in plan.of(account.public)] if plan else []
            tasks += [random.randbytes(32) for _ in range(TASKS_A_COMMITMENT - len(tasks))]
            ground = plan.ground if plan else bytes(32)
            message = Commitment(epoch - 1, ground, tuple(sorted(tasks)), random.randbytes(32))
            entry = seal(device, genesis.id, message)
        ledger.append(state, entry)
        written += 1
        yield entry


async def write_store(file: Path, count: int) -> tuple[int, bytes]:
    """Write a holder's store; the bytes of all entries, and the digest of the state behind them."""
    genesis = network()
    state = ledger.begin(genesis)
    size = 0
    signer = SignerKey(genesis.log_verifier.name, LOG_KEY)
    async with open_store(file) as store:
        rows: list[tuple[bytes, bytes]] = []
        for entry in log_entries(genesis, state, count):
            rows.append((entry.id, entry.data))
            size += len(entry.data)
            if len(rows) == ENTRIES_AN_EPOCH:
                await store.append_log(state.frontier.size - len(rows), rows, None, 0.0)
                rows = []
        checkpoint = Checkpoint(signer.verifier.name, state.frontier.size, state.frontier.root)
        note = sign_checkpoint(checkpoint, signer).encode()
        await store.append_log(state.frontier.size - len(rows), rows, note, 0.0)
    return size, state.digest()


@asynccontextmanager
async def open_node(name: str, folder: Path) -> AsyncIterator[tuple[Libp2pNetwork, Core]]:
    """One end."""
    clock = Clock()
    async with (
        open_libp2p_network(SEEDS[name], LISTEN) as host,
        open_core(network(), host, folder / f"{name}.sqlite", clock, Bulletin(clock)) as core,
    ):
        yield host, core


async def hold(folder: Path) -> None:
    """The holder: says where it listens, and answers until it is ended."""
    async with open_node("holder", folder) as (host, core):
        if core.replica.size == 0:
            raise RuntimeError("the holder's store is empty")
        print(host.addresses[0], flush=True)
        await trio.sleep_forever()


def resident() -> int:
    """Bytes resident, of this process and of those that check signatures for it."""
    bytes_of = [psutil.Process().memory_info().rss]
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "node.signature_process" in child.cmdline():
                bytes_of.append(child.memory_info().rss)
    return sum(bytes_of)


async def watch_memory(core: Core, samples: list[tuple[int, int]]) -> None:
    """Entries folded, and bytes resident, again and again."""
    while True:
        samples.append((core.replica.size, resident()))
        await trio.sleep(0.1)


async def join(folder: Path, address: str, count: int) -> tuple[float, list[tuple[int, int]], bytes]:
    """Seconds that the joiner takes, its memory on the way, and the digest of its state."""
    samples: list[tuple[int, int]] = []
    async with open_node("joiner", folder) as (host, core), trio.open_nursery() as nursery:
        nursery.start_soon(watch_memory, core, samples)
        start = time.perf_counter()
        peer = await host.connect(address)
        await core.log_reader.catch_up(peer)
        taken = time.perf_counter() - start
        nursery.cancel_scope.cancel()
        if core.replica.size != count:
            raise RuntimeError(f"only {core.replica.size} of {count} entries came: {core.bulletin.activities}")
        samples.append((core.replica.size, resident()))
        return taken, samples, core.replica.state.digest()


def content(file: Path) -> bytes:
    """A digest of all entries in a store."""
    whole = hashlib.sha256()
    with closing(sqlite3.connect(file)) as connection:
        for (data,) in connection.execute("SELECT data FROM log ORDER BY position"):
            whole.update(data)
    return whole.digest()


def signatures_a_second() -> float:
    """What one core checks of bare Ed25519 signatures over 1 KB, in CPU time; the median of several rounds."""
    key = SigningKey(b"k" * 32)
    message = bytes(1024)
    signature = key.sign(message).signature
    check = key.verify_key.verify
    rates = []
    for _ in range(9):
        start = time.thread_time()
        for _ in range(1000):
            check(message, signature)
        rates.append(1000 / (time.thread_time() - start))
    return statistics.median(rates)


async def measure(count: int) -> bool:
    """Measure and print; whether every limit is met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size, state = await write_store(folder / "holder.sqlite", count)
        command = [sys.executable, __file__, "--hold", name]
        holder = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        try:
            address = (await holder.stdout.receive_some()).decode().split()[0] if holder.stdout else ""
            before = signatures_a_second()
            taken, samples, reached = await join(folder, address, count)
            checked = statistics.mean((before, signatures_a_second()))
        finally:
            holder.terminate()
            await holder.wait()
        same = reached == state and content(folder / "holder.sqlite") == content(folder / "joiner.sqlite")
    settled = next(resident for entries, resident in samples if entries >= count // 10)
    growth = (max(resident for _, resident in samples) - settled) / MIB
    rate = count / taken
    print(f"{count:,} entries of {size / count:,.0f} bytes in {taken:.1f} s: {rate:,.0f} a second")
    print(f"  one core checks {checked:,.0f} signatures a second")
    first = samples[0][1] / MIB
    print(f"  memory: {first:.0f} MiB at the start, {settled / MIB:.0f} MiB at a tenth, {growth:+.0f} from there on")
    whole = taken * ENTRIES / count
    limits = (
        ("same bytes at both ends", same, str(same)),
        ("seconds for 100,000 entries", whole <= SECONDS, f"{whole:.1f} of {SECONDS:g}"),
        ("of the signature rate", rate >= SHARE * checked, f"{100 * rate / checked:.0f} % of {100 * SHARE:.0f} %"),
        ("growth of memory, MiB", growth <= GROWTH_MIB, f"{growth:.0f} of {GROWTH_MIB}"),
    )
    for what, met, figure in limits:
        print(f"  {what:30} {figure:>16}   {'ok' if met else 'MISSED'}")
    return all(met for _, met, _ in limits)


def main() -> None:
    """Run as the script says, or as its other end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=ENTRIES)
    parser.add_argument("--hold", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with ending_at_once():  # as a daemon does
        if given.hold:
            trio.run(hold, given.hold)
            return
        sys.exit(0 if trio.run(measure, given.entries) else 1)


if __name__ == "__main__":
    main()

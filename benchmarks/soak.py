"""A network under ten times its normal load for a long time: memory, file handles, tasks and the store stay flat.

    python benchmarks/soak.py [--minutes 10] [--hours H] [--nodes 3] [--rate 25] [--epoch 20] [--json]

The bootstrap and the nodes are the daemons themselves, each in a process of its own, over libp2p on loopback; only the
evaluation is made up. Fifty more accounts send profiles and claims, so that `rate` messages a second go round: ten
times what a network of 200 nodes has (docs/growth.md); two of five become entries of the log. An epoch lasts 20
seconds instead of an hour, so that ten minutes are thirty epochs. In the end the processes are told to stop while the
messages go on.

Compared are the second quarter of the run and the last. The log grows, by design: what its entries take in the store,
and in memory per entry, is named apart. Exits with 1 where something grows, a message is dropped, a service restarts,
or a process does not end cleanly within five seconds.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import psutil
import structlog
import trio
from msgspec.structs import replace

from bootstrap.daemon import run_bootstrap
from eval.hub import Fetching
from eval.job import Claimed
from node.daemon import run_node
from node.evaluation import Evaluated, Progress, Request
from node.home import Home
from node.identity import Identity
from node.libp2p_network import Libp2pNetwork, open_libp2p_network
from node.peer_id import peer_id
from node.peer_key import load_peer_key
from node.process import ending_at_once, hold, log_to
from node.settings import Settings, read_settings
from node.shards import envelopes_topic
from peerboard.demo_network import DemoNetwork, write_demo_network
from protocol.definitions import HubFile
from protocol.envelope import Envelope, seal
from protocol.fingerprint import values_per_question
from protocol.genesis import Genesis, read_genesis
from protocol.messages import Claim, ClaimedTask, Profile, Run, TaskResult
from protocol.parameters import DEMO
from protocol.signing import PrivateKey

AUTHORS = 50
SAMPLE_SECONDS = 5.0
STOP_SECONDS = 5.0
TASKS_A_CONNECTION = 12
"""Two nodes that dial each other at once, after one was too busy to answer pings, have two: the most allowed."""
STORE_SLACK = 6 << 20
"""SQLite's write-ahead log, and pages that are free."""
GROWTH_PERCENT = 5.0
"""What the last quarter may be above the second."""
BYTES_AN_ENTRY = 400
"""What an entry of the log may keep of memory beyond that."""
ROW_BYTES = 130
"""What the store needs for an entry of the log beside its bytes: its id twice, its place, its time."""


class MadeUp:
    """An evaluator whose answers cost nothing."""

    def __init__(self, device: bytes) -> None:
        self._device = device

    async def evaluate(self, request: Request, progress: Callable[[Progress], None]) -> Evaluated:
        """Answer after a tenth of a second, as every honest node would."""
        await trio.sleep(0.1)
        questions = request.task.questions
        progress(Progress(len(questions), len(questions), 100.0))
        outcomes = tuple(1000 * (_number(request.model.id, question) % 2) for question in questions)
        result = TaskResult(
            task=request.task.id,
            questions=request.task.questions_digest,
            outcomes=outcomes,
            total=sum(outcomes),
            margins=(500,) * len(outcomes),
            near_ties=bytes(-(-len(outcomes) // 8)),
            fingerprint=b"".join(self._values(request, question) for question in questions),
            transcript=hashlib.sha256(request.task.id).digest(),
            tokens_in=100,
            tokens_out=10,
            run_ms=100,
        )
        return Evaluated(result, Run("made up 1", "cpu", "reproducible", 0))

    async def audit(
        self, request: Request, claims: Sequence[Claimed], progress: Callable[[Progress], None]
    ) -> tuple[bool, ...]:
        """Nothing is flagged."""
        await trio.lowlevel.checkpoint()
        return (False,) * len(claims)

    async def lacking(self, files: Sequence[HubFile]) -> Sequence[HubFile]:
        """All is here."""
        await trio.lowlevel.checkpoint()
        return ()

    async def fetch(self, file: HubFile, fetching: Callable[[Fetching | None], None]) -> None:
        """Nothing to fetch."""
        await trio.lowlevel.checkpoint()

    async def prepare(self, request: Request, fetching: Callable[[Fetching | None], None]) -> None:
        """Nothing to fetch."""
        await trio.lowlevel.checkpoint()

    def _values(self, request: Request, question: int) -> bytes:
        places = range(values_per_question(len(request.task.questions)))
        shared = (_number(request.beacon, request.model.id, question, place) for place in places)
        return b"".join((1000 + value % 4000 + self._device[0] % 3).to_bytes(3, "big") for value in shared)


def _number(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


async def member(home: Home) -> None:
    """Run one daemon and print what it takes, every few seconds."""
    genesis, settings = read_genesis(home.genesis.read_bytes()), read_settings(home.settings)
    log_to(home.log_file)
    seed = load_peer_key(home.peer_key)

    @asynccontextmanager
    async def evaluator(home: Home, settings: Settings) -> AsyncIterator[MadeUp]:
        await trio.lowlevel.checkpoint()
        yield MadeUp(seed)

    async with trio.open_nursery() as nursery:

        @asynccontextmanager
        async def watched(
            seed: bytes, listen: Sequence[str], *, announce: Sequence[str] = (), relay: bool = False
        ) -> AsyncIterator[Libp2pNetwork]:
            async with open_libp2p_network(seed, listen, announce=announce, relay=relay) as network:
                nursery.start_soon(sample, home, network)
                yield network

        with hold(home):
            if home.log_key.exists():
                await run_bootstrap(home, settings, genesis, seed, version="soak", open_network=watched)
            else:
                await run_node(
                    home, settings, genesis, seed, version="soak", open_network=watched, open_evaluator=evaluator
                )
        nursery.cancel_scope.cancel()


async def sample(home: Home, network: Libp2pNetwork) -> None:
    """Print a line of figures now and then."""
    process, entries, kept = psutil.Process(), 0, 0
    while True:
        await trio.sleep(SAMPLE_SECONDS)
        with contextlib.closing(sqlite3.connect(f"file:{home.store}?mode=ro", uri=True)) as connection:
            query = "SELECT count(*), coalesce(sum(length(data)), 0) FROM log WHERE position >= ?"
            more, size = connection.execute(query, (entries,)).fetchone()
        entries, kept = entries + more, kept + size
        spent = process.cpu_times()
        figures = {
            "memory": process.memory_info().rss,
            "handles": process.num_fds(),
            "threads": process.num_threads(),
            "connections": sum(len(each) for each in network.host.get_network().connections.values()),
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "store": sum(file.stat().st_size for file in home.folder.glob("store.sqlite*")),
            "entries": entries,
            "log": kept + ROW_BYTES * entries,
            "delivered": network.traffic.delivered,
            "dropped": network.traffic.dropped,
            "cpu": spent.user + spent.system,
            "at": time.monotonic(),
        }
        print(json.dumps(figures), flush=True)


class Crowd:
    """Accounts beyond the nodes: they offer too little to be asked, and say a lot."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self._random = Random(1)
        self._authors = [
            Identity(PrivateKey(hashlib.sha256(b"a%d" % n).digest()), PrivateKey(hashlib.sha256(b"d%d" % n).digest()))
            for n in range(AUTHORS)
        ]
        self._sequence = itertools.count(1)

    def joining(self) -> list[Envelope]:
        """Everybody's delegation."""
        return [author.delegation(self._genesis.id) for author in self._authors]

    def next(self) -> Envelope:
        """The next message: a profile that becomes an entry of the log, or a claim that does not."""
        device = self._random.choice(self._authors).device
        number = next(self._sequence)
        epoch = max(0, self._genesis.epoch_at(time.time()))
        if number % 5 < 2:
            return seal(device, self._genesis.id, Profile(epoch, 1, number % 1_000_000, ("cpu",)))
        tasks = tuple(ClaimedTask(self._random.randbytes(32), self._random.randrange(1000)) for _ in range(8))
        return seal(device, self._genesis.id, Claim(epoch, number, tasks))


async def crowd(addresses: list[str], genesis: Genesis, rate: float) -> None:
    """Join the network as one peer that publishes for all of the crowd."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # the output is figures
    people, topic = Crowd(genesis), envelopes_topic(genesis.id)
    async with (
        open_libp2p_network(os.urandom(32), ["/ip4/127.0.0.1/tcp/0"]) as network,
        network.subscribe(topic, lambda data: True, queue=1),
        trio.open_nursery() as nursery,
    ):
        for address in addresses:
            await network.connect(address)
        nursery.start_soon(network.keep_connected, addresses)  # a machine that is busy loses connections
        await network.await_audience(topic, len(addresses))
        print(json.dumps("ready"), flush=True)
        for envelope in people.joining():
            await network.publish(topic, envelope.data)
            await trio.sleep(1 / rate)
        start = trio.current_time()
        for turn in itertools.count():
            await trio.sleep_until(start + turn / rate)
            await network.publish(topic, people.next().data)


class Voice:
    """A child process and the lines that it prints."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, __file__, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.lines: list[Any] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.lines.extend(json.loads(line) for line in self.process.stdout)

    def end(self, number: int) -> None:
        """Send a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)


def run(network: DemoNetwork, minutes: float, rate: float) -> dict[str, Any]:
    """Let it run, stop it under load, and sum up by process."""
    voices = {home.folder.name: Voice("--member", str(home.folder)) for home in network.homes}
    addresses = [
        f"{read_settings(home.settings).listen[0]}/p2p/{peer_id(load_peer_key(home.peer_key))}"
        for home in network.homes
    ]
    others: list[Voice] = []
    try:
        while not all(voice.lines for voice in voices.values()):
            time.sleep(0.2)
            _still_there(voices)
        others.append(Voice("--crowd", *addresses, "--genesis", str(network.bootstrap.genesis), "--rate", str(rate)))
        deadline = time.monotonic() + 60 * minutes
        while time.monotonic() < deadline:
            time.sleep(1)
            _still_there(voices | {"crowd": others[0]})
        samples = {name: list(voice.lines) for name, voice in voices.items()}
        ends = stop(voices)
        return {name: summary(samples[name], *ends[name]) for name in samples}
    finally:
        for voice in (*others, *voices.values()):
            voice.end(signal.SIGKILL)
            voice.process.wait()


def _still_there(voices: dict[str, Voice]) -> None:
    for name, voice in voices.items():
        if (code := voice.process.poll()) is not None:
            raise SystemExit(f"{name} ended with status {code}")


def stop(voices: dict[str, Voice]) -> dict[str, tuple[int | None, float]]:
    """Tell all to stop; exit status (None: killed) and seconds of each."""
    began = time.monotonic()
    for voice in voices.values():
        voice.end(signal.SIGTERM)
    ends: dict[str, tuple[int | None, float]] = {}
    for name, voice in voices.items():
        with contextlib.suppress(subprocess.TimeoutExpired):
            voice.process.wait(timeout=max(0.1, began + 2 * STOP_SECONDS - time.monotonic()))
        ends[name] = (voice.process.poll(), round(time.monotonic() - began, 2))
    return ends


def summary(samples: list[dict[str, float]], status: int | None, stop_seconds: float) -> dict[str, Any]:
    """The second quarter beside the last, and what is wrong with the difference."""
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter] or samples, samples[-quarter:]

    def pair(name: str) -> tuple[float, float]:
        return median(sample[name] for sample in early), median(sample[name] for sample in late)

    first, last = samples[0], samples[-1]
    more = {name: pair(name)[1] - pair(name)[0] for name in ("memory", "store", "log", "entries")}
    seconds = last["at"] - first["at"]
    found: dict[str, Any] = {name: pair(name) for name in ("handles", "threads", "connections", "tasks")}
    found |= {f"{name}_mb": tuple(round(value / 1e6, 1) for value in pair(name)) for name in ("memory", "store", "log")}
    found |= {
        "entries": last["entries"],
        "messages_a_second": round((last["delivered"] - first["delivered"]) / seconds, 1),
        "core_percent": round(100 * (last["cpu"] - first["cpu"]) / seconds, 1),
        "dropped": last["dropped"],
        "status": status,
        "stop_seconds": stop_seconds,
    }
    limit, links = GROWTH_PERCENT / 100, pair("connections")[1] - pair("connections")[0]
    more_allowed = {"handles": 2 + links, "threads": 2, "tasks": 2 + TASKS_A_CONNECTION * links}
    wrong = [name for name, some in more_allowed.items() if pair(name)[1] > (1 + limit) * pair(name)[0] + some]
    if more["memory"] > limit * pair("memory")[0] + BYTES_AN_ENTRY * more["entries"]:
        wrong.append("memory")
    if more["store"] > (1 + limit) * more["log"] + STORE_SLACK:
        wrong.append("store")
    wrong += [name for name, is_wrong in (("dropped", last["dropped"]), ("status", status)) if is_wrong]
    if stop_seconds > STOP_SECONDS:
        wrong.append("stop_seconds")
    return found | {"wrong": wrong}


def main() -> None:
    """Measure, print, and say whether it is flat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--hours", type=float)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--rate", type=float, default=25.0)
    parser.add_argument("--epoch", type=int, default=20, help="seconds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--member", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--crowd", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--genesis", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.member:
        with ending_at_once():
            trio.run(member, Home(given.member))
        return
    if given.crowd:
        trio.run(crowd, given.crowd, read_genesis(given.genesis.read_bytes()), given.rate)
        return
    with tempfile.TemporaryDirectory() as folder:
        parameters = replace(DEMO, epoch_seconds=given.epoch, quick_depth=5)
        network = write_demo_network(Path(folder), given.nodes, time.time(), parameters=parameters)
        found = run(network, 60 * given.hours if given.hours else given.minutes, given.rate)
        for home in network.homes:
            restarts = home.log_file.read_text().count("SERVICE_RESTARTS")
            found[home.folder.name] |= {"restarts": restarts}
            found[home.folder.name]["wrong"] += ["restarts"] if restarts else []
    if given.json:
        print(json.dumps({"minutes": given.minutes, "rate": given.rate, "processes": found}))
    else:
        for name, figures in found.items():
            print(name, *(f"{figure} {value}" for figure, value in figures.items() if figure != "wrong"), sep="  ")
    wrong = {name: figures["wrong"] for name, figures in found.items() if figures["wrong"]}
    if wrong:
        sys.exit(f"not flat, or not clean: {wrong}")


if __name__ == "__main__":
    main()

"""Every stream that a whole node answers, asked anything at all: the node lives on, and so does the connection."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
import trio

from node.bulletin import Bulletin
from node.clock import Clock
from node.core import open_core
from node.home import Home
from node.memory_network import MemoryNetwork, open_memory_hub
from node.neighbourhood import Neighbourhood
from node.network import RequestFailed
from node.settings import Settings
from protocol import cbor, epochs
from protocol.definitions import Benchmark, Dataset, HubFile, Model, TaskKind
from protocol.genesis import Genesis
from protocol.parameters import DEMO

CHAIN = epochs.hash_chain(b"c" * 32, 20)
KINDS = ("bytes", "cbor", "json")
TIMES = 40


def genesis() -> Genesis:
    dataset = Dataset("test/questions", "0" * 40, "main", "test", b"q" * 32, 100)
    benchmark = Benchmark("sums", 1, "maths", "en", TaskKind.CHOICE, dataset, "p/1", "s/1", 0, 0, ("1", "2"))
    file = HubFile("test/models", "0" * 40, "m.gguf", b"m" * 32, 10)
    model = Model(file, (), "llama", 1000, "F16", "MIT")
    return Genesis("test", 1_800_000_000, DEMO, (benchmark,), (model,), b"l" * 32, CHAIN[-1], 20)


@asynccontextmanager
async def asked(folder: Path) -> AsyncIterator[tuple[MemoryNetwork, MemoryNetwork]]:
    """A whole node without evaluator, and a stranger that is connected to it."""
    home, clock, network_genesis = Home(folder), Clock(), genesis()
    bulletin = Bulletin(clock)
    async with (
        open_memory_hub() as hub,
        hub.open("node", relay=True) as network,
        hub.open("stranger") as stranger,
        open_core(network_genesis, network, home.store, clock, bulletin) as core,
        trio.open_nursery() as nursery,
    ):
        Neighbourhood(network, home, Settings(mdns=False), network_genesis, clock, bulletin)
        await nursery.start(core.run)
        await stranger.connect(network.addresses[0])
        yield network, stranger
        nursery.cancel_scope.cancel()


def anything(chance: random.Random, depth: int = 3) -> object:
    """A value of the part of CBOR that is in use."""
    choices: list[Callable[[], object]] = [
        lambda: chance.randrange(-(2**63), 2**63),
        lambda: chance.randbytes(chance.randrange(70)),
        lambda: chance.choice((None, True, False, "", "text", "ü" * 50)),
    ]
    if depth:
        choices += [
            lambda: tuple(anything(chance, depth - 1) for _ in range(chance.randrange(5))),
            lambda: {key: anything(chance, depth - 1) for key in range(chance.randrange(4))},
        ]
    return chance.choice(choices)()


def body(chance: random.Random, kind: str) -> bytes:
    if kind == "bytes":
        return chance.randbytes(chance.randrange(300))
    if kind == "json":
        words = ['{"addresses":', "[", "]", "}", '"/ip4/1.2.3.4/tcp/1/p2p/a"', ",", "1", "null", '"\\ud800"', "{}"]
        return "".join(chance.choices(words, k=chance.randrange(9))).encode()
    return cbor.encode(anything(chance))


@pytest.mark.parametrize("kind", KINDS)
async def test_no_question_ends_a_node(tmp_path: Path, kind: str) -> None:
    chance = random.Random(kind)
    # Captured, because tracebacks of what a handler refuses take longer to print than all else.
    with trio.fail_after(120), structlog.testing.capture_logs():
        async with asked(tmp_path) as (node, stranger):
            protocols = sorted(node._requests._handlers)
            assert len(protocols) >= 9
            for protocol in protocols:
                for _ in range(TIMES):
                    try:
                        await stranger.request("node", protocol, body(chance, kind))
                    except RequestFailed:
                        continue
            assert [peer.peer for peer in node.peers()] == ["stranger"]
            assert await stranger.request("node", "/peerboard/clock/1", b"")

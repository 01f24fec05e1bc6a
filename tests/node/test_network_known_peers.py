"""Peers that outlive a restart: what is kept of them, how many, and what a damaged file does (nothing)."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node.known_peers import KEPT, OLDEST_SECONDS, KnownPeers
from node.memory_network import MemoryHub, MemoryNetwork, open_memory_hub
from node.offload import inline

NOW = 1_800_000_000.0
BOOTSTRAP = "/ip4/10.0.0.1/tcp/4001/p2p/bootstrap"


@pytest.fixture
async def hub() -> AsyncIterator[MemoryHub]:
    inline.set(True)
    async with open_memory_hub() as hub:
        async with hub.open("bootstrap"):  # takes the first address
            pass
        yield hub


@asynccontextmanager
async def living(hub: MemoryHub, name: str, folder: Path) -> AsyncIterator[MemoryNetwork]:
    """A network that keeps itself connected, and remembers."""
    async with hub.open(name) as network, trio.open_nursery() as nursery:
        nursery.start_soon(KnownPeers(folder / name, network, network.reach, lambda: NOW).run)
        nursery.start_soon(network.keep_connected, (BOOTSTRAP,))
        yield network
        nursery.cancel_scope.cancel()


async def test_nodes_find_each_other_again_without_the_bootstrap(
    hub: MemoryHub, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with living(hub, "bootstrap", tmp_path), living(hub, "a", tmp_path), living(hub, "b", tmp_path):
        await trio.sleep(180)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    async with living(hub, "a", tmp_path) as a:
        await trio.sleep(300)
        assert a.peers() == ()
        async with living(hub, "b", tmp_path):
            await trio.sleep(3)
            assert [peer.peer for peer in a.peers()] == ["b"]
    async with living(hub, "a", tmp_path) as a:
        await trio.sleep(300)
        async with hub.open("b"):  # comes back later, and dials nobody
            await trio.sleep(150)
            assert [peer.peer for peer in a.peers()] == ["b"]


def known(file: Path, hub: MemoryHub) -> KnownPeers:
    network = hub.networks["bootstrap"]
    return KnownPeers(file, network, network.reach, lambda: NOW)


async def test_what_is_kept_is_bounded_and_the_oldest_goes(hub: MemoryHub, tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    entries = [{"address": f"/ip4/8.8.8.8/tcp/1/p2p/n{n}", "seen": NOW - n} for n in range(2 * KEPT)]
    file.write_text(json.dumps([{"address": "/ip4/8.8.8.8/tcp/1/p2p/old", "seen": NOW - OLDEST_SECONDS - 1}, *entries]))
    async with hub.open("bootstrap"):
        assert list(known(file, hub)._read()) == [f"n{n}" for n in range(KEPT)]
        file.write_text(json.dumps([{"address": "/ip4/8.8.8.8/tcp/1/p2p/old", "seen": NOW - OLDEST_SECONDS - 1}]))
        assert known(file, hub)._read() == {}


@given(st.binary(max_size=200) | st.recursive(st.text() | st.floats() | st.none(), st.lists).map(json.dumps))
def test_a_damaged_file_is_no_failure(tmp_path_factory: pytest.TempPathFactory, content: bytes | str) -> None:
    file = tmp_path_factory.mktemp("known") / "peers.json"
    file.write_bytes(content.encode() if isinstance(content, str) else content)

    async def main() -> None:
        async with open_memory_hub() as hub, hub.open("bootstrap"):
            assert known(file, hub)._read() == {}

    trio.run(main)


async def test_circuits_and_junk_are_not_suggested(hub: MemoryHub, autojump_clock: MockClock) -> None:
    async with hub.open("bootstrap") as network:
        direct = "/ip4/8.8.8.8/tcp/1/p2p/n"
        network.reach.suggest(["junk", f"{direct}/p2p-circuit/p2p/m", direct, *network.addresses])
        assert list(network.reach._candidates) == ["n"]

"""Nodes that find each other by multicast DNS, which here stays on the loopback interface."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import ServiceInfo

from node.local_discovery import SERVICE, LocalDiscovery
from node.memory_network import MemoryHub, MemoryNetwork, open_memory_hub
from node.network import Network

LOOPBACK = ["127.0.0.1"]
PATIENCE = 60
NETWORK, OTHER = b"n" * 32, b"o" * 32


@asynccontextmanager
async def living(hub: MemoryHub, name: str, network_id: bytes = NETWORK) -> AsyncIterator[MemoryNetwork]:
    async with hub.open(name) as network, trio.open_nursery() as nursery:
        discovery = LocalDiscovery(network, network.reach, network_id, interfaces=lambda _: LOOPBACK)
        nursery.start_soon(network.keep_connected, ())
        nursery.start_soon(discovery.run)
        yield network
        nursery.cancel_scope.cancel()


async def test_nodes_of_one_network_in_one_house_find_each_other() -> None:
    with trio.fail_after(PATIENCE):
        async with (
            open_memory_hub() as hub,
            living(hub, "stranger", OTHER) as stranger,
            living(hub, "a") as a,
            living(hub, "b"),
            a.changes() as changes,
        ):
            assert (await changes.receive()).peer == "b"
            assert stranger.peers() == ()


@pytest.fixture
async def silent() -> AsyncIterator[tuple[MemoryNetwork, LocalDiscovery]]:
    async with open_memory_hub() as hub, hub.open("a") as network:
        yield network, LocalDiscovery(network, network.reach, NETWORK)


async def test_a_node_on_loopback_or_in_public_says_nothing(silent: tuple[MemoryNetwork, LocalDiscovery]) -> None:
    network, discovery = silent
    assert [address.text for address in discovery._own()] == list(network.addresses)
    network.addresses = ("/ip4/127.0.0.1/tcp/1/p2p/a",)
    assert discovery._own() == ()
    network.addresses = ("/ip4/8.8.8.8/tcp/1/p2p/a",)
    assert discovery._own() == ()


def announced(properties: dict[str, str | bytes]) -> ServiceInfo:
    return ServiceInfo(SERVICE, f"x.{SERVICE}", 1, properties=properties, addresses=[bytes(4)], server="x.local.")


async def test_only_private_addresses_of_the_same_network_are_taken_up(
    silent: tuple[MemoryNetwork, LocalDiscovery],
) -> None:
    network, discovery = silent
    addresses = {
        "a0": "/ip4/192.168.1.9/tcp/1/p2p/b",
        "a1": "/ip4/8.8.8.8/tcp/1/p2p/c",
        "a2": "/ip4/127.0.0.1/tcp/1/p2p/d",
        "a3": "/ip4/192.168.1.9/tcp/1/p2p/r/p2p-circuit/p2p/e",
        "a4": "/ip4/192.168.1.9/tcp/1/p2p/f",
    }
    discovery.take(announced({"network": OTHER.hex()[:32], **addresses}))
    assert discovery.found == 0
    discovery.take(announced({"network": NETWORK.hex()[:32], **addresses}))
    assert list(network.reach._candidates) == ["b"]


@given(st.dictionaries(st.sampled_from(["network", "a0", "a1", "a9"]), st.binary(max_size=80)), st.booleans())
def test_whatever_is_announced_is_taken_up_or_ignored(properties: dict[str, str | bytes], ours: bool) -> None:
    class Nobody:
        peer, addresses = "me", ()

    class Suggestions:
        def suggest(self, addresses: list[str]) -> None:
            assert all(address.startswith("/ip") for address in addresses)

    nobody: Network = Nobody()  # type: ignore[assignment]
    discovery = LocalDiscovery(nobody, Suggestions(), NETWORK)  # type: ignore[arg-type]
    discovery.take(announced({**properties, **({"network": NETWORK.hex()[:32]} if ours else {})}))
    discovery.take(None)

"""Two worlds of networks, in memory and of libp2p over real sockets on loopback, and what tests of both wait for."""

import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

import trio

from node.libp2p_network import open_libp2p_network
from node.memory_network import MemoryHub
from node.network import Gossip, Network, PeerChange

TOPIC = "/peerboard/test/1"
ECHO = "/peerboard/echo/1"
PATIENCE = 30
LISTEN = {"tcp": "/ip4/127.0.0.1/tcp/0", "quic": "/ip4/127.0.0.1/udp/0/quic-v1"}


def anything(data: bytes) -> bool:
    return True


class World(Protocol):
    """Opens networks that can reach each other; the same name is the same node at the same address."""

    def open(self, name: str, *, relay: bool = False) -> AbstractAsyncContextManager[Network]: ...


class MemoryWorld:
    def __init__(self, hub: MemoryHub) -> None:
        self._hub = hub

    @asynccontextmanager
    async def open(self, name: str, *, relay: bool = False) -> AsyncIterator[Network]:
        async with self._hub.open(name, relay=relay) as network:
            yield network


class Libp2pWorld:
    def __init__(self, listen: str) -> None:
        self.listen = listen
        self._places: dict[str, str] = {}

    @asynccontextmanager
    async def open(self, name: str, *, relay: bool = False) -> AsyncIterator[Network]:
        listen = self._places.get(name, self.listen)
        async with open_libp2p_network(hashlib.sha256(name.encode()).digest(), [listen], relay=relay) as network:
            self._places[name] = network.addresses[0].partition("/p2p/")[0]
            yield network


@asynccontextmanager
async def chain(world: World, *names: str) -> AsyncIterator[list[Network]]:
    """Networks that are each connected to the next one only."""
    async with AsyncExitStack() as stack:
        networks = [await stack.enter_async_context(world.open(name)) for name in names]
        for one, other in itertools.pairwise(networks):
            await one.connect(other.addresses[0])
        yield networks


async def next_change(changes: trio.MemoryReceiveChannel[PeerChange]) -> PeerChange:
    with trio.fail_after(PATIENCE):
        return await changes.receive()


async def next_message(messages: trio.MemoryReceiveChannel[Gossip]) -> bytes:
    with trio.fail_after(PATIENCE):
        return (await messages.receive()).data

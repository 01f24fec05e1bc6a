"""Networks over real sockets of this machine, for tests of what libp2p itself does."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from node.libp2p_network import INBOUND, Libp2pNetwork, open_libp2p_network

LOOPBACK = "/ip4/127.0.0.1/tcp/0"


@asynccontextmanager
async def opened(
    name: str,
    *listen: str,
    announce: tuple[str, ...] = (),
    relay: bool = False,
    inbound: int = INBOUND,
    patience: float = 60,
) -> AsyncIterator[Libp2pNetwork]:
    """A network that listens there, or nowhere; a name is one peer. It fails after `patience` seconds."""
    seed = hashlib.sha256(name.encode()).digest()
    with trio.fail_after(patience):
        async with open_libp2p_network(seed, listen, announce=announce, relay=relay, inbound=inbound) as network:
            yield network


@asynccontextmanager
async def met(topic: str) -> AsyncIterator[tuple[Libp2pNetwork, Libp2pNetwork]]:
    """Two networks that listen to a topic; the first has called the second and knows that it listens."""
    async with (
        opened("a", LOOPBACK) as a,
        opened("b", LOOPBACK) as b,
        a.subscribe(topic, lambda data: True),
        b.subscribe(topic, lambda data: True),
    ):
        await a.connect(b.addresses[0])
        await a.await_audience(topic)
        yield a, b

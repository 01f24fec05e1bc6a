"""Networks in memory that keep themselves connected, as a node's does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from node.memory_network import MemoryHub, MemoryNetwork

BOOTSTRAP = "/ip4/10.0.0.1/tcp/4001/p2p/bootstrap"
"""The address at which the fixture `hub` lets the bootstrap open."""


@asynccontextmanager
async def living(
    hub: MemoryHub, name: str, *known: str, relay: bool = False, hidden: bool = False
) -> AsyncIterator[MemoryNetwork]:
    """A network that looks for these addresses, and for whom it hears of, as long as the block lasts."""
    async with hub.open(name, relay=relay, hidden=hidden) as network, trio.open_nursery() as nursery:
        nursery.start_soon(network.keep_connected, known)
        yield network
        nursery.cancel_scope.cancel()

"""Networks that tests of the node run on: each kind in turn, or a hub in memory."""

from collections.abc import AsyncIterator

import pytest
import trio

from node.memory_network import MemoryHub, open_memory_hub
from tests.node.network_worlds import LISTEN, PATIENCE, Libp2pWorld, MemoryWorld, World


@pytest.fixture(params=["memory", *LISTEN])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    with trio.fail_after(2 * PATIENCE):
        if request.param in LISTEN:
            yield Libp2pWorld(LISTEN[request.param])
        else:
            async with open_memory_hub() as hub:
                yield MemoryWorld(hub)


@pytest.fixture
async def memory_hub() -> AsyncIterator[MemoryHub]:
    """In memory; the first address is the bootstrap's, which is not there yet."""
    async with open_memory_hub() as hub:
        async with hub.open("bootstrap"):
            pass
        yield hub

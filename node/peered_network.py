"""The part of a `Network` that is the same over libp2p and in memory: its peers, its requests and its counters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar

import trio

from node.network import REQUEST_SECONDS, Handler, Peer, PeerChange, Traffic
from node.peer_table import PeerTable
from node.subscriptions import Subscriptions


class Asking(Protocol):
    """Sends requests and answers those of others; counts both."""

    requested: int
    served: int

    async def ask(self, peer: str, protocol: str, body: bytes, seconds: float) -> bytes:
        """See `Network.request`."""
        ...

    def serve(self, protocol: str, handler: Handler) -> None:
        """See `Network.serve`."""
        ...


Requests = TypeVar("Requests", bound=Asking)


class PeeredNetwork(Generic[Requests]):
    """Knows who is connected, and how they are asked; how they are reached is for its heirs."""

    def __init__(self, peers: PeerTable, requests: Requests) -> None:
        self._peers = peers
        self._requests = requests
        self._subscriptions = Subscriptions()

    @property
    def traffic(self) -> Traffic:
        """See `Network.traffic`."""
        return self._subscriptions.traffic(requested=self._requests.requested, served=self._requests.served)

    def peers(self) -> tuple[Peer, ...]:
        """See `Network.peers`."""
        return tuple(self._peers.values())

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[trio.MemoryReceiveChannel[PeerChange]]:
        """See `Network.changes`."""
        with self._peers.changes() as channel:
            yield channel

    async def request(
        self,
        peer: str,
        protocol: str,
        body: bytes,
        *,
        timeout: float = REQUEST_SECONDS,  # noqa: ASYNC109
    ) -> bytes:
        """See `Network.request`."""
        return await self._requests.ask(peer, protocol, body, timeout)

    def serve(self, protocol: str, handler: Handler) -> None:
        """See `Network.serve`."""
        self._requests.serve(protocol, handler)

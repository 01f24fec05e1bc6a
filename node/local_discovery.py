"""Finding nodes of the same network in the same house: multicast DNS (RFC 6762) and DNS-SD (RFC 6763).

A node says on each private network that it listens in where it is, and hears the others there; a name that is new each
time, no account, nothing that would mean anything outside. Only private addresses are taken up: nobody in the house can
make others dial a stranger. A service name of its own, because whatever else speaks libp2p in a house is none of ours.

In place of py-libp2p's `discovery.mdns`, which advertises 0.0.0.0 and knows no networks (docs/upstream.md).
"""

import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import structlog
import trio
from zeroconf import Error as ZeroconfError
from zeroconf import ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from node.addresses import Address, Reachable, parse
from node.network import Network
from node.reach import Reach

SERVICE = "_peerboard._udp.local."
NAMED = 4
WAITING = 64
ASK_MILLISECONDS = 3000
AGAIN_SECONDS = 300.0
CLOSE_SECONDS = 1.5

log = structlog.get_logger(__name__)


def hosts(own: Sequence[Address]) -> list[str]:
    """The hosts of some addresses, each once."""
    return sorted({address.host for address in own})


class LocalDiscovery:
    """One node's; does nothing while that listens on no private network.

    `interfaces` chooses the interfaces' addresses to speak at, from the own addresses.
    """

    def __init__(
        self,
        network: Network,
        reach: Reach,
        network_id: bytes,
        *,
        interfaces: Callable[[Sequence[Address]], list[str]] = hosts,
    ) -> None:
        self.found = 0
        self._network = network
        self._reach = reach
        self._network_id = network_id.hex()[:32].encode()
        self._interfaces = interfaces

    async def run(self) -> None:
        """Tell and hear, for ever; begins anew when the machine's addresses have changed."""
        while True:
            own = self._own()
            if not own:
                await trio.sleep(AGAIN_SECONDS)
                continue
            try:
                async with self._open(own) as zeroconf, trio.open_nursery() as nursery:
                    nursery.start_soon(self._hear, zeroconf)
                    while self._own() == own:  # noqa: ASYNC110  nobody tells when an interface comes or goes
                        await trio.sleep(AGAIN_SECONDS)
                    nursery.cancel_scope.cancel()
            except* (OSError, ZeroconfError) as error:
                log.info("no discovery in the local network", reason=str(error.exceptions[0]))
                await trio.sleep(AGAIN_SECONDS)

    def _own(self) -> tuple[Address, ...]:
        own = (parse(text) for text in self._network.addresses)
        return tuple(address for address in own if address and address.reachable is Reachable.SITE)[:NAMED]

    @asynccontextmanager
    async def _open(self, own: Sequence[Address]) -> AsyncIterator[Zeroconf]:
        zeroconf = await trio.to_thread.run_sync(partial(Zeroconf, interfaces=self._interfaces(own)))
        try:
            await trio.to_thread.run_sync(zeroconf.register_service, self._information(own))
            yield zeroconf
        finally:
            # It says goodbye first; a slow goodbye must not hold up the end.
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await trio.to_thread.run_sync(zeroconf.close, abandon_on_cancel=True)

    def _information(self, own: Sequence[Address]) -> ServiceInfo:
        name = secrets.token_hex(8)
        hosts = [socket.inet_aton(address.host) for address in own if ":" not in address.host]
        properties = {"network": self._network_id, **{f"a{n}": address.text for n, address in enumerate(own)}}
        return ServiceInfo(
            SERVICE, f"{name}.{SERVICE}", own[0].port, properties=properties, addresses=hosts, server=f"{name}.local."
        )

    async def _hear(self, zeroconf: Zeroconf) -> None:
        """Names come from a thread of the library, more than fit are dropped; each is then asked where it is."""
        send, names = trio.open_memory_channel[str](WAITING)
        token = trio.lowlevel.current_trio_token()

        def put(name: str) -> None:
            try:
                send.send_nowait(name)
            except (trio.WouldBlock, trio.BrokenResourceError):
                log.debug("a name in the local network was dropped", name=name)

        def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
            if state_change is not ServiceStateChange.Removed:
                token.run_sync_soon(put, name)

        browser = await trio.to_thread.run_sync(partial(ServiceBrowser, zeroconf, SERVICE, handlers=[changed]))
        try:
            async for name in names:
                ask = partial(zeroconf.get_service_info, SERVICE, name, ASK_MILLISECONDS)
                self.take(await trio.to_thread.run_sync(ask, abandon_on_cancel=True))
        finally:
            browser.cancel()

    def take(self, information: ServiceInfo | None) -> None:
        """Suggest what an announcement of the same network names; anything else is nothing."""
        properties = information.properties if information else {}
        if properties.get(b"network") != self._network_id:
            return
        named = (properties.get(f"a{n}".encode()) for n in range(NAMED))
        parsed = (parse(text.decode("ascii", "replace")) for text in named if text)
        near = [address.text for address in parsed if address and address.reachable is Reachable.SITE]
        self.found += len(near)
        self._reach.suggest(near)

"""All that keeps a participant among its peers: dialling, who is remembered or found, and whether the clocks agree."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from node.bulletin import Bulletin
from node.clock import Clock
from node.clock_check import ClockCheck
from node.home import Home
from node.known_peers import KnownPeers
from node.local_discovery import LocalDiscovery
from node.network import Network
from node.reach import Reach
from node.rendezvous import Rendezvous
from node.settings import Settings
from protocol.genesis import Genesis

Service = Callable[[], Awaitable[None]]


class ReachingNetwork(Network, Protocol):
    """A network that can keep connections up by itself."""

    @property
    def reach(self) -> Reach:
        """What dials, and tells peers of each other."""
        ...


class Neighbourhood:
    """The services of one participant; answers peers from the moment it is made."""

    def __init__(
        self,
        network: ReachingNetwork,
        home: Home,
        settings: Settings,
        genesis: Genesis,
        clock: Clock,
        bulletin: Bulletin,
    ) -> None:
        self.reach = network.reach
        self._network = network
        self.bootstrap = tuple(address.rpartition("/p2p/")[2] for address in settings.bootstrap)
        """Peer ids of the configured bootstraps."""
        tolerance = float(genesis.parameters.grace_seconds)
        self.clock_check = ClockCheck(network, clock, bulletin, tolerance=tolerance, trusted=self.bootstrap)
        self._known_peers = KnownPeers(home.known_peers, network, network.reach)
        self._rendezvous = Rendezvous(network, network.reach, genesis.id, bootstrap=self.bootstrap)
        self._local = LocalDiscovery(network, network.reach, genesis.id) if settings.mdns else None
        self._addresses = settings.bootstrap

    @property
    def services(self) -> tuple[tuple[str, Service], ...]:
        """Each with its name, to be supervised."""
        services: list[tuple[str, Service]] = [
            ("dialling", partial(self._network.keep_connected, self._addresses)),
            ("known peers", self._known_peers.run),
            ("rendezvous", self._rendezvous.run),
            ("clock check", self.clock_check.run),
        ]
        if self._local:
            services.append(("local discovery", self._local.run))
        return tuple(services)

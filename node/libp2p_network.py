"""The `Network` over libp2p: TCP, Noise, Yamux, GossipSub, and one stream for each request.

All deviations from py-libp2p are in `node.hardening`. Importing this module takes a second or two.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
import trio

from node.addresses import is_circuit, parse
from node.circuit_wire import CircuitFailed
from node.circuits import Circuits

# Before the first import of libp2p, which it mends.
from node.hardening import GuardedGossip, GuardedHost, GuardedPubsub, forget_failed_dial
from node.hole_punch import HolePunch
from node.libp2p_host import (
    DIAL_SECONDS,
    CannotListen,
    interfaces,
    make_host,
    parse_place,
    place_of,
    require_free,
    resolved,
    shake_hands,
)
from node.libp2p_requests import Requests
from node.network import (
    MESSAGE_MAXIMUM,
    REMEMBERED_SECONDS,
    SUBSCRIPTION_QUEUE,
    Admission,
    Gossip,
    Peer,
    Reason,
    RequestFailed,
    Unreachable,
    Validator,
    anybody,
)
from node.peer_table import PeerTable
from node.peered_network import PeeredNetwork
from node.reach import Reach
from node.relay_service import RelayService
from node.ungrouped import ungrouped

# isort: split
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import Direction
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo, info_from_p2p_addr
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

log = structlog.get_logger(__name__)

INBOUND, OUTBOUND = 40, 20
CLOSE_SECONDS = 2.0
PROBE_SECONDS = 5.0


@asynccontextmanager
async def open_libp2p_network(
    seed: bytes,
    listen: Sequence[str],
    *,
    announce: Sequence[str] = (),
    relay: bool = False,
    inbound: int = INBOUND,
    outbound: int = OUTBOUND,
) -> AsyncIterator["Libp2pNetwork"]:
    """Run a host with the peer key of that 32-byte seed and yield its network.

    `listen` and `announce` are multiaddrs in text, without a peer id; `/ip4/127.0.0.1/tcp/0` takes any free
    port. `announce` replaces what others are told, for a node behind a forwarded port. With `relay` the host
    relays for peers that cannot be dialled. `inbound` and `outbound` cap the connections of each direction,
    so that no attacker can take the places that this node dials from. Raises ValueError for an address that
    cannot be parsed, `CannotListen` if none of them can be listened on.
    """
    places = [parse_place(place) for place in listen]
    announced = tuple(str(parse_place(place)) for place in announce)
    require_free(listen)
    host = make_host(seed, places, inbound, outbound)
    network = Libp2pNetwork(host, announced, relay=relay, places=inbound)
    with ungrouped():
        async with host.run(listen_addrs=places):
            if len(host.get_transport_addrs()) < len(places):
                raise CannotListen(f"cannot listen on {' and '.join(listen)}. Configure addresses of this machine.")
            async with background_trio_service(network.pubsub), background_trio_service(network.pubsub.router):
                await network.pubsub.wait_until_ready()
                try:
                    yield network
                finally:
                    await network.close()


class _Notifee:
    """Hears from the swarm of connections opening and closing."""

    def __init__(self, network: "Libp2pNetwork") -> None:
        self._network = network

    async def connected(self, swarm: Any, connection: Any) -> None:
        self._network.met(connection)

    async def disconnected(self, swarm: Any, connection: Any) -> None:
        self._network.parted(connection.muxed_conn.peer_id)

    async def opened_stream(self, swarm: Any, stream: Any) -> None: ...
    async def closed_stream(self, swarm: Any, stream: Any) -> None: ...
    async def listen(self, swarm: Any, place: Any) -> None: ...
    async def listen_close(self, swarm: Any, place: Any) -> None: ...


class Libp2pNetwork(PeeredNetwork[Requests]):
    """A running host's `Network`; made by `open_libp2p_network`."""

    def __init__(
        self, host: GuardedHost, announced: tuple[str, ...], *, relay: bool = False, places: int = INBOUND
    ) -> None:
        peers = PeerTable()
        super().__init__(peers, Requests(host, peers.__contains__))
        self.host = host
        self.peer = str(host.get_id())
        self.pubsub = GuardedPubsub(
            host,
            GuardedGossip(),
            judge=self._subscriptions.judge,
            heard=self._changed,
            message_maximum=MESSAGE_MAXIMUM,
            remembered_seconds=REMEMBERED_SECONDS,
        )
        self._swarm = host.get_network()
        self._announced = announced
        self._circuits = Circuits(host, self._direct_place)
        self._relay = RelayService(host, lambda: self.addresses, self._peers.has_direct) if relay else None
        self._change = trio.Event()
        self._swarm.register_notifee(_Notifee(self))
        self.reach = Reach(self, places=places)
        self._replacing: set[str] = set()
        self._hole_punch = HolePunch(self, self.reach.reachability, self._replace)

    @property
    def addresses(self) -> tuple[str, ...]:
        """See `Network.addresses`; an address for all interfaces is one address for each."""
        places = self._announced or tuple(
            place for listened in self.host.get_transport_addrs() for place in interfaces(str(listened))
        )
        # Others dial the first that fits, and TCP costs both sides less.
        bare = sorted((place.partition("/p2p/")[0] for place in places), key=lambda place: "/tcp/" not in place)
        return tuple(f"{place}/p2p/{self.peer}" for place in bare)

    async def publish(self, topic: str, data: bytes) -> None:
        """See `Network.publish`."""
        self._subscriptions.check_own(topic, data)
        self._subscriptions.published()
        await self.pubsub.publish(topic, data)

    @asynccontextmanager
    async def subscribe(
        self, topic: str, validate: Validator, *, admit: Admission = anybody, queue: int = SUBSCRIPTION_QUEUE
    ) -> AsyncIterator[trio.MemoryReceiveChannel[Gossip]]:
        """See `Network.subscribe`."""
        with self._subscriptions.open(topic, validate, admit, queue) as messages:
            try:
                await self.pubsub.subscribe(topic)
                yield messages
            finally:
                with trio.move_on_after(1, shield=True):
                    await self.pubsub.unsubscribe(topic)

    def audience(self, topic: str) -> int:
        """See `Network.audience`."""
        return sum(peer in self.pubsub.peers for peer in self.pubsub.peer_topics.get(topic, ()))

    async def await_audience(self, topic: str, count: int = 1) -> None:
        """See `Network.await_audience`."""
        await trio.lowlevel.checkpoint()
        while self.audience(topic) < count:
            await self._change.wait()

    @property
    def relays(self) -> tuple[str, ...]:
        """See `Network.relays`."""
        return self._circuits.relays

    @property
    def relayed(self) -> tuple[str, ...]:
        """See `Network.relayed`."""
        return self._relay.reserved if self._relay else ()

    async def connect(self, address: str) -> str:
        """See `Network.connect`."""
        place = await _located(address)
        name = str(place.peer_id)
        if name == self.peer:
            raise Unreachable(f"{address} is this node itself.")
        if is_circuit(address):
            await self._call(address)
            return name
        if name in self._peers:
            if not self._peers[name].relayed:
                await trio.lowlevel.checkpoint()
                return name
            # Not two at once: gossip would stay on the one that is closed.
            if not await self.answers(address):
                raise Unreachable(f"nobody answers at {address}.")
            await self.disconnect(name)
        try:
            with trio.fail_after(DIAL_SECONDS):
                forget_failed_dial(self._swarm, place.peer_id)
                await self.host.connect(place)
        except trio.TooSlowError:
            raise Unreachable(f"{address} did not answer in {DIAL_SECONDS:g} s.") from None
        except Exception as error:
            if "limit exceeded" in f"{error.__cause__}".lower():
                raise Unreachable(f"no place for a connection to {address}: as many as allowed are open.") from error
            raise Unreachable(f"nobody answers at {address}.") from error
        return name

    async def _call(self, address: str) -> None:
        """Connect through a relay. Raises `Unreachable`."""
        parsed = parse(address)
        if parsed is None or not parsed.relay:
            raise Unreachable(f"{address} is no address of a peer behind a relay.")
        if parsed.peer in self._peers:
            await trio.lowlevel.checkpoint()
            return
        if parsed.peer in self._replacing:
            raise Unreachable(f"{parsed.peer} is being connected directly.")
        try:
            await self._circuits.dial(parsed.relay, parsed.peer)
        except CircuitFailed as error:
            raise Unreachable(str(error)) from error

    async def _replace(self, peer: str, stream: trio.SocketStream, calling: bool) -> None:
        """Let a socket to that peer take the relayed connection's place."""
        connection = RawConnection(TrioTCPStream(stream), calling)
        self._replacing.add(peer)
        try:
            await self.disconnect(peer)  # not two at once: gossip would stay on the one that is closed
            if calling:
                await self.host.upgrade_outbound_connection(connection, ID.from_string(peer))
            else:
                await self.host.upgrade_inbound_connection(connection, Multiaddr(f"/p2p/{peer}"))
        except BaseException:
            await connection.close()
            raise
        finally:
            self._replacing.discard(peer)

    async def answers(self, address: str) -> bool:
        """See `Network.answers`."""
        try:
            place = await _located(address)
            with trio.fail_after(PROBE_SECONDS):
                await shake_hands(self._swarm, place.addrs[0], place.peer_id)
        except Exception as error:
            log.debug("nobody answers", address=address, error=repr(error))
            return False
        return True

    async def reserve(self, relay: str) -> float:
        """See `Network.reserve`."""
        try:
            return await self._circuits.reserve(relay)
        except CircuitFailed as error:
            raise RequestFailed(Reason.REFUSED if error.status else Reason.UNSUPPORTED, str(error)) from error

    async def disconnect(self, peer: str) -> None:
        """See `Network.disconnect`."""
        await trio.lowlevel.checkpoint()
        if peer in self._peers:
            await self.host.disconnect(ID.from_string(peer))

    async def keep_connected(self, addresses: Sequence[str]) -> None:
        """See `Network.keep_connected`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hole_punch.run)
            await self.reach.keep_connected(addresses)

    async def close(self) -> None:
        """Close listeners, then all connections at once.

        The library closes connections one after the other, 0.3 s each, and when it is cancelled it leaves
        the listeners open: they accept connections until the process ends.
        """
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            for listener in tuple(self._swarm.listeners.values()):
                await listener.close()
            async with trio.open_nursery() as nursery:
                for peer in tuple(self._swarm.connections):
                    nursery.start_soon(self.host.disconnect, peer)
            await self.host.close()

    def met(self, connection: Any) -> None:
        """The swarm opened a connection."""
        name = str(connection.muxed_conn.peer_id)
        if name in self._peers:
            return
        # A punched hole is open to this node alone: that it got through says of nobody that he can be dialled.
        outbound = connection.direction == Direction.OUTBOUND and name not in self._replacing
        self._peers.join(Peer(name, trio.current_time(), place_of(connection.muxed_conn), outbound))
        self._changed()

    def parted(self, peer: ID) -> None:
        """The swarm closed a connection."""
        name = str(peer)
        if name in self._peers and not self._swarm.connections.get(peer):
            self._peers.part(name)
            self._requests.forget(name)
            self._circuits.forget(name)
            if self._relay:
                self._relay.forget(name)
            self._changed()

    def _direct_place(self, peer: str) -> str | None:
        return self._peers[peer].address if self._peers.has_direct(peer) else None

    def _changed(self) -> None:
        self._change.set()
        self._change = trio.Event()


async def _located(address: str) -> PeerInfo:
    """Whom an address names, and where, with host names looked up. Raises `Unreachable`."""
    try:
        return info_from_p2p_addr(Multiaddr(await resolved(address)))
    except OSError as error:
        raise Unreachable(f"the host name in {address} is not known: {error.strerror}.") from error
    except Exception as error:
        raise Unreachable(f"{address} is not an address that ends in /p2p/ and a peer id.") from error

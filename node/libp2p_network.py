"""The `Network` over libp2p: TCP, Noise, Yamux, GossipSub, and one stream for each request.

All deviations from py-libp2p are in `node.hardening`. Importing this module takes a second or two.
"""

import ipaddress
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psutil
import structlog
import trio

# Before the first import of libp2p, which it mends.
from node.hardening import (
    BoundedYamux,
    GuardedGossip,
    GuardedHost,
    GuardedPubsub,
    NoAutoConnector,
    forget_failed_dial,
    noise_only,
)

# isort: split
from libp2p import new_swarm
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.swarm_connection import Direction
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo, info_from_p2p_addr
from libp2p.rcmgr import ResourceManager
from libp2p.rcmgr.connection_limits import ConnectionLimits
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.tools.anyio_service import background_trio_service
from msgspec import Struct
from multiaddr import Multiaddr

from node.framing import Incomplete, TooLong, read_body, write_body, write_refusal
from node.mailbox import Mailbox
from node.network import (
    CHANGE_QUEUE,
    HANDLERS,
    MESSAGE_MAXIMUM,
    REMEMBERED_SECONDS,
    REQUEST_MAXIMUM,
    REQUEST_SECONDS,
    REQUESTS_PER_PEER,
    RESPONSE_MAXIMUM,
    SUBSCRIPTION_QUEUE,
    Gossip,
    Handler,
    Peer,
    PeerChange,
    Reason,
    RequestFailed,
    Traffic,
    Unreachable,
    Validator,
)
from node.reach import Reach
from node.ungrouped import ungrouped

log = structlog.get_logger(__name__)

INBOUND, OUTBOUND = 40, 20
DIAL_SECONDS = 10.0
SERVE_SECONDS = 60.0
READ_SECONDS = 10.0
CLOSE_SECONDS = 2.0


class CannotListen(Exception):
    """None of the addresses to listen on can be used; the text is a sentence for people."""


@asynccontextmanager
async def open_libp2p_network(
    seed: bytes,
    listen: Sequence[str],
    *,
    announce: Sequence[str] = (),
    inbound: int = INBOUND,
    outbound: int = OUTBOUND,
) -> AsyncIterator["Libp2pNetwork"]:
    """Run a host with the peer key of that 32-byte seed and yield its network.

    `listen` and `announce` are multiaddrs in text, without a peer id; `/ip4/127.0.0.1/tcp/0` takes any free
    port. `announce` replaces what others are told, for a node behind a forwarded port. `inbound` and
    `outbound` cap the connections of each direction, so that no attacker can take the places that this node
    dials from. Raises ValueError for an address that cannot be parsed, `CannotListen` if none of them can
    be listened on.
    """
    places = [_parsed(place) for place in listen]
    announced = tuple(str(_parsed(place)) for place in announce)
    key_pair = create_new_key_pair(seed)
    swarm = new_swarm(
        key_pair=key_pair,
        sec_opt=noise_only(key_pair),
        muxer_opt={YAMUX: BoundedYamux},
        # The transports are chosen by these; they are listened on below.
        listen_addrs=places or None,
        retry_config=RetryConfig(max_retries=0),
        connection_config=_connection_config(inbound, outbound),
    )
    swarm.auto_connector = NoAutoConnector(swarm=swarm)
    host = GuardedHost(
        network=swarm, resource_manager=_limits(inbound, outbound), disable_identify_address_discovery=True
    )
    network = Libp2pNetwork(host, swarm, announced)
    with ungrouped():
        async with host.run(listen_addrs=places):
            if places and not network.addresses:
                raise CannotListen(
                    f"cannot listen on {', '.join(listen)}: the port is taken or the address is not of this machine. "
                    "Stop what uses it, or configure another."
                )
            async with background_trio_service(network.pubsub), background_trio_service(network.pubsub.router):
                await network.pubsub.wait_until_ready()
                try:
                    yield network
                finally:
                    await network.close()


def _parsed(place: str) -> Multiaddr:
    try:
        return Multiaddr(place)
    except Exception as error:
        raise ValueError(f"{place!r} is not a multiaddr such as /ip4/0.0.0.0/tcp/4001") from error


def _connection_config(inbound: int, outbound: int) -> ConnectionConfig:
    return ConnectionConfig(
        max_connections=inbound + outbound,
        min_connections=0,
        low_watermark=0,
        high_watermark=inbound + outbound,
        max_connections_per_peer=2,
        dial_timeout=DIAL_SECONDS,
        # A link that was cut is noticed within ten seconds; without this, never.
        enable_health_monitoring=True,
        health_initial_delay=3,
        health_warmup_window=3,
        health_check_interval=5,
        ping_timeout=4,
        abort_connection_on_ping_failure=True,
    )


def _limits(inbound: int, outbound: int) -> ResourceManager:
    return ResourceManager(
        connection_limits=ConnectionLimits(
            max_pending_inbound=16,
            max_established_inbound=inbound,
            max_established_outbound=outbound,
            max_established_per_peer=2,
        ),
        # These refuse connections by the machine's free memory, by chance failures of others, or by rates that a
        # network on one machine exceeds.
        enable_memory_limits=False,
        enable_circuit_breaker=False,
        enable_graceful_degradation=False,
        enable_rate_limiting=False,
        enable_metrics=False,
    )


class _Topic(Struct):
    validate: Validator
    mailbox: Mailbox[Gossip]


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


class Libp2pNetwork:
    """A running host's `Network`; made by `open_libp2p_network`."""

    def __init__(self, host: GuardedHost, swarm: Any, announced: tuple[str, ...]) -> None:
        self.host = host
        self.peer = str(host.get_id())
        self.pubsub = GuardedPubsub(
            host,
            GuardedGossip(),
            accept=self._accept,
            heard=self._changed,
            message_maximum=MESSAGE_MAXIMUM,
            remembered_seconds=REMEMBERED_SECONDS,
        )
        self._swarm = swarm
        self._announced = announced
        self._peers: dict[str, Peer] = {}
        self._topics: dict[str, _Topic] = {}
        self._watchers: list[Mailbox[PeerChange]] = []
        self._served: set[str] = set()
        self._handling: Counter[str] = Counter()
        self._limits: dict[str, trio.CapacityLimiter] = {}
        self._counts = dict.fromkeys(Traffic.__struct_fields__, 0)
        self._change = trio.Event()
        swarm.register_notifee(_Notifee(self))
        self.reach = Reach(self)

    @property
    def addresses(self) -> tuple[str, ...]:
        """See `Network.addresses`; an address for all interfaces is one address for each."""
        places = self._announced or tuple(
            place for listened in self.host.get_transport_addrs() for place in _interfaces(str(listened))
        )
        return tuple(f"{place.partition('/p2p/')[0]}/p2p/{self.peer}" for place in places)

    @property
    def traffic(self) -> Traffic:
        """See `Network.traffic`."""
        waiting = sum(topic.mailbox.dropped for topic in self._topics.values())
        return Traffic(**{**self._counts, "dropped": self._counts["dropped"] + waiting})

    async def publish(self, topic: str, data: bytes) -> None:
        """See `Network.publish`."""
        joined = self._topics.get(topic)
        if len(data) > MESSAGE_MAXIMUM:
            raise ValueError(f"a message of {len(data)} bytes is longer than {MESSAGE_MAXIMUM}")
        if joined and not joined.validate(data):
            raise ValueError(f"the own validator of {topic} refuses this message")
        self._counts["published"] += 1
        await self.pubsub.publish(topic, data)

    @asynccontextmanager
    async def subscribe(
        self, topic: str, validate: Validator, *, queue: int = SUBSCRIPTION_QUEUE
    ) -> AsyncIterator[trio.MemoryReceiveChannel[Gossip]]:
        """See `Network.subscribe`."""
        if topic in self._topics:
            raise ValueError(f"{topic} has a subscriber already")
        with Mailbox[Gossip](queue) as mailbox:
            self._topics[topic] = _Topic(validate, mailbox)
            try:
                await self.pubsub.subscribe(topic)
                yield mailbox.channel
            finally:
                del self._topics[topic]
                self._counts["dropped"] += mailbox.dropped
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

    async def connect(self, address: str) -> str:
        """See `Network.connect`."""
        try:
            place: PeerInfo = info_from_p2p_addr(Multiaddr(address))
        except Exception as error:
            raise Unreachable(f"{address} is not an address that ends in /p2p/ and a peer id.") from error
        name = str(place.peer_id)
        if name == self.peer:
            raise Unreachable(f"{address} is this node itself.")
        if name in self._peers:
            await trio.lowlevel.checkpoint()
            return name
        try:
            with trio.fail_after(DIAL_SECONDS):
                forget_failed_dial(self._swarm, place.peer_id)
                await self.host.connect(place)
        except trio.TooSlowError:
            raise Unreachable(f"{address} did not answer in {DIAL_SECONDS:g} s.") from None
        except Exception as error:
            raise Unreachable(f"nobody answers at {address}.") from error
        return name

    async def disconnect(self, peer: str) -> None:
        """See `Network.disconnect`."""
        await trio.lowlevel.checkpoint()
        if peer in self._peers:
            await self.host.disconnect(ID.from_string(peer))

    async def keep_connected(self, addresses: Sequence[str]) -> None:
        """See `Network.keep_connected`."""
        await self.reach.keep_connected(addresses)

    def peers(self) -> tuple[Peer, ...]:
        """See `Network.peers`."""
        return tuple(self._peers.values())

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[trio.MemoryReceiveChannel[PeerChange]]:
        """See `Network.changes`."""
        with Mailbox[PeerChange](CHANGE_QUEUE) as mailbox:
            for name in self._peers:
                mailbox.put(PeerChange(name, joined=True))
            self._watchers.append(mailbox)
            try:
                yield mailbox.channel
            finally:
                self._watchers.remove(mailbox)

    async def request(
        self,
        peer: str,
        protocol: str,
        body: bytes,
        *,
        timeout: float = REQUEST_SECONDS,  # noqa: ASYNC109
    ) -> bytes:
        """See `Network.request`."""
        if len(body) > REQUEST_MAXIMUM:
            raise ValueError(f"a request of {len(body)} bytes is longer than {REQUEST_MAXIMUM}")
        with trio.move_on_after(timeout):
            async with self._limits.setdefault(peer, trio.CapacityLimiter(REQUESTS_PER_PEER)):
                return await self._exchange(peer, protocol, body)
        raise RequestFailed(Reason.TIMED_OUT, f"{peer} did not answer {protocol} in {timeout:g} s.")

    def serve(self, protocol: str, handler: Handler) -> None:
        """See `Network.serve`."""
        if protocol in self._served:
            raise ValueError(f"{protocol} is served already")
        self._served.add(protocol)

        async def handle(stream: Any) -> None:
            await self._handle(stream, protocol, handler)

        self.host.set_stream_handler(protocol, handle)

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
        remote = connection.muxed_conn.get_remote_address()
        outbound = connection.direction == Direction.OUTBOUND
        self._peers[name] = Peer(name, trio.current_time(), _place(remote), outbound)
        self._tell(name, joined=True)

    def parted(self, peer: ID) -> None:
        """The swarm closed a connection."""
        name = str(peer)
        if name in self._peers and not self._swarm.connections.get(peer):
            del self._peers[name]
            self._limits.pop(name, None)
            self._tell(name, joined=False)

    def _tell(self, name: str, *, joined: bool) -> None:
        for watcher in self._watchers:
            watcher.put(PeerChange(name, joined))
        self._changed()

    def _changed(self) -> None:
        self._change.set()
        self._change = trio.Event()

    def _accept(self, topic: str, data: bytes, forwarder: ID) -> bool:
        joined = self._topics.get(topic)
        if joined is None:
            return False
        try:
            valid = joined.validate(data)
        except Exception:
            log.exception("a validator failed; the message is rejected", topic=topic)
            valid = False
        if valid:
            self._counts["delivered"] += 1
            joined.mailbox.put(Gossip(data, str(forwarder)))
        else:
            self._counts["rejected"] += 1
        return valid

    async def _exchange(self, peer: str, protocol: str, body: bytes) -> bytes:
        if peer not in self._peers:
            raise RequestFailed(Reason.NOT_CONNECTED, f"there is no connection to {peer}.")
        self._counts["requested"] += 1
        try:
            stream = await self.host.new_stream(ID.from_string(peer), [protocol])
        except Exception as error:
            if "not supported" in str(error.__cause__):
                raise RequestFailed(Reason.UNSUPPORTED, f"{peer} does not speak {protocol}.") from error
            raise RequestFailed(Reason.RESET, f"{peer} took no stream for {protocol}.") from error
        try:
            await write_body(stream, body)
            response = await read_body(stream, RESPONSE_MAXIMUM)
        except TooLong as error:
            await _reset(stream)
            raise RequestFailed(Reason.TOO_LARGE, f"{peer} answers with over {RESPONSE_MAXIMUM} bytes.") from error
        except Exception as error:
            await _reset(stream)
            raise RequestFailed(Reason.RESET, f"{peer} broke off {protocol}.") from error
        except BaseException:
            await _reset(stream)
            raise
        await stream.close()
        return response

    async def _handle(self, stream: Any, protocol: str, handler: Handler) -> None:
        """Answer on one inbound stream; whatever goes wrong ends that stream and no more."""
        peer = str(stream.muxed_conn.peer_id)
        if self._handling[peer] >= REQUESTS_PER_PEER or self._handling.total() >= HANDLERS:
            await _reset(stream)
            return
        self._handling[peer] += 1
        try:
            with trio.fail_after(SERVE_SECONDS):
                with trio.fail_after(READ_SECONDS):
                    body = await read_body(stream, REQUEST_MAXIMUM)
                try:
                    response = await handler(peer, body)
                except Exception:
                    log.exception("a request handler failed; the stream is reset", protocol=protocol)
                    await _reset(stream)
                    return
                if len(response) > RESPONSE_MAXIMUM:
                    await write_refusal(stream)
                else:
                    self._counts["served"] += 1
                    await write_body(stream, response)
                await stream.close()
        except (Exception, trio.Cancelled) as error:
            log.debug("a request was not answered", peer=peer, protocol=protocol, error=repr(error))
            await _reset(stream)
            if isinstance(error, trio.Cancelled | TooLong | Incomplete):
                raise
        finally:
            self._handling[peer] -= 1
            if not self._handling[peer]:
                del self._handling[peer]


async def _reset(stream: Any) -> None:
    with trio.move_on_after(1, shield=True):
        try:
            await stream.reset()
        except Exception as error:
            log.debug("a stream could not be reset", error=repr(error))


def _place(remote: tuple[str, int] | None) -> str:
    if remote is None:
        return "/unknown"
    host, port = remote[0], remote[1]
    return f"/ip{ipaddress.ip_address(host).version}/{host}/tcp/{port}"


def _interfaces(place: str) -> list[str]:
    """The place itself, or, if it stands for all interfaces, one place for each."""
    _, kind, host, rest = place.split("/", 3)
    if host not in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
        return [place]
    family = "AF_INET" if kind == "ip4" else "AF_INET6"
    hosts = {
        entry.address.partition("%")[0]
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family.name == family
    }
    usable = sorted(host for host in hosts if not ipaddress.ip_address(host).is_link_local)
    return [f"/{kind}/{host}/{rest}" for host in usable]

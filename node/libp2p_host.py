"""The libp2p host under the network: its transports, limits, and what addresses mean on this machine."""

import errno
import ipaddress
import socket
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import psutil
import trio

# Before the first import of libp2p, which it mends.
from node.hardening import BoundedYamux, GuardedHost, NoAutoConnector, noise_only

# isort: split
from libp2p import new_swarm
from libp2p.abc import ConnectionType
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.network.config import RetryConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.rcmgr import ResourceManager
from libp2p.rcmgr.connection_limits import ConnectionLimits
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.transport.quic.config import QUICTransportConfig
from libp2p.transport.quic.connection import QUICConnection
from multiaddr import Multiaddr

DIAL_SECONDS = 10.0
SILENT_SECONDS = 1e6
FAMILIES = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}


class CannotListen(OSError):
    """An address to listen on cannot be used; the text is a sentence for people."""


def make_host(seed: bytes, places: Sequence[Multiaddr], inbound: int, outbound: int) -> GuardedHost:
    """A host that does not run yet."""
    key_pair = create_new_key_pair(seed)
    swarm = new_swarm(
        key_pair=key_pair,
        sec_opt=noise_only(key_pair),
        muxer_opt={YAMUX: BoundedYamux},
        # The transports are chosen by these; the host listens on them when it runs.
        listen_addrs=list(places) or None,
        retry_config=RetryConfig(max_retries=0),
        connection_config=_connection_config(inbound, outbound),
    )
    swarm.auto_connector = NoAutoConnector(swarm=swarm)
    # What peers say about one's own address is no ground to announce it.
    return GuardedHost(
        network=swarm, resource_manager=_limits(inbound, outbound), disable_identify_address_discovery=True
    )


def _connection_config(inbound: int, outbound: int) -> QUICTransportConfig:
    return QUICTransportConfig(
        # Gossip's streams are silent while nothing happens; by default they break off after half a minute.
        STREAM_READ_TIMEOUT=SILENT_SECONDS,
        enable_draft29=False,
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


def parse_place(place: str) -> Multiaddr:
    """A multiaddr to listen on or to announce. Raises ValueError."""
    try:
        return Multiaddr(place)
    except Exception as error:
        raise ValueError(f"{place!r} is not a multiaddr such as /ip4/0.0.0.0/tcp/4001") from error


def require_free(places: Sequence[str]) -> None:
    """Raise `CannotListen` if a TCP port to listen on is taken.

    The library listens with SO_REUSEPORT: a second node of the same user on one port would get half of the first one's
    connections instead of an error.
    """
    for place in places:
        parts = place.split("/")
        if len(parts) < 5 or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp" or parts[4] == "0":
            continue
        family = socket.AF_INET if parts[1] == "ip4" else socket.AF_INET6
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((parts[2], int(parts[4])))
            except OSError as error:
                raise CannotListen(_why_not(place, error)) from error


def _why_not(place: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {place}: another program uses that port. Stop it, or configure another port."
    return f"cannot listen on {place}: {error.strerror}. Configure an address of this machine and a port above 1023."


def interfaces(place: str) -> list[str]:
    """The place itself, or, if it stands for all interfaces, one place for each."""
    _, kind, host, rest = place.split("/", 3)
    if host not in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
        return [place]
    family = socket.AF_INET if kind == "ip4" else socket.AF_INET6
    hosts = {
        entry.address.partition("%")[0]
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family == family
    }
    usable = sorted(host for host in hosts if not ipaddress.ip_address(host).is_link_local)
    return [f"/{kind}/{host}/{rest}" for host in usable]


def place_of(connection: Any) -> str:
    """A muxed connection's other end as a multiaddr without a peer id; through a relay, the circuit's."""
    if connection.get_connection_type() == ConnectionType.RELAYED:
        return str(connection.get_transport_addresses()[0])
    remote: tuple[str, int] | None = connection.get_remote_address()
    if remote is None:
        return "/unknown"
    host = ipaddress.ip_address(remote[0].partition("%")[0])
    if isinstance(connection, QUICConnection):
        return f"/ip{host.version}/{host}/udp/{remote[1]}/quic-v1"
    return f"/ip{host.version}/{host}/tcp/{remote[1]}"


async def shake_hands(swarm: Swarm, place: Multiaddr, peer: ID) -> None:
    """See whether that peer is there, and hang up. Raises whatever goes wrong."""
    # QUIC's handshake shows who is there, and its transport wants to know whom to expect.
    named = place if "tcp" in {protocol.name for protocol in place.protocols()} else place.encapsulate(f"/p2p/{peer}")
    connection = await swarm.transport_manager.transport_for_dialing(place).dial(named)
    try:
        if isinstance(connection, RawConnection):
            await swarm.upgrader.upgrade_security(connection, True, peer)
        elif connection.peer_id != peer:
            raise ConnectionError(f"{connection.peer_id} is there")
    finally:
        with trio.move_on_after(1, shield=True):
            await connection.close()


async def resolved(address: str) -> str:
    """The address with its host name looked up. Raises `OSError` if there is none.

    The library dials names of no kind: /dns, /dns4 and /dns6 alike.
    """
    parts = address.split("/")
    if len(parts) < 3 or parts[1] not in FAMILIES:
        return address
    found: Sequence[Any] = await trio.socket.getaddrinfo(
        parts[2], None, family=FAMILIES[parts[1]], type=socket.SOCK_STREAM
    )
    host = ipaddress.ip_address(found[0][4][0])
    return "/".join(["", f"ip{host.version}", str(host), *parts[3:]])

"""Addresses of peers as text, and how far they reach.

`/ip4/<host>/tcp/<port>/p2p/<peer>`, `/ip4/<host>/udp/<port>/quic-v1/p2p/<peer>`, or through a relay
`<relay's address>/p2p-circuit/p2p/<peer>`; `ip6` likewise.
"""

import enum
import ipaddress
import re

from msgspec import Struct

LENGTH_MAXIMUM = 256
CIRCUIT = "/p2p-circuit"
_TRANSPORTS = {"tcp": (), "udp": ("quic-v1",)}
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


class Reachable(enum.IntEnum):
    """From where an address can be reached at all."""

    MACHINE = 0
    SITE = 1
    WORLD = 2


class Address(Struct, frozen=True):
    """A parsed address; `text` gives it back. With a `relay` (its peer id), host and port are the relay's."""

    host: str
    port: int
    peer: str
    protocol: str = "tcp"
    relay: str = ""

    @property
    def place(self) -> str:
        """The multiaddr without the peer id."""
        version = ipaddress.ip_address(self.host).version
        place = "/".join(["", f"ip{version}", self.host, self.protocol, str(self.port), *_TRANSPORTS[self.protocol]])
        return f"{place}/p2p/{self.relay}{CIRCUIT}" if self.relay else place

    @property
    def text(self) -> str:
        """The multiaddr."""
        return f"{self.place}/p2p/{self.peer}"

    @property
    def reachable(self) -> Reachable:
        """From where it can be reached."""
        return reachable(self.host)


def reachable(host: str) -> Reachable:
    """From where an IP address can be reached; what is no unicast address counts as the machine's own."""
    address = ipaddress.ip_address(host)
    if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_reserved:
        return Reachable.MACHINE
    return Reachable.WORLD if address.is_global else Reachable.SITE


def parse(text: str) -> Address | None:
    """An address in exactly one of the forms above, or None. The peer id is any name: the transport checks it."""
    if len(text) > LENGTH_MAXIMUM:
        return None
    before, circuit, after = text.partition(f"{CIRCUIT}/p2p/")
    address = _parse_direct(before)
    if address is None or not circuit:
        return address
    return (
        Address(address.host, address.port, after, address.protocol, address.peer) if _NAME.fullmatch(after) else None
    )


def _parse_direct(text: str) -> Address | None:
    parts = text.split("/")
    if len(parts) < 7 or parts[0] or parts[3] not in _TRANSPORTS:
        return None
    family, host, protocol, port = parts[1:5]
    peer = parts[-1]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if (*parts[5:-1],) != (*_TRANSPORTS[protocol], "p2p") or not _NAME.fullmatch(peer):
        return None
    if family != f"ip{address.version}" or "%" in host or not _PORT.fullmatch(port) or int(port) > 65535:
        return None
    return Address(str(address), int(port), peer, protocol)


def host_of(place: str) -> str | None:
    """The IP address in a place such as `/ip4/10.0.0.1/tcp/4001`, or None."""
    parts = place.split("/")
    try:
        return str(ipaddress.ip_address(parts[2])) if len(parts) > 2 else None
    except ValueError:
        return None


def is_circuit(place: str) -> bool:
    """Whether a place is reached through a relay."""
    return CIRCUIT in place

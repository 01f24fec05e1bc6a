"""Addresses of peers as text: multiaddrs `/ip4/<host>/tcp/<port>/p2p/<peer id>`, and how far they reach."""

import enum
import ipaddress
import re

from msgspec import Struct

LENGTH_MAXIMUM = 256
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


class Reachable(enum.IntEnum):
    """From where an address can be reached at all."""

    MACHINE = 0
    SITE = 1
    WORLD = 2


class Address(Struct, frozen=True):
    """A parsed address; `text` gives it back."""

    host: str
    port: int
    peer: str

    @property
    def text(self) -> str:
        """The multiaddr."""
        return f"/ip{ipaddress.ip_address(self.host).version}/{self.host}/tcp/{self.port}/p2p/{self.peer}"

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
    """An address in exactly the form above, or None. The peer id is any name: the transport checks it."""
    if len(text) > LENGTH_MAXIMUM:
        return None
    parts = text.split("/")
    if len(parts) != 7 or (parts[0], parts[3], parts[5]) != ("", "tcp", "p2p"):
        return None
    family, host, port, peer = parts[1], parts[2], parts[4], parts[6]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if family != f"ip{address.version}" or "%" in host or not _PORT.fullmatch(port) or int(port) > 65535:
        return None
    return Address(str(address), int(port), peer) if _NAME.fullmatch(peer) else None


def host_of(place: str) -> str | None:
    """The IP address in a place such as `/ip4/10.0.0.1/tcp/4001`, or None."""
    parts = place.split("/")
    try:
        return str(ipaddress.ip_address(parts[2])) if len(parts) > 2 else None
    except ValueError:
        return None

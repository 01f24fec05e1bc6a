"""The seam between the daemon and the peer-to-peer transport: bytes out, bytes in, and who is there.

Two implementations stand behind it and pass one contract test suite: `node.libp2p_network` over real
sockets and `node.memory_network` inside one process. Peer ids and addresses are text; an address is a
multiaddr that ends in `/p2p/<peer id>`, such as `/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW...`. Times are
`trio.current_time()`.
"""

import enum
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio
from msgspec import Struct

from node.addresses import is_circuit

MESSAGE_MAXIMUM = 64 * 1024
REQUEST_MAXIMUM = 1024 * 1024
RESPONSE_MAXIMUM = 16 * 1024 * 1024
REQUEST_SECONDS = 10.0
REQUESTS_PER_PEER = 8
HANDLERS = 64
SUBSCRIPTION_QUEUE = 4096
CHANGE_QUEUE = 1024
REMEMBERED_SECONDS = 120

Validator = Callable[[bytes], bool]
Admission = Callable[[bytes], bool]
Handler = Callable[[str, bytes], Awaitable[bytes]]


def anybody(data: bytes) -> bool:
    """Admits every message."""
    return True


class Gossip(Struct, frozen=True):
    """A message that passed its topic's validator, and the neighbour that delivered it (not its author)."""

    data: bytes
    sender: str


class Peer(Struct, frozen=True):
    """A connected peer. `address` is the other end of the connection as seen from here, without the peer id.

    `outbound`: this side dialled, so the address is one at which the peer can be reached.
    """

    peer: str
    since: float
    address: str
    outbound: bool

    @property
    def relayed(self) -> bool:
        """Whether the connection goes through a relay."""
        return is_circuit(self.address)


class PeerChange(Struct, frozen=True):
    """A peer joined (its first connection opened) or left (its last one closed)."""

    peer: str
    joined: bool


class Traffic(Struct, frozen=True):
    """What went through since the start. `dropped`: messages that a subscriber was too slow to take.

    `ignored`: valid messages that were not admitted.
    """

    published: int
    delivered: int
    rejected: int
    dropped: int
    requested: int
    served: int
    ignored: int


class Reason(enum.StrEnum):
    """Why a request has no response."""

    NOT_CONNECTED = "not connected"
    UNSUPPORTED = "unsupported"
    TIMED_OUT = "timed out"
    RESET = "reset"
    TOO_LARGE = "too large"
    REFUSED = "refused"


class Unreachable(Exception):
    """No connection to that address; the text is a sentence for people."""


class RequestFailed(Exception):
    """A request got no response. `reason` for the program, the text for people."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class Network(Protocol):
    """One node's view of the network. Use it from the trio task tree that opened it."""

    @property
    def peer(self) -> str:
        """The own peer id."""
        ...

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this node listens: addresses that others can dial, the own peer id included."""
        ...

    @property
    def traffic(self) -> Traffic:
        """Counters since the start."""
        ...

    async def publish(self, topic: str, data: bytes) -> None:
        """Hand a message to the neighbours that subscribe to the topic; nothing is delivered to oneself.

        Best effort: without neighbours it is lost, and the same bytes again within `REMEMBERED_SECONDS` are
        not sent again. ValueError for more than `MESSAGE_MAXIMUM` bytes or for what the own validator of
        that topic refuses; never raises for what the network or a peer does.
        """
        ...

    def subscribe(
        self, topic: str, validate: Validator, *, admit: Admission = anybody, queue: int = SUBSCRIPTION_QUEUE
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Gossip]]:
        """Join a topic: take part in relaying it, and receive each message once.

        `validate` must be stateless and cheap: False (or an exception) rejects the message, which is then
        neither delivered nor relayed and counts against the peer that sent it. What is valid and
        `admit` refuses is neither delivered nor relayed, and held against nobody. At most `queue` messages
        wait; beyond that the oldest is dropped and counted. One subscriber a topic: a second one is a
        ValueError. The channel ends when the context does.
        """
        ...

    def audience(self, topic: str) -> int:
        """How many connected peers are known to subscribe to the topic."""
        ...

    async def await_audience(self, topic: str, count: int = 1) -> None:
        """Return once at least `count` connected peers are known to subscribe to the topic."""
        ...

    @property
    def relays(self) -> tuple[str, ...]:
        """The connected peers through which this node can be reached, see `reserve`."""
        ...

    @property
    def relayed(self) -> tuple[str, ...]:
        """The connected peers that can be reached through this node, if it is a relay."""
        ...

    async def connect(self, address: str) -> str:
        """Dial and return the peer's id; at once if that peer is connected already. Raises `Unreachable`.

        An address `<relay's address>/p2p-circuit/p2p/<peer id>` is dialled through the relay, which must be connected.
        A peer that is connected through a relay and answers at a direct address is connected there instead.
        """
        ...

    async def answers(self, address: str) -> bool:
        """Whether the peer of that direct address answers there; no connection stays of it."""
        ...

    async def reserve(self, relay: str) -> float:
        """Become reachable through a connected peer, for so many seconds; again to renew. Raises `RequestFailed`."""
        ...

    async def disconnect(self, peer: str) -> None:
        """Close every connection to the peer; nothing happens if there is none."""
        ...

    async def keep_connected(self, addresses: Sequence[str]) -> None:
        """Stay connected until cancelled: to these addresses, dialled again when they are lost, and to a few others.

        See `node.reach`. An address that does not answer is no failure: it is warned of once and tried for ever.
        """
        ...

    def peers(self) -> tuple[Peer, ...]:
        """The connected peers, longest connected first."""
        ...

    def changes(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[PeerChange]]:
        """Peers joining and leaving, beginning with one `joined` for each peer connected now.

        At most `CHANGE_QUEUE` changes wait; beyond that the oldest is dropped, so ask `peers()` for the
        truth.
        """
        ...

    async def request(
        self,
        peer: str,
        protocol: str,
        body: bytes,
        *,
        timeout: float = REQUEST_SECONDS,  # noqa: ASYNC109
    ) -> bytes:
        """Send one request on a stream of its own and return the response.

        `body` up to `REQUEST_MAXIMUM` bytes (beyond: ValueError), the response up to `RESPONSE_MAXIMUM`. At
        most `REQUESTS_PER_PEER` run at a time with one peer, further ones wait. `timeout` seconds cover
        everything, waiting too. Raises `RequestFailed`.
        """
        ...

    def serve(self, protocol: str, handler: Handler) -> None:
        """Answer requests: `handler(peer, body)` returns the response.

        An exception in the handler resets the stream and is logged, never more. At most `REQUESTS_PER_PEER`
        run for one peer and `HANDLERS` in all; what comes beyond is reset. Over libp2p a peer that asks all the
        time is answered ever later. ValueError if the protocol is
        served already.
        """
        ...

"""A direct connection between two nodes behind routers that let nobody in: TCP's simultaneous open.

Both dial each other at the same time from the port on which they listen. A router that keeps ports lets the other's
first packet in as the answer to its own node's, and the two dials become one connection (RFC 793, section 3.4; as
DCUtR does in the libp2p specs). They arrange it over the relayed connection that they have: whoever was called asks
for the other's address, then says when, and each waits half a round trip. The socket must bring a secret that went
over the relayed connection before that is given up; whoever was asked is the caller in the handshakes that follow.

Where a router gives each connection another port nothing comes of it: the relayed connection stays.
"""

import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from typing import Annotated

import msgspec
import structlog
import trio
from msgspec import Meta, Struct

from node.addresses import LENGTH_MAXIMUM, Address, Reachable, parse
from node.network import Network, Peer, RequestFailed
from node.reachability import Reachability, Standing

PROTOCOL = "/peerboard/hole-punch/1"
PAUSES = (2.0, 30.0, 300.0)
ANSWER_SECONDS, DIAL_SECONDS, SECRET_SECONDS, AGAIN_SECONDS = 10.0, 5.0, 3.0, 0.2
LEAST_PORT = 1024
SECRET_BYTES = 32

log = structlog.get_logger(__name__)

Text = Annotated[str, Meta(max_length=LENGTH_MAXIMUM)]
Join = Callable[[str, trio.SocketStream, bool], Awaitable[None]]


class Proposal(Struct, frozen=True, forbid_unknown_fields=True):
    """The question, as JSON: where the asker will be, and a secret in hex. With `now` the other dials at once."""

    address: Text
    secret: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    now: bool


class Consent(Struct, frozen=True, forbid_unknown_fields=True):
    """The answer, as JSON: where the other will be; empty if nothing can come of it."""

    address: Text


class HolePunch:
    """One node's. `join(peer, socket, calling)` puts a direct connection in the place of the relayed one."""

    def __init__(self, network: Network, reachability: Reachability, join: Join) -> None:
        self._network = network
        self._reachability = reachability
        self._join = join
        self._nursery: trio.Nursery | None = None
        self._busy: set[str] = set()
        network.serve(PROTOCOL, self._answer)

    async def run(self) -> None:
        """Try with each peer that comes through a relay, a few times and ever more rarely, for ever."""
        async with self._network.changes() as changes, trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                async for change in changes:
                    if change.joined and (peer := self._relayed(change.peer)) and not peer.outbound:
                        nursery.start_soon(self._try, peer)
            finally:
                self._nursery = None

    def address(self) -> Address | None:
        """Where this node will be met: at the host that others see, on the port that it listens on."""
        if self._reachability.standing is not Standing.PRIVATE or not self._reachability.seen_at:
            return None
        port = self._port()
        return Address(self._reachability.seen_at, port, self._network.peer) if port else None

    async def _try(self, peer: Peer) -> None:
        for pause in PAUSES:
            await trio.sleep(pause)
            if self._relayed(peer.peer) != peer:
                return
            try:
                await self._propose(peer.peer)
            except (RequestFailed, msgspec.DecodeError) as error:
                log.debug("a peer behind a relay answers no proposal", peer=peer.peer, reason=str(error))

    async def _propose(self, peer: str) -> None:
        own = self.address()
        if own is None or peer in self._busy:
            return
        proposal = Proposal(own.text, secrets.token_hex(SECRET_BYTES), now=False)
        asked = trio.current_time()
        consent = msgspec.json.decode(await self._ask(peer, proposal), type=Consent)
        half_way = (trio.current_time() - asked) / 2
        other = _meeting(consent.address, peer, own)
        if other is None:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._say_when, peer, msgspec.structs.replace(proposal, now=True))
            await trio.sleep(half_way)
            await self._meet(other, proposal.secret, calling=False)

    async def _say_when(self, peer: str, proposal: Proposal) -> None:
        with suppress(RequestFailed):  # the connection that carries it may be replaced meanwhile
            await self._ask(peer, proposal)

    async def _ask(self, peer: str, proposal: Proposal) -> bytes:
        return await self._network.request(peer, PROTOCOL, msgspec.json.encode(proposal), timeout=ANSWER_SECONDS)

    async def _answer(self, peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        proposal = msgspec.json.decode(body, type=Proposal)
        own, known = self.address(), self._relayed(peer)
        other = _meeting(proposal.address, peer, own) if own and known and known.outbound else None
        if own is None or other is None or self._nursery is None or peer in self._busy:
            return msgspec.json.encode(Consent(""))
        if proposal.now:
            self._nursery.start_soon(self._meet, other, proposal.secret, True)
        return msgspec.json.encode(Consent(own.text))

    async def _meet(self, other: Address, secret: str, calling: bool) -> None:
        """Dial at the same time as the other, and exchange the connections; nothing changes if nobody is met."""
        if self._busy:
            return  # one at a time: nobody makes this node dial many places
        self._busy.add(other.peer)
        try:
            with trio.move_on_after(DIAL_SECONDS):
                stream = await self._dial(other)
                if await _prove(stream, secret, calling):
                    log.info("a direct connection between two routers", peer=other.peer, address=other.place)
                    with trio.CancelScope(shield=True), trio.move_on_after(ANSWER_SECONDS):
                        await self._join(other.peer, stream, calling)
                else:
                    await trio.aclose_forcefully(stream)
        except Exception as error:
            log.debug("no direct connection", peer=other.peer, error=repr(error))
        finally:
            self._busy.discard(other.peer)

    async def _dial(self, other: Address) -> trio.SocketStream:
        """Connect from the port that this node listens on, again and again while it is refused."""
        family = socket.AF_INET6 if ":" in other.host else socket.AF_INET
        while True:
            dialling = trio.socket.socket(family, socket.SOCK_STREAM)
            try:
                # The listener has both as well: without them its port is taken.
                dialling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                dialling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                await dialling.bind(("", self._port()))
                await dialling.connect((other.host, other.port))
                return trio.SocketStream(dialling)
            except BaseException as error:
                dialling.close()
                if not isinstance(error, OSError):
                    raise
            await trio.sleep(AGAIN_SECONDS)

    def _port(self) -> int:
        own = (parse(text) for text in self._network.addresses)
        return next((address.port for address in own if address and address.protocol == "tcp"), 0)

    def _relayed(self, peer: str) -> Peer | None:
        return next((known for known in self._network.peers() if known.peer == peer and known.relayed), None)


def _meeting(text: str, peer: str, own: Address) -> Address | None:
    """Where the other says that it will be, if it is a place that a node behind a router may be at."""
    address = parse(text)
    if address is None or address.relay or address.peer != peer or address.protocol != "tcp":
        return None
    public = address.reachable is Reachable.WORLD or address.reachable == own.reachable
    return address if public and address.port >= LEAST_PORT and address.host != own.host else None


async def _prove(stream: trio.SocketStream, secret: str, calling: bool) -> bool:
    """Whether the other end knows the secret, too."""
    asked, asking = (sha256(f"{part} {secret}".encode()).digest() for part in ("asked", "asking"))
    mine, theirs = (asked, asking) if calling else (asking, asked)
    received = b""
    with trio.move_on_after(SECRET_SECONDS):
        await stream.send_all(mine)
        while len(received) < SECRET_BYTES and (chunk := await stream.receive_some(SECRET_BYTES - len(received))):
            received += chunk
    return secrets.compare_digest(received, theirs)

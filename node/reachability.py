"""Whether others can dial this node, found out by asking them, and relays for it if they cannot.

Every node answers `/peerboard/dial-back/1`: the asker names the addresses at which it listens, and is dialled at the
host from which its connection comes and at those ports, nowhere else: nobody can make others dial a stranger. What
counts is the word of the peers that are farthest away: in a home network every other machine of it gets through.
"""

import enum
import random
from collections.abc import Callable
from typing import Annotated

import msgspec
import structlog
import trio
from msgspec import Meta, Struct

from node.addresses import LENGTH_MAXIMUM, Address, Reachable, host_of, parse, reachable
from node.network import Network, Peer, RequestFailed

DIAL_BACK = "/peerboard/dial-back/1"
NAMED, DIALLED = 8, 2
DIALS_AT_ONCE, SECONDS_BETWEEN_DIALS = 16, 5.0
ANSWER_SECONDS = 25.0
ASKED = 3
RELAYS = 2
RECHECK_SECONDS, RETRY_SECONDS = 600.0, 15.0
RENEW_SHARE = 0.5
REFUSED_SECONDS = 300.0

log = structlog.get_logger(__name__)

Text = Annotated[str, Meta(max_length=LENGTH_MAXIMUM)]


class Standing(enum.StrEnum):
    """What is known about being dialled."""

    UNKNOWN = "unknown"
    PUBLIC = "public"
    PRIVATE = "private"


class Listening(Struct, frozen=True, forbid_unknown_fields=True):
    """The question, as JSON: at which addresses the asker listens."""

    addresses: Annotated[tuple[Text, ...], Meta(max_length=NAMED)]


class Dialled(Struct, frozen=True, forbid_unknown_fields=True):
    """The answer, as JSON: from which host the asker's connection comes, and at which addresses it was reached.

    Without a host it says nothing: the answerer cannot tell, or dials too many already.
    """

    host: Text
    reached: Annotated[tuple[Text, ...], Meta(max_length=DIALLED)]


class Reachability:
    """One node's; answers others from the moment it is made, and finds out about itself while `run` runs."""

    def __init__(self, network: Network, changed: Callable[[], None], *, chance: Callable[[], float] = random.random):
        self.standing = Standing.UNKNOWN
        self.confirmed: tuple[str, ...] = ()
        """Addresses of this node at which others reached it."""
        self.seen_at = ""
        """The host that this node's connections come from, as others see it."""
        self.undialled: set[str] = set()
        """Connected peers that this node could not dial when they asked for it."""
        self._network = network
        self._changed = changed
        self._chance = chance
        self._moved = trio.Event()
        self._dialling: dict[str, float] = {}
        self._refused: dict[str, float] = {}
        self._renewals: dict[str, float] = {}
        network.serve(DIAL_BACK, self._answer)

    async def run(self) -> None:
        """Find out, for ever; while nobody can dial this node, keep relays for it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            nursery.start_soon(self._find_out)
            await self._keep_relays()

    async def _watch(self) -> None:
        async with self._network.changes() as changes:
            async for _ in changes:
                self._signal()

    async def _find_out(self) -> None:
        while True:
            moved = self._moved
            asked = self._farthest()
            if not asked:
                await moved.wait()
                continue
            said = [answer for peer in asked if (answer := await self._ask(peer)) is not None]
            self._conclude(said)
            pause = RECHECK_SECONDS if self.standing is Standing.PUBLIC else RETRY_SECONDS
            if self.standing is Standing.PRIVATE:
                pause = RECHECK_SECONDS / 2
            await trio.sleep(pause * (0.75 + self._chance() / 2))

    def _farthest(self) -> list[Peer]:
        """A few peers that this node dialled itself, of those that are farthest away."""
        direct = [peer for peer in self._network.peers() if peer.outbound and not peer.relayed]
        far = max(map(_distance, direct), default=Reachable.MACHINE)
        chosen = [peer for peer in direct if _distance(peer) == far]
        return sorted(chosen, key=lambda _: self._chance())[:ASKED]

    async def _ask(self, peer: Peer) -> Dialled | None:
        question = msgspec.json.encode(Listening(self._network.addresses[:NAMED]))
        try:
            answer = await self._network.request(peer.peer, DIAL_BACK, question, timeout=ANSWER_SECONDS)
            dialled = msgspec.json.decode(answer, type=Dialled)
        except (RequestFailed, msgspec.DecodeError) as error:
            log.debug("a peer does not dial back", peer=peer.peer, reason=str(error))
            return None
        return dialled if dialled.host else None

    def _conclude(self, said: list[Dialled]) -> None:
        self.seen_at = said[-1].host if said else self.seen_at
        reached = {text: None for answer in said for text in answer.reached if self._is_own(text)}
        standing = Standing.PUBLIC if reached else Standing.PRIVATE if said else self.standing
        if standing is Standing.PUBLIC and reached:
            self.confirmed = tuple(reached)
        elif standing is Standing.PRIVATE:
            self.confirmed = ()
        if standing is not self.standing:
            log.info("whether others can dial this node", standing=standing, at=self.confirmed)
            self.standing = standing
            self._signal()
            self._changed()

    def _is_own(self, text: str) -> bool:
        address = parse(text)
        return address is not None and not address.relay and address.peer == self._network.peer

    async def _keep_relays(self) -> None:
        while True:
            moved = self._moved
            times: list[float] = []
            if self.standing is Standing.PRIVATE:
                await self._renew()
                await self._reserve()
                times = [*self._renewals.values(), *self._refused.values()]
            else:
                self._renewals.clear()
            with trio.move_on_at(min(times, default=float("inf"))):
                await moved.wait()

    async def _renew(self) -> None:
        """Renew what is due; what cannot be renewed is a relay no longer."""
        now = trio.current_time()
        kept = set(self._network.relays)
        for relay, due in list(self._renewals.items()):
            if relay not in kept or due <= now:
                del self._renewals[relay]
                if relay in kept:
                    await self._reserve_at(relay)

    async def _reserve(self) -> None:
        now = trio.current_time()
        self._refused = {peer: until for peer, until in self._refused.items() if until > now}
        for peer in self._network.peers():
            if len(self._renewals) >= RELAYS:
                return
            if not peer.relayed and peer.outbound and peer.peer not in self._renewals.keys() | self._refused.keys():
                await self._reserve_at(peer.peer)

    async def _reserve_at(self, relay: str) -> None:
        try:
            seconds = await self._network.reserve(relay)
        except RequestFailed as error:
            log.debug("a peer does not relay", peer=relay, reason=str(error))
            self._refused[relay] = trio.current_time() + REFUSED_SECONDS
        else:
            self._renewals[relay] = trio.current_time() + seconds * RENEW_SHARE * (0.75 + self._chance() / 2)
            self._changed()

    async def _answer(self, peer: str, body: bytes) -> bytes:
        """Dial the asker where its connection comes from, at the ports that it names."""
        question = msgspec.json.decode(body, type=Listening)
        asker = next((known for known in self._network.peers() if known.peer == peer), None)
        host = host_of(asker.address) if asker and not asker.relayed else None
        if host is None:
            return msgspec.json.encode(Dialled("", ()))
        now = trio.current_time()
        self._dialling = {name: until for name, until in self._dialling.items() if until > now}
        if peer in self._dialling or len(self._dialling) >= DIALS_AT_ONCE:
            return msgspec.json.encode(Dialled("", ()))
        self._dialling[peer] = now + SECONDS_BETWEEN_DIALS
        reached = []
        for address in _at(host, peer, question.addresses):
            if await self._network.answers(address.text):
                reached.append(address.text)
        self.undialled &= {known.peer for known in self._network.peers()}
        (self.undialled.discard if reached else self.undialled.add)(peer)
        return msgspec.json.encode(Dialled(host, tuple(reached)))

    def _signal(self) -> None:
        self._moved.set()
        self._moved = trio.Event()


def _at(host: str, peer: str, named: tuple[str, ...]) -> list[Address]:
    """The named TCP ports at that host, each once, those first that were named for it.

    Not QUIC's: its handshake is a connection already, and gossip would meet it.
    """
    parsed = [address for text in named if (address := parse(text)) and not address.relay]
    addresses = [address for address in parsed if address.protocol == "tcp"]
    addresses.sort(key=lambda address: address.host != host)
    found = dict.fromkeys(Address(host, address.port, peer, address.protocol) for address in addresses)
    return list(found)[:DIALLED]


def _distance(peer: Peer) -> Reachable:
    host = host_of(peer.address)
    return reachable(host) if host else Reachable.MACHINE

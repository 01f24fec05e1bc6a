"""Staying connected: configured addresses for ever, and a few peers that others told of.

Every node answers `/peerboard/peers/1`: the asker says where it listens and gets addresses of peers that are connected
and known to be reachable there. So nodes that know only the bootstrap get to know each other and outlive it. An address
is passed on only if this node dialled it, or if its owner named it over a connection from that very host: nobody can
make others dial a stranger. Who cannot be dialled is passed on by its relays alone, at their own addresses; who can be
leaves that dialling to the other. Loopback and private addresses are passed on only by a node that listens on such a
one itself, to a peer that is as near. Whoever has hardly a place left lets one go who was there for a while, so that
newcomers are let in, if only to be told of others.
"""

import random
from collections.abc import Sequence
from typing import Annotated, Protocol

import msgspec
import structlog
import trio
from msgspec import Meta, Struct

from node.addresses import Address, Reachable, host_of, is_circuit, parse, reachable
from node.network import Network, Peer, RequestFailed, Unreachable
from node.reachability import Reachability, Standing

PEERS = "/peerboard/peers/1"
DESIRED, PLACES = 8, 40
FIRST_PAUSE, LAST_PAUSE = 0.25, 2.0
GLARE_SECONDS = 1.0
STEADY_SECONDS = 10.0
PATIENCE_SECONDS = 600.0
ASK_SECONDS = 30.0
TOLD, NAMED = 32, 8
CANDIDATES = 256
STAY_SECONDS, ROOM_PAUSE = 60.0, 1.0

log = structlog.get_logger(__name__)


class Named(Struct, frozen=True, forbid_unknown_fields=True):
    """What travels in both directions, as JSON: addresses."""

    addresses: Annotated[tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=TOLD)]


class Chance(Protocol):
    """Where random numbers come from: `random.Random`, or a seeded one in tests."""

    def random(self) -> float:
        """From 0 to 1."""
        ...

    def sample(self, population: Sequence[Address], k: int) -> list[Address]:
        """K of them."""
        ...


class Reach:
    """Keeps one node connected. Answers peers from the moment it is made; dials while `keep_connected` runs."""

    def __init__(
        self, network: Network, *, desired: int = DESIRED, places: int = PLACES, chance: Chance | None = None
    ) -> None:
        """`places`: how many peers may have dialled this node."""
        self._network = network
        self._crowd = max(1, places - max(1, places // 10))
        self._desired = desired
        self._chance = chance or random.SystemRandom()
        self._confirmed: dict[str, Address] = {}
        self._candidates: dict[str, Address] = {}
        self._circuits: dict[str, Address] = {}
        self._kept: set[str] = set()
        self._called: set[str] = set()
        self._changed = trio.Event()
        self._curious = trio.Event()
        self.reachability = Reachability(network, self._stand_elsewhere, chance=self._chance.random)
        network.serve(PEERS, self._answer)

    def known(self) -> tuple[str, ...]:
        """Addresses of connected peers that are known to be reachable there."""
        self._confirm_dialled()
        return tuple(address.text for peer, address in self._confirmed.items() if self._connected(peer))

    def suggest(self, addresses: Sequence[str]) -> None:
        """Addresses from elsewhere, this machine's memory or its surroundings: dialled while peers are missing."""
        for text in addresses:
            address = parse(text)
            if address and not address.relay and address.peer != self._network.peer:
                self._candidates.setdefault(address.peer, address)
        self._forget_surplus()
        self._signal()

    async def keep_connected(self, addresses: Sequence[str]) -> None:
        """Keep connections to these addresses and to `desired` peers in all, until cancelled.

        An address that does not answer is warned of once and dialled again for ever, about every two seconds.
        """
        self._kept.clear()
        self._called.clear()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._watch, nursery)
            for address in addresses:
                peer = address.rpartition("/p2p/")[2]
                if peer != self._network.peer:
                    self._kept.add(peer)
                    nursery.start_soon(self._keep, address, peer)
            nursery.start_soon(self._ask_around)
            nursery.start_soon(self._make_room)
            nursery.start_soon(self.reachability.run)
            await self._fill(nursery)

    async def _watch(
        self, nursery: trio.Nursery, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with self._network.changes() as changes:
            task_status.started()
            async for change in changes:
                self._signal()
                if change.joined:
                    nursery.start_soon(self._ask, change.peer)

    async def _keep(self, address: str, peer: str) -> None:
        """Dial, wait until the connection ends, dial again; for ever."""
        pause = FIRST_PAUSE
        warned = False
        while True:
            try:
                await self._network.connect(address)
            except Unreachable as error:
                if not warned:
                    log.warning("a peer cannot be reached; it will be tried until it can", reason=str(error))
                    warned = True
            else:
                if warned:
                    log.warning("the peer can be reached again", address=address)
                warned = False
                since = trio.current_time()
                await self._gone(peer)
                if trio.current_time() - since >= STEADY_SECONDS:
                    pause = FIRST_PAUSE
            await self._rest(pause)
            pause = min(2 * pause, LAST_PAUSE)

    async def _try(self, address: Address) -> None:
        """Dial a peer that others told of; keep it as long as it comes back within `PATIENCE_SECONDS`."""
        pause = FIRST_PAUSE
        patience = 0.0
        try:
            if address.relay and self._network.peer > address.peer:
                await trio.sleep(GLARE_SECONDS)  # the other is told of this node at the same time: one dials first
            seen = trio.current_time()
            while True:
                try:
                    await self._network.connect(address.text)
                except Unreachable:
                    if trio.current_time() - seen >= patience:
                        return
                else:
                    patience = PATIENCE_SECONDS
                    await self._gone(address.peer)
                    if trio.current_time() - seen >= STEADY_SECONDS:
                        pause = FIRST_PAUSE
                    seen = trio.current_time()
                await self._rest(pause)
                pause = min(2 * pause, LAST_PAUSE)
        finally:
            (self._called if address.relay else self._kept).discard(address.peer)
            self._signal()

    async def _rest(self, pause: float) -> None:
        await trio.sleep(pause * (0.5 + self._chance.random() / 2))

    async def _gone(self, peer: str) -> None:
        while self._connected(peer):
            await self._changed.wait()

    async def _fill(self, nursery: trio.Nursery) -> None:
        """Dial candidates while there are fewer peers than desired, one every quarter of a second.

        A peer that is connected through a relay is a candidate still, if it can be dialled.
        """
        while True:
            moved = self._changed
            chosen = self._choose()
            if chosen is None:
                await moved.wait()
                continue
            (self._called if chosen.relay else self._kept).add(chosen.peer)
            nursery.start_soon(self._try, chosen)
            await trio.sleep(FIRST_PAUSE * self._chance.random())

    def _choose(self) -> Address | None:
        """Whom to dial next: who can be dialled before who is behind a relay, and the latter only in need."""
        connected = {peer.peer: peer for peer in self._network.peers()}
        direct = {name for name, peer in connected.items() if not peer.relayed}
        own = self.reachability.standing
        taken = connected.keys() | self._kept | self._called
        for candidates, known, wanted in (
            (self._candidates, direct | self._kept, True),
            (self._circuits, taken, own is not Standing.PUBLIC),
        ):
            choice = [each for peer, each in candidates.items() if peer not in known]
            if wanted and choice and len(known) < self._desired:
                (chosen,) = self._chance.sample(choice, 1)
                del candidates[chosen.peer]
                return chosen
        return None

    async def _make_room(self) -> None:
        """While hardly a place is left, let one go after the other; nobody who needs this node as relay."""
        while True:
            moved = self._changed
            inbound = [peer for peer in self._network.peers() if not peer.outbound and not peer.relayed]
            if len(inbound) < self._crowd:
                await moved.wait()
                continue
            settled = trio.current_time() - STAY_SECONDS
            free = [peer for peer in inbound if peer.peer not in self._network.relayed] or inbound
            leaving = [peer for peer in free if peer.since <= settled]
            if leaving:
                await self._network.disconnect(min(leaving, key=lambda peer: peer.since).peer)
            await trio.sleep(ROOM_PAUSE)

    async def _ask_around(self) -> None:
        """While peers are missing, ask one from time to time."""
        while True:
            with trio.move_on_after(ASK_SECONDS * (0.5 + self._chance.random())):
                await self._curious.wait()
            self._curious = trio.Event()
            peers = self._network.peers()
            if peers and len(peers) < self._desired:
                await self._ask(peers[int(self._chance.random() * len(peers)) % len(peers)].peer)

    async def _ask(self, peer: str) -> None:
        mine = Named((*self.reachability.confirmed, *self._network.addresses)[:NAMED])
        try:
            answer = await self._network.request(peer, PEERS, msgspec.json.encode(mine))
            told = msgspec.json.decode(answer, type=Named)
        except (RequestFailed, msgspec.DecodeError) as error:
            log.debug("a peer told of no others", peer=peer, reason=str(error))
            return
        near = self._nearest()
        for text in told.addresses:
            address = parse(text)
            if not address or address.peer == self._network.peer or address.reachable < near:
                continue
            if not address.relay:
                self._candidates[address.peer] = address
            elif address.relay == peer:
                self._circuits[address.peer] = address
        self._forget_surplus()
        self._signal()

    def _forget_surplus(self) -> None:
        for candidates in (self._candidates, self._circuits):
            while len(candidates) > CANDIDATES:
                del candidates[next(iter(candidates))]

    async def _answer(self, peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        named = msgspec.json.decode(body, type=Named)
        asker = next((known for known in self._network.peers() if known.peer == peer), None)
        if asker is None or asker.relayed:
            return msgspec.json.encode(Named(()))
        self._note(asker, named.addresses)
        self._confirm_dialled()
        host = host_of(asker.address)
        near = max(self._nearest(), reachable(host) if host else Reachable.WORLD)
        told = [
            address
            for other, address in self._confirmed.items()
            if other not in {peer, *self.reachability.undialled}
            and self._connected(other)
            and address.reachable >= near
        ]
        told += [address for address in self._behind_this_node(near) if address.peer != peer]
        chosen = self._chance.sample(told, min(TOLD, len(told)))
        return msgspec.json.encode(Named(tuple(address.text for address in chosen)))

    def _behind_this_node(self, near: Reachable) -> list[Address]:
        """The peers that this node relays for, at the first own address that reaches as far."""
        own = [parse(text) for text in (*self.reachability.confirmed, *self._network.addresses)]
        place = next((address for address in own if address and address.reachable >= near), None)
        if place is None:
            return []
        return [
            Address(place.host, place.port, peer, place.protocol, place.peer)
            for peer in self._network.relayed
            if peer not in self._confirmed or peer in self.reachability.undialled
        ]

    def _note(self, asker: Peer, named: Sequence[str]) -> None:
        """Keep the first address that the asker names for itself, if it is where its connection comes from."""
        host = host_of(asker.address)
        for text in named[:NAMED]:
            address = parse(text)
            if address and not address.relay and address.peer == asker.peer and address.host == host:
                self._confirmed[asker.peer] = address
                return

    def _confirm_dialled(self) -> None:
        """What was dialled is reachable; what is no longer connected is forgotten."""
        peers = {peer.peer: peer for peer in self._network.peers()}
        for name, peer in peers.items():
            address = parse(f"{peer.address}/p2p/{name}") if peer.outbound and not is_circuit(peer.address) else None
            if address:
                self._confirmed[name] = address
        for name in self._confirmed.keys() - peers.keys():
            del self._confirmed[name]

    def _nearest(self) -> Reachable:
        """The nearest kind of address that this node itself listens on."""
        own = (parse(text) for text in self._network.addresses)
        return min((address.reachable for address in own if address), default=Reachable.WORLD)

    def _connected(self, peer: str) -> bool:
        return any(known.peer == peer for known in self._network.peers())

    def _stand_elsewhere(self) -> None:
        """Others can dial this node now, or no longer: what they tell it is another matter now."""
        self._curious.set()
        self._signal()

    def _signal(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

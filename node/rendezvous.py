"""Finding members of one network when the bootstrap is away: a small Kademlia (Maymounkov and Mazières, 2002).

A network's id gives a key, a peer's id gives another, and how near two are is their exclusive or. Every node serves one
protocol, whose name holds the network's id. It tells those of its peers that are nearest to the network's key where it
can be reached, and they keep that for a day, though it may long have left them. Who is short of peers walks towards the
key and asks on the way: each peer answers with the members that it keeps, and with peers of its own that are nearer. So
a network that fell apart finds together again, and one member is enough to find others to whom it is not connected now.

Only addresses travel, and an honest node keeps one only if its owner named it over a connection from that very host, or
if this node dialled it: nobody can make others dial a stranger. What is found is dialled like any other address, by
`node.reach`; whoever is there must prove the peer id. py-libp2p's `KadDHT` is not used: docs/upstream.md, "Kademlia".
"""

import random
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated

import msgspec
import structlog
import trio
from msgspec import Meta, Struct

from node.addresses import LENGTH_MAXIMUM, Address, Reachable, host_of, parse, reachable
from node.network import Network, Peer, RequestFailed, Unreachable
from node.reach import DESIRED, Reach
from node.reachability import Standing

RECORDS, RECORDS_PER_HOST = 64, 4
RECORD_SECONDS = 86_400.0
NAMED, TOLD, NEARER = 8, 16, 4
ANSWER_PAUSE = 2.0
TOLD_TO, ANNOUNCE_SECONDS = 4, 1800.0
ASKED, DIALLED = 8, 4
FIRST_PAUSE, LAST_PAUSE = 30.0, 900.0

log = structlog.get_logger(__name__)

Text = Annotated[str, Meta(max_length=LENGTH_MAXIMUM)]


class Question(Struct, frozen=True, forbid_unknown_fields=True):
    """As JSON: where the asker can be reached, to be kept; nothing if it only asks."""

    addresses: Annotated[tuple[Text, ...], Meta(max_length=NAMED)]


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """As JSON: addresses of members that are kept, and of connected peers that are nearest to the key."""

    members: Annotated[tuple[Text, ...], Meta(max_length=TOLD)]
    nearer: Annotated[tuple[Text, ...], Meta(max_length=NEARER)]


class Record(Struct, frozen=True):
    """Where a member can be reached, and until when that is kept."""

    address: Address
    until: float


class Records:
    """At most `RECORDS` members, one address each; of one public host at most `RECORDS_PER_HOST`."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._records: dict[str, Record] = {}

    def keep(self, address: Address) -> None:
        """Keep it for a day from now; a full table loses one by lot, so that nobody can fill it for good."""
        self._forget_old()
        self._records.pop(address.peer, None)
        hosts = Counter(record.address.host for record in self._records.values())
        if address.reachable is Reachable.WORLD and hosts[address.host] >= RECORDS_PER_HOST:
            return
        if len(self._records) >= RECORDS:
            del self._records[self._chance.choice(list(self._records))]
        self._records[address.peer] = Record(address, trio.current_time() + RECORD_SECONDS)

    def kept(self) -> list[Address]:
        """Those whose time has not passed."""
        self._forget_old()
        return [record.address for record in self._records.values()]

    def _forget_old(self) -> None:
        now = trio.current_time()
        self._records = {peer: record for peer, record in self._records.items() if record.until > now}


class Rendezvous:
    """One node's; answers others from the moment it is made, announces and looks up while `run` runs."""

    def __init__(
        self,
        network: Network,
        reach: Reach,
        network_id: bytes,
        *,
        bootstrap: Sequence[str] = (),
        desired: int = DESIRED,
        chance: random.Random | None = None,
    ) -> None:
        self.protocol = f"/peerboard/rendezvous/1/{network_id.hex()}"
        self._network = network
        self._reach = reach
        self._key = int.from_bytes(sha256(b"peerboard/rendezvous/1" + network_id).digest())
        self._bootstrap = frozenset(bootstrap)
        self._desired = desired
        self._chance = chance or random.SystemRandom()
        self.records = Records(self._chance)
        self._answered: dict[str, float] = {}
        self._announced: dict[str, float] = {}
        network.serve(self.protocol, self._answer)

    async def run(self) -> None:
        """Stay known to the peers nearest to the key, and look for others whenever that is needed; for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_known)
            await self._keep_looking()

    def needed(self) -> bool:
        """Whether peers are missing and no bootstrap helps: none is connected, or nobody else is."""
        connected = {peer.peer for peer in self._network.peers()}
        helped = connected & self._bootstrap and connected - self._bootstrap
        return len(connected) < self._desired and not helped

    async def announce(self) -> None:
        """Tell the connected peers that are nearest to the key where this node is, each every half an hour."""
        if self._reach.reachability.standing is Standing.PRIVATE:
            return
        now = trio.current_time()
        connected = {peer.peer for peer in self._direct()}
        self._announced = {peer: at for peer, at in self._announced.items() if peer in connected}
        for peer in sorted(connected, key=self._distance)[:TOLD_TO]:
            if self._announced.get(peer, -ANNOUNCE_SECONDS) + ANNOUNCE_SECONDS <= now:
                self._announced[peer] = now
                await self._ask(peer, (*self._reach.reachability.confirmed, *self._network.addresses)[:NAMED])

    async def look_up(self) -> tuple[str, ...]:
        """Walk towards the key; the members that were found are suggested to `Reach`, and returned."""
        asked: set[str] = set()
        nearer: dict[str, Address] = {}
        members: dict[str, Address] = {}
        dials = 0
        while len(asked) < ASKED and len(members) < 2 * self._desired:
            connected = {peer.peer for peer in self._direct()}
            reached = connected | (nearer.keys() if dials < DIALLED else set())
            peer = min(reached - asked, key=self._distance, default=None)
            if peer is None:
                break
            asked.add(peer)
            if peer not in connected:
                dials += 1
                if not await self._dial(nearer[peer]):
                    continue
            answer = await self._ask(peer, ())
            members.update(self._usable(answer.members))
            nearer.update(self._usable(answer.nearer))
        found = {**nearer, **members}
        self._reach.suggest([address.text for address in found.values()])
        return tuple(address.text for address in found.values())

    async def _keep_known(self) -> None:
        async with self._network.changes() as changes:
            while True:
                with trio.move_on_after(ANNOUNCE_SECONDS * (0.5 + self._chance.random() / 2)):
                    await changes.receive()
                    await trio.sleep(FIRST_PAUSE * self._chance.random())  # whoever asks back is dialled first
                await self.announce()

    async def _keep_looking(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await trio.sleep(pause * (0.5 + self._chance.random()))
            before = len(self._network.peers())
            if not self.needed():
                pause = FIRST_PAUSE
                continue
            found = await self.look_up()
            log.debug("looked for members without the bootstrap", peers=before, found=len(found))
            pause = min(2 * pause, LAST_PAUSE)

    async def _dial(self, address: Address) -> bool:
        try:
            await self._network.connect(address.text)
        except Unreachable as error:
            log.debug("a peer nearer to the key is not there", reason=str(error))
            return False
        return True

    async def _ask(self, peer: str, addresses: tuple[str, ...]) -> Answer:
        try:
            answer = await self._network.request(peer, self.protocol, msgspec.json.encode(Question(addresses)))
            return msgspec.json.decode(answer, type=Answer)
        except (RequestFailed, msgspec.DecodeError) as error:
            log.debug("a peer knows no rendezvous", peer=peer, reason=str(error))
            return Answer((), ())

    async def _answer(self, peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        question = msgspec.json.decode(body, type=Question)
        asker = next((known for known in self._direct() if known.peer == peer), None)
        host = host_of(asker.address) if asker else None
        if asker is None or host is None:
            return msgspec.json.encode(Answer((), ()))
        self._note(asker, host, question.addresses)
        if not self._may_ask(peer):
            return msgspec.json.encode(Answer((), ()))
        near = max(self._nearest(), reachable(host))

        def told(addresses: Sequence[Address]) -> list[Address]:
            return [address for address in addresses if address.reachable >= near and address.peer != peer]

        members = told(self.records.kept())
        chosen = self._chance.sample(members, min(TOLD, len(members)))
        connected = told([address for text in self._reach.known() if (address := parse(text))])
        connected.sort(key=lambda address: self._distance(address.peer))
        nearer = connected[:NEARER]
        return msgspec.json.encode(Answer(_texts(chosen), _texts(nearer)))

    def _may_ask(self, peer: str) -> bool:
        """Who asks again at once is told nothing; what it says of itself is kept nevertheless."""
        now = trio.current_time()
        self._answered = {name: until for name, until in self._answered.items() if until > now}
        if peer in self._answered:
            return False
        self._answered[peer] = now + ANSWER_PAUSE
        return True

    def _note(self, asker: Peer, host: str, named: Sequence[str]) -> None:
        """Keep the address at which the asker was dialled, or the first that it names for itself at its own host."""
        places = [f"{asker.address}/p2p/{asker.peer}"] if named and asker.outbound else named
        for text in places:
            address = parse(text)
            if address and not address.relay and (address.peer, address.host) == (asker.peer, host):
                self.records.keep(address)
                return

    def _usable(self, texts: Sequence[str]) -> dict[str, Address]:
        parsed = [address for text in texts if (address := parse(text)) and not address.relay]
        near = self._nearest()
        return {each.peer: each for each in parsed if each.peer != self._network.peer and each.reachable >= near}

    def _direct(self) -> list[Peer]:
        return [peer for peer in self._network.peers() if not peer.relayed]

    def _nearest(self) -> Reachable:
        """The nearest kind of address that this node itself listens on."""
        own = (parse(text) for text in self._network.addresses)
        return min((address.reachable for address in own if address), default=Reachable.WORLD)

    def _distance(self, peer: str) -> int:
        return int.from_bytes(sha256(peer.encode()).digest()) ^ self._key


def _texts(addresses: Sequence[Address]) -> tuple[str, ...]:
    return tuple(address.text for address in addresses)

"""Networks inside one process, joined by a hub: for tests and for whole networks under a mock clock.

A verified fake: it passes the contract tests that the libp2p network passes. Everything that travels goes
through one ordered schedule, so the order of arrival depends only on what was sent, when, and on the hub's
delays. The hub can slow links down, lose messages and cut nodes off from each other.
"""

import hashlib
import heapq
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import trio

from node.addresses import CIRCUIT, is_circuit, parse
from node.memory_requests import MemoryRequests
from node.network import (
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
from node.subscriptions import Verdict
from node.ungrouped import ungrouped

RESERVATION_SECONDS = 600.0


@asynccontextmanager
async def open_memory_hub() -> AsyncIterator["MemoryHub"]:
    """Run a hub; the networks opened on it must be closed before it."""
    hub = MemoryHub()
    with ungrouped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.pump)
            yield hub
            nursery.cancel_scope.cancel()


class MemoryHub:
    """Where in-memory networks meet.

    `delay(sender, receiver)` gives a link's one-way delay in seconds, `loses(sender, receiver, data)`
    whether a gossip message is lost on it; both may be replaced at any time. Peers are named by their peer
    ids.
    """

    def __init__(self) -> None:
        self.delay: Callable[[str, str], float] = lambda sender, receiver: 0.0
        self.loses: Callable[[str, str, bytes], bool] = lambda sender, receiver, data: False
        self.networks: dict[str, MemoryNetwork] = {}
        self._places: dict[str, str] = {}
        self._cuts: set[frozenset[str]] = set()
        self._schedule: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._wake = trio.Event()
        self._changed = trio.Event()

    @asynccontextmanager
    async def open(self, name: str, *, relay: bool = False, hidden: bool = False) -> AsyncIterator["MemoryNetwork"]:
        """A network whose peer id is `name`; the same name has the same address each time it is opened.

        A `relay` relays for others; nobody can dial who is `hidden`.
        """
        if name in self.networks:
            raise ValueError(f"a network named {name} is open already")
        number = len(self._places) + 1
        place = self._places.setdefault(name, f"/ip4/10.{number >> 16}.{number >> 8 & 255}.{number & 255}/tcp/4001")
        with ungrouped():
            async with trio.open_nursery() as nursery:
                network = MemoryNetwork(self, name, place, nursery, relay=relay, hidden=hidden)
                self.networks[name] = network
                try:
                    yield network
                finally:
                    del self.networks[name]
                    network.leave()
                    nursery.cancel_scope.cancel()

    def cut(self, one: str, other: str) -> None:
        """Break the link between two peers: it ends, and neither can dial the other until `heal`."""
        self._cuts.add(frozenset((one, other)))
        if one in self.networks and other in self.networks:
            self.networks[one].part(self.networks[other])

    def partition(self, *groups: Iterable[str]) -> None:
        """Cut every link between peers of different groups."""
        for left, right in itertools.combinations([tuple(group) for group in groups], 2):
            for one, other in itertools.product(left, right):
                self.cut(one, other)

    def heal(self) -> None:
        """Mend every cut link; connections come back when somebody dials."""
        self._cuts.clear()

    def find(self, dialler: str, address: str) -> "MemoryNetwork":
        """The network that listens at the address, as the dialler would reach it. Raises `Unreachable`."""
        place, marker, name = address.partition("/p2p/")
        if not marker or not name:
            raise Unreachable(f"{address} does not end in /p2p/ and a peer id.")
        if is_circuit(address):
            return self._find_called(dialler, address)
        network = self.networks.get(name)
        if network is None or network.place != place or frozenset((dialler, name)) in self._cuts:
            raise Unreachable(f"nobody answers at {address}.")
        if network.hidden and dialler != name:
            raise Unreachable(f"nobody answers at {address}.")
        return network

    def _find_called(self, dialler: str, address: str) -> "MemoryNetwork":
        parsed = parse(address)
        relay = self.networks.get(parsed.relay) if parsed else None
        if not parsed or not relay or parsed.peer not in {dialler, *relay.relayed} or not relay.has_direct(dialler):
            raise Unreachable(f"no circuit for {address}.")
        return self.networks[parsed.peer]

    def send(self, sender: str, receiver: str, arrive: Callable[[], None]) -> None:
        """Run `arrive` after the link's delay; what is sent first on links of one delay arrives first."""
        # Rounded, because 0.1 + 0.2 and 0.3 must be one instant, whatever the time at the start.
        due = round(trio.current_time() + self.delay(sender, receiver), 6)
        heapq.heappush(self._schedule, (due, next(self._numbers), arrive))
        self._wake.set()

    def announce(self) -> None:
        """Wake everybody who waits for subscriptions or connections to change."""
        self._changed.set()
        self._changed = trio.Event()

    async def change(self) -> None:
        """Wait for the next change of subscriptions or connections."""
        await self._changed.wait()

    async def pump(self) -> None:
        """Deliver what is due, for ever."""
        while True:
            if self._schedule and self._schedule[0][0] <= trio.current_time():
                _, _, arrive = heapq.heappop(self._schedule)
                arrive()
                await trio.lowlevel.checkpoint()
                continue
            self._wake = trio.Event()
            with trio.move_on_at(self._schedule[0][0] if self._schedule else float("inf")):
                await self._wake.wait()


class MemoryNetwork(PeeredNetwork[MemoryRequests]):
    """One node's `Network` on a `MemoryHub`."""

    def __init__(
        self, hub: MemoryHub, name: str, place: str, nursery: trio.Nursery, *, relay: bool, hidden: bool
    ) -> None:
        peers = PeerTable()
        super().__init__(peers, MemoryRequests(name, peers.__contains__, self._find_requests, hub.send, nursery))
        self.peer = name
        self.hidden = hidden
        self.place = place
        self.addresses = (f"{place}/p2p/{name}",)
        self._hub = hub
        self._relaying = relay
        self._reserved: dict[str, float] = {}
        self._nursery = nursery
        self._seen: dict[bytes, float] = {}
        self.reach = Reach(self, chance=random.Random(name))  # noqa: S311  the same every time

    async def publish(self, topic: str, data: bytes) -> None:
        """See `Network.publish`."""
        await trio.lowlevel.checkpoint()
        self._subscriptions.check_own(topic, data)
        if self._first(topic, data):
            self._subscriptions.published()
            self._relay(topic, data, without=self.peer)

    @asynccontextmanager
    async def subscribe(
        self, topic: str, validate: Validator, *, admit: Admission = anybody, queue: int = SUBSCRIPTION_QUEUE
    ) -> AsyncIterator[trio.MemoryReceiveChannel[Gossip]]:
        """See `Network.subscribe`."""
        try:
            with self._subscriptions.open(topic, validate, admit, queue) as messages:
                self._hub.announce()
                yield messages
        finally:
            self._hub.announce()

    def audience(self, topic: str) -> int:
        """See `Network.audience`."""
        return sum(topic in self._hub.networks[name]._subscriptions for name in self._peers)

    async def await_audience(self, topic: str, count: int = 1) -> None:
        """See `Network.await_audience`."""
        await trio.lowlevel.checkpoint()
        while self.audience(topic) < count:
            await self._hub.change()

    @property
    def relays(self) -> tuple[str, ...]:
        """See `Network.relays`."""
        return tuple(name for name in self._peers if self.peer in self._hub.networks[name].relayed)

    @property
    def relayed(self) -> tuple[str, ...]:
        """See `Network.relayed`."""
        now = trio.current_time()
        return tuple(name for name, until in self._reserved.items() if until > now and self._peers.has_direct(name))

    async def connect(self, address: str) -> str:
        """See `Network.connect`."""
        await trio.sleep(2 * self._hub.delay(self.peer, address.rpartition("/p2p/")[2]))
        other = self._hub.find(self.peer, address)
        if other is self:
            raise Unreachable(f"{address} is this node itself.")
        circuit = address.partition(CIRCUIT)[0] + CIRCUIT if is_circuit(address) else ""
        known = self._peers.get(other.peer)
        if known and known.relayed and not circuit:
            self.part(other)
            known = None
        if known is None:
            self._meet(other, circuit, outbound=True)
            other._meet(self, circuit, outbound=False)
            self._hub.announce()
        return other.peer

    async def answers(self, address: str) -> bool:
        """See `Network.answers`."""
        await trio.sleep(2 * self._hub.delay(self.peer, address.rpartition("/p2p/")[2]))
        try:
            self._hub.find(self.peer, address)
        except Unreachable:
            return False
        return not is_circuit(address)

    async def reserve(self, relay: str) -> float:
        """See `Network.reserve`."""
        await trio.sleep(2 * self._hub.delay(self.peer, relay))
        server = self._hub.networks.get(relay)
        if server is None or not server._relaying or not server.has_direct(self.peer):
            raise RequestFailed(Reason.UNSUPPORTED, f"{relay} does not relay.")
        server._reserved[self.peer] = trio.current_time() + RESERVATION_SECONDS
        return RESERVATION_SECONDS

    def has_direct(self, peer: str) -> bool:
        """Whether that peer is connected without a relay."""
        return self._peers.has_direct(peer)

    async def disconnect(self, peer: str) -> None:
        """See `Network.disconnect`."""
        await trio.lowlevel.checkpoint()
        if peer in self._peers:
            self.part(self._hub.networks[peer])

    async def keep_connected(self, addresses: Sequence[str]) -> None:
        """See `Network.keep_connected`."""
        await self.reach.keep_connected(addresses)

    def leave(self) -> None:
        """End every connection."""
        for name in tuple(self._peers):
            self._end_circuits(name)
            self._peers.part(name)
            self._hub.networks[name]._lose(self.peer)
        self._hub.announce()

    def _end_circuits(self, name: str) -> None:
        """Who leaves a relay, or is left by it, loses the circuits through it."""
        network = self._hub.networks.get(name)
        for peer in tuple(network._peers.values() if network else ()):
            if peer.relayed and f"/p2p/{self.peer}{CIRCUIT}" in peer.address and network:
                network.part(self._hub.networks[peer.peer])

    def part(self, other: "MemoryNetwork") -> None:
        """End the connection with one peer."""
        self._lose(other.peer)
        other._lose(self.peer)
        self._hub.announce()

    def _meet(self, other: "MemoryNetwork", circuit: str, *, outbound: bool) -> None:
        self._peers.join(Peer(other.peer, trio.current_time(), circuit or other.place, outbound))

    def _lose(self, name: str) -> None:
        if name not in self._peers:
            return
        self._peers.part(name)
        self._reserved.pop(name, None)
        self._end_circuits(name)
        self._requests.break_off(name)

    def _find_requests(self, name: str) -> MemoryRequests | None:
        network = self._hub.networks.get(name)
        return network._requests if network else None

    def _first(self, topic: str, data: bytes) -> bool:
        """Whether this message is new here; remembers it for a while."""
        now = trio.current_time()
        for oldest in tuple(itertools.takewhile(lambda known: self._seen[known] <= now, self._seen)):
            del self._seen[oldest]
        identity = hashlib.sha256(topic.encode() + b"\0" + data).digest()
        if identity in self._seen:
            return False
        self._seen[identity] = now + REMEMBERED_SECONDS
        return True

    def _relay(self, topic: str, data: bytes, *, without: str) -> None:
        for name in self._peers:
            if name == without or self._hub.loses(self.peer, name, data):
                continue
            self._hub.send(self.peer, name, lambda name=name: self._deliver(name, topic, data))  # type: ignore[misc]

    def _deliver(self, name: str, topic: str, data: bytes) -> None:
        if name in self._peers:
            self._hub.networks[name]._receive(self.peer, topic, data)

    def _receive(self, sender: str, topic: str, data: bytes) -> None:
        if topic not in self._subscriptions or not self._first(topic, data):
            return
        if self._subscriptions.judge(topic, data, sender) is Verdict.ACCEPTED:
            self._relay(topic, data, without=sender)

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

import structlog
import trio
from msgspec import Struct

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
    async def open(self, name: str) -> AsyncIterator["MemoryNetwork"]:
        """A network whose peer id is `name`; the same name has the same address each time it is opened."""
        if name in self.networks:
            raise ValueError(f"a network named {name} is open already")
        number = len(self._places) + 1
        place = self._places.setdefault(name, f"/ip4/10.{number >> 16}.{number >> 8 & 255}.{number & 255}/tcp/4001")
        with ungrouped():
            async with trio.open_nursery() as nursery:
                network = MemoryNetwork(self, name, place, nursery)
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
        network = self.networks.get(name)
        if network is None or network.place != place or frozenset((dialler, name)) in self._cuts:
            raise Unreachable(f"nobody answers at {address}.")
        return network

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


class _Topic(Struct):
    validate: Validator
    mailbox: Mailbox[Gossip]


class _Exchange:
    """One request under way: who takes part, and how it ended."""

    def __init__(self, client: str, server: str) -> None:
        self.ends = frozenset((client, server))
        self.done = trio.Event()
        self.outcome: bytes | RequestFailed | None = None

    def finish(self, outcome: bytes | RequestFailed) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self.done.set()


class MemoryNetwork:
    """One node's `Network` on a `MemoryHub`."""

    def __init__(self, hub: MemoryHub, name: str, place: str, nursery: trio.Nursery) -> None:
        self.peer = name
        self.place = place
        self.addresses = (f"{place}/p2p/{name}",)
        self._hub = hub
        self._nursery = nursery
        self._peers: dict[str, Peer] = {}
        self._topics: dict[str, _Topic] = {}
        self._watchers: list[Mailbox[PeerChange]] = []
        self._handlers: dict[str, Handler] = {}
        self._handling: dict[str, int] = {}
        self._limits: dict[str, trio.CapacityLimiter] = {}
        self._exchanges: list[_Exchange] = []
        self._seen: dict[bytes, float] = {}
        self._counts = dict.fromkeys(Traffic.__struct_fields__, 0)
        self.reach = Reach(self, chance=random.Random(name))  # noqa: S311  the same every time

    @property
    def traffic(self) -> Traffic:
        """Counters since the start."""
        waiting = sum(topic.mailbox.dropped for topic in self._topics.values())
        return Traffic(**{**self._counts, "dropped": self._counts["dropped"] + waiting})

    async def publish(self, topic: str, data: bytes) -> None:
        """See `Network.publish`."""
        await trio.lowlevel.checkpoint()
        joined = self._topics.get(topic)
        if len(data) > MESSAGE_MAXIMUM:
            raise ValueError(f"a message of {len(data)} bytes is longer than the {MESSAGE_MAXIMUM} that travel")
        if joined and not joined.validate(data):
            raise ValueError(f"the own validator of {topic} refuses this message")
        if self._first(topic, data):
            self._counts["published"] += 1
            self._relay(topic, data, without=self.peer)

    @asynccontextmanager
    async def subscribe(
        self, topic: str, validate: Validator, *, queue: int = SUBSCRIPTION_QUEUE
    ) -> AsyncIterator[trio.MemoryReceiveChannel[Gossip]]:
        """See `Network.subscribe`."""
        if topic in self._topics:
            raise ValueError(f"{topic} has a subscriber already")
        with Mailbox[Gossip](queue) as mailbox:
            self._topics[topic] = _Topic(validate, mailbox)
            self._hub.announce()
            try:
                yield mailbox.channel
            finally:
                del self._topics[topic]
                self._counts["dropped"] += mailbox.dropped
                self._hub.announce()

    def audience(self, topic: str) -> int:
        """See `Network.audience`."""
        return sum(topic in self._hub.networks[name]._topics for name in self._peers)

    async def await_audience(self, topic: str, count: int = 1) -> None:
        """See `Network.await_audience`."""
        await trio.lowlevel.checkpoint()
        while self.audience(topic) < count:
            await self._hub.change()

    async def connect(self, address: str) -> str:
        """See `Network.connect`."""
        await trio.sleep(2 * self._hub.delay(self.peer, address.rpartition("/p2p/")[2]))
        other = self._hub.find(self.peer, address)
        if other is self:
            raise Unreachable(f"{address} is this node itself.")
        if other.peer not in self._peers:
            self._meet(other, outbound=True)
            other._meet(self, outbound=False)
            self._hub.announce()
        return other.peer

    async def disconnect(self, peer: str) -> None:
        """See `Network.disconnect`."""
        await trio.lowlevel.checkpoint()
        if peer in self._peers:
            self.part(self._hub.networks[peer])

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
            raise ValueError(f"a request of {len(body)} bytes is longer than the {REQUEST_MAXIMUM} that travel")
        exchange = _Exchange(self.peer, peer)
        with trio.move_on_after(timeout):
            async with self._limits.setdefault(peer, trio.CapacityLimiter(REQUESTS_PER_PEER)):
                server = self._hub.networks.get(peer)
                if server is None or peer not in self._peers:
                    raise RequestFailed(Reason.NOT_CONNECTED, f"there is no connection to {peer}.")
                self._counts["requested"] += 1
                self._exchanges.append(exchange)
                self._hub.send(self.peer, peer, lambda: server._arrived(self.peer, protocol, body, exchange))
                try:
                    await exchange.done.wait()
                finally:
                    self._exchanges.remove(exchange)
        if isinstance(exchange.outcome, bytes):
            return exchange.outcome
        raise exchange.outcome or RequestFailed(Reason.TIMED_OUT, f"{peer} did not answer {protocol} in {timeout:g} s.")

    def serve(self, protocol: str, handler: Handler) -> None:
        """See `Network.serve`."""
        if protocol in self._handlers:
            raise ValueError(f"{protocol} is served already")
        self._handlers[protocol] = handler

    def leave(self) -> None:
        """End every connection."""
        for name in tuple(self._peers):
            other = self._peers.pop(name)
            self._tell(name, joined=False)
            network = self._hub.networks[other.peer]
            network._lose(self.peer)
        self._hub.announce()

    def part(self, other: "MemoryNetwork") -> None:
        """End the connection with one peer."""
        self._lose(other.peer)
        other._lose(self.peer)
        self._hub.announce()

    def _meet(self, other: "MemoryNetwork", *, outbound: bool) -> None:
        self._peers[other.peer] = Peer(other.peer, trio.current_time(), other.place, outbound)
        self._tell(other.peer, joined=True)

    def _lose(self, name: str) -> None:
        if self._peers.pop(name, None) is None:
            return
        for exchange in self._exchanges:
            if exchange.ends == {self.peer, name}:
                exchange.finish(RequestFailed(Reason.RESET, f"the connection to {name} ended."))
        self._tell(name, joined=False)

    def _tell(self, name: str, *, joined: bool) -> None:
        for watcher in self._watchers:
            watcher.put(PeerChange(name, joined))

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
        joined = self._topics.get(topic)
        if joined is None or not self._first(topic, data):
            return
        try:
            valid = joined.validate(data)
        except Exception:
            log.exception("a validator failed; the message is rejected", topic=topic)
            valid = False
        if not valid:
            self._counts["rejected"] += 1
            return
        self._counts["delivered"] += 1
        joined.mailbox.put(Gossip(data, sender))
        self._relay(topic, data, without=sender)

    def _arrived(self, client: str, protocol: str, body: bytes, exchange: _Exchange) -> None:
        """A request came in: answer it in a task of its own, or refuse it."""
        if client not in self._peers:
            return
        handler = self._handlers.get(protocol)
        if handler is None:
            refusal = RequestFailed(Reason.UNSUPPORTED, f"{self.peer} does not speak {protocol}.")
            self._hub.send(self.peer, client, lambda: exchange.finish(refusal))
            return
        under_way = self._handling.get(client, 0)
        if under_way >= REQUESTS_PER_PEER or sum(self._handling.values()) >= HANDLERS:
            self._hub.send(self.peer, client, lambda: exchange.finish(self._reset(protocol)))
            return
        self._handling[client] = under_way + 1
        self._nursery.start_soon(self._handle, handler, client, protocol, body, exchange)

    async def _handle(self, handler: Handler, client: str, protocol: str, body: bytes, exchange: _Exchange) -> None:
        outcome: bytes | RequestFailed
        try:
            outcome = await handler(client, body)
            self._counts["served"] += 1
        except Exception:
            log.exception("a request handler failed; the stream is reset", protocol=protocol)
            outcome = self._reset(protocol)
        finally:
            self._handling[client] -= 1
            if not self._handling[client]:
                del self._handling[client]
        if isinstance(outcome, bytes) and len(outcome) > RESPONSE_MAXIMUM:
            outcome = RequestFailed(Reason.TOO_LARGE, f"the response of {self.peer} is over {RESPONSE_MAXIMUM} bytes.")
        self._hub.send(self.peer, client, lambda: exchange.finish(outcome))

    def _reset(self, protocol: str) -> RequestFailed:
        return RequestFailed(Reason.RESET, f"{self.peer} broke off {protocol}.")

"""Spreading envelopes: stateless validity decides what is relayed, everything else what is kept.

A message that is not a valid envelope of this network is refused and held against the peer that sent it. A valid one
is relayed whatever this node thinks of it, then stored and taken into the replica. Of one author, and of all
strangers together, only so much is taken at a time (`node.allowances`): that is held against nobody who relays it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable

import trio

from node.allowances import AuthorAllowances
from node.bulletin import Bulletin, Level
from node.clock import Clock
from node.network import Gossip, Network
from node.replica import TIMELESS, Replica, epoch_of
from node.shards import Shards
from node.store import Store, StoreFailed
from protocol.envelope import Envelope, open_envelope
from protocol.messages import Claim
from protocol.rejections import Rejected

OPENED_KEPT = 4096
BATCH = 256


class Gossiper:
    """Takes envelopes in from the topic, and sends this node's own."""

    def __init__(
        self,
        network: Network,
        replica: Replica,
        store: Store,
        clock: Clock,
        bulletin: Bulletin,
        *,
        topic_bits: int = 0,
    ) -> None:
        self._network = network
        self._replica = replica
        self._store = store
        self._clock = clock
        self._bulletin = bulletin
        self.shards = Shards(replica.genesis.id, topic_bits)
        self._followed = self.shards.all
        self._following: dict[int, _Subscription] = {}
        self._change = trio.Event()
        self._allowances = AuthorAllowances(replica.knows)
        self._opened: OrderedDict[bytes, Envelope] = OrderedDict()
        self.arrived: dict[bytes, float] = {}
        """When what the replica holds came in, Unix time; unknown for what a store brought back."""
        self.on_publish: Callable[[Envelope], None] = lambda envelope: None
        """Told of each envelope of this node's own."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take in what arrives, in batches, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._listen, self.shards.common, _Subscription())
            while True:
                changed, wanted = self._change, self._followed
                for shard in wanted - self._following.keys():
                    subscription = self._following[shard] = _Subscription()
                    await nursery.start(self._listen, self.shards.topic(shard), subscription)
                for shard in self._following.keys() - wanted:
                    self._following[shard].scope.cancel()
                    await self._following.pop(shard).ended.wait()
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                await changed.wait()

    def follow(self, shards: frozenset[int]) -> None:
        """From now on take part in the topics of these shards alone, beside the common one; at first it is all."""
        self._followed = shards & self.shards.all
        self._change.set()
        self._change = trio.Event()

    async def _listen(
        self,
        topic: str,
        subscription: "_Subscription",
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        try:
            with subscription.scope:
                async with self._network.subscribe(topic, self._is_valid, admit=self._admits) as channel:
                    task_status.started()
                    async for first in channel:
                        batch = [first, *_waiting(channel, BATCH)]
                        await self.take(self._open(message.data) for message in batch)
        finally:
            subscription.ended.set()

    async def take(self, envelopes: Iterable[Envelope]) -> int:
        """Take envelopes into the replica and keep the new ones; how many were new."""
        fresh = [envelope for envelope in envelopes if self._replica.take(envelope)]
        self.arrived |= {envelope.id: self._clock.now() for envelope in fresh}
        if len(self.arrived) > 2 * len(self._replica.held) + OPENED_KEPT:
            self.arrived = {key: when for key, when in self.arrived.items() if key in self._replica.held}
        lasting = [(e.id, epoch_of(e), e.data) for e in fresh if not isinstance(e.message, Claim)]
        if lasting:
            try:
                await self._store.keep(lasting, self._clock.now())
            except StoreFailed as error:  # in memory it counts all the same; a restart asks the peers again
                if not error.full:
                    self._bulletin.tell(Level.WARN, "STORE", str(error))
        return len(fresh)

    async def publish(self, envelope: Envelope) -> None:
        """Take this node's own envelope in and send it to the neighbours."""
        await self.take([envelope])
        self.on_publish(envelope)
        plan = self._replica.plan(epoch) if (epoch := epoch_of(envelope)) != TIMELESS else None
        for topic in self.shards.topics_of(envelope, plan):
            await self._network.publish(topic, envelope.data)

    def _admits(self, data: bytes) -> bool:
        """Whether the author of a valid envelope may say so much; the rest comes by reconciliation, if at all."""
        return self._allowances.spend(self._open(data).signer, len(data))

    def _is_valid(self, data: bytes) -> bool:
        try:
            self._open(data)
        except Rejected:
            return False
        return True

    def _open(self, data: bytes) -> Envelope:
        """The envelope in `data`; opened once, though validator and subscriber both ask. Raises `Rejected`."""
        known = self._opened.get(data)
        if known is None:
            known = self._opened[data] = open_envelope(data, self._replica.genesis.id)
            if len(self._opened) > OPENED_KEPT:
                self._opened.popitem(last=False)
        return known


class _Subscription:
    """A topic that is listened to: how to end that, and when it has ended."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.ended = trio.Event()


def _waiting(channel: trio.MemoryReceiveChannel[Gossip], most: int) -> list[Gossip]:
    """What lies in the channel already."""
    messages = []
    for _ in range(most):
        try:
            messages.append(channel.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            break
    return messages

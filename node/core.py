"""What every participant runs, whether it evaluates or publishes: replica, store, gossip, exchange and log reader."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import trio

from node.bulletin import Bulletin, Level
from node.clock import Clock
from node.evidence_box import EvidenceBox
from node.exchange import Exchange
from node.gossip import Gossiper
from node.log_keys import LogKeys
from node.log_reader import LogReader
from node.log_watch import LogWatch
from node.mark_watch import MarkWatch
from node.network import Network, RequestFailed
from node.receipt_keeper import ReceiptKeeper
from node.replica import Replica
from node.snapshots import Retention, Snapshots
from node.store import Store, open_store
from node.timetable import Timetable
from node.transcripts import Transcripts
from protocol.envelope import open_envelope
from protocol.genesis import Genesis
from protocol.signing import PrivateKey

EXCHANGES_PER_EPOCH = 20
LONGEST_BETWEEN_EXCHANGES = 60.0
ASK_SECONDS = 1.0


@dataclass(frozen=True)
class Core:
    """The shared services of one participant."""

    network: Network
    replica: Replica
    store: Store
    clock: Clock
    bulletin: Bulletin
    gossiper: Gossiper
    exchange: Exchange
    log_reader: LogReader
    transcripts: Transcripts
    receipts: ReceiptKeeper
    marks: MarkWatch
    timetable: Timetable
    snapshots: Snapshots
    kept_up: trio.Event = field(default_factory=trio.Event)
    """Set once this participant has kept up with a peer since its start."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep up with the others until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.gossiper.run)
            await nursery.start(self.log_reader.run)
            await nursery.start(self.marks.run)
            nursery.start_soon(self._meet)
            nursery.start_soon(self.receipts.run)
            nursery.start_soon(self._exchange_now_and_then)
            nursery.start_soon(self._ask_for_marks)
            nursery.start_soon(self.transcripts.run)
            nursery.start_soon(self.snapshots.run)
            task_status.started()

    async def keep_up_with(self, peer: str) -> None:
        """Take from a peer what it has of the log, then reconcile what lies beyond it."""
        await self.log_reader.take_evidence(peer)
        await self.log_reader.catch_up(peer)
        await self.marks.pull(peer)
        try:
            await self.exchange.with_peer(peer)
        except RequestFailed:
            return  # it left, or is busy: the next round is soon
        self.kept_up.set()

    async def _meet(self) -> None:
        """Keep up with each peer as it joins."""
        async with trio.open_nursery() as nursery, self.network.changes() as changes:
            async for change in changes:
                if change.joined:
                    nursery.start_soon(self.keep_up_with, change.peer)

    async def _exchange_now_and_then(self) -> None:
        """Keep up with one peer after the other: what gossip lost comes this way."""
        between = min(LONGEST_BETWEEN_EXCHANGES, self.replica.genesis.parameters.epoch_seconds / EXCHANGES_PER_EPOCH)
        choice = Random(self.network.peer)  # noqa: S311  only spreads load
        while True:
            await trio.sleep(between)
            if peers := self.network.peers():
                await self.keep_up_with(choice.choice(peers).peer)

    async def _ask_for_marks(self) -> None:
        """Ask peers for the epoch's mark while it is due: gossip of its checkpoint may be slow, or lost."""
        choice = Random(self.network.peer)  # noqa: S311  only spreads load
        epoch = max(0, self.timetable.epoch_at(self.clock.now()))  # its mark may have passed by already
        while True:
            await self.clock.sleep_until(self.timetable.start(epoch) + ASK_SECONDS)
            while self._lacks_mark(epoch) and self.clock.now() < self.timetable.leaderless_at(epoch):
                if peers := self.network.peers():
                    await self.log_reader.catch_up(choice.choice(peers).peer)
                await trio.sleep(ASK_SECONDS)
            epoch = max(epoch, self.timetable.epoch_at(self.clock.now())) + 1

    def _lacks_mark(self, epoch: int) -> bool:
        marked = self.replica.marked_epoch
        return marked is None or marked < epoch


@asynccontextmanager
async def open_core(
    genesis: Genesis,
    network: Network,
    store_file: Path,
    clock: Clock,
    bulletin: Bulletin,
    witness: PrivateKey | None = None,
    *,
    topic_bits: int = 0,
    retention: Retention | None = None,
) -> AsyncIterator[Core]:
    """A core with everything folded that its store keeps. Raises `StoreFailed`.

    Evidence lies in a folder beside the store, `NAME-evidence` for a store `NAME.sqlite`; what `witness` (a key that
    the genesis may name) cosigned last in `NAME-cosigned.note`. `topic_bits`: see `node.shards`.
    `retention`: which of the log's entries are kept, by default all.
    """
    async with open_store(store_file) as store:
        if store.set_aside:
            text = f"The store was damaged and lies in {store.set_aside} now. What it held is fetched from peers."
            bulletin.tell(Level.WARN, "STORE_DAMAGED", text)
        await store.bind(genesis.id)
        replica = Replica(genesis, bulletin)
        gossiper = Gossiper(network, replica, store, clock, bulletin, topic_bits=topic_bits)
        box = EvidenceBox(genesis, store_file.with_name(f"{store_file.stem}-evidence"), bulletin)
        await box.load()
        watch = LogWatch(LogKeys(genesis), network, store, box)
        snapshots = Snapshots(replica, watch.keys, store, bulletin, retention)
        log_reader = LogReader(network, replica, store, clock, bulletin, watch, lambda: gossiper.arrived, snapshots)
        exchange = Exchange(network, replica, gossiper)
        receipts = ReceiptKeeper(network, replica, store)
        cosigned = store_file.with_name(f"{store_file.stem}-cosigned.note")
        marks = MarkWatch(network, replica, store, watch, clock, bulletin, witness, cosigned)
        gossiper.on_publish = receipts.want
        await log_reader.load()
        for data in await store.kept():
            replica.take(open_envelope(data, genesis.id, check_signature=False))
        transcripts = Transcripts(network, replica, store, clock)
        yield Core(
            network,
            replica,
            store,
            clock,
            bulletin,
            gossiper,
            exchange,
            log_reader,
            transcripts,
            receipts,
            marks,
            Timetable(genesis),
            snapshots,
        )

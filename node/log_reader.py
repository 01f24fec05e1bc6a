"""Following the log: entries from whoever has them, checked against the log key's checkpoint, then folded.

Checkpoints of peers are compared with the own one. On a proven fork finality is frozen: this node folds the common
prefix of the two histories and nothing beyond, whichever of them it knew.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import trio
from msgspec import Meta, Struct

from node.bulletin import Bulletin, Level, Topic
from node.clock import Clock
from node.log_keys import Spoken
from node.log_watch import MARKS_REMEMBERED, LogWatch
from node.network import Network, RequestFailed
from node.offload import offload
from node.omissions import Arrived, Omissions
from node.replica import Replica
from node.snapshots import Snapshots
from node.store import Store, StoreFailed
from node.tile_requests import NotKept, TileRequests
from protocol import cbor
from protocol.checkpoint import Checkpoint
from protocol.definitions import Count
from protocol.envelope import MAX_BYTES, Envelope, open_envelope
from protocol.evidence import Fork, Successions
from protocol.merkle import leaf_hash
from protocol.messages import Mark
from protocol.notes import InvalidNote
from protocol.rejections import Rejected, Rejection
from protocol.successions import keys_in_force
from protocol.tiles import InvalidTile

LOG = "/peerboard/log/1"
FIRST_ENTRIES = 1000
PORTION_ENTRIES = 4000
PORTION_BYTES = 8 * 1024 * 1024
NOTE_BYTES = 4096

Part = tuple[int, list[Envelope], list[Rejection | None]]
"""Entries of the log from an index on, and for each why it is VOID, or None."""


def checkpoints_topic(network: bytes) -> str:
    """The topic on which new checkpoints travel."""
    return f"/peerboard/{network.hex()[:32]}/checkpoints/1"


class Ask(Struct, frozen=True, forbid_unknown_fields=True):
    """Entries from `start` on, at most `most` of them."""

    start: Count
    most: Annotated[int, Meta(ge=0, le=PORTION_ENTRIES)]


class Portion(Struct, frozen=True, forbid_unknown_fields=True):
    """The newest checkpoint (empty where there is none) and entries.

    `successions`: envelopes that lead from the genesis' log key to the one that signed; none where it is the genesis'.
    `kept_from`: the first entry that is still held, where those that were asked for are not any more.
    """

    note: Annotated[bytes, Meta(max_length=NOTE_BYTES)]
    entries: Annotated[tuple[Annotated[bytes, Meta(max_length=MAX_BYTES)], ...], Meta(max_length=PORTION_ENTRIES)]
    successions: Successions | None = None
    kept_from: Count | None = None


class NotTheLog(Exception):
    """A peer gave other entries than the checkpoint covers: which of the two is wrong cannot be known from it."""


class LogReader:
    """Keeps this node's prefix of the log up to date, and serves it to peers."""

    def __init__(
        self,
        network: Network,
        replica: Replica,
        store: Store,
        clock: Clock,
        bulletin: Bulletin,
        watch: LogWatch,
        arrived: Arrived,
        snapshots: Snapshots,
    ) -> None:
        self.watch = watch
        self._snapshots = snapshots
        self.omissions = Omissions(replica, arrived)
        self._network = network
        self._replica = replica
        self._store = store
        self._clock = clock
        self._bulletin = bulletin
        self._keys = watch.keys
        self.one_at_a_time = trio.Lock()
        """Held by whoever changes this node's copy of the log."""
        self._topic = checkpoints_topic(replica.genesis.id)
        self.note = b""
        """The newest checkpoint that this node's log reaches."""
        self.heard = -float("inf")
        """When the newest checkpoint arrived, Unix time."""
        self._lacking = -1
        """At which size this node last told that a peer does not keep what it lacks."""
        self._tiles = TileRequests(network, store, replica.genesis.id)
        network.serve(LOG, self._answer)

    async def load(self) -> None:
        """Begin with a snapshot, and fold what the store keeps behind it, without checking its signatures again."""
        if self.watch.box.fork:
            await self._learn_stored()
        await self._fold_stored()

    async def _learn_stored(self) -> None:
        """Which keys were replaced decides whether a fork binds this node, and so how far it folds."""
        place = await self._snapshots.learn_keys()
        while entries := await self._store.log_entries(place, PORTION_ENTRIES):
            network = self._replica.genesis.id
            self._keys.learn(place, [open_envelope(data, network, check_signature=False) for data in entries])
            place += len(entries)

    async def _fold_stored(self, *, anew: bool = False) -> None:
        network = self._replica.genesis.id
        place = self.watch.box.fork.divergence if self.watch.box.fork else None
        await self._snapshots.resume(place.size if place else None, anew=anew)
        self.note = await self._store.checkpoint() or b""
        marks = await self._snapshots.recent_marks(MARKS_REMEMBERED)
        self.watch.remember(open_envelope(data, network, check_signature=False) for data in marks)
        while entries := await self._store.log_entries(self._replica.size, self._room()):
            opened = [open_envelope(data, network, check_signature=False) for data in entries]
            self._keys.learn(self._replica.size, opened)
            self._replica.extend(opened, quiet=True)
            self.watch.remember(opened)
            await trio.lowlevel.checkpoint()

    def _room(self) -> int:
        """How many of the stored entries to fold next: none beyond the common prefix of two histories."""
        place = self.watch.box.fork.divergence if self.watch.box.fork else None
        return PORTION_ENTRIES if place is None else min(PORTION_ENTRIES, max(0, place.size - self._replica.size))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the checkpoints that arrive, until cancelled."""
        async with self._network.subscribe(self._topic, self._is_valid, queue=64) as channel:
            task_status.started()
            async for message in channel:
                said = self._keys.open_announcement(message.data)
                if said.checkpoint.size > self._replica.size and not self.watch.box.fork:
                    await self.catch_up(message.sender)
                else:
                    async with self.one_at_a_time:
                        await self._compare(said, message.sender)

    async def announce(self) -> None:
        """Send this node's checkpoint to its neighbours: what the log's publisher does after each append."""
        await self._network.publish(self._topic, self._keys.announcement(self.note))

    async def catch_up(self, peer: str) -> None:
        """Fetch what a peer has of the log beyond this node's prefix. What is wrong with it is told, not raised."""
        async with self.one_at_a_time:
            try:
                await self._fetch(peer)
            except NotKept as error:
                self._tell_not_kept(error)
            except RequestFailed:
                return  # another peer, or the next round
            except StoreFailed as error:
                if not error.full:
                    raise
                return  # the log is fetched again once there is space; the disk's watch says so
            except (Rejected, InvalidNote, NotTheLog) as error:
                self._bulletin.tell(Level.WARN, "LOG_REFUSED", f"A peer's log was refused: {error}", peer=peer)

    def _tell_not_kept(self, error: NotKept) -> None:
        size = self._replica.size
        if size != self._lacking:
            text = f"{error} This node needs it from entry {size}: it asks on, a bootstrap or a mirror keeps all of it."
            self._bulletin.tell(Level.NOTE, "LOG_NOT_KEPT", text)
        self._lacking = size

    async def take_evidence(self, peer: str) -> None:
        """Take what a peer can prove against the log key, and heed it."""
        if await self.watch.pull(peer):
            async with self.one_at_a_time:
                await self._freeze()

    async def _fetch(self, peer: str) -> None:
        fork = self.watch.box.fork
        entries: list[Envelope] = []
        frontier = self._replica.state.frontier
        most = FIRST_ENTRIES
        said: Spoken | None = None
        target: Checkpoint | None = None
        while said is None or target is None or frontier.size < target.size:
            ask = Ask(frontier.size, most)
            portion = cbor.decode(await self._network.request(peer, LOG, cbor.encode(ask)), Portion)
            if not portion.note:
                return
            if said is None:
                said = self._keys.open(portion.note, portion.successions or ())
                target = said.checkpoint
                if fork or target.size <= frontier.size:
                    await self._compare(said, peer)
                    target = self._common(fork, target)
            if target is None or target.size <= frontier.size:
                return
            if target.size - frontier.size > PORTION_ENTRIES:
                return await self._fetch_history(peer, said, target)
            most = PORTION_ENTRIES
            fresh = portion.entries[: target.size - frontier.size]
            if portion.kept_from is not None:
                raise NotKept(peer, portion.kept_from)
            if not fresh:
                return
            network = self._replica.genesis.id
            entries += await offload(partial(_open_all, fresh, network))
            frontier = frontier.extend(leaf_hash(data) for data in fresh)
        if frontier.root != target.root:
            if not fork and await self._compare(said, peer):
                return
            await self._forget_unproven()
            raise NotTheLog(f"its {len(entries)} entries are not the ones that the log key's checkpoint covers.")
        start = self._replica.size
        voids = await self._take(entries, said, reached=True)
        await self._look_back([(start, entries, voids)], said)

    async def _fetch_history(self, peer: str, said: Spoken, target: Checkpoint) -> None:
        """A long gap is filled by the log's tiles, a piece at a time; what was filled stays if the peer goes away."""
        suspicious: list[Part] = []

        async def take(entries: list[Envelope]) -> None:
            start = self._replica.size
            reached = start + len(entries) == target.size
            voids = await self._take(entries, said, reached=reached)
            part = start, entries, voids
            if reached or Rejection.VOID_WRONG_STATE in voids:
                suspicious.append(part)  # a proof needs the whole tree
            else:
                await self.watch.look_at(*part, said)

        try:
            await self._tiles.follow(peer, target, self._replica.state.frontier, take)
        except InvalidTile as error:
            if not self.watch.box.fork and await self._compare(said, peer):
                return
            await self._forget_unproven()
            raise NotTheLog(f"{error}.") from None
        await self._look_back(suspicious, said)

    async def _forget_unproven(self) -> None:
        """Go back to the checkpoint that this node's log reached: it may be what lies beyond that is not the log's."""
        size = self._keys.open(self.note).checkpoint.size if self.note else 0
        if size < self._replica.size and not self.watch.box.fork:
            await self._store.cut_log(size)
            self._keys.begin_again()
            await self._learn_stored()
            await self._fold_again()

    async def _take(self, entries: list[Envelope], said: Spoken, *, reached: bool) -> list[Rejection | None]:
        """Keep and fold the next entries that a checkpoint covers. `reached`: there are no more of them."""
        start, note = self._replica.size, said.note if reached else None
        allowed = keys_in_force(self._replica.genesis, self._keys.in_force, self._keys.count, entries)
        if reached and not self.watch.box.fork and said.key not in allowed:
            await self._forget_unproven()
            raise NotTheLog("its checkpoint is signed by a key that is not in force there.")
        await self._store.append_log(start, [(entry.id, entry.data) for entry in entries], note, self._clock.now())
        if reached:
            self.note, self.heard = said.note, self._clock.now()
        self._keys.learn(start, entries)
        return self._replica.extend(entries, quiet=not reached)

    async def _look_back(self, parts: list[Part], said: Spoken) -> None:
        """What a checkpoint that was reached says about the log's word, and about this node's state."""
        fork = self.watch.box.fork
        for part in parts:
            await self.watch.look_at(*part, said)
        marks = [
            void
            for _, entries, voids in parts
            for entry, void in zip(entries, voids, strict=True)
            if isinstance(entry.message, Mark)
        ]
        if not fork:
            await self.watch.check_receipts(said)
        if marks and not fork:
            self.omissions.look(self._clock.now())
        self.omissions.forget_found()
        if self._replica.state.halted is None and any(marks):
            await self._fold_anew()
        self._bulletin.touch(Topic.STATUS)

    async def _fold_anew(self) -> None:
        """A mark that has no effect here means that this node went wrong, or the log key did: the store decides."""
        await self._fold_again(anew=True)
        if self._replica.void_mark:
            text = (
                f"The log's newest mark has no effect: {self._replica.void_mark.sentence} This node follows no further "
                "epoch. Look for a newer version, and compare with other runners."
            )
            self._bulletin.tell(Level.FAIL, "MARK_VOID", text)
        else:
            self._bulletin.tell(Level.WARN, "FOLDED_ANEW", "This node's state had gone wrong; it was folded anew.")

    async def _fold_again(self, *, anew: bool = False) -> None:
        held = tuple(self._replica.held.values())
        await self._fold_stored(anew=anew)
        for envelope in held:
            self._replica.take(envelope)

    def _common(self, fork: Fork | None, target: Checkpoint) -> Checkpoint | None:
        """Of a log with two histories only the common prefix is wanted, from whoever has it."""
        if fork is None:
            return target
        place = fork.divergence
        return Checkpoint(target.origin, place.size, place.root) if place and place.size <= target.size else None

    async def _compare(self, said: Spoken, peer: str) -> bool:
        """Compare a peer's checkpoint with the own one; whether a fork became known, or known better."""
        fork = self.watch.box.fork
        if not self.note or (fork and fork.divergence):
            return False
        own = self._keys.open(self.note)
        if (own.checkpoint.size, own.checkpoint.root) == (said.checkpoint.size, said.checkpoint.root):
            return False
        if not await self.watch.compare(own, said, peer) or not self.watch.box.fork:
            return False
        await self._freeze()
        return True

    async def _freeze(self) -> None:
        """Go back to the common prefix of the two histories, where it is known; nothing is folded beyond it."""
        place = self.watch.box.fork.divergence if self.watch.box.fork else None
        if place is None or self._replica.size <= place.size:
            return
        await self._fold_again()
        text = f"Finality is frozen at {place.size} entries, where the two histories part. This node goes on relaying."
        self._bulletin.tell(Level.FAIL, "FROZEN", text)
        for topic in Topic:
            self._bulletin.touch(topic)

    def _is_valid(self, data: bytes) -> bool:
        try:
            self._keys.open_announcement(data)
        except (InvalidNote, Rejected):
            return False
        return True

    async def _answer(self, peer: str, body: bytes) -> bytes:
        ask = cbor.decode(body, Ask)
        note, size, entries = self.note, 0, []
        for data in await self._store.log_entries(ask.start, ask.most):
            size += len(data)
            if size > PORTION_BYTES:
                break
            entries.append(data)
        start = await self._store.log_start()
        kept_from = start if ask.start < start else None
        return cbor.encode(Portion(note, tuple(entries), self._keys.successions or None, kept_from))


def _open_all(entries: Sequence[bytes], network: bytes) -> list[Envelope]:
    return [open_envelope(data, network) for data in entries]

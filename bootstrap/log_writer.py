"""The log key's work: append what arrived, sign checkpoints, open epochs with marks.

Entries and the checkpoint that covers them are on disk before anybody hears of them. The writer decides nothing: it
appends whatever a delegated device signed, in the order of arrival (what it promised first), and marks each epoch
within its grace. Near the end of the hash chain it anchors a new one by itself.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import trio

from bootstrap.chains import ChainExhausted, Chains
from bootstrap.promises import Promises, accepted
from node.bulletin import Level
from node.core import Core
from node.durable import write_durably
from node.offload import offload
from node.replica import epoch_of
from protocol import ledger
from protocol.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from protocol.envelope import Envelope, seal
from protocol.merkle import leaf_hash
from protocol.messages import Succession, succession_consent
from protocol.notes import InvalidNote, SignerKey
from protocol.signing import PrivateKey
from protocol.snapshot import sign_snapshot
from protocol.successions import why_void

APPEND_SECONDS = 0.25
MOST_PER_APPEND = 4000
RENEW_AT = 48
"""Marks that are left of a hash chain when the next one is anchored; of a short chain a quarter."""


class NotThisLog(Exception):
    """The keys or the memory of the log key do not fit the network; the text is a sentence for people."""


class LogWriter:
    """Writes the log of one network. The first mark waits for `waits_for` profiles, `waits_seconds` at most.

    `signed` is the file that remembers the newest checkpoint that the key signed: the writer never signs a shorter log.
    """

    def __init__(
        self,
        core: Core,
        key: PrivateKey,
        chains: Chains,
        signed: Path,
        *,
        waits_for: int = 1,
        waits_seconds: float = 20.0,
    ) -> None:
        genesis = core.replica.genesis
        self._signed = signed
        self._core = core
        self._key = key
        self._chains = chains
        if key.public == genesis.log_key and genesis.chain_anchor not in chains.anchors:
            raise NotThisLog("The hash chain's seed in this home is not the one of its genesis.")
        self._genesis = genesis
        self._signer = SignerKey(genesis.log_verifier.name, key)
        self._waits_for = waits_for
        self._waits_seconds = waits_seconds
        self._promises = Promises(core, key)
        self._trouble = ""
        """Why no mark can be signed; empty as long as all is well."""

    def warnings(self) -> Iterator[dict[str, Any]]:
        """What the operator should look at."""
        if self._trouble:
            remedy = "Until then epochs run leaderless, a day of them at most on the main network."
            yield {"code": "CHAIN_EXHAUSTED", "severity": "fail", "title": self._trouble, "remedy": remedy}

    async def run(self) -> None:
        """Append and mark until cancelled."""
        timetable, clock = self._core.timetable, self._core.clock
        await self._promises.load()
        await self._await_what_was_signed()
        await self._await_succession()
        if not self._must_stop():
            await self._publish_mark()
        await clock.sleep_until(timetable.start(0))
        await self._await_profiles()
        while not self._must_stop():
            epoch = timetable.epoch_at(clock.now())
            if self._may_mark(epoch):
                await self._mark(epoch)
            else:
                await self._append(self._pending())
            await trio.sleep(min(APPEND_SECONDS, max(0.01, timetable.end(epoch) - clock.now())))

    def _must_stop(self) -> bool:
        """Another history of this key is known, or this program lacks the protocol: nothing more may be signed."""
        if self._core.replica.state.log_key != self._key.public:
            text = "Another log key is in force: this one writes nothing more. Follow the log with `peerboard run`."
        elif (coming := self._succession()) and coming.signer == self._genesis.recovery_key:
            text = "The recovery key has replaced this log key: it writes nothing more, the new one goes on."
        elif self._core.log_reader.watch.box.fork:
            text = "This log key has signed another history: nothing more is written. Look for another copy of the key."
        elif version := self._core.replica.state.halted:
            text = f"Version {version} of the protocol is in force: update this program. Until then nothing is written."
        else:
            return False
        self._core.bulletin.tell(Level.FAIL, "LOG_STOPPED", text)
        return True

    def _may_mark(self, epoch: int) -> bool:
        """Whether the epoch wants a mark and it is not too late; nothing is late before the first mark."""
        marked = self._core.replica.marked_epoch
        if marked is None:
            return True
        return epoch > marked and self._core.clock.now() < self._core.timetable.leaderless_at(epoch)

    async def _await_succession(self) -> None:
        """A key that is not the log's waits until the key in force hands over, or the recovery key replaces that."""
        state = self._core.replica.state
        if state.log_key != self._key.public and self._succession() is None:
            text = "The log key in this home is not in force: it writes once a succession that names it is known."
            self._core.bulletin.tell(Level.WARN, "NOT_IN_FORCE", text)
        while self._core.replica.state.log_key != self._key.public:
            found = self._succession()
            if found and found.signer == self._genesis.recovery_key:
                await self._append([found])
            else:
                await trio.sleep(APPEND_SECONDS)

    def _succession(self) -> Envelope | None:
        """What is held, waits to be logged and would change the key that is in force."""
        state = self._core.replica.state
        for envelope in self._core.replica.unlogged():
            message = envelope.message
            changes = isinstance(message, Succession) and message.log_key != state.log_key
            if changes and why_void(self._genesis, state.log_key, state.successions, envelope) is None:
                return envelope
        return None

    async def _await_what_was_signed(self) -> None:
        """After a start: hear the peers before writing, and never write below what the key has signed."""
        if self._core.replica.marked_epoch is None and not self._signed.exists():
            return  # a new network: nobody knows more
        await self._core.kept_up.wait()
        wanted = self._signed_size()
        if self._core.replica.size < wanted:
            found = self._core.replica.size
            text = f"The log here has {found} entries, {wanted} were signed: waiting for a peer that has them."
            self._core.bulletin.tell(Level.FAIL, "LOG_TOO_SHORT", text)
        while self._core.replica.size < wanted:  # noqa: ASYNC110  the log reader grows it
            await trio.sleep(APPEND_SECONDS)

    def _signed_size(self) -> int:
        try:
            note = self._signed.read_bytes()
            try:
                return open_checkpoint(note, self._signer.verifier).checkpoint.size
            except InvalidNote:
                return self._core.log_reader.watch.keys.open(note).checkpoint.size  # of the key before this one
        except FileNotFoundError:
            return 0
        except InvalidNote as error:
            raise NotThisLog(f"{self._signed} is not a checkpoint of this log: {error}. Restore it.") from None

    async def _await_profiles(self) -> None:
        if self._core.replica.marked_epoch is not None:
            return
        with trio.move_on_after(self._waits_seconds):
            while len(self._core.replica.state.accounts) < self._waits_for:
                await self._append(self._pending())
                await trio.sleep(APPEND_SECONDS)

    def _pending(self) -> list[Envelope]:
        """What arrived and is not in the log yet, in the order in which it is appended; a succession ends it."""
        waiting = accepted(self._core, self._core.replica.unlogged())
        coming = self._succession()
        if coming is None:
            return self._promises.in_order(waiting)[:MOST_PER_APPEND]
        rest = self._promises.in_order([envelope for envelope in waiting if envelope.id != coming.id])
        return [*rest[: MOST_PER_APPEND - 1], coming]

    async def _mark(self, epoch: int) -> None:
        await self._append(self._pending())
        if self._core.replica.state.log_key != self._key.public or not self._may_mark(epoch):
            return  # handed over; or the disk was so slow that the hour is lost: the next one is marked in time
        await self._renew_chain()
        state = self._core.replica.state
        try:
            preimage = self._chains.preimage(ledger.chain_at(state, epoch)[0])
        except ChainExhausted as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                self._core.bulletin.tell(Level.FAIL, "CHAIN_EXHAUSTED", self._trouble)
            return
        self._trouble = ""
        await self._append([seal(self._key, state.genesis.id, ledger.next_mark(state, epoch, preimage))])
        await self._publish_mark()

    async def _publish_mark(self) -> None:
        """The newest mark's checkpoint, for the witnesses, and the snapshot; the same bytes each time."""
        head, snapshot = self._core.replica.state.head, self._core.replica.answers.snapshot
        if head is None or snapshot is None:
            return
        size, root, _ = head
        note = sign_checkpoint(Checkpoint(self._signer.verifier.name, size, root), self._signer).encode()
        await self._core.marks.offer(note, sign_snapshot(self._key, snapshot))

    async def _renew_chain(self) -> None:
        """Anchor a new hash chain while the old one has some marks left."""
        state = self._core.replica.state
        if state.next_chain or state.chain_left > min(RENEW_AT, state.genesis.chain_length // 4):
            return
        try:
            anchor = await offload(partial(self._chains.renewed, state.last_preimage))
        except OSError as error:
            text = (
                f"A new hash chain could not be written: {error}. {state.chain_left} marks are left: mend this before."
            )
            self._core.bulletin.tell(Level.FAIL, "CHAIN_NOT_RENEWED", text)
            return
        key, length, network = self._key, state.genesis.chain_length, state.genesis.id
        sequence = state.successions + 1
        consent = key.sign(succession_consent(network, key.public, key.public, anchor, length, sequence))
        message = Succession(key.public, anchor, length, consent, sequence)
        await self._append([seal(key, network, message)])
        text = f"A new hash chain of {length} marks is anchored: back up the file with its seeds again."
        self._core.bulletin.tell(Level.WARN, "CHAIN_RENEWED", text)

    async def _append(self, entries: list[Envelope]) -> None:
        if not entries:
            return
        async with self._core.log_reader.one_at_a_time:
            if self._core.log_reader.watch.box.fork:
                return
            self._promises.in_flight = len(entries)
            try:
                await self._write(entries)
            finally:
                self._promises.in_flight = 0
        await self._core.log_reader.announce()

    async def _write(self, entries: list[Envelope]) -> None:
        replica, store = self._core.replica, self._core.store
        frontier = replica.state.frontier.extend(leaf_hash(entry.data) for entry in entries)
        note = sign_checkpoint(
            Checkpoint(self._signer.verifier.name, frontier.size, frontier.root), self._signer
        ).encode()
        rows = [(entry.id, entry.data) for entry in entries]
        await store.append_log(replica.size, rows, note, self._core.clock.now())
        await offload(partial(write_durably, self._signed, note))
        self._core.log_reader.note = note
        self._core.log_reader.heard = self._core.clock.now()
        self._core.log_reader.watch.keys.learn(replica.size, entries)
        voids = replica.extend(entries)
        for entry, void in zip(entries, voids, strict=True):
            if void:
                what = f"{type(entry.message).__name__} of epoch {epoch_of(entry)}"
                self._core.bulletin.tell(Level.NOTE, void, f"{what} has no effect: {void.sentence}")
        await self._promises.settle(entries)

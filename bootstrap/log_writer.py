"""The log key's work: append what arrived, sign checkpoints, open epochs with marks.

Entries and the checkpoint that covers them are on disk before anybody hears of them. The writer decides nothing: it
appends whatever a delegated device signed, in the order of arrival, and marks each epoch within its grace.
"""

from functools import partial
from pathlib import Path

import trio

from node.bulletin import Level
from node.core import Core
from node.durable import write_durably
from node.offload import offload
from node.replica import epoch_of
from protocol import ledger
from protocol.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from protocol.envelope import Envelope, seal
from protocol.epochs import hash_chain
from protocol.merkle import leaf_hash
from protocol.messages import Delegation
from protocol.notes import InvalidNote, SignerKey
from protocol.signing import PrivateKey

APPEND_SECONDS = 0.25
MOST_PER_APPEND = 4000


class ChainExhausted(Exception):
    """Every preimage of the hash chain is revealed: the log needs a succession."""


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
        chain_seed: bytes,
        signed: Path,
        *,
        waits_for: int = 1,
        waits_seconds: float = 20.0,
    ) -> None:
        genesis = core.replica.genesis
        self._signed = signed
        self._core = core
        self._key = key
        self._chain = hash_chain(chain_seed, genesis.chain_length)
        if self._chain[-1] != genesis.chain_anchor or key.public != genesis.log_key:
            raise NotThisLog("The log key or the hash chain's seed in this home is not the one of its genesis.")
        self._signer = SignerKey(genesis.log_verifier.name, key)
        self._waits_for = waits_for
        self._waits_seconds = waits_seconds

    async def run(self) -> None:
        """Append and mark until cancelled."""
        timetable, clock = self._core.timetable, self._core.clock
        await self._await_what_was_signed()
        await clock.sleep_until(timetable.start(0))
        await self._await_profiles()
        while True:
            epoch = timetable.epoch_at(clock.now())
            if self._may_mark(epoch):
                await self._mark(epoch)
            else:
                await self._append(self._pending())
            await trio.sleep(min(APPEND_SECONDS, max(0.01, timetable.end(epoch) - clock.now())))

    def _may_mark(self, epoch: int) -> bool:
        """Whether the epoch wants a mark and it is not too late; nothing is late before the first mark."""
        marked = self._core.replica.marked_epoch
        if marked is None:
            return True
        return epoch > marked and self._core.clock.now() < self._core.timetable.leaderless_at(epoch)

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
            return open_checkpoint(self._signed.read_bytes(), self._signer.verifier).checkpoint.size
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
        """What arrived and is not in the log yet; delegations first, since what follows may rest on them."""
        state = self._core.replica.state
        waiting = list(self._core.replica.unlogged())
        delegations = [envelope for envelope in waiting if isinstance(envelope.message, Delegation)]
        officials = {*state.genesis.attesters, state.log_key, state.genesis.recovery_key}
        known = officials | state.devices.keys() | set(state.devices.values())
        known |= {e.message.device for e in delegations if isinstance(e.message, Delegation)}
        rest = [e for e in waiting if not isinstance(e.message, Delegation) and e.signer in known]
        return [*delegations, *rest][:MOST_PER_APPEND]

    async def _mark(self, epoch: int) -> None:
        await self._append(self._pending())
        state = self._core.replica.state
        if state.marks >= len(self._chain) - 1:
            raise ChainExhausted(f"all {state.marks} marks of the hash chain are used; the network needs a succession")
        message = ledger.next_mark(state, epoch, self._chain[state.marks])
        mark = seal(self._key, state.genesis.id, message)
        await self._append([mark])

    async def _append(self, entries: list[Envelope]) -> None:
        if not entries:
            return
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
        voids = replica.extend(entries)
        for entry, void in zip(entries, voids, strict=True):
            if void:
                what = f"{type(entry.message).__name__} of epoch {epoch_of(entry)}"
                self._core.bulletin.tell(Level.NOTE, void, f"{what} has no effect: {void.sentence}")
        await self._core.log_reader.announce()

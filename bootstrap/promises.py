"""Receipts: for an envelope that the log accepts, a signed promise between which indices it will stand.

What is promised is on disk before the answer goes out, stands first in the next append, and is remembered until it is
in the log: a process that is killed keeps its word when it comes back.
"""

from collections.abc import Iterable, Sequence

from node.core import Core
from node.receipt_keeper import RECEIPTS, AskReceipts, ToldReceipts
from node.replica import epoch_of
from protocol import cbor
from protocol.envelope import Envelope, open_envelope
from protocol.messages import Delegation
from protocol.receipts import encode_receipt, issue
from protocol.signing import PrivateKey

BESIDE = 2
"""Entries that the log key itself may put in front of what is promised: a mark and a succession."""
MOST_OUTSTANDING = 1000


def accepted(core: Core, waiting: Iterable[Envelope]) -> list[Envelope]:
    """What the log takes of what waits: delegations first, since what follows may rest on them; then who is known."""
    state, waiting = core.replica.state, list(waiting)
    delegations = [envelope for envelope in waiting if isinstance(envelope.message, Delegation)]
    officials = {*state.genesis.attesters, state.log_key, state.genesis.recovery_key}
    known = officials | state.devices.keys() | set(state.devices.values())
    known |= {e.message.device for e in delegations if isinstance(e.message, Delegation)}
    return [
        *delegations,
        *(e for e in waiting if not isinstance(e.message, Delegation) and e.signer in known),
    ]


class Promises:
    """Issues receipts and keeps the order that they promise."""

    def __init__(self, core: Core, key: PrivateKey) -> None:
        self._core = core
        self._key = key
        self._outstanding: dict[bytes, int] = {}
        """Bound by envelope, in ascending order: later promises have later bounds."""
        self.in_flight = 0
        """Entries that are being appended just now."""
        core.network.serve(RECEIPTS, self._answer)

    async def load(self) -> None:
        """Remember what was promised before this process began and is not in the log."""
        self._outstanding = dict(await self._core.store.outstanding_receipts())

    def in_order(self, pending: Sequence[Envelope]) -> list[Envelope]:
        """What is promised first, each behind its device's delegation where that waits, too; then the rest."""
        by_id = {envelope.id: envelope for envelope in pending}
        delegations = {e.message.device: e for e in reversed(pending) if isinstance(e.message, Delegation)}
        first: dict[bytes, Envelope] = {}
        for key in self._outstanding:
            if envelope := by_id.get(key):
                if needed := delegations.get(envelope.signer):
                    first[needed.id] = needed
                first[key] = envelope
        return [*first.values(), *(envelope for envelope in pending if envelope.id not in first)]

    async def settle(self, entries: Iterable[Envelope]) -> None:
        """These are in the log: what was promised of them is kept."""
        kept = [entry.id for entry in entries if self._outstanding.pop(entry.id, None) is not None]
        if kept:
            await self._core.store.drop_receipts(kept)

    async def _answer(self, peer: str, body: bytes) -> bytes:
        ask = cbor.decode(body, AskReceipts)
        network = self._core.replica.genesis.id
        opened = [open_envelope(data, network) for data in ask.envelopes]
        await self._core.gossiper.take(opened)
        return cbor.encode(ToldReceipts(tuple([await self._receipt(envelope) for envelope in opened])))

    async def _receipt(self, envelope: Envelope) -> bytes:
        """The receipt; nothing where the log does not take the envelope, or not now."""
        replica, store = self._core.replica, self._core.store
        if places := await store.positions(envelope.id):
            return self._signed(envelope, places[-1] + 1, places[-1])
        if envelope.id not in replica.held or envelope.id in replica.logged:
            return b""
        if envelope.id in self._outstanding:
            return await store.receipt(envelope.id) or b""
        if len(self._outstanding) >= MOST_OUTSTANDING or envelope not in accepted(self._core, replica.unlogged()):
            return b""
        size = replica.size + self.in_flight
        before = max([size, *self._outstanding.values()])
        bound = before + 2 + BESIDE  # itself, and the delegation that it may need in front of it
        receipt = self._signed(envelope, bound, replica.size)
        self._outstanding[envelope.id] = bound
        row = (envelope.id, epoch_of(envelope), envelope.data)
        await store.keep_promised(row, bound, receipt, self._core.clock.now())
        return receipt

    def _signed(self, envelope: Envelope, bound: int, size: int) -> bytes:
        return encode_receipt(issue(self._key, self._core.replica.genesis.id, envelope.id, bound, size))

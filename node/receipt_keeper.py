"""Asking for receipts: for each envelope of this node's own, the log's promise to include it.

Only the log key can promise, so only the peer that holds it answers; who that is is found out by asking. Whether the
log keeps its word is looked at whenever it grows (`log_watch`).
"""

from collections import OrderedDict
from typing import Annotated

import structlog
import trio
from msgspec import Meta, Struct

from node.network import Network, Reason, RequestFailed
from node.replica import Replica, is_for_the_log
from node.store import Store, StoreFailed
from protocol import cbor
from protocol.envelope import MAX_BYTES, Envelope
from protocol.evidence import MAX_PROMISED
from protocol.receipts import MAX_BYTES as MAX_RECEIPT_BYTES
from protocol.receipts import open_receipt
from protocol.rejections import Rejected

RECEIPTS = "/peerboard/receipts/1"
PORTION = 16
MOST_WAITING = 512
TRIES = 20
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class AskReceipts(Struct, frozen=True, forbid_unknown_fields=True):
    """Envelopes for which receipts are wanted."""

    envelopes: Annotated[tuple[Annotated[bytes, Meta(max_length=MAX_BYTES)], ...], Meta(max_length=PORTION)]


class ToldReceipts(Struct, frozen=True, forbid_unknown_fields=True):
    """A receipt for each of them in order; empty where the log promises nothing, or not yet."""

    receipts: Annotated[tuple[Annotated[bytes, Meta(max_length=MAX_RECEIPT_BYTES)], ...], Meta(max_length=PORTION)]


class ReceiptKeeper:
    """Asks until it has receipts, or the log has the envelopes without, or it has asked often enough."""

    def __init__(self, network: Network, replica: Replica, store: Store) -> None:
        self._network = network
        self._replica = replica
        self._store = store
        self._waiting: OrderedDict[bytes, tuple[Envelope, int]] = OrderedDict()
        self._wanted = trio.Event()
        self._others: set[str] = set()

    def want(self, envelope: Envelope) -> None:
        """Ask for a receipt for an own envelope. The oldest is forgotten where too many wait."""
        if is_for_the_log(envelope):
            self._waiting[envelope.id] = (envelope, TRIES)
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popitem(last=False)
            self._wanted.set()

    async def run(self) -> None:
        """Ask whenever something is wanted, until cancelled."""
        while True:
            await self._wanted.wait()
            if not await self._ask():
                await trio.sleep(RETRY_SECONDS)
            if not self._waiting:
                self._wanted = trio.Event()

    async def _ask(self) -> bool:
        """Ask one peer for some; whether there is reason to go on at once."""
        peers = [peer.peer for peer in self._network.peers() if peer.peer not in self._others]
        if not peers:
            self._others &= {peer.peer for peer in self._network.peers()}
            return False
        portion = [envelope for envelope, _ in list(self._waiting.values())[:PORTION]]
        body = cbor.encode(AskReceipts(tuple(envelope.data for envelope in portion)))
        try:
            told = cbor.decode(await self._network.request(peers[0], RECEIPTS, body), ToldReceipts)
        except RequestFailed as error:
            if error.reason is not Reason.UNSUPPORTED:
                return False
            self._others.add(peers[0])
            return True
        except Rejected as error:
            log.warning("a peer's receipts are not understood", peer=peers[0], reason=str(error))
            return False
        taken = [await self._take(*pair) for pair in zip(portion, told.receipts, strict=False)]
        return len(taken) == len(portion) and all(taken) and bool(taken)

    async def _take(self, envelope: Envelope, data: bytes) -> bool:
        """Keep a receipt; whether it is one for the envelope, by the log key."""
        _, left = self._waiting.pop(envelope.id, (envelope, 0))
        try:
            genesis = self._replica.genesis
            receipt = open_receipt(data, genesis.id, self._replica.state.log_key) if data else None
            if receipt and receipt.envelope == envelope.id and receipt.bound - receipt.size <= MAX_PROMISED:
                await self._store.keep_receipt(envelope.id, receipt.bound, data)
                return True
        except Rejected as error:
            log.warning("a receipt proves nothing", reason=str(error))
        except StoreFailed as error:
            log.warning("a receipt could not be kept", reason=str(error))
        if left > 1 and envelope.id not in self._replica.logged:
            self._waiting[envelope.id] = (envelope, left - 1)
        return False

"""Holding the log to its word: checkpoints are compared, marks looked at, and evidence made, kept and passed on."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Annotated

import structlog
from msgspec import Meta, Struct

from node.evidence_box import EvidenceBox
from node.log_keys import LogKeys, Spoken
from node.network import Network, RequestFailed
from node.store import Store
from node.tree_requests import TreeRequests, divergence_of
from protocol import cbor
from protocol.definitions import Digest
from protocol.envelope import Envelope
from protocol.evidence import (
    MAX_BYTES,
    Evidence,
    EvidenceKind,
    Fork,
    Omission,
    SecondMark,
    WrongState,
    encode_evidence,
)
from protocol.evidence_checks import log_keys
from protocol.messages import Mark
from protocol.receipts import Receipt
from protocol.rejections import Rejected, Rejection

EVIDENCE = "/peerboard/evidence/1"
MOST_AT_ONCE = 64
MARKS_REMEMBERED = 64

log = structlog.get_logger(__name__)


class HeldEvidence(Struct, frozen=True, forbid_unknown_fields=True):
    """Digests (SHA-256) of the evidence that the asking side holds."""

    held: Annotated[tuple[Digest, ...], Meta(max_length=1024)]


class MoreEvidence(Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence that it lacks."""

    evidence: Annotated[tuple[Annotated[bytes, Meta(max_length=MAX_BYTES)], ...], Meta(max_length=MOST_AT_ONCE)]


class LogWatch:
    """Compares and looks; what it finds goes into the box."""

    def __init__(self, keys: LogKeys, network: Network, store: Store, box: EvidenceBox) -> None:
        self.box = box
        self.keys = keys
        box.binds = keys.answers_for
        self._network = network
        self._store = store
        self._trees = TreeRequests(network, store)
        self._marks: OrderedDict[int, Envelope] = OrderedDict()
        network.serve(EVIDENCE, self._answer)

    async def compare(self, own: Spoken, other: Spoken, peer: str) -> bool:
        """Compare own and another checkpoint; whether that made a fork known, or known better.

        The peer is asked for what only it can show. A checkpoint of more entries than are held here that it does not
        prove to contradict them is no fork.
        """
        ours, theirs, ways = own.checkpoint, other.checkpoint, self.keys.ways(own, other)
        smaller = min(ours.size, theirs.size)
        larger_is_ours = ours.size == smaller == theirs.size or ours.size > smaller
        try:
            shown = await (
                self._store.prove(smaller, ours.size) if larger_is_ours else self._trees.ask(peer, smaller, theirs)
            )
        except ValueError:
            return False
        if shown is None or shown.root == (theirs if larger_is_ours else ours).root:
            return False
        fork = Fork(ways, own.note, other.note, shown.consistency, prefix_root=shown.root)
        if place := await self._trees.divergence(peer, theirs, ours.size):
            fork = Fork(ways, own.note, other.note, divergence=divergence_of(*place))
        return await self._keep(fork)

    def _signers(self) -> tuple[bytes, ...]:
        return log_keys(self.keys.genesis, self.keys.successions)

    def remember(self, entries: Iterable[Envelope]) -> list[tuple[Envelope, Envelope]]:
        """Take note of the marks among entries of the log; pairs of two of one epoch."""
        pairs = []
        for entry in entries:
            if isinstance(entry.message, Mark) and entry.signer in self._signers():
                known = self._marks.setdefault(entry.message.epoch, entry)
                if known.id != entry.id:
                    pairs.append((known, entry))
        while len(self._marks) > MARKS_REMEMBERED:
            self._marks.popitem(last=False)
        return pairs

    async def look_at(
        self, start: int, entries: Sequence[Envelope], voids: Sequence[Rejection | None], own: Spoken
    ) -> None:
        """Look at new entries of the log, from index `start` on, that the own checkpoint covers."""
        for first, second in self.remember(entries):
            await self._keep(SecondMark(self.keys.successions, first.data, second.data))
        for index, (entry, void) in enumerate(zip(entries, voids, strict=True), start):
            if void is Rejection.VOID_WRONG_STATE:
                shown = await self._store.prove(index + 1, own.checkpoint.size)
                prefix = await self._store.log_entries(0, index)
                await self._keep(WrongState(own.successions, own.note, index, entry.data, shown.consistency), prefix)

    async def check_receipts(self, own: Spoken) -> None:
        """Look whether the log kept its word, as far as the own checkpoint covers what it promised."""
        size = own.checkpoint.size
        for data in await self._store.due_receipts(size):
            receipt = cbor.decode(data, Receipt)
            if not any(
                receipt.size <= place < receipt.bound for place in await self._store.positions(receipt.envelope)
            ):
                before = await self._store.frontier(receipt.size)
                entries = await self._store.log_entries(receipt.size, receipt.bound - receipt.size)
                shown = await self._store.prove(receipt.bound, size)
                await self._keep(
                    Omission(own.successions, receipt, own.note, before.hashes, tuple(entries), shown.consistency)
                )
            await self._store.drop_receipts([receipt.envelope])

    async def pull(self, peer: str) -> bool:
        """Take evidence from a peer; whether there was any that is new here. What is none is told to the log file."""
        held = HeldEvidence(tuple(kept.id for kept in self.box.kept))
        new = False
        try:
            answer = await self._network.request(peer, EVIDENCE, cbor.encode(held))
            for data in cbor.decode(answer, MoreEvidence).evidence:
                new = await self.box.keep(data) or new
        except RequestFailed:
            return new
        except Rejected as error:
            log.warning("a peer's evidence proves nothing", peer=peer, reason=str(error))
        return new

    async def _answer(self, peer: str, body: bytes) -> bytes:
        held = set(cbor.decode(body, HeldEvidence).held)
        told: list[bytes] = []
        for kept in self.box.kept:
            # What a wrong state needs beside it every node has in its own log, and finds by itself.
            passed_on = kept.finding.kind is not EvidenceKind.WRONG_STATE and kept.id not in held
            if passed_on and sum(map(len, told)) + len(kept.data) <= MAX_BYTES:
                told.append(kept.data)
        return cbor.encode(MoreEvidence(tuple(told[:MOST_AT_ONCE])))

    async def _keep(self, evidence: Evidence, prefix: Iterable[bytes] = ()) -> bool:
        try:
            return await self.box.keep(encode_evidence(evidence), prefix)
        except Rejected as error:
            log.warning("what looked like evidence proves nothing", reason=str(error))
            return False

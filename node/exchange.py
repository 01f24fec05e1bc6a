"""Exchanging envelopes that peers lack: range-based reconciliation, then the envelopes themselves.

Two request protocols. `reconcile`: one round of negentropy over (epoch, id) of everything held. `envelopes`: the ids
that the asking side needs and the envelopes that it has to give, in one request; the answer brings the former.
"""

from collections.abc import Sequence
from typing import Annotated

import structlog
import trio
from msgspec import Meta, Struct

from node.gossip import Gossiper
from node.network import Network
from node.offload import offload
from node.replica import Replica, epoch_of
from protocol import cbor
from protocol.definitions import Digest
from protocol.envelope import MAX_BYTES, Envelope, open_envelope
from protocol.reconciliation import ItemSet, Reconciler, respond
from protocol.reconciliation_format import InvalidMessage
from protocol.rejections import Rejected

RECONCILE = "/peerboard/reconcile/1"
ENVELOPES = "/peerboard/envelopes/1"
ROUNDS = 16
PORTION_BYTES = 768 * 1024
PORTION_IDS = 2000

log = structlog.get_logger(__name__)


class Wants(Struct, frozen=True, forbid_unknown_fields=True):
    """Ids wanted, and envelopes given."""

    ids: Annotated[tuple[Digest, ...], Meta(max_length=PORTION_IDS)]
    given: Annotated[tuple[Annotated[bytes, Meta(max_length=MAX_BYTES)], ...], Meta(max_length=PORTION_IDS)]


class Given(Struct, frozen=True, forbid_unknown_fields=True):
    """Envelopes that were asked for and are held."""

    given: Annotated[tuple[Annotated[bytes, Meta(max_length=MAX_BYTES)], ...], Meta(max_length=PORTION_IDS)]


class Exchange:
    """Answers peers, and brings this node and a peer to the same set."""

    def __init__(self, network: Network, replica: Replica, gossiper: Gossiper) -> None:
        self._network = network
        self._replica = replica
        self._gossiper = gossiper
        network.serve(RECONCILE, self._answer_round)
        network.serve(ENVELOPES, self._answer_envelopes)

    async def with_peer(self, peer: str) -> int:
        """Reconcile with a peer; how many envelopes were new here. Raises `RequestFailed`."""
        have, need = await self._differences(peer)
        give = [self._replica.held[key] for key in have if key in self._replica.held]
        new = 0
        while give or need:
            portion, give = _portion(give)
            wants = Wants(tuple(need[:PORTION_IDS]), tuple(envelope.data for envelope in portion))
            answer = await self._network.request(peer, ENVELOPES, cbor.encode(wants))
            try:
                opened = await self._open(cbor.decode(answer, Given).given)
            except Rejected as error:
                log.warning("a peer gave something that is no envelope", peer=peer, reason=error.reason)
                break
            new += await self._gossiper.take(opened)
            received = {envelope.id for envelope in opened}
            if need and not received & set(need):
                break  # the peer does not hold them any more
            need = [key for key in need if key not in received]
        return new

    async def _differences(self, peer: str) -> tuple[list[bytes], list[bytes]]:
        """Ids that the peer lacks, and ids that this node lacks."""
        reconciler = Reconciler(self._items())
        message: bytes | None = reconciler.initiate()
        have: list[bytes] = []
        need: list[bytes] = []
        for _ in range(ROUNDS):
            if message is None:
                break
            answer = await self._network.request(peer, RECONCILE, message)
            try:
                step = reconciler.reconcile(answer)
            except InvalidMessage as error:
                log.warning("a peer does not reconcile properly", peer=peer, error=str(error))
                break
            message = step.reply
            have += step.have
            need += step.need
        return have, need

    def _items(self) -> ItemSet:
        return ItemSet((epoch_of(envelope), key) for key, envelope in self._replica.held.items())

    async def _answer_round(self, peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return respond(self._items(), body)

    async def _answer_envelopes(self, peer: str, body: bytes) -> bytes:
        wants = cbor.decode(body, Wants)
        await self._gossiper.take(await self._open(wants.given))
        held = [self._replica.held[key] for key in wants.ids if key in self._replica.held]
        portion, _ = _portion(held)
        return cbor.encode(Given(tuple(envelope.data for envelope in portion)))

    async def _open(self, given: Sequence[bytes]) -> list[Envelope]:
        """Signatures are checked in a thread. Raises `Rejected` at the first that is wrong."""
        network = self._replica.genesis.id
        return await offload(lambda: [open_envelope(data, network) for data in given])


def _portion(envelopes: list[Envelope]) -> tuple[list[Envelope], list[Envelope]]:
    """As many as fit into one message, and the rest."""
    size = 0
    for place, envelope in enumerate(envelopes):
        size += len(envelope.data) + 8
        if size > PORTION_BYTES or place == PORTION_IDS:
            return envelopes[:place], envelopes[place:]
    return envelopes, []

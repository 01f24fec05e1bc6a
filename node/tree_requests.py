"""What peers ask each other about the log's tree: roots of prefixes with their proofs, and where two histories part."""

import structlog
from msgspec import Struct

from node.log_tiles import Proofs
from node.network import Network, RequestFailed
from node.store import Store
from protocol import cbor
from protocol.checkpoint import Checkpoint
from protocol.definitions import Count, Digest
from protocol.evidence import Branch, Divergence, Proof
from protocol.merkle import InvalidProof, verify_consistency, verify_inclusion
from protocol.rejections import Rejected

TREE = "/peerboard/tree/1"

log = structlog.get_logger(__name__)


class AskTree(Struct, frozen=True, forbid_unknown_fields=True):
    """Of the tree of `size` leaves: the prefix of `first`."""

    first: Count
    size: Count


class ToldTree(Struct, frozen=True, forbid_unknown_fields=True):
    """The prefix's root, that it is one, and the leaf behind it; all left out by who does not hold the tree."""

    consistency: Proof
    inclusion: Proof
    root: Digest | None = None
    leaf: Digest | None = None


class TreeRequests:
    """Answers questions about the tree that the store holds, and asks peers about theirs."""

    def __init__(self, network: Network, store: Store) -> None:
        self._network = network
        self._store = store
        network.serve(TREE, self._answer)

    async def ask(self, peer: str, first: int, checkpoint: Checkpoint) -> Proofs | None:
        """What a peer shows of the checkpoint's tree, checked against its root; None where it shows nothing."""
        ask = AskTree(first, checkpoint.size)
        try:
            told = cbor.decode(await self._network.request(peer, TREE, cbor.encode(ask)), ToldTree)
            if told.root is None:
                return None
            verify_consistency(first, checkpoint.size, told.consistency, told.root, checkpoint.root)
            if told.leaf is not None:
                verify_inclusion(told.leaf, first, checkpoint.size, told.inclusion, checkpoint.root)
        except (RequestFailed, Rejected, InvalidProof) as error:
            log.info("a peer shows nothing of a tree", peer=peer, reason=str(error))
            return None
        return Proofs(told.root, told.consistency, told.leaf, told.inclusion)

    async def divergence(self, peer: str, theirs: Checkpoint, own_size: int) -> tuple[Proofs, Proofs, int] | None:
        """Where this node's tree of `own_size` leaves and a contradicting one part: own and other proofs, and the size.

        By bisection: every answer is checked, so that a peer can refuse to show the place, and cannot show another.
        """
        same, other = 0, min(own_size, theirs.size)
        while other - same > 1:
            middle = (same + other) // 2
            told, own = await self.ask(peer, middle, theirs), await self._store.prove(middle, own_size)
            if told is None:
                return None
            if told.root == own.root:
                same = middle
            else:
                other = middle
        told, own = await self.ask(peer, same, theirs), await self._store.prove(same, own_size)
        if told is None or told.leaf is None or told.root != own.root or told.leaf == own.leaf:
            return None
        return own, told, same

    async def _answer(self, peer: str, body: bytes) -> bytes:
        ask = cbor.decode(body, AskTree)
        try:
            found = await self._store.prove(ask.first, ask.size)
        except ValueError:
            return cbor.encode(ToldTree((), ()))
        return cbor.encode(ToldTree(found.consistency, found.inclusion, found.root, found.leaf))


def divergence_of(first: Proofs, second: Proofs, size: int) -> Divergence:
    """The place as evidence has it. `ValueError` where one of the proofs has no leaf."""
    return Divergence(size, first.root, _branch(first), _branch(second))


def _branch(proofs: Proofs) -> Branch:
    if proofs.leaf is None:
        raise ValueError("nothing stands behind the whole tree")
    return Branch(proofs.consistency, proofs.leaf, proofs.inclusion)

"""The log's Merkle tree: SHA-256 over leaves and nodes with different prefixes (RFC 6962, RFC 9162 section 2.1).

A tree of n leaves splits at the largest power of two below n. A *node* (level, index) is the perfect subtree over the
leaves index·2^level … (index+1)·2^level − 1; every proof is a list of hashes of nodes or of a few nodes folded, so that
whoever can read nodes (`protocol.tiles`) can make proofs, and whoever holds a root can check them without the tree.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from msgspec import Struct

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
MAX_SIZE = 2**63 - 1

ReadNode = Callable[[int, int], bytes]
"""The hash of the perfect subtree at (level, index)."""


class InvalidProof(Exception):
    """A proof does not show what it is said to show."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash under which an entry stands in the tree."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node with two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier(Struct, frozen=True):
    """A tree's right edge: the hashes of its largest perfect subtrees, from the left. 32·log2(size) bytes at most.

    It is all that is needed to append and to know the root.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> Self:
        """The frontier with one more leaf, given by its hash."""
        return self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> Self:
        """The frontier with more leaves, given by their hashes."""
        size, hashes = self.size, list(self.hashes)
        for leaf in leaves:
            node, carry = leaf, size
            while carry & 1:
                node = node_hash(hashes.pop(), node)
                carry >>= 1
            hashes.append(node)
            size += 1
        return type(self)(size, tuple(hashes))

    @property
    def root(self) -> bytes:
        """The Merkle tree hash of all leaves."""
        return _fold(self.hashes) if self.hashes else EMPTY_ROOT


def frontier(read: ReadNode, size: int) -> Frontier:
    """The frontier of the first `size` leaves of a tree whose nodes can be read."""
    return Frontier(size, tuple(read(level, index) for level, index in _perfect_subtrees(0, size)))


def inclusion_proof(read: ReadNode, index: int, size: int) -> tuple[bytes, ...]:
    """The hashes that lead from leaf `index` to the root of the first `size` leaves (RFC 6962, section 2.1.1).

    Raises `ValueError` where the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(_range_hash(read, middle, end))
            end = middle
        else:
            path.append(_range_hash(read, begin, middle))
            begin = middle
    return tuple(reversed(path))


def consistency_proof(read: ReadNode, first: int, second: int) -> tuple[bytes, ...]:
    """The hashes that show that the first `first` of `second` leaves are a prefix (RFC 6962, section 2.1.2).

    Raises `ValueError` unless 0 <= first <= second. From nothing, or from a tree to itself, the proof is empty.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {second} leaves has no prefix of {first}")
    if first in (0, second):
        return ()
    path: list[bytes] = []
    begin, end = 0, second
    while end != first:
        middle = begin + _split(end - begin)
        if first <= middle:
            path.append(_range_hash(read, middle, end))
            end = middle
        else:
            path.append(_range_hash(read, begin, middle))
            begin = middle
    if begin:  # at 0 the rest is the first tree itself, whose root the verifier has
        path.append(_range_hash(read, begin, end))
    return tuple(reversed(path))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf with hash `leaf` stands at `index` of the tree (RFC 9162, section 2.1.3.2).

    Raises `InvalidProof`.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise InvalidProof(f"a tree of {size} leaves has no leaf {index}")
    _check_lengths(proof)
    node = leaf
    for sibling, on_the_left in zip(proof, _sides(index, size - 1, len(proof)), strict=True):
        node = node_hash(sibling, node) if on_the_left else node_hash(node, sibling)
    if node != root:
        raise InvalidProof("the inclusion proof leads to another root")


def verify_consistency(first: int, second: int, proof: Sequence[bytes], root: bytes, later: bytes) -> None:
    """Check that the tree of `first` leaves and hash `root` is a prefix of that of `second` leaves and hash `later`.

    RFC 9162, section 2.1.4.2; nothing is a prefix of every tree. Raises `InvalidProof`.
    """
    if not 0 <= first <= second <= MAX_SIZE:
        raise InvalidProof(f"a tree of {second} leaves has no prefix of {first}")
    _check_lengths(proof)
    if first in (0, second):
        if proof:
            raise InvalidProof("nothing needs to be shown, yet the consistency proof is not empty")
        if root != (later if first else EMPTY_ROOT):
            raise InvalidProof("the trees have the same size and different roots")
        return
    hashes = [root, *proof] if first & (first - 1) == 0 else list(proof)
    if not proof:
        raise InvalidProof("the consistency proof is empty")
    shift = _trailing_ones(first - 1)
    before = after = hashes[0]
    sides = _sides(first - 1 >> shift, second - 1 >> shift, len(hashes) - 1)
    for sibling, on_the_left in zip(hashes[1:], sides, strict=True):
        if on_the_left:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
        else:
            after = node_hash(after, sibling)
    if before != root:
        raise InvalidProof("the consistency proof leads to another root of the smaller tree")
    if after != later:
        raise InvalidProof("the consistency proof leads to another root of the larger tree")


def _sides(position: int, last: int, count: int) -> list[bool]:
    """For each of `count` steps from node `position` of a row that ends at `last` up to the root: is the sibling left?

    Raises `InvalidProof` where the root is not exactly so many steps away.
    """
    sides: list[bool] = []
    while len(sides) < count:
        if last == 0:
            raise InvalidProof("the proof is longer than the tree is high")
        on_the_left = position & 1 == 1 or position == last
        while on_the_left and position and not position & 1:  # the last node of a row may have no sibling there
            position, last = position >> 1, last >> 1
        sides.append(on_the_left)
        position, last = position >> 1, last >> 1
    if last:
        raise InvalidProof("the proof ends below the root")
    return sides


def _trailing_ones(number: int) -> int:
    return (~number & number + 1).bit_length() - 1


def _check_lengths(proof: Sequence[bytes]) -> None:
    if any(len(node) != HASH_BYTES for node in proof):
        raise InvalidProof(f"every hash of a proof has {HASH_BYTES} bytes")


def _split(count: int) -> int:
    """The largest power of two below `count`, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1


def _perfect_subtrees(begin: int, end: int) -> Iterable[tuple[int, int]]:
    """(level, index) of the largest perfect subtrees of the leaves begin … end − 1; one must start at `begin`."""
    while begin < end:
        level = (end - begin).bit_length() - 1
        yield level, begin >> level
        begin += 1 << level


def _range_hash(read: ReadNode, begin: int, end: int) -> bytes:
    return _fold([read(level, index) for level, index in _perfect_subtrees(begin, end)])


def _fold(hashes: Sequence[bytes]) -> bytes:
    node = hashes[-1]
    for left in reversed(hashes[:-1]):
        node = node_hash(left, node)
    return node

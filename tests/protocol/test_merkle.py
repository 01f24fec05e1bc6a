"""The tree against RFC 6962's recursive definitions, and against Certificate Transparency's reference values."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.merkle import (
    EMPTY_ROOT,
    Frontier,
    InvalidProof,
    consistency_proof,
    frontier,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)


def split(count: int) -> int:
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def tree_hash(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, over leaf hashes."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b"\1" + tree_hash(leaves[:k]) + tree_hash(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), tree_hash(leaves[k:])]
    return [*path(m - k, leaves[k:]), tree_hash(leaves[:k])]


def subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, section 2.1.2."""
    if m == len(leaves):
        return [] if whole else [tree_hash(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), tree_hash(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), tree_hash(leaves[:k])]


class Tree:
    """Nodes of a small tree, by definition."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves = leaves

    def node(self, level: int, index: int) -> bytes:
        assert (index + 1) << level <= len(self.leaves), "a node that the tree does not have"
        return tree_hash(self.leaves[index << level : (index + 1) << level])


def numbered(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % i) for i in range(count)]


# The reference tree of Certificate Transparency's implementations (github.com/google/certificate-transparency,
# github.com/transparency-dev/merkle): entries, the root of each prefix from the empty one on, nodes by level and index.
ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
NODES = {
    (0, 0): "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    (0, 1): "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    (0, 4): "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    (0, 6): "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
    (1, 0): "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    (1, 1): "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    (1, 2): "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    (1, 3): "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    (2, 0): "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    (2, 1): "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
}
INCLUSION = [  # index, size, proof
    (0, 1, []),
    (0, 8, [(0, 1), (1, 1), (2, 1)]),
    (5, 8, [(0, 4), (1, 3), (2, 0)]),
    (2, 3, [(1, 0)]),
    (1, 5, [(0, 0), (1, 1), (0, 4)]),
]
CONSISTENCY = [  # first, second, proof
    (1, 1, []),
    (1, 8, [(0, 1), (1, 1), (2, 1)]),
    (6, 8, [(1, 2), (1, 3), (2, 0)]),
    (2, 5, [(1, 1), (0, 4)]),
    (6, 7, [(1, 2), (0, 6), (2, 0)]),
]
REFERENCE = Tree([leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES])


@pytest.mark.parametrize("size", range(9))
def test_reference_roots(size: int) -> None:
    assert Frontier().extend(REFERENCE.leaves[:size]).root.hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION)
def test_reference_inclusion_proofs(index: int, size: int, proof: list[tuple[int, int]]) -> None:
    expected = tuple(bytes.fromhex(NODES[place]) for place in proof)
    assert inclusion_proof(REFERENCE.node, index, size) == expected
    verify_inclusion(REFERENCE.leaves[index], index, size, expected, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("first", "second", "proof"), CONSISTENCY)
def test_reference_consistency_proofs(first: int, second: int, proof: list[tuple[int, int]]) -> None:
    expected = tuple(bytes.fromhex(NODES[place]) for place in proof)
    assert consistency_proof(REFERENCE.node, first, second) == expected
    verify_consistency(first, second, expected, bytes.fromhex(ROOTS[first]), bytes.fromhex(ROOTS[second]))


def test_every_proof_of_every_small_tree_is_the_definition_and_verifies() -> None:
    leaves = numbered(40)
    tree = Tree(leaves)
    roots = [tree_hash(leaves[:size]) for size in range(41)]
    for size in range(1, 41):
        assert frontier(tree.node, size).root == roots[size]
        for index in range(size):
            proof = inclusion_proof(tree.node, index, size)
            assert list(proof) == path(index, leaves[:size])
            verify_inclusion(leaves[index], index, size, proof, roots[size])
        for first in range(1, size + 1):
            proof = consistency_proof(tree.node, first, size)
            assert list(proof) == subproof(first, leaves[:size], True)
            verify_consistency(first, size, proof, roots[first], roots[size])


@given(sizes=st.lists(st.integers(0, 40), max_size=6))
def test_a_frontier_grows_to_the_root_that_recomputing_gives(sizes: list[int]) -> None:
    leaves = numbered(sum(sizes))
    whole, done = Frontier(), 0
    for size in sizes:
        whole = whole.extend(leaves[done : done + size])
        done += size
        assert whole.size == done
        assert whole.root == tree_hash(leaves[:done])
    one_by_one = Frontier()
    for leaf in leaves:
        one_by_one = one_by_one.append(leaf)
    assert one_by_one == whole == frontier(Tree(leaves).node, done)


@settings(max_examples=200)
@given(data=st.data(), size=st.integers(1, 33))
def test_any_flipped_bit_of_an_inclusion_proof_fails(data: st.DataObject, size: int) -> None:
    leaves = numbered(size)
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(Tree(leaves).node, index, size), tree_hash(leaves)
    whole = bytearray(leaves[index] + root + b"".join(proof))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    parts = [bytes(whole[i : i + 32]) for i in range(0, len(whole), 32)]
    with pytest.raises(InvalidProof):
        verify_inclusion(parts[0], index, size, parts[2:], parts[1])


@settings(max_examples=200)
@given(data=st.data(), second=st.integers(1, 33))
def test_any_flipped_bit_of_a_consistency_proof_fails(data: st.DataObject, second: int) -> None:
    leaves = numbered(second)
    first = data.draw(st.integers(1, second))
    proof = consistency_proof(Tree(leaves).node, first, second)
    whole = bytearray(tree_hash(leaves[:first]) + tree_hash(leaves) + b"".join(proof))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    parts = [bytes(whole[i : i + 32]) for i in range(0, len(whole), 32)]
    with pytest.raises(InvalidProof):
        verify_consistency(first, second, parts[2:], parts[0], parts[1])


@settings(max_examples=200)
@given(data=st.data(), size=st.integers(1, 24))
def test_a_proof_shows_one_place_only(data: st.DataObject, size: int) -> None:
    """Another index, another length, a hash more or less: none verifies."""
    leaves = numbered(size)
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(Tree(leaves).node, index, size), tree_hash(leaves)
    other = data.draw(st.integers(-1, size + 1).filter(lambda other: other != index))
    with pytest.raises(InvalidProof):
        verify_inclusion(leaves[index], other, size, proof, root)
    with pytest.raises(InvalidProof):
        verify_inclusion(leaves[index], index, size, (*proof, root), root)
    if proof:
        with pytest.raises(InvalidProof):
            verify_inclusion(leaves[index], index, size, proof[:-1], root)
        with pytest.raises(InvalidProof):
            verify_inclusion(leaves[index], index, size, (proof[0][:-1], *proof[1:]), root)


@settings(max_examples=200)
@given(data=st.data(), second=st.integers(1, 24))
def test_a_consistency_proof_is_for_one_pair_of_sizes(data: st.DataObject, second: int) -> None:
    leaves = numbered(second)
    first = data.draw(st.integers(1, second))
    proof = consistency_proof(Tree(leaves).node, first, second)
    root, later = tree_hash(leaves[:first]), tree_hash(leaves)
    other = data.draw(st.integers(-1, second + 1).filter(lambda other: other != first))
    with pytest.raises(InvalidProof):
        verify_consistency(other, second, proof, root, later)
    with pytest.raises(InvalidProof):
        verify_consistency(first, second, (*proof, root), root, later)
    if proof:
        with pytest.raises(InvalidProof):
            verify_consistency(first, second, proof[:-1], root, later)


@given(
    first=st.integers(-2, 2**64),
    second=st.integers(-2, 2**64),
    proof=st.lists(st.one_of(st.binary(min_size=32, max_size=32), st.binary(max_size=3)), max_size=70),
    root=st.binary(max_size=33),
)
def test_arbitrary_proofs_are_refused_with_our_error(first: int, second: int, proof: list[bytes], root: bytes) -> None:
    with pytest.raises(InvalidProof):
        verify_inclusion(b"leaf", first, second, proof, root)
    with pytest.raises(InvalidProof):
        verify_consistency(first, second, proof, root, b"another root")


def test_nothing_is_a_prefix_of_every_tree() -> None:
    root = tree_hash(numbered(5))
    assert consistency_proof(Tree(numbered(5)).node, 0, 5) == ()
    verify_consistency(0, 5, (), EMPTY_ROOT, root)
    with pytest.raises(InvalidProof):
        verify_consistency(0, 5, (), root, root)


def test_proofs_of_what_is_not_there_are_the_callers_mistake() -> None:
    tree = Tree(numbered(4))
    for index, size in [(4, 4), (-1, 4), (0, 0)]:
        with pytest.raises(ValueError, match="no leaf"):
            inclusion_proof(tree.node, index, size)
    for first, second in [(5, 4), (-1, 4)]:
        with pytest.raises(ValueError, match="no prefix"):
            consistency_proof(tree.node, first, second)


def test_a_leaf_cannot_be_taken_for_a_node() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)

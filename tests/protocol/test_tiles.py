"""The tile layout: the specification's examples, and readers that believe nothing they are given."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from protocol.tiles import (
    MAX_BUNDLE_BYTES,
    MAX_ENTRY_BYTES,
    WIDTH,
    Bundle,
    InvalidTile,
    Tile,
    TreeReader,
    bundles,
    decode_bundle,
    encode_bundle,
    grow,
    parse_path,
    tiles,
)


def numbered(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % i) for i in range(count)]


def nothing(tile: Tile) -> bytes:
    raise KeyError(tile)


LEAVES = numbered(70_000)
SERVED = grow(nothing, 0, LEAVES)
WIDEST = {(tile.level, tile.index): content for tile, content in SERVED.items()}


@pytest.mark.parametrize(
    ("item", "path"),
    [
        (Tile(0, 1234067), "tile/0/x001/x234/067"),  # the specification's example
        (Tile(0, 0), "tile/0/000"),
        (Tile(1, 999, 17), "tile/1/999.p/17"),
        (Tile(2, 1000, 1), "tile/2/x001/000.p/1"),
        (Bundle(273, 112), "tile/entries/273.p/112"),
        (Bundle(1_000_000), "tile/entries/x001/x000/000"),
    ],
)
def test_paths(item: Tile | Bundle, path: str) -> None:
    assert item.path == path
    assert parse_path(path) == item


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/8/000",
        "tile/-1/000",
        "tile/entries/000/",
        "tile/entries/000\n",
        "tile/entries/٠٠٠",
        "tile/7/x001/000",
        "/tile/0/000",
        "tile/0/../000",
        "tile/0/" + "x001/" * 20 + "001",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidTile):
        parse_path(path)


@given(st.text(alphabet="tile/ns0123456789x.p-", max_size=40) | st.text(max_size=20))
def test_arbitrary_paths_are_a_value_or_our_error(path: str) -> None:
    with contextlib.suppress(InvalidTile):
        assert parse_path(path).path == path


@given(st.builds(Tile, st.integers(0, 4), st.integers(0, 10**6), st.integers(1, 256)))
def test_paths_round_trip(tile: Tile) -> None:
    assert parse_path(tile.path) == tile


def test_the_specifications_tree_of_70_000_leaves() -> None:
    found = list(tiles(70_000))
    expected = [Tile(0, i) for i in range(273)] + [Tile(0, 273, 112), Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert found == expected
    assert set(SERVED) == set(expected)
    assert list(tiles(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles(0)) == []
    assert list(bundles(513)) == [Bundle(0), Bundle(1), Bundle(2, 1)]


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.integers(0, 700), max_size=6))
def test_growing_writes_exactly_the_tiles_that_are_new(steps: list[int]) -> None:
    store: dict[Tile, bytes] = {}
    size = 0
    for step in steps:
        new = grow(store.__getitem__, size, LEAVES[size : size + step])
        assert set(new) == set(tiles(size + step, size))
        store |= new
        size += step
    expected = grow(nothing, 0, LEAVES[:size])
    assert {tile: store[tile] for tile in tiles(size)} == expected
    assert TreeReader(store.__getitem__, size).frontier == Frontier().extend(LEAVES[:size])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=st.integers(1, 70_000))
def test_proofs_from_tiles_verify(data: st.DataObject, size: int) -> None:
    store = SERVED | grow_partial(size)
    root = Frontier().extend(LEAVES[:size]).root
    reader = TreeReader(store.__getitem__, size, root)
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    verify_inclusion(LEAVES[index], index, size, inclusion_proof(reader.node, index, size), root)
    earlier = Frontier().extend(LEAVES[:first]).root
    verify_consistency(first, size, consistency_proof(reader.node, first, size), earlier, root)


def grow_partial(size: int) -> dict[Tile, bytes]:
    """The partial tiles of a prefix of the 70,000, out of the full ones."""
    return {
        tile: WIDEST[tile.level, tile.index][: 32 * tile.width]
        for tile in (Tile(level, (size >> 8 * level) // WIDTH, (size >> 8 * level) % WIDTH) for level in range(3))
        if tile.width
    }


SIZES = [1, 255, 256, 257, 1000, 65_536, 65_537, 70_000]
ROOTS = {size: Frontier().extend(LEAVES[:size]).root for size in SIZES}


@settings(max_examples=100, deadline=None)
@given(data=st.data(), size=st.sampled_from(SIZES))
def test_a_reader_with_a_root_refuses_every_changed_tile(data: st.DataObject, size: int) -> None:
    """Whatever is changed wherever: each leaf that the reader gives is the tree's, or it raises."""
    store = SERVED | grow_partial(size)
    needed = list(tiles(size))
    target = data.draw(st.sampled_from(needed))
    changed = bytearray(store[target])
    bit = data.draw(st.integers(0, 8 * len(changed) - 1))
    changed[bit // 8] ^= 1 << bit % 8
    store[target] = bytes(changed)
    below = target.index * WIDTH**target.level if target.level else target.index
    with pytest.raises(InvalidTile):
        TreeReader(store.__getitem__, size, ROOTS[size]).leaves(below)


@pytest.mark.parametrize("length", [0, 31, 32 * 255, 32 * 257])
def test_a_tile_of_the_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(InvalidTile):
        TreeReader(lambda _: bytes(length), 300)


def test_a_reader_gives_only_what_the_tree_has() -> None:
    reader = TreeReader(SERVED.__getitem__, 70_000)
    for level, index in [(0, 70_000), (17, 0), (-1, 0), (0, -1), (4, 4375)]:
        with pytest.raises(ValueError, match="perfect subtree"):
            reader.node(level, index)
    with pytest.raises(ValueError, match="no tile 274"):
        reader.leaves(274)
    with pytest.raises(InvalidTile):
        TreeReader(SERVED.__getitem__, -1)


def test_a_bundle_is_checked_against_the_tree() -> None:
    entries = [b"%d" % i for i in range(256)]
    reader = TreeReader(SERVED.__getitem__, 70_000, Frontier().extend(LEAVES).root)
    reader.check_bundle(0, entries)
    for wrong in (entries[:-1], [*entries[:-1], b"256"], [b"", *entries]):
        with pytest.raises(InvalidTile):
            reader.check_bundle(0, wrong)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=WIDTH))
def test_bundles_round_trip(entries: list[bytes]) -> None:
    data = encode_bundle(entries)
    assert decode_bundle(data, len(entries)) == entries
    with pytest.raises(InvalidTile):
        decode_bundle(data, len(entries) + 1)


def test_the_largest_entry_and_the_largest_bundle() -> None:
    largest = bytes(MAX_ENTRY_BYTES)
    assert decode_bundle(encode_bundle([largest]), 1) == [largest]
    assert encode_bundle([b"abc", b""]) == b"\0\3abc\0\0"
    with pytest.raises(ValueError, match="32769 bytes"):
        encode_bundle([largest + b"1"])
    with pytest.raises(InvalidTile, match="32769 bytes"):
        decode_bundle((MAX_ENTRY_BYTES + 1).to_bytes(2, "big") + largest + b"1", 1)
    with pytest.raises(InvalidTile, match="bundle of"):
        decode_bundle(bytes(MAX_BUNDLE_BYTES + 1))
    for count in (0, WIDTH + 1):
        with pytest.raises(ValueError, match=f"not {count}"):
            encode_bundle([b""] * count)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_arbitrary_bundles_are_entries_or_our_error(data: bytes, width: int) -> None:
    try:
        entries = decode_bundle(data, width)
    except InvalidTile:
        return
    assert len(entries) == width
    assert not entries or encode_bundle(entries) == data

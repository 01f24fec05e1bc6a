"""Long gaps in the log are filled by its tiles, from any peer; what is not the checkpoint's is not kept."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from node import log_reader, tile_requests
from node.core import Core
from node.memory_network import open_memory_hub
from node.network import Reason, RequestFailed
from node.offload import inline
from node.tile_requests import AskTiles, ToldTiles
from protocol import cbor
from protocol.merkle import frontier, leaf_hash
from protocol.rejections import Rejection
from protocol.signing import verify
from protocol.tiles import WIDTH, Bundle, Tile, TreeReader, bundles, decode_bundle, tile_root
from tests.network.quiet_peers import LENGTH, MARKS, Peers, a_log, codes, log_of

Kit = Any


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test's log has many of them."""
    monkeypatch.setattr(log_reader, "FIRST_ENTRIES", 20)
    monkeypatch.setattr(log_reader, "PORTION_ENTRIES", 40)
    monkeypatch.setattr(tile_requests, "BUNDLES_AT_ONCE", 1)


@pytest.fixture
async def peers(kit: Kit, tmp_path: Path) -> AsyncIterator[Peers]:
    inline.set(True)
    async with open_memory_hub() as hub:
        yield Peers(hub, kit.genesis(), tmp_path)


@pytest.mark.parametrize("known", [0, 200, 256, 700])
async def test_a_long_gap_is_filled_whatever_was_known(kit: Kit, peers: Peers, known: int) -> None:
    log = a_log(kit.genesis())
    async with peers.open("ada", log) as ada, peers.open("eve", log[:known]) as eve:
        assert eve.replica.size == known
        await eve.log_reader.catch_up("ada")
        assert eve.replica.state.digest() == ada.replica.state.digest()
        assert eve.replica.state.marks == MARKS
        assert await log_of(eve) == [each.data for each in log]
        assert eve.log_reader.note == ada.log_reader.note == await eve.store.checkpoint()
        assert eve.replica.answers.bytes_of("leaderboard") == ada.replica.answers.bytes_of("leaderboard")
        assert await eve.store.prove(300, len(log)) == await ada.store.prove(300, len(log))
        assert codes(eve) == codes(ada)


@pytest.mark.parametrize("wrong", [{1}, {1, 2, 3}])
async def test_a_piece_that_is_not_the_logs_is_refused_before_it_is_kept(
    kit: Kit, peers: Peers, wrong: set[int]
) -> None:
    """Several of them, too: they are opened at the same time, and one reason is told."""
    log, other = a_log(kit.genesis()), a_log(kit.genesis(), stars=2)
    async with peers.open("ada", log) as ada, peers.open("ben", log), peers.open("eve") as eve:
        genuine = ada.store.bundle

        async def swapped(bundle: Bundle) -> bytes:
            if bundle.index not in wrong:
                return await genuine(bundle)
            entries = other[bundle.index * WIDTH :][: bundle.width]
            return b"".join(len(each.data).to_bytes(2, "big") + each.data for each in entries)

        ada.store.bundle = swapped  # type: ignore[method-assign]
        await eve.log_reader.catch_up("ada")
        assert codes(eve) == ["LOG_REFUSED"]
        assert (eve.replica.size, await log_of(eve)) == (0, [])
        await eve.log_reader.catch_up("ben")
        assert eve.replica.size == len(log)


async def test_a_long_gap_can_be_left_at_any_time(kit: Kit, peers: Peers) -> None:
    """What had come by then stays, no process does, and another peer brings the rest."""
    log = a_log(kit.genesis())
    inline.set(False)
    async with peers.open("ada", log) as ada, peers.open("ben", log), peers.open("eve") as eve:
        genuine, look_at, came = ada.store.bundle, eve.log_reader.watch.look_at, trio.Event()

        async def slow(bundle: Bundle) -> bytes:
            if bundle.index == 2:
                await trio.sleep_forever()
            return await genuine(bundle)

        async def noticed(*part: Any) -> None:
            await look_at(*part)
            if eve.replica.size == 2 * WIDTH:
                came.set()

        ada.store.bundle = slow  # type: ignore[method-assign]
        eve.log_reader.watch.look_at = noticed  # type: ignore[method-assign,assignment]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(eve.log_reader.catch_up, "ada")
            await came.wait()
            nursery.cancel_scope.cancel()
        assert not [child for child in psutil.Process().children() if "node.signature_process" in child.cmdline()]
        assert await log_of(eve) == [each.data for each in log[: 2 * WIDTH]]
        await eve.log_reader.catch_up("ben")
        assert await log_of(eve) == [each.data for each in log]
        assert eve.replica.size == len(log)


@pytest.mark.parametrize("in_processes", [False, True])
async def test_a_forged_entry_is_refused_although_the_log_key_covers_it(
    kit: Kit, peers: Peers, in_processes: bool
) -> None:
    """What stands before its portion is kept: it is the log's, whoever signed what comes behind."""
    log = a_log(kit.genesis())
    forged = log[700].data[:-1] + bytes((log[700].data[-1] ^ 1,))
    log[700] = replace(log[700], data=forged)
    inline.set(not in_processes)
    async with peers.open("ada", log), peers.open("eve") as eve:
        await eve.log_reader.catch_up("ada")
        assert codes(eve) == ["LOG_REFUSED"]
        assert Rejection.BAD_SIGNATURE.sentence in eve.bulletin.activities[0].text
        assert await log_of(eve) == [each.data for each in log[:512]]
        assert eve.replica.size == 512


async def test_every_signature_of_a_long_gap_is_checked_once(
    kit: Kit, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here, or by a process that says so: not by both, and never by none."""
    log = a_log(kit.genesis())
    checked: list[bytes] = []

    def noted(public: bytes, message: bytes, signature: bytes) -> bool:
        checked.append(signature)
        return verify(public, message, signature)

    monkeypatch.setattr("protocol.envelope.verify", noted)
    async with peers.open("ada", log), peers.open("eve") as eve:
        checked.clear()
        await eve.log_reader.catch_up("ada")
        assert {each.data[-64:] for each in log} <= set(checked)
        assert len(checked) == len(set(checked))
        assert eve.replica.size == len(log)
    inline.set(False)
    async with peers.open("ada"), peers.open("ben") as ben:
        checked.clear()
        await ben.log_reader.catch_up("ada")
        assert not checked
        assert ben.replica.size == len(log)


async def test_what_was_filled_stays_when_the_peer_goes_away(kit: Kit, peers: Peers) -> None:
    log = a_log(kit.genesis())
    async with peers.open("ada", log) as ada, peers.open("ben", log), peers.open("eve") as eve:
        leave_at(ada, 3)
        await eve.log_reader.catch_up("ada")
        assert 0 < eve.replica.size < len(log)
        assert eve.log_reader.note == b""
        size = eve.replica.size
    async with peers.open("eve") as eve, peers.open("ben") as ben:
        assert eve.replica.size == size, "the next start goes on from there"
        await eve.log_reader.catch_up("ben")
        assert eve.replica.state.digest() == ben.replica.state.digest()
        assert codes(eve) == []


@pytest.mark.parametrize("length", [LENGTH, 540])
async def test_what_no_checkpoint_covers_gives_way_to_what_one_does(kit: Kit, peers: Peers, length: int) -> None:
    """A log with two histories: the peer with the one leaves before its end, and all others have the other."""
    log, other = a_log(kit.genesis()), a_log(kit.genesis(), length, stars=2)
    async with peers.open("ada", log) as ada, peers.open("ben", other) as ben, peers.open("eve") as eve:
        leave_at(ada, 2)
        await eve.log_reader.catch_up("ada")
        assert eve.replica.size == 512
        await eve.log_reader.catch_up("ben")
        await eve.log_reader.catch_up("ben")
        assert eve.replica.state.digest() == ben.replica.state.digest()


async def test_a_peer_is_told_when_it_asks_for_what_there_is_not(kit: Kit, peers: Peers) -> None:
    async with peers.open("ada", a_log(kit.genesis())) as ada, peers.open("eve") as eve:
        ask = partial(eve.network.request, "ada", tile_requests.TILES)
        told = await ask(cbor.encode(AskTiles(("tile/entries/000", "tile/0/000", "tile/entries/009", "tile/1/000"))))
        contents = cbor.decode(told, ToldTiles).contents
        assert decode_bundle(contents[0]) == (await log_of(ada))[:256]
        assert contents[1] == b"".join(leaf_hash(entry) for entry in (await log_of(ada))[:256])
        assert contents[2:] == (b"", b"")
        for nonsense in (b"", b"\xff", cbor.encode(AskTiles(("tile/entries/../../key",)))):
            with pytest.raises(RequestFailed):
                await ask(nonsense)


def leave_at(core: Core, first: int) -> None:
    """The core answers no more once it is asked for this bundle."""
    genuine = core.store.bundle

    async def leaving(bundle: Bundle) -> bytes:
        if bundle.index >= first:
            raise RequestFailed(Reason.RESET, "gone")
        return await genuine(bundle)

    core.store.bundle = leaving  # type: ignore[method-assign]


LEAVES = [leaf_hash(number.to_bytes(4, "big")) for number in range(70_000)]


def rows() -> list[list[bytes]]:
    """Each level's hashes of the tree of all leaves."""
    found = [LEAVES]
    while len(found[-1]) >= WIDTH:
        below = found[-1]
        whole = range(0, len(below) - WIDTH + 1, WIDTH)
        found.append([tile_root(b"".join(below[start : start + WIDTH])) for start in whole])
    return found


ROWS = rows()


def read(tile: Tile) -> bytes:
    content = ROWS[tile.level][tile.index * WIDTH :][: tile.width]
    assert len(content) == tile.width
    return b"".join(content)


@given(st.integers(0, len(LEAVES)), st.data())
def test_the_tiles_that_are_asked_for_are_enough_and_no_more_than_are_there(size: int, data: st.DataObject) -> None:
    own = data.draw(st.integers(0, max(0, size - 1)))
    contents = {tile: read(tile) for tile in tile_requests._tiles_above(size, own)}
    reader = TreeReader(contents.__getitem__, size, TreeReader(read, size).frontier.root)
    for bundle in bundles(size, own):
        if bundle.width == WIDTH:
            assert reader.node(8, bundle.index) == ROWS[1][bundle.index]
        else:
            assert reader.leaves(bundle.index) == LEAVES[bundle.index * WIDTH : size]
    whole = own // WIDTH * WIDTH
    assert frontier(reader.node, whole) == TreeReader(read, whole).frontier

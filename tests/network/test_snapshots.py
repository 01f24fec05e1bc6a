"""A node begins with its newest usable snapshot, forgets old entries in whole tiles, and is what it was before."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.publication import Publication
from node import log_reader, snapshots, tile_requests
from node.bulletin import Bulletin
from node.core import Core, open_core
from node.memory_network import open_memory_hub
from node.offload import inline
from node.snapshot_rows import Place, SnapshotRows
from node.snapshots import Retention
from node.state_record import capture
from node.store import StoreFailed
from protocol.merkle import leaf_hash, verify_consistency
from protocol.tiles import WIDTH, Bundle, Tile
from tests.network.quiet_peers import START, Peers, a_log, codes, log_of

Kit = Any
MockClock = trio.testing.MockClock
MARKS, LENGTH = 6, 1800


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot at every mark, and nothing kept for its own sake."""
    monkeypatch.setattr(snapshots, "MARKS_BETWEEN", 1)
    monkeypatch.setattr(snapshots, "MARKS_KEPT", 1)


@pytest.fixture
async def peers(kit: Kit, tmp_path: Path) -> AsyncIterator[Peers]:
    inline.set(True)
    async with open_memory_hub() as hub:
        yield Peers(hub, kit.genesis(), tmp_path)


def knows(core: Core) -> dict[str, Any]:
    """All that a core has in memory of the log, and of what it holds beside it."""
    replica, keys = core.replica, core.log_reader.watch.keys
    state = replica.state
    return {
        "digest": state.digest(),
        "state": capture(state),
        "recent": dict(state.recent),
        "gathered": {e: (w.plan, w.statements, w.committed, w.revealed) for e, w in state.gatherings.items()},
        "answers": replica.answers.contents(),
        "held": list(replica.held),
        "logged": replica.logged,
        "settled": replica._settled,
        "room": (replica._held_of, replica._held_bytes, replica._strangers),
        "energy": replica.energy.kept(),
        "bytes": replica.log_bytes,
        "keys": {name: value for name, value in vars(keys).items() if name != "genesis"},
        "marks": {epoch: mark.id for epoch, mark in core.log_reader.watch._marks.items()},
        "note": core.log_reader.note,
    }


def change(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def sizes(file: Path) -> list[int]:
    with closing(sqlite3.connect(file)) as connection:
        return [row[0] for row in connection.execute("SELECT size FROM snapshots ORDER BY size")]


async def test_a_start_from_a_snapshot_is_a_start_from_the_whole_log(
    kit: Kit, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """In a network at work, in the middle of an epoch; and what the node does then is what it would have done."""
    names = ("ada", "ben", "cleo")
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in names}
    async with kit.network(evaluators) as network:
        await network.until(4 * 60 + 48)
        await network.stop("cleo")
        found = {}
        for kind in ("from a snapshot", "from the whole log"):
            file = tmp_path / f"{kind}.sqlite"
            shutil.copy(tmp_path / "cleo.sqlite", file)
            if kind == "from the whole log":
                change(file, "DELETE FROM snapshots")
            bulletin = Bulletin(network.clock)
            async with (
                network.hub.open(kind) as alone,
                open_core(network.genesis, alone, file, network.clock, bulletin) as core,
            ):
                assert core.snapshots._last.size
                found[kind] = knows(core)
        assert found["from a snapshot"] == found["from the whole log"]
        assert found["from a snapshot"]["energy"][-1], "there is something beside the state"
        assert found["from a snapshot"]["logged"]
        await network.start("cleo", evaluators["cleo"])
        await network.until(6 * 60 + 10)
        assert len({network.board(name) for name in ("bootstrap", *names)}) == 1
        assert len({network.state(name).digest() for name in ("bootstrap", *names)}) == 1
        cleo = kit.identity("cleo").account.public
        assert all(cleo in final.agreeing for final in network.finals("ada"))


async def test_the_newest_two_are_kept(kit: Kit, peers: Peers, tmp_path: Path) -> None:
    log = a_log(kit.genesis(), LENGTH, marks=MARKS)
    async with peers.open("ada", log[:2]) as ada:
        await ada.snapshots.write_down()
        for start in range(2, LENGTH, 300):
            some = log[start : start + 300]
            await ada.store.append_log(start, [(each.id, each.data) for each in some], None, START)
            ada.replica.extend(some)
            await ada.snapshots.write_down()
    marks = list(range(2, LENGTH, 300))
    assert sizes(tmp_path / "ada.sqlite") == marks[-2:]
    async with peers.open("ada") as ada:
        assert (ada.snapshots._last.marks, ada.snapshots._last.size) == (MARKS, marks[-1])
        assert codes(ada) == []


DAMAGE = {
    "some bytes": "UPDATE snapshot_pieces SET data = zeroblob(length(data)) WHERE field = 'models' AND size = {}",
    "a piece is gone": "DELETE FROM snapshot_pieces WHERE field = 'marks' AND size = {}",
    "all pieces are gone": "DELETE FROM snapshot_pieces WHERE size = {}",
    "another version": "UPDATE snapshots SET format = zeroblob(32) WHERE size = {}",
    "another log": "UPDATE snapshots SET root = zeroblob(32) WHERE size = {}",
    "of another place": "UPDATE snapshots SET size = 1700 WHERE size = {}",
}


async def two_snapshots(peers: Peers, kit: Kit, name: str = "ada") -> None:
    """A core with snapshots at the last two marks."""
    log = a_log(kit.genesis(), LENGTH, marks=MARKS)
    async with peers.open(name, log[:1400]) as core:
        await core.snapshots.write_down()
    async with peers.open(name) as core:
        rows = [(each.id, each.data) for each in log[1400:]]
        await core.store.append_log(1400, rows, peers.note(log), START)
    async with peers.open(name) as core:
        await core.snapshots.write_down()


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("both", [False, True])
async def test_a_snapshot_that_is_of_no_use_gives_way(
    kit: Kit, peers: Peers, tmp_path: Path, damage: str, both: bool
) -> None:
    await two_snapshots(peers, kit)
    file = tmp_path / "ada.sqlite"
    assert len(sizes(file)) == 2
    async with peers.open("ada") as ada:
        expected = knows(ada)
        assert ada.snapshots._last.marks == MARKS
    for size in sizes(file)[0 if both else 1 :][::-1]:
        change(file, DAMAGE[damage].format(size))
        if damage == "of another place" and both:
            break
    async with peers.open("ada") as ada:
        assert knows(ada) == expected
        assert set(codes(ada)) == {"SNAPSHOT_DROPPED"}
        await ada.snapshots.write_down()
    async with peers.open("ada") as ada:
        assert codes(ada) == [], "there is a good one again"


async def test_what_is_not_the_state_that_it_was_is_not_used(
    kit: Kit, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, and of this version, yet of a state with another digest: the log decides."""

    def changed(state: Any) -> Any:
        return capture(state) | {"chain_left": state.chain_left + 1}

    monkeypatch.setattr(snapshots, "capture", changed)
    log = a_log(kit.genesis(), LENGTH, marks=MARKS)
    async with peers.open("ada", log) as ada:
        expected = knows(ada)
        await ada.snapshots.write_down()
    async with peers.open("ada") as ada:
        assert codes(ada) == ["SNAPSHOT_DROPPED"]
        assert knows(ada) == expected


async def test_a_state_that_went_wrong_is_folded_from_the_log_alone(kit: Kit, peers: Peers, tmp_path: Path) -> None:
    await two_snapshots(peers, kit)
    async with peers.open("ada") as ada:
        expected = ada.replica.state.digest()
        assert await ada.snapshots.resume(None, anew=True)
        assert ada.replica.size == 0
        assert sizes(tmp_path / "ada.sqlite") == []
        await ada.log_reader.load()
        assert ada.replica.state.digest() == expected


@pytest.mark.parametrize("limit", [1799, 1502, 1501, 1203, 1201, 0])
async def test_nothing_is_begun_with_beyond_a_limit(kit: Kit, peers: Peers, tmp_path: Path, limit: int) -> None:
    """As where two histories of the log part."""
    await two_snapshots(peers, kit)
    there = sizes(tmp_path / "ada.sqlite")
    async with peers.open("ada") as ada:
        assert await ada.snapshots.resume(limit)
        assert ada.replica.size == max((size for size in there if size <= limit), default=0)


async def test_what_is_cut_off_the_log_has_no_snapshot(kit: Kit, peers: Peers, tmp_path: Path) -> None:
    """Neither one that is written, nor one that waits to be."""
    await two_snapshots(peers, kit)
    first, second = sizes(tmp_path / "ada.sqlite")
    async with peers.open("ada") as ada:
        change(tmp_path / "ada.sqlite", f"DELETE FROM snapshots WHERE size = {second}")
        await ada.log_reader.load()
        assert ada.snapshots._taken is not None
        assert ada.snapshots._taken.size == second
        await ada.store.cut_log(second - 1)
        await ada.snapshots.write_down()
        assert sizes(tmp_path / "ada.sqlite") == [first]
        await ada.store.cut_log(first - 1)
        assert sizes(tmp_path / "ada.sqlite") == []


async def test_a_full_disk_costs_a_snapshot_and_no_more(
    kit: Kit, peers: Peers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = a_log(kit.genesis(), LENGTH, marks=MARKS)
    genuine, full = SnapshotRows.write, [True]

    async def failing(rows: SnapshotRows, *given: Any) -> bool:
        if full:
            full.pop()
            raise StoreFailed("The disk is full.", full=True)
        return await genuine(rows, *given)

    monkeypatch.setattr(SnapshotRows, "write", failing)
    async with peers.open("ada", log[:1400]) as ada, trio.open_nursery() as nursery:
        nursery.start_soon(ada.snapshots.run)
        await trio.testing.wait_all_tasks_blocked()
        assert not full
        assert sizes(tmp_path / "ada.sqlite") == []
        ada.replica.extend(log[1400:])
        rows = [(each.id, each.data) for each in log[1400:]]
        await ada.store.append_log(1400, rows, None, START)
        await trio.testing.wait_all_tasks_blocked()
        assert sizes(tmp_path / "ada.sqlite") == [1502]
        nursery.cancel_scope.cancel()


# ---- eviction

SMALL = Retention(bytes=1)


async def pruned(peers: Peers, kit: Kit, name: str = "ada") -> None:
    await two_snapshots(peers, kit, name)
    async with peers.open(name, retention=SMALL) as core:
        await core.snapshots.write_down()


async def test_old_entries_go_in_whole_tiles_and_the_proofs_stay(kit: Kit, peers: Peers, tmp_path: Path) -> None:
    await pruned(peers, kit)
    log = a_log(kit.genesis(), LENGTH, marks=MARKS)
    async with peers.open("ada") as ada, peers.open("ben", log) as ben:
        start = await ada.store.log_start()
        assert start == (sizes(tmp_path / "ada.sqlite")[0] - 1) // WIDTH * WIDTH > 0
        assert await ada.store.log_size() == LENGTH
        assert await ada.store.log_entries(start, 9999) == [each.data for each in log[start:]]
        assert await ada.store.log_entries(start - 1, 9999) == []
        assert ada.replica.state.digest() == ben.replica.state.digest()
        mine, theirs = knows(ada), knows(ben)
        here = {each.id for each in log[start:]}
        assert mine.pop("marks").items() <= theirs.pop("marks").items()
        assert mine.pop("held") == [key for key in theirs.pop("held") if key in here], "but for what is gone"
        assert mine.pop("logged") == theirs.pop("logged") & here
        assert mine.pop("room") != theirs.pop("room")
        assert mine == theirs
        assert await ada.store.tile(Tile(0, 0, WIDTH)) == b"".join(leaf_hash(each.data) for each in log[:WIDTH])
        for first in (1, 300, start, 1700):
            shown = await ada.store.prove(first, LENGTH)
            assert shown == await ben.store.prove(first, LENGTH)
            verify_consistency(first, LENGTH, shown.consistency, shown.root, ada.replica.state.frontier.root)


async def test_nothing_is_evicted_without_a_bound(kit: Kit, peers: Peers) -> None:
    await two_snapshots(peers, kit)
    async with peers.open("ada") as ada:
        await ada.snapshots.write_down()
        assert await ada.store.log_start() == 0


@pytest.mark.parametrize("by_tiles", [False, True])
async def test_who_asks_for_what_is_gone_is_told_and_asks_another(
    kit: Kit, peers: Peers, monkeypatch: pytest.MonkeyPatch, by_tiles: bool
) -> None:
    if by_tiles:
        monkeypatch.setattr(log_reader, "FIRST_ENTRIES", 20)
        monkeypatch.setattr(log_reader, "PORTION_ENTRIES", 40)
    monkeypatch.setattr(tile_requests, "BUNDLES_AT_ONCE", 1)
    await pruned(peers, kit)
    log = a_log(kit.genesis(), LENGTH, marks=MARKS)
    async with peers.open("ada") as ada, peers.open("ben", log), peers.open("eve") as eve:
        for _ in range(3):
            await eve.log_reader.catch_up("ada")
        assert codes(eve) == ["LOG_NOT_KEPT"], "once"
        assert f"from entry {await ada.store.log_start()} on" in eve.bulletin.activities[-1].text
        assert eve.replica.size == 0
        await eve.log_reader.catch_up("ben")
        assert eve.replica.state.digest() == ada.replica.state.digest()
    async with peers.open("dan", log[:1500]) as dan, peers.open("ada") as ada:
        await dan.log_reader.catch_up("ada")
        assert dan.replica.size == LENGTH, "what is kept serves those who lack only that"
        assert "LOG_NOT_KEPT" not in codes(dan)


async def test_without_beginning_and_snapshot_the_log_is_fetched_again(kit: Kit, peers: Peers, tmp_path: Path) -> None:
    await pruned(peers, kit)
    change(tmp_path / "ada.sqlite", "UPDATE snapshots SET format = zeroblob(32)")
    log = a_log(kit.genesis(), LENGTH, marks=MARKS)
    async with peers.open("ben", log) as ben, peers.open("ada") as ada:
        assert set(codes(ada)) == {"SNAPSHOT_DROPPED", "LOG_FETCHED_AGAIN"}
        assert (ada.replica.size, ada.log_reader.note, await log_of(ada)) == (0, b"", [])
        await ada.log_reader.catch_up("ben")
        assert ada.replica.state.digest() == ben.replica.state.digest()
        assert await log_of(ada) == [each.data for each in log]


async def test_what_was_forgotten_is_not_published_with_holes(kit: Kit, peers: Peers, tmp_path: Path) -> None:
    """Where the public files were lost and the store cannot make them anew, that is said."""
    await pruned(peers, kit)
    log = a_log(kit.genesis(), LENGTH, marks=MARKS)
    async with peers.open("ada") as ada, peers.open("ben", log) as ben:
        with pytest.raises(OSError, match=r"tile/entries/000 is no longer in the store: restore the folder"):
            await Publication(ada, tmp_path / "public")._write_log(LENGTH)
        assert not (tmp_path / "public/tile/entries").exists()
        await Publication(ben, tmp_path / "public")._write_log(LENGTH)
        assert (tmp_path / "public/tile/entries/000").read_bytes() == await ben.store.bundle(Bundle(0, WIDTH))


PLACES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 99), st.integers(1, 999)), min_size=1, max_size=40)


@given(PLACES, st.integers(0, 60), st.integers(0, 9000))
def test_what_the_bounds_want_stays_and_nothing_else(steps: list[tuple[int, int, int]], epochs: int, most: int) -> None:
    places, at = [], (0, 0, 0)
    for step in steps:
        at = at[0] + step[0], at[1] + step[1], at[2] + step[2]
        places.append(Place(*at))
    end = snapshots._boundary(places, Retention(epochs, most))
    newest, kept = places[-1], [place for place in places if place.size > end]
    assert end == 0 or end in {place.size for place in places}
    assert len(kept) >= min(len(places), snapshots.MARKS_KEPT), "the last marks stay"
    if epochs:
        assert all(place.epoch > newest.epoch - epochs for place in kept[:-1]) or len(kept) <= snapshots.MARKS_KEPT + 1
    before = next((place.bytes for place in places if place.size == end), 0)
    if most and len(kept) > snapshots.MARKS_KEPT:
        assert newest.bytes - before <= most
    if not epochs and not most:
        assert end == 0

"""What survives the process, whatever becomes of it."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.disk import has_space
from node.snapshot_rows import SnapshotRows
from node.store import StoreFailed, open_store
from node.store_schema import STEPS
from protocol.envelope import seal
from protocol.messages import Commitment
from protocol.signing import PrivateKey

MIB = 1 << 20
FIRST_TABLES = """
CREATE TABLE log (position INTEGER PRIMARY KEY, id BLOB NOT NULL, data BLOB NOT NULL, received REAL);
CREATE TABLE envelopes (id BLOB PRIMARY KEY, epoch INTEGER NOT NULL, data BLOB NOT NULL, received REAL);
CREATE TABLE network (only INTEGER PRIMARY KEY CHECK (only = 0), id BLOB NOT NULL);
CREATE TABLE checkpoint (only INTEGER PRIMARY KEY CHECK (only = 0), note BLOB NOT NULL);
CREATE TABLE batches (
    number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, ground BLOB NOT NULL, commitment BLOB NOT NULL, result BLOB
);
"""


async def test_the_log_is_read_back_in_order(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.sqlite") as store:
        await store.append_log(0, [(b"a", b"one"), (b"b", b"two")], b"note 2", 1.0)
        await store.append_log(2, [(b"c", b"three")], b"note 3", 2.0)
        assert await store.log_entries(1, 10) == [b"two", b"three"]
        assert await store.log_entries(0, 1) == [b"one"]
        assert await store.log_size() == 3
        assert await store.checkpoint() == b"note 3"


async def test_a_salt_is_drawn_once(tmp_path: Path) -> None:
    async with open_store(tmp_path / "s.sqlite") as store:
        assert await store.salt(5, b"first") == b"first"
        assert await store.salt(5, b"second") == b"first"
        assert await store.salt(6, b"third") == b"third"


async def test_what_was_signed_first_stays(tmp_path: Path) -> None:
    """A second result for a batch would be equivocation: the store keeps the first."""
    async with open_store(tmp_path / "s.sqlite") as store:
        assert await store.keep_batch(1, b"ground", b"commitment", [b"task"])
        await store.keep_result(b"commitment", b"result")
        await store.keep_result(b"commitment", b"another")
        assert await store.batches(1) == [(b"ground", b"commitment", b"result")]
        await store.keep_work(b"ground", b"task", 1, b"outcome", b"run", None)
        await store.keep_work(b"ground", b"task", 1, b"other outcome", b"run", None)
        await store.keep_work(b"other ground", b"task", 1, b"outcome there", b"run", None)
        assert await store.work(b"ground") == {b"task": (b"outcome", b"run")}
        assert await store.work(b"other ground") == {b"task": (b"outcome there", b"run")}


async def test_past_epochs_are_forgotten_and_timeless_words_once_they_are_logged(tmp_path: Path) -> None:
    timeless = 2**63 - 1
    async with open_store(tmp_path / "s.sqlite") as store:
        await store.keep([(b"old", 1, b"old"), (b"new", 9, b"new"), (b"delegation", timeless, b"d")], 1.0)
        await store.drop_before(5)
        assert sorted(await store.kept()) == [b"d", b"new"]
        await store.append_log(0, [(b"delegation", b"d")], b"note", 1.0)
        await store.drop_before(5)
        assert await store.kept() == [b"new"]


async def test_what_no_epoch_bounds_is_kept_as_long_as_it_is_held(tmp_path: Path) -> None:
    timeless = 2**63 - 1
    async with open_store(tmp_path / "s.sqlite") as store:
        await store.keep([(b"new", 9, b"new"), (b"one", timeless, b"1"), (b"two", timeless, b"2")], 1.0)
        await store.drop_unheld({b"two"})
        assert await store.kept() == [b"new", b"2"]


@pytest.mark.parametrize(
    "begins", [b"this is no database, whatever its name says" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
async def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, begins: bytes) -> None:
    file = tmp_path / "s.sqlite"
    file.write_bytes(begins)
    async with open_store(file) as store:
        assert store.set_aside == tmp_path / "s.sqlite.damaged"
        assert store.set_aside.read_bytes() == begins, "somebody may want to look at it"
        await store.append_log(0, [(b"a", b"one")], b"note 1", 1.0)
    async with open_store(file) as store:
        assert store.set_aside is None
        assert await store.log_size() == 1


async def damaged_in_the_middle(folder: Path) -> Path:
    """A store that can be opened, and not be read to its end."""
    file = folder / "s.sqlite"
    async with open_store(file) as store:
        await store.append_log(0, [(b"%d" % n, bytes(5000)) for n in range(200)], b"note", 1.0)
    whole = file.read_bytes()
    file.write_bytes(whole[:40_000] + b"\xff" * (len(whole) - 40_000))
    return file


async def test_damage_that_is_met_later_is_said_with_a_remedy(tmp_path: Path) -> None:
    file = await damaged_in_the_middle(tmp_path)
    async with open_store(file) as store:
        with pytest.raises(StoreFailed, match="Restart the node") as failed:
            await store.log_entries(0, 1000)
        assert not failed.value.full


async def test_damage_that_was_met_in_use_is_set_aside_at_the_next_start(tmp_path: Path) -> None:
    """The file can be opened: without a word from the process that met the damage, no start would ever end."""
    file = await damaged_in_the_middle(tmp_path)
    async with open_store(file) as store:
        assert store.set_aside is None
        with pytest.raises(StoreFailed):
            await store.log_entries(0, 1000)
    async with open_store(file) as store:
        assert store.set_aside == tmp_path / "s.sqlite.damaged"
        assert await store.log_size() == 0
        await store.append_log(0, [(b"a", b"one")], b"note", 1.0)
    async with open_store(file) as store:
        assert store.set_aside is None
        assert await store.log_entries(0, 9) == [b"one"]


async def test_a_file_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "s.sqlite"
    async with open_store(file):
        pass
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    with pytest.raises(StoreFailed, match="update it"):
        async with open_store(file):
            pytest.fail("a newer file was opened")


async def test_a_file_from_before_versions_were_counted_becomes_one_of_now(tmp_path: Path) -> None:
    """Its tables are made as they were then; what was promised is read from its commitments."""
    file, network = tmp_path / "s.sqlite", b"n" * 32
    tasks = (b"1" * 32, b"2" * 32)
    commitment = seal(PrivateKey(b"k" * 32), network, Commitment(7, b"g" * 32, tasks, b"d" * 32))
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript(FIRST_TABLES)
        connection.execute("INSERT INTO network VALUES (0, ?)", (network,))
        connection.execute("INSERT INTO log VALUES (0, ?, ?, 1.0)", (b"a", b"one"))
        connection.execute("INSERT INTO batches VALUES (1, 7, ?, ?, NULL)", (b"g" * 32, commitment.data))
        connection.commit()
    async with open_store(file) as store:
        assert await store.log_entries(0, 9) == [b"one"]
        assert await store.batches(7) == [(b"g" * 32, commitment.data, None)]
        assert not await store.keep_batch(7, b"other", b"another", [b"3" * 32, tasks[1]])
        assert len(await store.batches(7)) == 1
        assert await store.keep_batch(7, b"g" * 32, b"another", [b"3" * 32]), "what was not promised can be"
        await store.keep_receipt(b"e" * 32, 5, b"receipt")
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(STEPS),)


PROMISER = """
import sys, trio
from pathlib import Path
from node.store import open_store

async def main():
    async with open_store(Path(sys.argv[1])) as store:
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        kept = [n for n in range(50) if await store.keep_batch(1, b"ground", sys.argv[2].encode(), [bytes([n])])]
        print(*kept, flush=True)

trio.run(main)
"""


async def test_two_processes_with_one_key_promise_nothing_twice(tmp_path: Path) -> None:
    file = tmp_path / "s.sqlite"
    command = [sys.executable, "-I", "-c", PROMISER, str(file)]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen([*command, name], stdin=pipe, stdout=pipe, text=True)  # noqa: ASYNC220
        for name in ("one", "two")
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    kept = [set(map(int, process.communicate()[0].split())) for process in processes]
    assert kept[0] | kept[1] == set(range(50))
    assert not kept[0] & kept[1]
    async with open_store(file) as store:
        assert len(await store.batches(1)) == 50


WRITER = """
import sys, trio
from pathlib import Path
from node.store import open_store

async def main():
    async with open_store(Path(sys.argv[1])) as store:
        number = 0
        while True:
            await store.append_log(number, [(b"%d" % number, b"entry %d" % number)], b"note %d" % (number + 1), 0.0)
            number += 1
            print(number, flush=True)

trio.run(main)
"""


async def test_a_kill_at_any_instant_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    file = tmp_path / "s.sqlite"
    for patience in (3, 17, 40):
        file.unlink(missing_ok=True)
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-I", "-c", textwrap.dedent(WRITER), str(file)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        acknowledged = 0
        while acknowledged < patience:
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        acknowledged = int(rest[-1]) if rest else acknowledged
        process.wait()
        async with open_store(file) as store:
            size = await store.log_size()
            assert size >= acknowledged
            assert await store.checkpoint() == b"note %d" % size, "an entry and its checkpoint are one step"
            assert await store.log_entries(0, size) == [b"entry %d" % number for number in range(size)]


REMEMBERER = """
import sys, trio
from itertools import count
from pathlib import Path
from node.snapshot_rows import SnapshotRows
from node.state_record import Piece
from node.store import open_store

async def main():
    async with open_store(Path(sys.argv[1])) as store:
        rows = SnapshotRows(store)
        for turn in count(1):
            size = 1000 * turn
            entries = [(b"%d" % n, b"entry %d" % n) for n in range(size - 1000, size)]
            await store.append_log(size - 1000, entries, b"note", 0.0)
            pieces = iter([Piece("field", bytes([turn % 256]) * 700_000)] * 3)
            assert await rows.write(size, (await store.frontier(size)).root, b"format", pieces)
            print(size, flush=True)
            await rows.drop([old.size for old in (await rows.written())[2:]])
            await store.evict_log((await rows.written())[-1].size)

trio.run(main)
"""


@pytest.mark.parametrize("patience", [1, 2, 4])
async def test_a_kill_while_states_are_written_and_entries_evicted(tmp_path: Path, patience: int) -> None:
    file = tmp_path / "s.sqlite"
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-I", "-c", REMEMBERER, str(file)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    for _ in range(patience):
        acknowledged = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    async with open_store(file) as store:
        rows = SnapshotRows(store)
        written = await rows.written()
        assert written[0].size >= acknowledged
        start, size = await store.log_start(), await store.log_size()
        assert start % 256 == 0
        assert start <= written[-1].size, "what a snapshot stands on is there"
        assert await store.log_entries(start, size) == [b"entry %d" % number for number in range(start, size)]
        for each in written:
            pieces = await rows.pieces(each)
            assert pieces
            assert len({piece.data for piece in pieces}) == 1
            assert (await store.frontier(each.size)).root == each.root
        await rows.drop([])
        left = await store.rows("SELECT DISTINCT size FROM snapshot_pieces")
        assert {row[0] for row in left} == {each.size for each in written}, "what was half written is forgotten"


@pytest.fixture
def small_disk(tmp_path: Path, require_tool: Callable[..., Path]) -> Iterator[Path]:
    """A disk of 4 MiB; only root may mount one."""
    mount, umount = require_tool("mount"), require_tool("umount")
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    yield folder
    subprocess.run([umount, folder], check=True)


async def test_a_full_disk_is_said_and_survived(small_disk: Path) -> None:
    file = small_disk / "s.sqlite"
    async with open_store(file) as store:
        await store.append_log(0, [(b"a", b"one")], b"note 1", 1.0)
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(8 * MIB))
        assert not has_space(small_disk, 0)
        with pytest.raises(StoreFailed, match="full") as failed:
            await store.append_log(1, [(b"b", bytes(MIB))], b"note 2", 2.0)
        assert failed.value.full
        assert await store.log_entries(0, 9) == [b"one"], "what was there can be read"
        filler.unlink()
        assert has_space(small_disk, MIB)
        await store.append_log(1, [(b"b", b"two")], b"note 2", 3.0)
        assert await store.log_entries(0, 9) == [b"one", b"two"]


def test_space_is_judged_by_what_is_left(tmp_path: Path) -> None:
    assert has_space(tmp_path, 1)
    assert not has_space(tmp_path, 2**62)
    assert not list(tmp_path.iterdir()), "the probe is gone"


async def test_two_connections_do_not_lose_each_others_words(tmp_path: Path) -> None:
    file = tmp_path / "s.sqlite"
    async with open_store(file) as store:
        await store.append_log(0, [(b"a", b"one")], b"note", 1.0)
        with sqlite3.connect(file) as reader:
            assert reader.execute("SELECT count(*) FROM log").fetchone() == (1,)


async def test_transcripts_stay_until_nobody_can_ask_within_bounds(tmp_path: Path) -> None:
    async with open_store(tmp_path / "store.sqlite") as store:
        for epoch in range(6):
            transcript = (bytes([epoch]) * 32, bytes(10))
            await store.keep_work(b"ground", bytes([epoch]), epoch, b"outcome", b"run", transcript)
    async with open_store(tmp_path / "store.sqlite") as store:
        digests = [bytes([epoch]) * 32 for epoch in range(6)]
        assert list(await store.transcripts(digests)) == digests
        await store.drop_before(9)
        assert len(await store.transcripts(digests)) == 6, "work goes, transcripts stay"
        await store.drop_transcripts(lambda task, epoch: task[0] != 4 and epoch > 0, 1000)
        assert sorted(await store.transcripts(digests)) == [digests[n] for n in (1, 2, 3, 5)]
        await store.drop_transcripts(lambda task, epoch: True, 25)
        assert sorted(await store.transcripts(digests)) == [digests[n] for n in (3, 5)], "the oldest go first"

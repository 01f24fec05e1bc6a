"""What a start begins with: states just after marks, written now and then, and a log without its oldest entries.

A snapshot is this node's own word to itself. Before it is used it must be what was written, have the digest that the
state had, and stand on the log that is kept; every later mark then names the state that follows from it, or is VOID.
"""

from collections.abc import Iterator
from functools import partial
from hashlib import sha256

import msgspec
import structlog
import trio
from msgspec import Struct

from node.bulletin import Bulletin, Level
from node.log_keys import Followed, LogKeys
from node.offload import offload
from node.replica import Beside, Replica
from node.snapshot_rows import Place, SnapshotRows, Written
from node.state_record import Captured, Piece, Unusable, capture, format_of, pieces, restore
from node.store import Store, StoreFailed
from protocol.envelope import open_envelope
from protocol.genesis import Genesis
from protocol.state import State
from protocol.tiles import WIDTH

MARKS_BETWEEN = 24
ENTRIES_BETWEEN = 10_000
BYTES_BETWEEN = 16 << 20
SNAPSHOTS_KEPT = 2
MARKS_KEPT = 48
"""The entries behind so many of the last marks stay, whatever the bounds say."""
_BESIDE = "beside"

log = structlog.get_logger(__name__)


class Retention(Struct, frozen=True):
    """Which of the log's entries a node keeps: of so many epochs, and at most so many bytes; 0 for no bound."""

    epochs: int = 0
    bytes: int = 0


class _Record(Struct, frozen=True, forbid_unknown_fields=True):
    """What a snapshot has beside the state's fields. `digest`: the state's."""

    digest: bytes
    replica: Beside
    keys: tuple[Followed, ...]


class _Reached(Struct, frozen=True):
    """How far the log had come: marks, entries and their bytes."""

    marks: int
    size: int
    bytes: int


class _Taken(Struct, frozen=True):
    """A snapshot that waits to be written."""

    size: int
    root: bytes
    record: _Record
    state: Captured

    def pieces(self) -> Iterator[Piece]:
        yield Piece(_BESIDE, msgspec.msgpack.encode(self.record))
        yield from pieces(self.state)


def _format() -> bytes:
    return sha256(format_of() + repr(msgspec.inspect.type_info(_Record)).encode()).digest()


class Snapshots:
    """Writes the states of one replica, evicts entries that are no longer needed, and begins with what is there."""

    def __init__(
        self,
        replica: Replica,
        keys: LogKeys,
        store: Store,
        bulletin: Bulletin,
        retention: Retention | None = None,
    ) -> None:
        self._replica = replica
        self._keys = keys
        self._store = store
        self._bulletin = bulletin
        self._retention = retention or Retention()
        self._rows = SnapshotRows(store)
        self._last = _Reached(0, 0, 0)
        """At the newest snapshot that was taken, or begun with."""
        self._marks: list[Place] = []
        self._taken: _Taken | None = None
        self._wanted = trio.Event()
        replica.on_mark = self._note

    async def run(self) -> None:
        """Write down what there is after each mark, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            try:
                await self.write_down()
            except StoreFailed as error:
                if not error.full:
                    raise  # else the next mark's turn; the disk's watch says so

    def _note(self) -> None:
        """A mark was folded just now."""
        replica, head = self._replica, self._replica.state.head
        if head is None:
            return
        size, root, epoch = head
        self._marks.append(Place(epoch, size, replica.log_bytes))
        here, last = _Reached(replica.state.marks, size, replica.log_bytes), self._last
        if (
            here.marks - last.marks >= MARKS_BETWEEN
            or here.size - last.size >= ENTRIES_BETWEEN
            or here.bytes - last.bytes >= BYTES_BETWEEN
        ):
            self._last = here
            record = _Record(replica.state.digest(), replica.beside(), self._keys.followed(size))
            self._taken = _Taken(size, root, record, capture(replica.state))
        self._wanted.set()

    async def write_down(self) -> None:
        """Write what was noted since the last time, and evict. Raises `StoreFailed`."""
        marks, self._marks = self._marks, []
        try:
            await self._rows.remember_marks(marks)
        except StoreFailed:
            self._marks = [*marks, *self._marks]
            raise
        taken, self._taken = self._taken, None
        if taken and await self._rows.write(taken.size, taken.root, _format(), taken.pieces()):
            await self._rows.drop([old.size for old in (await self._rows.written())[SNAPSHOTS_KEPT:]])
        await self._evict()

    async def _evict(self) -> None:
        written = await self._rows.written()
        if len(written) < SNAPSHOTS_KEPT or self._retention == Retention():
            return
        marks = await self._rows.marks()
        end = min(_boundary(marks, self._retention), written[-1].size - 1) // WIDTH * WIDTH
        if end > await self._store.log_start():
            await self._store.evict_log(end)
            await self._rows.forget_marks(end)

    # ---- at a start, and whenever the log is folded again

    async def learn_keys(self) -> int:
        """Let the log's keys be what they were at the newest snapshot; its size, behind which the log tells more."""
        for written in await self._rows.written():
            try:
                _, record = await self._read(written)
            except Unusable:
                continue
            self._keys.resume(written.size, record.keys)
            return written.size
        return 0

    async def resume(self, limit: int | None, *, anew: bool = False) -> bool:
        """Begin with the newest snapshot of at most `limit` entries; else with nothing, and the log from its start.

        `anew`: the state may have been wrong for long; so the whole log is folded if it is kept, else what lies behind
        the oldest snapshot. False where the log's beginning is needed and gone: then none of it is here any more.
        """
        self._marks.clear()
        self._taken, self._last = None, _Reached(0, 0, 0)
        written, whole = await self._rows.written(), await self._store.log_start() == 0
        if anew and whole:
            await self._rows.drop([each.size for each in written])
            written = []
        for each in reversed(written) if anew else written:
            if limit is not None and each.size > limit:
                continue
            try:
                await self._begin_with(each)
            except Unusable as error:
                log.warning("a snapshot is not used", size=each.size, reason=str(error))
                text = f"The snapshot of the first {each.size} entries is of no use ({error}); it is dropped."
                self._bulletin.tell(Level.NOTE, "SNAPSHOT_DROPPED", text)
                await self._rows.drop([each.size])
            else:
                return True
        self._replica.begin_again()
        if whole and await self._store.log_size():
            return True
        await self._store.begin_log_again()
        if whole:
            return True
        text = "The beginning of the log is no longer kept here, and is needed: all of it is fetched again from peers."
        self._bulletin.tell(Level.WARN, "LOG_FETCHED_AGAIN", text)
        return False

    async def _begin_with(self, written: Written) -> None:
        found, record = await self._read(written)
        try:
            stands = (await self._store.frontier(written.size)).root == written.root
        except ValueError:
            stands = False
        if not stands:
            raise Unusable("the log does not begin so")
        genesis = self._replica.genesis
        state = await offload(partial(_restored, genesis, found, written, record.digest))
        ids = record.replica.logged
        entries = await self._store.logged([ids[place : place + 32] for place in range(0, len(ids), 32)])
        opened = [open_envelope(data, genesis.id, check_signature=False) for data in entries]
        self._replica.resume(state, record.replica, opened)
        self._keys.resume(written.size, record.keys)
        self._last = _Reached(state.marks, written.size, record.replica.log_bytes)

    async def _read(self, written: Written) -> tuple[list[Piece], _Record]:
        """The pieces of the state, and what is beside it. Raises `Unusable`."""
        if written.format != _format():
            raise Unusable("another version of this program wrote it")
        found = await self._rows.pieces(written)
        if not found or found[0].field != _BESIDE:
            raise Unusable("it is damaged")
        try:
            return found[1:], msgspec.msgpack.decode(found[0].data, type=_Record)
        except msgspec.MsgspecError as error:
            raise Unusable(str(error)) from None

    async def recent_marks(self, most: int) -> list[bytes]:
        """The data of the entries that are the last marks, oldest first, as far as they are kept."""
        found: list[bytes] = []
        for place in await self._rows.marks(most):
            found += await self._store.log_entries(place.size - 1, 1)
        return found


def _restored(genesis: Genesis, found: list[Piece], written: Written, digest: bytes) -> State:
    state = restore(genesis, found)
    if state.head is None or state.head[:2] != (written.size, written.root):
        raise Unusable("it is of another place in the log")
    if (state.frontier.size, state.frontier.root) != state.head[:2] or state.digest() != digest:
        raise Unusable("it is not the state that it was")
    return state


def _boundary(marks: list[Place], retention: Retention) -> int:
    """Entries before it are not wanted any more: it is the size at a mark."""
    if len(marks) <= MARKS_KEPT:
        return 0
    newest = marks[-1]
    old = [place.size for place in marks if place.epoch <= newest.epoch - retention.epochs] if retention.epochs else []
    fitting = [place.size for place in marks if newest.bytes - place.bytes <= retention.bytes]
    end = max(old[-1] if old else 0, fitting[0] if retention.bytes else 0)
    return min(end, marks[-1 - MARKS_KEPT].size)

"""What is published of the newest mark: its checkpoint with the witnesses' cosignatures, and the snapshot.

Everybody collects and passes on, so that nobody has to believe the bootstrap that a mark is witnessed. A node whose
key the genesis names cosigns the mark of a history that it folded itself, in time, and only if it continues what it
cosigned before; a mark that it saw early or late it says so of.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import structlog
import trio
from msgspec import Meta, Struct

from node.bulletin import Bulletin, Level, Topic
from node.clock import Clock
from node.durable import write_durably
from node.log_keys import Spoken
from node.log_watch import LogWatch
from node.network import Network, RequestFailed
from node.offload import offload
from node.replica import Replica
from node.store import Store
from protocol import cbor
from protocol.checkpoint import cosign, cosignature
from protocol.envelope import open_envelope
from protocol.evidence import MAX_NOTE_BYTES, Successions, UntimelyMark, encode_evidence
from protocol.genesis import log_name
from protocol.messages import Mark
from protocol.notes import MAX_SIGNATURES, InvalidNote, Note, VerifierKey, parse_note
from protocol.rejections import Rejected
from protocol.signing import PrivateKey
from protocol.snapshot import MAX_BYTES as MAX_SNAPSHOT_BYTES
from protocol.snapshot import Snapshot, open_snapshot
from protocol.witnesses import (
    Sighting,
    Timing,
    is_first,
    is_signed,
    may_cosign,
    quorum,
    sign_sighting,
    timing,
    witness_keys,
    witness_signer,
)

MARK = "/peerboard/mark/1"

log = structlog.get_logger(__name__)


def marks_topic(network: bytes) -> str:
    """The topic on which cosignatures and snapshots travel."""
    return f"/peerboard/{network.hex()[:32]}/marks/1"


class AskMark(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of the newest mark."""


class ToldMark(Struct, frozen=True, forbid_unknown_fields=True):
    """The checkpoint that ends with a mark, with cosignatures; the signed snapshot, empty where it is not known.

    `sightings`: of witnesses who saw the mark early, or late. `successions`: as with any checkpoint.
    """

    note: Annotated[bytes, Meta(max_length=MAX_NOTE_BYTES)]
    snapshot: Annotated[bytes, Meta(max_length=MAX_SNAPSHOT_BYTES)]
    sightings: Annotated[tuple[Sighting, ...], Meta(max_length=64)]
    successions: Successions | None = None


class MarkWatch:
    """Collects what is published of the newest mark. With a witness's `key` it takes part.

    `cosigned`: the file that remembers the newest checkpoint that the key cosigned.
    """

    def __init__(
        self,
        network: Network,
        replica: Replica,
        store: Store,
        watch: LogWatch,
        clock: Clock,
        bulletin: Bulletin,
        key: PrivateKey | None,
        cosigned: Path,
    ) -> None:
        self._network = network
        self._replica = replica
        self._store = store
        self._watch = watch
        self._clock = clock
        self._bulletin = bulletin
        self._genesis = replica.genesis
        self._key = key if key and key.public in replica.genesis.witnesses else None
        self._file = cosigned
        self._topic = marks_topic(replica.genesis.id)
        self._since = clock.now()
        self._parked = b""
        self._one_at_a_time = trio.Lock()
        self._forget(None)
        self.differs = ""
        """How the log key's newest snapshot differs from this node's own; empty as long as it does not."""
        network.serve(MARK, self._answer)

    def _forget(self, head: tuple[int, bytes, int] | None) -> None:
        self.head = head
        self.note: Note | None = None
        self.successions: tuple[bytes, ...] = ()
        self.snapshot = b""
        self.witnesses = 0
        """How many witnesses cosigned the newest mark in time."""
        self._own = self._replica.answers.snapshot
        self._first = self._replica.state.marks == 1
        self._sightings: dict[bytes, Sighting] = {}

    @property
    def witnessed(self) -> bool | None:
        """Whether a quorum did; None where the network has no witnesses, or no mark."""
        needed = quorum(self._genesis)
        return self.witnesses >= needed if needed and self.head else None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Collect, and witness, until cancelled."""
        async with (
            self._network.subscribe(self._topic, self._is_valid, queue=256) as channel,
            trio.open_nursery() as all_,
        ):
            all_.start_soon(self._follow)
            task_status.started()
            async for message in channel:
                await self._take(message.data)

    async def offer(self, note: bytes, snapshot: bytes) -> None:
        """Publish the mark's checkpoint and the signed snapshot: what the log key does after each mark."""
        await self._turn()
        told = ToldMark(note, snapshot, (), self._watch.keys.successions or None)
        await self._take(cbor.encode(told))
        async with self._one_at_a_time:
            await self._spread()

    async def pull(self, peer: str) -> None:
        """Take what a peer has collected."""
        try:
            await self._take(await self._network.request(peer, MARK, cbor.encode(AskMark())))
        except RequestFailed:
            return  # an older one, or it is busy

    async def _follow(self) -> None:
        while True:
            await self._turn()
            if self.head == self._replica.state.head:
                await self._replica.next_mark()

    async def _turn(self) -> None:
        """Begin anew where there is a new mark."""
        async with self._one_at_a_time:
            head = self._replica.state.head
            if head == self.head:
                return
            self._forget(head)
            self.differs = ""
            parked, self._parked = self._parked, b""
            if parked:
                await self._take_in(parked)
            await self._sight()

    async def _take(self, data: bytes) -> None:
        async with self._one_at_a_time:
            await self._take_in(data)

    async def _take_in(self, data: bytes) -> None:
        try:
            told, said = self._open(data)
            if told is None or said is None:
                return
            if self.head is None or said.checkpoint.size > self.head[0]:
                self._parked = data
            elif (said.checkpoint.size, said.checkpoint.root) == self.head[:2]:
                await self._merge(told, said)
        except (InvalidNote, Rejected) as error:
            log.info("what a peer told of a mark is refused", reason=str(error))

    def _open(self, data: bytes) -> tuple[ToldMark | None, Spoken | None]:
        """What is told of a mark, every signature in it checked. Raises `InvalidNote` and `Rejected`."""
        told = cbor.decode(data, ToldMark)
        if not told.note:
            return None, None
        said = self._watch.keys.open(told.note, told.successions or ())
        note = parse_note(told.note)
        for key in witness_keys(self._genesis):
            cosignature(note, key)
        if not all(is_signed(sighting, self._genesis) for sighting in told.sightings):
            raise InvalidNote("a sighting is signed by no witness")
        if told.snapshot:
            open_snapshot(told.snapshot, self._genesis.id, said.key)
        return told, said

    async def _merge(self, told: ToldMark, said: Spoken) -> None:
        fresh, keys = parse_note(told.note), witness_keys(self._genesis)
        if self.note is None:
            log_key = VerifierKey(log_name(self._genesis.id), said.key)
            self.note = Note(fresh.text, tuple(line for line in fresh.signatures if line.by(log_key))[:1])
            self.successions = said.successions
        held = {line.name for line in self.note.signatures}
        lines = {line.name: line for line in fresh.signatures if any(line.by(key) for key in keys)}
        new = [line for name, line in lines.items() if name not in held]
        self.note = self.note.with_signatures(*new[: MAX_SIGNATURES - len(held)])
        if told.snapshot and not self.snapshot:
            await self._compare(told.snapshot, open_snapshot(told.snapshot, self._genesis.id, said.key))
        if told.sightings:
            await self._count(told.sightings)
        cosigned = await self._cosign()
        self.witnesses = self._timely()
        if cosigned:
            await self._spread()
        self._bulletin.touch(Topic.STATUS)

    def _timely(self) -> int:
        if self.note is None or self.head is None:
            return 0
        found = [cosignature(self.note, key) for key in witness_keys(self._genesis)]
        return sum(may_cosign(self._genesis, self.head[2], each.time, first=self._first) for each in found if each)

    async def _spread(self) -> None:
        if self.note:
            await self._network.publish(self._topic, cbor.encode(self._told()))

    def _told(self) -> ToldMark:
        note = self.note.encode() if self.note else b""
        return ToldMark(note, self.snapshot, tuple(self._sightings.values()), self.successions or None)

    async def _answer(self, peer: str, body: bytes) -> bytes:
        cbor.decode(body, AskMark)
        return cbor.encode(self._told())

    def _is_valid(self, data: bytes) -> bool:
        try:
            self._open(data)
        except (InvalidNote, Rejected):
            return False
        return True

    # ---- the snapshot

    async def _compare(self, data: bytes, theirs: Snapshot) -> None:
        own = self._own
        self.snapshot = data
        if own is None or theirs == own:
            return
        parts = [one.name for one, other in zip(own.parts, theirs.parts, strict=False) if one != other]
        what = ", ".join(parts) or "size, state or times"
        self.differs = f"The snapshot that the log key signed at the mark of epoch {own.epoch} is another: {what}."
        file = self._watch.box.folder / f"snapshot-{theirs.version}.cbor"
        await offload(partial(_keep, file, data))
        self._bulletin.tell(Level.FAIL, "SNAPSHOT_DIFFERS", f"{self.differs} It is kept as {file}.")

    # ---- witnessing

    async def _cosign(self) -> bool:
        """Cosign the newest mark, once, if this is a witness and all is as it should be."""
        if self._key is None or self.note is None or self.head is None or self._watch.box.fork:
            return False
        signer, now = witness_signer(self._key), int(self._clock.now())
        if any(line.by(signer.verifier) for line in self.note.signatures):
            return False
        if not may_cosign(self._genesis, self.head[2], now, first=self._first):
            return False
        if not await self._continues():
            return False
        note = self.note.with_signatures(cosign(self.note, signer, now))
        await offload(partial(write_durably, self._file, note.encode()))
        self.note = note
        return True

    async def _continues(self) -> bool:
        """Whether this node's log begins with what the key cosigned last."""
        try:
            before = self._watch.keys.open(await offload(self._file.read_bytes)).checkpoint
            same = (await self._store.frontier(before.size)).root == before.root
        except FileNotFoundError:
            return True
        except (InvalidNote, Rejected, ValueError, OSError):
            same = False
        if not same:
            text = f"What {self._file} says was cosigned is not how this node's log begins: nothing is cosigned."
            self._bulletin.tell(Level.FAIL, "NOT_COSIGNED", text)
        return same

    async def _sight(self) -> None:
        """Say of a mark that came early or late when it came, if this witness was there to see it."""
        if self._key is None or self.head is None or self._since > self._genesis.start_of(self.head[2]):
            return
        now, epoch = int(self._clock.now()), self.head[2]
        mark = await self._mark()
        if mark is None or timing(self._genesis, epoch, now) is Timing.TIMELY:
            return
        await self._count((sign_sighting(self._key, self._genesis.id, epoch, mark[0], now),))
        await self._spread()

    async def _mark(self) -> tuple[bytes, bytes] | None:
        """Id and bytes of the newest mark; None for the network's first, which nothing makes late."""
        if self.head is None:
            return None
        (data,) = await self._store.log_entries(self.head[0] - 1, 1)
        envelope = open_envelope(data, self._genesis.id, check_signature=False)
        if not isinstance(envelope.message, Mark) or is_first(self._genesis, envelope.message):
            return None
        return envelope.id, data

    async def _count(self, sightings: tuple[Sighting, ...]) -> None:
        mark = await self._mark()
        if mark is None or self.head is None:
            return
        epoch = self.head[2]
        for each in sightings:
            if (each.mark, each.epoch) == (mark[0], epoch):
                self._sightings.setdefault(each.witness, each)
        for when in (Timing.EARLY, Timing.LATE):
            said = tuple(s for s in self._sightings.values() if timing(self._genesis, epoch, s.time) is when)
            if said and len(said) >= quorum(self._genesis):
                evidence = UntimelyMark(self._watch.keys.successions, mark[1], said)
                await self._watch.box.keep(encode_evidence(evidence))


def _keep(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_durably(file, data)

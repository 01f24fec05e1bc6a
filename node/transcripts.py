"""Transcripts on their way from those who are examined to those who examine.

Which transcripts an epoch's audits and appeals ask for is derived, like everything else: the tasks name their digests.
Every node looks for all of them, checks each by its digest, keeps it while the epoch is open and gives it to whoever
asks. So a transcript reaches examiners that are no neighbours of its author, and a node that has one need not be the
author: a name still leads to no address.

What strangers can make this node do is bounded: a transcript is no longer than its task allows, what is held and what
one peer is given has a limit, and a peer that gives what nobody asked for is not asked again in the epoch. Nobody is
said to hide a transcript for which this node has not looked long enough, or for which it had no room.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from random import Random
from typing import Annotated

import structlog
import trio
from msgspec import Meta, Struct

from node.clock import Clock
from node.network import Network, RequestFailed
from node.offload import offload
from node.replica import Replica
from node.store import Store
from node.timetable import Timetable
from protocol import cbor
from protocol.definitions import Benchmark, Digest
from protocol.lifecycle import TaskState
from protocol.rejections import Rejected, Rejection
from protocol.tasks import Subject, Task
from protocol.transcripts import Answer, Transcript, transcript_digest

TRANSCRIPTS = "/peerboard/transcripts/1"
MOST_WANTED = 512
TRANSCRIPT_BYTES = 4 << 20
PORTION_BYTES = 8 << 20
MOST_HELD_BYTES = 64 << 20
MOST_KEPT_BYTES = 256 << 20
ROUNDS_PER_EPOCH = 40
LONGEST_BETWEEN_ROUNDS = 30.0
PATIENCE_ROUNDS = 8
"""Rounds in which somebody answered, before what nobody had counts as hidden."""
ASKED_AT_A_TIME = 4
TIMES_GIVEN = 3
"""How often one peer gets all that is held; it may have been restarted."""
ANSWER_BYTES, TOKEN_BYTES = 64, 5

log = structlog.get_logger(__name__)


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    """Digests of the transcripts that the asking side lacks."""

    digests: Annotated[tuple[Digest, ...], Meta(max_length=MOST_WANTED)]


class Held(Struct, frozen=True, forbid_unknown_fields=True):
    """A transcript, encoded, and the digest by which it was asked for."""

    digest: Digest
    transcript: Annotated[bytes, Meta(max_length=TRANSCRIPT_BYTES)]


class Revealed(Struct, frozen=True, forbid_unknown_fields=True):
    """Those that are held; what did not fit may be asked for again."""

    held: Annotated[tuple[Held, ...], Meta(max_length=MOST_WANTED)]


class Sought(Struct, frozen=True):
    """What there is of a task's transcripts, by digest, and the digests of those that were looked for in vain."""

    found: Mapping[bytes, Transcript]
    missed: Set[bytes]


def longest(benchmark: Benchmark, questions: int) -> int:
    """Bytes that no encoded transcript of so many questions exceeds, if its answers keep to the benchmark."""
    return ANSWER_BYTES + questions * (ANSWER_BYTES + TOKEN_BYTES * benchmark.max_new_tokens)


class Transcripts:
    """Gives, looks for and passes on what the open epoch's examinations ask for, and forgets its own in time."""

    def __init__(self, network: Network, replica: Replica, store: Store, clock: Clock) -> None:
        self._network = network
        self._replica = replica
        self._store = store
        self._clock = clock
        self._timetable = Timetable(replica.genesis)
        self._choice = Random(network.peer)  # noqa: S311  only spreads load
        self._wanted: Mapping[bytes, Task] = {}
        self._held: dict[bytes, bytes] = {}
        self._given = Counter[str]()
        self._rounds = 0
        self._size = 0
        self._epoch: int | None = None
        self._arrived = trio.Event()
        network.serve(TRANSCRIPTS, self._answer)

    async def run(self) -> None:
        """Look for what is asked for, mark after mark, until cancelled."""
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look)
                await self._replica.next_mark()
                nursery.cancel_scope.cancel()

    async def of(self, task: Task) -> Sought:
        """The transcripts that a task of the open epoch examines: all, or those that came in time."""
        wanted = {examined.transcript for examined in task.examined}
        with self._clock.move_on_at(self._timetable.examine_by(task.epoch)):
            while self._epoch != task.epoch or not wanted.isdisjoint(self._missing()):
                await self._arrived.wait()
        if self._epoch != task.epoch:
            return Sought({}, frozenset())
        found = {digest: cbor.decode(self._held[digest], Transcript) for digest in wanted & self._held.keys()}
        return Sought(found, wanted.intersection(self._missing()) if self._rounds >= PATIENCE_ROUNDS else frozenset())

    async def _look(self) -> None:
        await self._begin()
        if self._wanted and self._replica.marked_epoch is not None:
            with self._clock.move_on_at(self._timetable.examine_by(self._replica.marked_epoch)):
                await self._ask_around()

    async def _ask_around(self) -> None:
        between = min(LONGEST_BETWEEN_ROUNDS, self._replica.genesis.parameters.epoch_seconds / ROUNDS_PER_EPOCH)
        dishonest: set[str] = set()
        while self._missing():
            peers = [peer.peer for peer in self._network.peers() if peer.peer not in dishonest]
            self._choice.shuffle(peers)
            answered = False
            limit = trio.CapacityLimiter(ASKED_AT_A_TIME)

            async def ask(peer: str, limit: trio.CapacityLimiter = limit) -> None:
                nonlocal answered
                async with limit:
                    missing = self._missing()
                    try:
                        if missing:
                            answered |= await self._ask(
                                peer, self._choice.sample(missing, min(len(missing), MOST_WANTED))
                            )
                    except Rejected as error:
                        log.warning("a peer gave something that is no transcript", peer=peer, reason=error.reason)
                        dishonest.add(peer)

            async with trio.open_nursery() as nursery:
                for peer in peers:
                    nursery.start_soon(ask, peer)
            self._rounds += answered
            await trio.sleep(between)

    async def _begin(self) -> None:
        """Forget what no open or later examination can ask for; take out what this one does."""
        epoch = self._replica.marked_epoch
        plan = self._replica.plan(epoch) if epoch is not None else None
        tasks = plan.tasks.values() if plan else ()
        self._rounds = 0
        self._given.clear()
        self._wanted = {
            examined.transcript: task
            for task in tasks
            for examined in task.examined
            if self._longest(task) <= TRANSCRIPT_BYTES
        }
        self._held = {digest: data for digest, data in self._held.items() if digest in self._wanted}
        self._size = sum(map(len, self._held.values()))
        for digest, data in (await self._store.transcripts(self._wanted)).items():
            self._take(digest, data)
        self._epoch = epoch
        self._tell()
        await self._store.drop_transcripts(self._is_needed, MOST_KEPT_BYTES)

    def _is_needed(self, task: bytes, epoch: int) -> bool:
        """Whether an examination may still ask: the epoch is not closed, or the task is DONE and at hand."""
        closed, final = self._replica.state.last_closed, self._replica.state.recent.get(task)
        return closed is None or epoch > closed or (final is not None and final.state is TaskState.DONE)

    def _missing(self) -> list[bytes]:
        """What is not held, and could be."""
        return [digest for digest in self._wanted if digest not in self._held and self._has_room(digest)]

    async def _ask(self, peer: str, missing: Sequence[bytes]) -> bool:
        """Ask a peer; whether it answered. Raises `Rejected` where it gave what nobody asked for."""
        try:
            answer = await self._network.request(peer, TRANSCRIPTS, cbor.encode(Wanted(tuple(missing))))
        except RequestFailed:
            return False
        for digest, data in (await offload(lambda: self._checked(answer, missing))).items():
            self._take(digest, data)
        return True

    def _checked(self, answer: bytes, missing: Sequence[bytes]) -> dict[bytes, bytes]:
        """By digest what was asked for. Raises `Rejected` where something else is among it."""
        found = {}
        for held in cbor.decode(answer, Revealed).held:
            if held.digest not in missing or held.digest in found:
                raise Rejected(Rejection.WRONG_SCHEMA, "This transcript was not asked for.")
            task = self._wanted[held.digest]
            if len(held.transcript) > self._longest(task):
                raise Rejected(Rejection.WRONG_SCHEMA, "This transcript is longer than its task allows.")
            answers = cbor.decode(held.transcript, Transcript).answers
            if self._digest(task.subject, answers) != held.digest:
                raise Rejected(Rejection.WRONG_SCHEMA, "This is not the transcript that was asked for.")
            found[held.digest] = held.transcript
        return found

    def _digest(self, subject: Subject, answers: Sequence[Answer]) -> bytes:
        """What a result on this model and benchmark is bound to if these are its answers."""
        model = self._replica.state.models[subject.model].model
        adapters = [(adapter.file.sha256, adapter.scale) for adapter in model.adapters]
        dataset = self._replica.state.benchmarks[subject.benchmark].dataset
        return transcript_digest(model.base.sha256, adapters, dataset.content, answers)

    def _longest(self, task: Task) -> int:
        return longest(self._replica.state.benchmarks[task.subject.benchmark], len(task.questions))

    def _has_room(self, digest: bytes) -> bool:
        return self._size + self._longest(self._wanted[digest]) <= MOST_HELD_BYTES

    def _take(self, digest: bytes, data: bytes) -> None:
        if digest in self._wanted and digest not in self._held and self._has_room(digest):
            self._held[digest] = data
            self._size += len(data)
            self._tell()

    def _tell(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()

    async def _answer(self, peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        given, size = list[Held](), 0
        for digest in dict.fromkeys(cbor.decode(body, Wanted).digests):
            data = self._held.get(digest)
            if data is not None and size + len(data) <= PORTION_BYTES:
                given.append(Held(digest, data))
                size += len(data)
        if self._given[peer] + size > TIMES_GIVEN * self._size:
            return cbor.encode(Revealed(()))
        self._given[peer] += size
        return cbor.encode(Revealed(tuple(given)))

"""This node's copy of what everybody knows: the state of its log prefix, and the envelopes that it holds beyond it.

In memory, without I/O and without waiting: services bring envelopes and log entries in, and read. Whoever changes it
tells the bulletin what to show anew.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import trio
from msgspec import Struct

from node.answers import Answers
from node.bulletin import Bulletin, Level, Topic
from node.energy_tally import EnergyTally, Tallied
from protocol import ledger
from protocol.envelope import Envelope
from protocol.genesis import Genesis
from protocol.lifecycle import TaskState
from protocol.messages import Claim, Commitment, Mark, Result, Unknown
from protocol.overlay import Overlay
from protocol.plan import Plan
from protocol.rejections import Rejection
from protocol.state import Final, State

EPOCHS_HELD = 2
MOST_HELD = 100_000
MOST_OF_AUTHOR = 2_000
MOST_OF_STRANGER = 16
MOST_OF_STRANGERS = 2_000
"""Fewer than an overlay parks, or strangers could crowd out of it what others say on a mark that is still to come."""
STRANGERS_BYTES = 16 << 20
HELD_BYTES = 256 << 20
TIMELESS = 2**63 - 1
"""The epoch under which envelopes that belong to none are kept and reconciled: later than any other."""

_NOT_LOGGED = (Claim, Mark, Unknown)
_GLYPHS = {TaskState.DONE: Level.OK, TaskState.DISPUTED: Level.WARN, TaskState.FAILED: Level.WARN}


def epoch_of(envelope: Envelope) -> int:
    """The epoch that an envelope belongs to; `TIMELESS` for what belongs to none."""
    return getattr(envelope.message, "epoch", TIMELESS)


def is_for_the_log(envelope: Envelope) -> bool:
    """Whether the envelope belongs into the log, as far as its kind tells; marks are the log's own."""
    return not isinstance(envelope.message, _NOT_LOGGED)


class Beside(Struct, frozen=True, forbid_unknown_fields=True):
    """What a replica knows beside the state, just after a mark. `settled`, `logged`: ids, joined."""

    log_bytes: int = 0
    settled: bytes = b""
    logged: bytes = b""
    energy: tuple[Tallied, ...] = ()


class Replica:
    """State, overlay, and the envelopes held for peers that lack them."""

    def __init__(self, genesis: Genesis, bulletin: Bulletin) -> None:
        self.genesis = genesis
        self._bulletin = bulletin
        self._marked = trio.Event()
        self.on_mark: Callable[[], None] = lambda: None
        """Called, without waiting, just after each mark that has an effect."""
        self.begin_again()

    def begin_again(self) -> None:
        """Forget everything: the log is to be folded from its start."""
        self._begin_with(ledger.begin(self.genesis), Beside())

    def resume(self, state: State, beside: Beside, entries: Iterable[Envelope]) -> None:
        """Forget everything, and begin with the state just after a mark; `entries`: what is kept of `beside.logged`."""
        self._begin_with(state, beside)
        self.held.update((entry.id, entry) for entry in entries)
        self.logged.update(self.held)
        self._count_all()

    def beside(self) -> Beside:
        """What there is beside the state, just after a mark."""
        logged = b"".join(key for key in self.held if key in self.logged)
        return Beside(self.log_bytes, b"".join(self._settled), logged, self.energy.kept())

    def _begin_with(self, state: State, beside: Beside) -> None:
        self.state = state
        self.overlay = Overlay(self.state)
        self.answers = Answers(self.state)
        self.energy = EnergyTally(beside.energy)
        self.log_bytes = beside.log_bytes
        """Of all entries that are folded."""
        self.held: dict[bytes, Envelope] = {}
        """By id: what belongs into the log and is of an open epoch or the one before, logged or not."""
        self._held_of: Counter[bytes] = Counter()
        self._held_bytes = self._strangers = self._strangers_bytes = 0
        self._since: dict[bytes, int] = {}
        """How many marks there were when what belongs to no epoch was first seen waiting at one."""
        self.logged: set[bytes] = set()
        """Ids of the entries of the log that are also held, or were since the last mark."""
        self._settled = {beside.settled[place : place + 32] for place in range(0, len(beside.settled), 32)}
        """Ids of the log's entries that belong to no epoch; of the void ones until the next mark, then try again."""
        self._void: set[bytes] = set()
        self.void_mark: Rejection | None = None
        """Why the newest mark of the log key has no effect here; None as long as all is well."""

    async def next_mark(self) -> None:
        """Return when the next mark is folded."""
        await self._marked.wait()

    @property
    def size(self) -> int:
        """Entries of the log that are folded."""
        return self.state.frontier.size

    @property
    def marked_epoch(self) -> int | None:
        """The epoch that the last mark opened."""
        return self.state.opening.epoch if self.state.opening else None

    def plan(self, epoch: int) -> Plan | None:
        """The work of an open epoch, None where it is not open."""
        return self.overlay.plan(epoch)

    def knows(self, signer: bytes) -> bool:
        """Whether the log has an account or a device with this key."""
        return signer in self.state.devices or signer in self.state.accounts

    def take(self, envelope: Envelope) -> bool:
        """Take in an envelope from a peer or from this node; whether it is new."""
        if isinstance(envelope.message, Claim):
            fresh = self.overlay.add(envelope) is None
            if fresh:
                self._bulletin.touch(Topic.TASKS)
            return fresh
        if envelope.id in self.held or not is_for_the_log(envelope):
            return False
        if self._is_past(envelope) or envelope.id in self._settled:
            return False
        if not self._has_room(envelope):
            return False
        self.held[envelope.id] = envelope
        self._count(envelope)
        self.overlay.add(envelope)
        if isinstance(envelope.message, Commitment | Result):
            self._bulletin.touch(Topic.TASKS)
        return True

    def extend(self, entries: Iterable[Envelope], *, quiet: bool = False) -> list[Rejection | None]:
        """Fold the next entries of the log, in order; for each why it is VOID, or None.

        `quiet` while catching up: nobody needs to hear of old verdicts.
        """
        voids = []
        entries = list(entries)
        newest = max((place for place, entry in enumerate(entries) if isinstance(entry.message, Mark)), default=-1)
        for place, entry in enumerate(entries):
            message = entry.message
            void = ledger.append(self.state, entry)
            voids.append(void)
            self.log_bytes += len(entry.data)
            if isinstance(message, Mark):
                if entry.signer == self.state.log_key:
                    self.void_mark = void
                if void is None:
                    self._marked_by(message, quiet=quiet, shown=place == newest or not quiet)
            elif not isinstance(message, _NOT_LOGGED):
                self._take_logged(entry, void)
                if isinstance(message, Result) and void is None and entry.signer in self.state.devices:
                    self.energy.note(self.state.devices[entry.signer], message)
        self.overlay.settle()
        if voids:
            self._bulletin.touch(Topic.TASKS)
        return voids

    def unlogged(self) -> Iterator[Envelope]:
        """What is held and not yet in the log."""
        return (envelope for key, envelope in self.held.items() if key not in self.logged)

    def _marked_by(self, mark: Mark, *, quiet: bool, shown: bool) -> None:
        self.energy.close(self.state.recent)
        self._forget_past()
        self.on_mark()
        if shown:
            self.answers.after_mark()
        self._marked.set()
        self._marked = trio.Event()
        if not quiet:
            self._announce(mark)

    def _take_logged(self, entry: Envelope, void: Rejection | None) -> None:
        """An entry of the log: held on for peers that lack it while its epoch is open, as far as there is room."""
        epoch = epoch_of(entry)
        if entry.id in self.held:
            self.logged.add(entry.id)
            if epoch == TIMELESS:
                del self.held[entry.id]
                self._since.pop(entry.id, None)
        elif self._is_near(epoch) and self._has_space(entry):
            self.held[entry.id] = entry
            self.logged.add(entry.id)
            self._count(entry)
        if epoch == TIMELESS:
            self._settle(entry.id, void)

    def _is_past(self, envelope: Envelope) -> bool:
        return epoch_of(envelope) < (self.marked_epoch or 0) - EPOCHS_HELD

    def _is_near(self, epoch: int) -> bool:
        """Whether it is an epoch of which envelopes are held: neither past, nor one that no mark is about to reach."""
        if (marked := self.marked_epoch) is None:
            return epoch != TIMELESS
        return marked - EPOCHS_HELD <= epoch <= marked + self.state.genesis.parameters.leaderless_max + 1

    def _has_space(self, envelope: Envelope) -> bool:
        return len(self.held) < MOST_HELD and self._held_bytes + len(envelope.data) <= HELD_BYTES

    def _has_room(self, envelope: Envelope) -> bool:
        """Bounds on what is held: in all, of epochs to come, and of one author, strangers least."""
        epoch = epoch_of(envelope)
        if not self._has_space(envelope) or not (epoch == TIMELESS or self._is_near(epoch)):
            return False
        if self.knows(envelope.signer):
            return self._held_of[envelope.signer] < MOST_OF_AUTHOR
        return (
            self._held_of[envelope.signer] < MOST_OF_STRANGER
            and self._strangers < MOST_OF_STRANGERS
            and self._strangers_bytes + len(envelope.data) <= STRANGERS_BYTES
        )

    def _count(self, envelope: Envelope) -> None:
        """Count what is held now; from one mark to the next nothing is taken off."""
        self._held_of[envelope.signer] += 1
        self._held_bytes += len(envelope.data)
        if not self.knows(envelope.signer):
            self._strangers += 1
            self._strangers_bytes += len(envelope.data)

    def _settle(self, entry_id: bytes, void: Rejection | None) -> None:
        self._settled.add(entry_id)
        if void:
            self._void.add(entry_id)

    def _forget_past(self) -> None:
        self._settled -= self._void
        self._void.clear()
        oldest = (self.marked_epoch or 0) - EPOCHS_HELD
        epochs = ((key, envelope, epoch_of(envelope)) for key, envelope in self.held.items())
        gone = [key for key, held, epoch in epochs if epoch < oldest or (epoch == TIMELESS and self._is_given_up(held))]
        for key in gone:
            del self.held[key]
            self._since.pop(key, None)
        self.logged.intersection_update(self.held)
        self._count_all()

    def _count_all(self) -> None:
        held = self.held.values()
        self._held_of = Counter(envelope.signer for envelope in held)
        self._held_bytes = sum(len(envelope.data) for envelope in held)
        unknown = {signer for signer in self._held_of if not self.knows(signer)}
        of_strangers = [len(envelope.data) for envelope in held if envelope.signer in unknown] if unknown else []
        self._strangers, self._strangers_bytes = len(of_strangers), sum(of_strangers)

    def _is_given_up(self, envelope: Envelope) -> bool:
        """Whether the log did not take what belongs to no epoch while several were opened."""
        return self.state.marks - self._since.setdefault(envelope.id, self.state.marks) > EPOCHS_HELD

    def _announce(self, mark: Mark) -> None:
        for final in self.state.verdicts[-1] if self.state.verdicts else ():
            if final.epoch == self.state.last_closed:
                self._bulletin.tell(
                    _GLYPHS.get(final.state, Level.NOTE), final.state, self._sentence(final), task=final.task
                )
        self._bulletin.tell(Level.NOTE, "EPOCH", f"Epoch {mark.epoch} is open.")
        self._bulletin.touch(Topic.BOARD)

    def _sentence(self, final: Final) -> str:
        model = self.state.models[final.subject.model].model.name
        benchmark = self.state.benchmarks[final.subject.benchmark].name
        agreed = f"{len(final.agreeing)} of {len(final.counted)} agree"
        return f"{model} on {benchmark}: {final.state} ({agreed})."

"""The keys that the log in front of this node has had, and whose word counts against whom.

A key that the recovery key has replaced was lost or stolen: what it signs afterwards is shown, and freezes nobody who
follows the log in which it was replaced.
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from protocol import cbor
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.definitions import Digest
from protocol.envelope import Envelope, open_envelope
from protocol.evidence import MAX_NOTE_BYTES, EnvelopeBytes, Fork, Successions
from protocol.evidence_checks import log_keys
from protocol.genesis import Genesis, log_name
from protocol.messages import Succession
from protocol.notes import InvalidNote, VerifierKey
from protocol.rejections import Rejected
from protocol.successions import why_void

Followed = tuple[int, bytes]
"""The place in the log of a succession that had an effect, and its envelope."""
_PAIR = b"\xa2"
MOST_SUCCESSIONS = 64


class Spoken(Struct, frozen=True):
    """A checkpoint, its note, the key that signed it, and the successions that lead to that key."""

    note: bytes
    checkpoint: Checkpoint
    key: Digest
    successions: tuple[bytes, ...]


class Announced(Struct, frozen=True, forbid_unknown_fields=True):
    """A note by another key than the genesis', and the envelopes that made it the log's."""

    note: Annotated[bytes, Meta(max_length=MAX_NOTE_BYTES)]
    successions: Annotated[tuple[EnvelopeBytes, ...], Meta(min_length=1, max_length=MOST_SUCCESSIONS)]


class LogKeys:
    """Follows the successions of one log, entry by entry."""

    def __init__(self, genesis: Genesis) -> None:
        self.genesis = genesis
        self.begin_again()

    def begin_again(self) -> None:
        """Forget what was learned: the log is read again from its start."""
        self.in_force = self.genesis.log_key
        self.count = 0
        """Successions so far, renewals of the hash chain among them."""
        self.successions: tuple[bytes, ...] = ()
        """The envelopes of those that changed the key, in order."""
        self._answerable = {self.genesis.log_key}
        self._recovered = 0
        """The number of the last succession by the recovery key that changed the key."""
        self._size = 0
        self._followed: list[Followed] = []

    def followed(self, size: int) -> tuple[Followed, ...]:
        """The successions that had an effect among the log's first `size` entries: all that was learned of them."""
        return tuple(each for each in self._followed if each[0] < size)

    def resume(self, size: int, followed: Sequence[Followed]) -> None:
        """Learn the log's first `size` entries by what was followed among them, if more is not known already."""
        if size <= self._size:
            return
        self.begin_again()
        for place, data in followed:
            self.learn(place, [open_envelope(data, self.genesis.id, check_signature=False)])
        self._size = size

    def learn(self, start: int, entries: Sequence[Envelope]) -> None:
        """Follow the log's entries from index `start` on; what was followed already says nothing new."""
        known = max(0, self._size - start)
        for place, entry in enumerate(entries[known:], start + known):
            if not isinstance(entry.message, Succession):
                continue
            if why_void(self.genesis, self.in_force, self.count, entry) is None:
                self._take(entry, entry.message)
                self._followed.append((place, entry.data))
        self._size = max(self._size, start + len(entries))

    def open(self, note: bytes, successions: Sequence[bytes] = ()) -> Spoken:
        """The checkpoint in untrusted bytes, by a key of this log or by one to which the successions lead.

        Whether that key is in force there, its reader sees from the entries. Raises `InvalidNote` and `Rejected`.
        """
        own = self.successions
        ways = [own] if not successions else [own, tuple(successions)]
        failure = InvalidNote("there is no log key")
        for way in ways:
            for key in reversed(log_keys(self.genesis, way)):
                try:
                    opened = open_checkpoint(note, VerifierKey(log_name(self.genesis.id), key))
                except InvalidNote as error:
                    failure = error
                else:
                    return Spoken(note, opened.checkpoint, key, way)
        raise failure

    def announcement(self, note: bytes) -> bytes:
        """What goes round for a note by the key in force: the note, with the successions where there are any."""
        return cbor.encode(Announced(note, self.successions)) if self.successions else note

    def open_announcement(self, data: bytes) -> Spoken:
        """The checkpoint in what goes round. Raises `InvalidNote` and `Rejected`."""
        if not data.startswith(_PAIR):
            return self.open(data)
        announced = cbor.decode(data, Announced)
        return self.open(announced.note, announced.successions)

    def answers_for(self, fork: Fork) -> bool:
        """Whether both checkpoints are by keys that the recovery key has not replaced in this log."""
        known = set(self._answerable)
        for data in fork.successions:
            if data in self.successions:
                continue
            envelope = open_envelope(data, self.genesis.id, check_signature=False)
            message = envelope.message
            if not isinstance(message, Succession):
                continue
            recovers = envelope.signer == self.genesis.recovery_key and message.sequence > self._recovered
            if envelope.signer in known or recovers:
                known.add(message.log_key)
        return all(self._signer(note, fork.successions) in known for note in (fork.first, fork.second))

    def ways(self, *spoken: Spoken) -> tuple[bytes, ...]:
        """Successions that lead to the keys of several checkpoints, for evidence."""
        return tuple(dict.fromkeys(data for each in spoken for data in each.successions))

    def _take(self, entry: Envelope, message: Succession) -> None:
        self.count = message.sequence
        if message.log_key == self.in_force:
            return
        if entry.signer == self.genesis.recovery_key:
            self._answerable.clear()
            self._recovered = message.sequence
        self._answerable.add(message.log_key)
        self.in_force = message.log_key
        self.successions = (*self.successions, entry.data)

    def _signer(self, note: bytes, successions: Successions) -> bytes | None:
        try:
            return self.open(note, successions).key
        except (InvalidNote, Rejected):
            return None

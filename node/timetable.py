"""When things happen within an epoch. Clocks only schedule: no rule reads these times."""

import enum
from dataclasses import dataclass

from protocol.genesis import Genesis


class Phase(enum.StrEnum):
    """What an epoch is for at the moment."""

    EVALUATE = "evaluate"
    SEALED = "sealed"
    REVEAL = "reveal"


@dataclass(frozen=True)
class Timetable:
    """Unix times of an epoch: commit until 3/4, reveal from 5/6, closed at its end.

    `commit_by` is a thirtieth of an epoch before sealing, so that commitments arrive in time.
    """

    genesis: Genesis

    @property
    def _length(self) -> int:
        return self.genesis.parameters.epoch_seconds

    def epoch_at(self, unix_time: float) -> int:
        """The epoch by the clock; negative before genesis."""
        return self.genesis.epoch_at(unix_time)

    def start(self, epoch: int) -> float:
        """When the epoch begins, and its mark is due."""
        return self.genesis.start_of(epoch)

    def leaderless_at(self, epoch: int) -> float:
        """When nodes give up waiting for the epoch's mark."""
        return self.start(epoch) + self.genesis.parameters.grace_seconds

    def examine_by(self, epoch: int) -> float:
        """When the runners of an audit or appeal no longer wait for transcripts."""
        return self.start(epoch) + self._length / 2

    def stop_examining(self, epoch: int) -> float:
        """When a runner leaves transcripts unexamined, so that its own result is still ready in time."""
        return self.commit_by(epoch) - self._length / 60

    def commit_by(self, epoch: int) -> float:
        """When evaluation stops and what is done gets committed."""
        return self.seal(epoch) - self._length / 30

    def seal(self, epoch: int) -> float:
        """When a runner fixes which commitments it saw."""
        return self.start(epoch) + self._length * 3 / 4

    def reveal(self, epoch: int) -> float:
        """When results are sent."""
        return self.start(epoch) + self._length * 5 / 6

    def end(self, epoch: int) -> float:
        """When the epoch is over, and the next mark closes it."""
        return self.start(epoch + 1)

    def phase(self, epoch: int, unix_time: float) -> Phase:
        """Where the epoch stands."""
        if unix_time < self.seal(epoch):
            return Phase.EVALUATE
        return Phase.SEALED if unix_time < self.reveal(epoch) else Phase.REVEAL

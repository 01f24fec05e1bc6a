"""What is known of one model on one benchmark, and which task each answer came from.

A question's answer is the median of the latest DONE task that asked it. A task that an audit or appeal has contradicted
is *superseded*: its answers no longer count, and the earlier ones hold again. That is why the tasks are kept, packed,
and the answers are computed from them.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from msgspec import Struct

from protocol.lifecycle import TaskState


class Work(Struct, frozen=True, gc=False):
    """One DONE task, packed: about 70 bytes for each of its results.

    `questions`: their indexes, four bytes each, big-endian; `medians`: two bytes each; `firm`: a bit per question,
    first question first, most significant bit first, set where most of the agreeing marked no near tie.
    """

    task: bytes
    epoch: int
    questions: bytes
    medians: bytes
    firm: bytes
    agreeing: tuple[bytes, ...]

    def answers(self) -> Iterable[tuple[int, int]]:
        """(question, median) of each question."""
        return zip(self.indexes(), self.values(), strict=True)

    def indexes(self) -> tuple[int, ...]:
        """The questions' indexes, in the order in which they were asked."""
        return struct.unpack(f">{len(self.questions) // 4}I", self.questions)

    def values(self) -> tuple[int, ...]:
        """The medians, 0 to 1000, in the same order."""
        return struct.unpack(f">{len(self.medians) // 2}H", self.medians)

    def is_firm(self, place: int) -> bool:
        """Whether most of the agreeing marked no near tie at the question in this place."""
        return bool(self.firm[place // 8] >> (7 - place % 8) & 1)


def pack(
    task: bytes,
    epoch: int,
    questions: tuple[int, ...],
    medians: tuple[int, ...],
    firm: tuple[int, ...],
    agreeing: tuple[bytes, ...],
) -> Work:
    """The record of a DONE task; `firm`: places of the questions that most did not mark near tie."""
    return Work(task, epoch, packed("I", questions), packed("H", medians), _bits(firm, len(questions)), agreeing)


@lru_cache(maxsize=1024)  # an epoch's tasks ask the same few lists of questions, and have much the same answers
def packed(code: str, values: tuple[int, ...]) -> bytes:
    """The values in a row, big-endian, each as the `struct` module's code says."""
    return struct.pack(f">{len(values)}{code}", *values)


@lru_cache(maxsize=1024)
def _bits(places: tuple[int, ...], count: int) -> bytes:
    bits = bytearray(-(-count // 8))
    for place in places:
        bits[place // 8] |= 128 >> place % 8
    return bytes(bits)


def differ(one: Work, other: Work, tolerance: int) -> bool:
    """Whether two tasks' medians of the same questions differ by more than rule 3 allows.

    More than `tolerance` apart on more than max(1, 10 %) of the questions that are firm in both.
    """
    firm = [place for place in range(len(one.medians) // 2) if one.is_firm(place) and other.is_firm(place)]
    ours, theirs = one.values(), other.values()
    apart = sum(1 for place in firm if abs(ours[place] - theirs[place]) > tolerance)
    return 10 * apart > max(10, len(firm))


@dataclass
class Standing:
    """`works` in the order of their closes; `newest`: state of the last regular task."""

    works: list[Work] = field(default_factory=list)
    superseded: set[bytes] = field(default_factory=set)
    newest: TaskState = TaskState.WAITING

    @property
    def counting(self) -> list[Work]:
        """The DONE tasks whose outcomes count."""
        return [work for work in self.works if work.task not in self.superseded]

    @property
    def answers(self) -> dict[int, int]:
        """By question: the median of the latest task that counts."""
        return dict(answer for work in self.counting for answer in work.answers())

    @property
    def judges(self) -> set[bytes]:
        """Accounts whose results agreed."""
        return set().union(*(work.agreeing for work in self.counting))

    @property
    def done_epoch(self) -> int | None:
        """The last DONE task's epoch."""
        return max((work.epoch for work in self.counting), default=None)

    def with_work(self, work: Work) -> "Standing":
        """What this would be with one more DONE task."""
        return Standing([*self.works, work], self.superseded, TaskState.DONE)

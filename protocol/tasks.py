"""What is to be evaluated in an epoch, and with which questions.

No node sends a task to another: all derive the same ones from the state just after the mark and the epoch's beacon.
"""

import enum
import hashlib
import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from protocol.audits import Examined
from protocol.definitions import Benchmark, Model
from protocol.hashing import DIGEST, around, digest
from protocol.messages import questions_digest
from protocol.parameters import Parameters


class Purpose(enum.IntEnum):
    """Why a task is asked."""

    REGULAR = 0
    AUDIT = 1
    APPEAL = 2


class Subject(Struct, frozen=True, order=True, gc=False):
    """What a score is about: a model on a benchmark (both 32-byte ids)."""

    model: bytes
    benchmark: bytes


class Turn(Struct, frozen=True, gc=False):
    """When a subject was asked last (count of marks, -1 for never) and what its next task must be like.

    `due_again`: its last task ended without a verdict, so it goes before others. `quorum`: K of its next task.
    `disputes`: tasks in a row that did not settle a dispute. `failures`: FAILED verdicts in a row.
    """

    asked: int = -1
    due_again: bool = False
    quorum: int = 0
    disputes: int = 0
    failures: int = 0


NEVER = Turn()


class Task(Struct, frozen=True, gc=False):
    """One model, one benchmark, one epoch, and the accounts that are asked.

    `looks_at`: the task that an audit or appeal examines; `examined`: whose results agreed on it. `ranking`: accounts
    of ranks 0 to R+1; the first `assigned` (R) count, the others are spares. `quorum` is K; a task with fewer ranked
    accounts than that is WAITING and has no runners. `tolerance` is the fingerprint's, per mille; `outcome_tolerance`
    the benchmark's.
    """

    id: bytes
    epoch: int
    subject: Subject
    depth: int
    purpose: Purpose
    questions: tuple[int, ...]
    quorum: int
    assigned: int
    ranking: tuple[bytes, ...]
    tolerance: int
    outcome_tolerance: int
    looks_at: bytes | None = None
    examined: tuple[Examined, ...] = ()

    @property
    def questions_digest(self) -> bytes:
        """What a result must carry, to show that it answers these questions."""
        return questions_digest(self.questions)

    def rank(self, account: bytes) -> int | None:
        """The account's rank, or None where it is not asked."""
        return self.ranking.index(account) if account in self.ranking else None


def task_id(subject: Subject, epoch: int, depth: int, purpose: Purpose, looks_at: bytes | None = None) -> bytes:
    """A task's name: 32 bytes. `looks_at` is the task that an audit or appeal examines."""
    before, between, after = around("peerboard/task/1", DIGEST, DIGEST, epoch, depth, purpose, looks_at)
    return hashlib.sha256(before + subject.model + between + subject.benchmark + after).digest()


def question_order(beacon: bytes, content: bytes, questions: int, depth: int) -> tuple[int, ...]:
    """The first `depth` indexes of the keyed permutation of 0 ... questions-1 (all of them, if there are fewer).

    A Fisher-Yates shuffle driven by SHA-256 of (key, counter), four unsigned 64-bit numbers each, without modulo bias;
    the key is a digest of the beacon and of the data set's content hash. A larger depth continues a smaller one.
    """
    key = digest("peerboard/questions-order/1", beacon, content)
    numbers = _numbers(key)
    moved: dict[int, int] = {}
    order = []
    for place in range(min(depth, questions)):
        choice = place + _below(questions - place, numbers)
        order.append(moved.get(choice, choice))
        moved[choice] = moved.get(place, place)
    return tuple(order)


def _numbers(key: bytes) -> Iterator[int]:
    for counter in itertools.count():
        yield from struct.unpack(">4Q", hashlib.sha256(key + struct.pack(">I", counter)).digest())


def _below(bound: int, numbers: Iterator[int]) -> int:
    limit = (1 << 64) // bound * bound
    return next(number for number in numbers if number < limit) % bound


def due_subjects(
    models: Mapping[bytes, Model],
    benchmarks: Mapping[bytes, Benchmark],
    turns: Mapping[Subject, Turn],
    parameters: Parameters,
    examined: int = 0,
) -> tuple[Subject, ...]:
    """The subjects of an epoch's regular tasks, within both bounds, in order.

    First what is due again, in at most a tenth of `tasks_max` tasks; then every active model on every benchmark in
    turn, least recently asked first, then by id. `examined`: how many of the epoch's tasks are audits and appeals.
    """
    subjects = [Subject(model, benchmark) for model in models for benchmark in benchmarks]
    in_turn = sorted(subjects, key=lambda subject: (turns.get(subject, NEVER).asked, subject))
    again = [subject for subject in in_turn if turns.get(subject, NEVER).due_again]
    first = again[: max(1, parameters.tasks_max // 10)]
    taken = set(first)
    chosen = itertools.chain(first, (subject for subject in in_turn if subject not in taken))
    most = min(parameters.tasks_max, parameters.questions_max // parameters.quick_depth) - examined
    return tuple(itertools.islice(chosen, max(0, most)))


def deeper(
    undecided: Sequence[Subject], due: Sequence[Subject], left: int, parameters: Parameters
) -> dict[Subject, int]:
    """Which due subjects are asked more than the quick depth, with the questions that are `left` in the budget.

    `undecided`: subjects whose rank the data leave open, most open first. All of them get the standard depth in this
    order while the budget lasts, then the comprehensive one.
    """
    asked = set(due)
    depths: dict[Subject, int] = {}
    for depth in (parameters.standard_depth, parameters.comprehensive_depth):
        for subject in undecided:
            more = depth - depths.get(subject, parameters.quick_depth)
            if subject in asked and 0 < more <= left:
                depths[subject] = depth
                left -= more
    return depths

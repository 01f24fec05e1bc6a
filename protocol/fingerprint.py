"""The fingerprint: proof that this model read these questions in this hour.

For each question token ids, chosen by a hash of the hour's beacon, are appended to the evaluated prompt; the
log-probabilities of two more such ids after each are the fingerprint, three bytes a value. How many there are depends
on how many questions the task has (`values_per_question`). Two honest runners agree within a tolerance relative to the
vector's own spread; a replay, a sibling checkpoint or another quantisation does not. What it does not prove: that the
outcomes were generated (audits are for that). Measured on CPU builds; see docs/fingerprint.md.
"""

import hashlib
import itertools
import math
import struct
from collections.abc import Iterator, Sequence

MANY_QUESTIONS = 20
MOST_VALUES = 16
VALUES_OF_MANY = 6
VALUES_PER_TOKEN = 2
BYTES_PER_VALUE = 3
STEPS_PER_NAT = 256
LARGEST_VALUE = (1 << 24) - 1
SMALLEST_MEAN_SPREAD = 64  # a vector that varies less proves nothing
TAG = b"peerboard/fingerprint/1\0"

Vector = tuple[tuple[int, ...], ...]
"""One tuple of integers per question, as many as `values_per_question` says."""
Step = tuple[int, int, int]
"""A token id of a tail, and the two ids of which the log-probabilities after it are wanted."""


def values_per_question(questions: int) -> int:
    """How many values each question has in a task of so many: 16, from 20 questions on 6.

    What tells models apart is the number of values in all, and what they cost is the number of tokens per question: 20
    times 6 separate better than 5 times 16 do (docs/fingerprint.md). Tails are one stream, so that the shorter one is
    the longer one's beginning.
    """
    return MOST_VALUES if questions < MANY_QUESTIONS else VALUES_OF_MANY


def single_limit(tolerance: int, questions: int) -> int:
    """How far a single one of so many questions may lie apart, in half per mille of the mean spread of one.

    One and a half times the tolerance, and 14 per mille: where honest machines differ more than elsewhere, in a few
    questions of a trained model, does not shrink with the tolerance. From 20 questions on, each of which has fewer
    values and which have more such questions among them, twice the tolerance, and 14 (docs/fingerprint.md).
    """
    return (3 if questions < MANY_QUESTIONS else 4) * tolerance + 28


def encoded_size(questions: int) -> int:
    """Bytes of a task's fingerprint."""
    return questions * values_per_question(questions) * BYTES_PER_VALUE


def question_seed(network: bytes, beacon: bytes, model: bytes, dataset: bytes, question: int) -> bytes:
    """32 bytes from which a question's tail is drawn; the four digests have 32 bytes each."""
    return hashlib.sha256(TAG + network + beacon + model + dataset + struct.pack(">I", question)).digest()


def tail(seed: bytes, eligible: Sequence[int], values: int) -> tuple[Step, ...]:
    """Half as many steps as there are values, an even number.

    Nothing is looked up right behind the prompt, where anyone knows all who kept one hidden state per question.
    `eligible`: the ascending ids whose token type in the pinned file is NORMAL. Raises `ValueError` for none.
    """
    if not eligible:
        raise ValueError("the model's file lists no token of type NORMAL")
    limit = (1 << 64) // len(eligible) * len(eligible)
    accepted = (number for number in _stream(seed) if number < limit)
    ids = (eligible[number % len(eligible)] for number in accepted)
    return tuple(itertools.islice(zip(ids, ids, ids, strict=False), values // VALUES_PER_TOKEN))


def _stream(seed: bytes) -> Iterator[int]:
    for counter in itertools.count():
        yield from struct.unpack(">4Q", hashlib.sha256(seed + struct.pack(">I", counter)).digest())


def encode(log_probabilities: Sequence[Sequence[float]]) -> bytes:
    """The fingerprint of a task from natural log-probabilities, by question, of all ids of its tail but the first.

    Raises `ValueError` for a value that is not finite, or a question with more or fewer than `values_per_question`.
    """
    due = values_per_question(len(log_probabilities))
    values = bytearray()
    for question in log_probabilities:
        if len(question) != due or not all(map(math.isfinite, question)):
            raise ValueError(f"a fingerprint of {len(log_probabilities)} questions needs {due} finite values of each")
        for value in question:
            values += min(LARGEST_VALUE, max(0, round(-STEPS_PER_NAT * value))).to_bytes(BYTES_PER_VALUE, "big")
    return bytes(values)


def decode(data: bytes, questions: int) -> Vector:
    """The vector of a task's encoded fingerprint. Raises `ValueError` where the length is not `encoded_size`."""
    if len(data) != encoded_size(questions):
        raise ValueError(f"a fingerprint of {questions} questions has {encoded_size(questions)} bytes, not {len(data)}")
    each = values_per_question(questions)
    values = [int.from_bytes(data[i : i + BYTES_PER_VALUE], "big") for i in range(0, len(data), BYTES_PER_VALUE)]
    return tuple(tuple(values[i : i + each]) for i in range(0, len(values), each))


def spread(vector: Vector) -> int:
    """Sum of the distances of all values from their upper median."""
    values = sorted(itertools.chain.from_iterable(vector))
    middle = values[len(values) // 2]
    return sum(abs(value - middle) for value in values)


def distances(first: Vector, second: Vector) -> list[int]:
    """Sum of absolute differences per question."""
    return [sum(abs(x - y) for x, y in zip(p, q, strict=True)) for p, q in zip(first, second, strict=True)]


def agree(first: Vector, second: Vector, tolerance: int) -> bool:
    """Whether two runners' vectors lie within `tolerance` per mille of the smaller spread.

    The mean must lie within the tolerance, and no single question beyond `single_limit`. Both vectors cover the same
    questions. A vector without entropy agrees with nothing.
    """
    questions = len(first)
    if questions == 0 or len(second) != questions:
        return False
    smaller = min(spread(first), spread(second))
    if smaller < SMALLEST_MEAN_SPREAD * sum(map(len, first)):
        return False
    apart = distances(first, second)
    if 1000 * sum(apart) > tolerance * smaller:
        return False
    limit = single_limit(tolerance, questions)
    return all(2 * 1000 * questions * distance <= limit * smaller for distance in apart)

"""The fingerprint: proof that this model read these questions in this hour.

For each question 17 token ids, chosen by a hash of the hour's beacon, are appended to the evaluated prompt; the
log-probabilities of ids 2 to 17 are the fingerprint, 48 bytes a question. Two honest runners agree within a tolerance
relative to the vector's own spread; a replay, a sibling checkpoint or another quantisation does not. What it does not
prove: that the outcomes were generated (audits are for that). Measured on CPU builds; see docs/fingerprint.md.
"""

import hashlib
import itertools
import math
import struct
from collections.abc import Iterator, Sequence

TAIL_TOKENS = 17
VALUES_PER_QUESTION = TAIL_TOKENS - 1  # the first is known to anyone who kept one hidden state per question
BYTES_PER_VALUE = 3
BYTES_PER_QUESTION = VALUES_PER_QUESTION * BYTES_PER_VALUE
STEPS_PER_NAT = 256
LARGEST_VALUE = (1 << 24) - 1
SMALLEST_MEAN_SPREAD = 64  # a vector that varies less proves nothing
TAG = b"peerboard/fingerprint/1\0"

Vector = tuple[tuple[int, ...], ...]
"""One tuple of `VALUES_PER_QUESTION` integers per question."""


def question_seed(network: bytes, beacon: bytes, model: bytes, dataset: bytes, question: int) -> bytes:
    """32 bytes from which a question's tail is drawn; the four digests have 32 bytes each."""
    return hashlib.sha256(TAG + network + beacon + model + dataset + struct.pack(">I", question)).digest()


def tail(seed: bytes, eligible: Sequence[int]) -> tuple[int, ...]:
    """17 token ids drawn from `eligible`: the ascending ids whose token type in the pinned file is NORMAL.

    Raises `ValueError` where no id is eligible.
    """
    if not eligible:
        raise ValueError("the model's file lists no token of type NORMAL")
    limit = (1 << 64) // len(eligible) * len(eligible)
    accepted = (number for number in _stream(seed) if number < limit)
    return tuple(eligible[number % len(eligible)] for number in itertools.islice(accepted, TAIL_TOKENS))


def _stream(seed: bytes) -> Iterator[int]:
    for counter in itertools.count():
        yield from struct.unpack(">4Q", hashlib.sha256(seed + struct.pack(">I", counter)).digest())


def encode(log_probabilities: Sequence[Sequence[float]]) -> bytes:
    """48 bytes a question from natural log-probabilities of tail ids 2 to 17.

    Raises `ValueError` for a value that is not finite, or a question without exactly 16.
    """
    values = bytearray()
    for question in log_probabilities:
        if len(question) != VALUES_PER_QUESTION or not all(map(math.isfinite, question)):
            raise ValueError("a fingerprint needs 16 finite log-probabilities a question")
        for value in question:
            values += min(LARGEST_VALUE, max(0, round(-STEPS_PER_NAT * value))).to_bytes(3, "big")
    return bytes(values)


def decode(data: bytes) -> Vector:
    """The vector of an encoded fingerprint. Raises `ValueError` where the length is no multiple of 48."""
    if len(data) % BYTES_PER_QUESTION:
        raise ValueError("a fingerprint has 48 bytes a question")
    values = [int.from_bytes(data[i : i + 3], "big") for i in range(0, len(data), BYTES_PER_VALUE)]
    return tuple(tuple(values[i : i + VALUES_PER_QUESTION]) for i in range(0, len(values), VALUES_PER_QUESTION))


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

    The mean must lie within the tolerance and no single question beyond 1.5 times of it. Both vectors cover the same
    questions. A vector without entropy agrees with nothing.
    """
    questions = len(first)
    if questions == 0 or len(second) != questions:
        return False
    smaller = min(spread(first), spread(second))
    if smaller < SMALLEST_MEAN_SPREAD * questions * VALUES_PER_QUESTION:
        return False
    apart = distances(first, second)
    if 1000 * sum(apart) > tolerance * smaller:
        return False
    return all(1000 * questions * 2 * distance <= 3 * tolerance * smaller for distance in apart)

"""What was asked and answered, question by question: kept by runners, bound into their results, revealed to audits.

A result carries the digest of its transcript (`transcript_digest`). Whoever holds a transcript can check it against
that digest without the model; whoever has the model and the questions can make the prompts again and see that they are
those of `prompt`. Log-probabilities are in neither: honest machines differ in them.
"""

import enum
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from protocol.definitions import Digest, Small
from protocol.hashing import digest

MAX_QUESTIONS = 1000
MAX_TOKENS = 8192


class Stop(enum.IntEnum):
    """Why an answer ended where it did."""

    END_TOKEN = 0
    STOP_STRING = 1
    LENGTH = 2
    CHOICE = 3  # nothing was written: the choices were scored
    TOO_LONG = 4  # nothing was asked: the prompt does not fit into the model's context


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """One question: its index, the digest of its prompt (`prompt_digest`), and the answer.

    Of a generation `generated` holds the token ids, an end token included. Of a multiple-choice question it is empty
    and `choice` is the most likely choice, from 0. A question that was too long to be asked has neither.
    """

    question: Small
    prompt: Digest
    stop: Stop
    generated: Annotated[tuple[Small, ...], Meta(max_length=MAX_TOKENS)] = ()
    choice: Small | None = None

    @property
    def digest(self) -> bytes:
        """32 bytes for all of it."""
        return digest("peerboard/transcript-question/1", self)


class Transcript(Struct, frozen=True, forbid_unknown_fields=True):
    """The answers of one result, in the order in which its questions are asked."""

    answers: Annotated[tuple[Answer, ...], Meta(min_length=1, max_length=MAX_QUESTIONS)]


def prompt_digest(tokens: Sequence[int]) -> bytes:
    """Digest of a prompt's token ids, few-shot examples and start token included."""
    return digest("peerboard/transcript-prompt/1", tuple(tokens))


def transcript_digest(
    base: bytes, adapters: Sequence[tuple[bytes, int]], dataset: bytes, answers: Sequence[Answer]
) -> bytes:
    """What a result carries: hashes of base, adapters with scales in thousandths, data, and every answer's digest."""
    questions = tuple(answer.digest for answer in answers)
    return digest("peerboard/transcript/1", base, tuple(adapters), dataset, questions)

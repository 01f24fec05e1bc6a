"""The record of what was asked and answered, kept for audits and bound into the result by its digest.

A question has a digest of its own and the result carries the digest of those, so that an audit can reveal and check
single questions. Log-probabilities are not hashed: honest machines differ in them.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from protocol.hashing import digest

QUESTION_TAG = "peerboard/transcript-question/1"
TAG = "peerboard/transcript/1"


class Transcript(Struct, frozen=True):
    """One question: token ids of the prompt and of what was generated, why it ended, and what was made of it.

    Of a generation `choice` is None; of a multiple-choice question `generated`, `text`, `stop` and `extracted` are
    empty, `choice` is the most likely choice and `sums` are the choices' log-probabilities in thousandths of a nat.
    """

    question: int
    prompt: tuple[int, ...]
    outcome: int
    generated: tuple[int, ...] = ()
    text: str = ""
    stop: str = ""
    extracted: str = ""
    choice: int | None = None
    sums: tuple[int, ...] = ()

    @property
    def digest(self) -> bytes:
        """Hash of all that honest runners have in common."""
        choice = -1 if self.choice is None else self.choice
        return digest(QUESTION_TAG, self.question, self.prompt, self.generated, self.stop, self.extracted, choice)


def transcript_digest(
    base: bytes, adapters: Sequence[tuple[bytes, int]], dataset: bytes, transcripts: Sequence[Transcript]
) -> bytes:
    """Digest of a whole result: hashes of base, adapters with scales in thousandths, and data, and every question's."""
    questions = tuple(transcript.digest for transcript in transcripts)
    return digest(TAG, base, tuple(adapters), dataset, questions)


def write_transcripts(path: Path, transcripts: Sequence[Transcript]) -> None:
    """Writes one JSON object a line; a reader never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in transcripts))
    partial.replace(path)


def read_transcripts(path: Path) -> tuple[Transcript, ...]:
    """The transcripts of a file. Raises `msgspec.DecodeError` where it is not one."""
    return tuple(msgspec.json.decode(line, type=Transcript) for line in path.read_bytes().splitlines())

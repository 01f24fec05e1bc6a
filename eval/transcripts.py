"""What was asked and answered, as the evaluator has it: more than an audit needs, for the owner to read.

`Transcript.answer` is the part that the result is bound to and that a node reveals (`protocol.transcripts`).
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from protocol.transcripts import Answer, Stop, prompt_digest


class StopReason(StrEnum):
    """Why a generation ended, or that a question was not asked because its prompt does not fit."""

    END_TOKEN = "end_token"  # noqa: S105  (a reason, not a secret)
    STOP_STRING = "stop_string"
    LENGTH = "length"
    TOO_LONG = "too_long"


class Transcript(Struct, frozen=True):
    """One question: token ids of the prompt and of what was generated, why it ended, and what was made of it.

    Of a generation `choice` is None; of a multiple-choice question `generated`, `text` and `extracted` are empty and
    `stop` is None; `choice` is the most likely choice, `sums` are the choices' log-probabilities in thousandths of a
    nat.
    """

    question: int
    prompt: tuple[int, ...]
    outcome: int
    generated: tuple[int, ...] = ()
    text: str = ""
    stop: StopReason | None = None
    extracted: str = ""
    choice: int | None = None
    sums: tuple[int, ...] = ()

    @property
    def answer(self) -> Answer:
        """What the result is bound to: all that does not follow from it or differ between honest machines."""
        stop = Stop[self.stop.name] if self.stop else Stop.CHOICE
        return Answer(self.question, prompt_digest(self.prompt), stop, self.generated, self.choice)


def write_transcripts(path: Path, transcripts: Sequence[Transcript]) -> None:
    """Writes one JSON object a line; a reader never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in transcripts))
    partial.replace(path)


def read_transcripts(path: Path) -> tuple[Transcript, ...]:
    """The transcripts of a file. Raises `msgspec.DecodeError` where it is not one."""
    return tuple(msgspec.json.decode(line, type=Transcript) for line in path.read_bytes().splitlines())

"""Programs that a model wrote, and what running one shows."""

from enum import StrEnum

from msgspec import Struct

from eval.questions import Item, Programmed
from eval.scorers import RIGHT


class Ending(StrEnum):
    """How a program's test ended."""

    PASSED = "passed"
    FAILED = "failed"  # an exception, a wrong answer included
    TIMED_OUT = "timed out"
    ENDED = "ended"  # the process did, before the test was over


class Program(Struct, frozen=True):
    """What a model wrote behind the beginning that it was given, and the test that it has to stand."""

    source: str
    test: str


class Allowance(Struct, frozen=True):
    """What a program may use: bytes of memory beyond the interpreter's own, processor seconds, seconds in all."""

    memory: int = 512 << 20
    cpu_seconds: int = 3
    wall_seconds: float = 10.0


class Judged(Struct, frozen=True):
    """How a program ended; `error` is the name of the exception that a failed one ended with."""

    ending: Ending
    error: str = ""

    @property
    def outcome(self) -> int:
        """Right if the test was passed."""
        return RIGHT * (self.ending is Ending.PASSED)

    @property
    def why(self) -> str:
        """The ending in words."""
        return f"{self.ending}: {self.error}" if self.error else str(self.ending)

    @property
    def certain(self) -> bool:
        """Whether a faster or a slower machine would say the same."""
        return self.ending is not Ending.TIMED_OUT


def program_of(item: Item, text: str) -> Program:
    """The program that `text` completes, with HumanEval's test."""
    if not isinstance(item, Programmed):
        raise TypeError("only the beginning of a program can be completed to one")
    return Program(item.question + text, f"{item.test}\ncheck({item.entry_point})")

"""The exceptions by which parts of the evaluator say that a task cannot be evaluated, and whose fault it is."""

import enum

from protocol.failures import Failure

_ALLOCATION_WORDS = (
    "failed to allocate",
    "unable to allocate",
    "cannot allocate memory",
    "bad_alloc",
    "out of memory",
    "not enough memory",
    "resource temporarily unavailable",  # no thread can be started
    "ggml_assert(ctx->mem_buffer != null)",  # what ggml says of it goes to its log, which an abort takes along
    "ggml_assert(galloc",
)


class Passing(enum.StrEnum):
    """What keeps a server from helping now, and goes by without anybody's doing."""

    LATER = "later"
    """It asks to be left alone for a while, or what it sent arrived damaged."""
    UNREACHABLE = "unreachable"
    """Nobody answers."""


class EvaluationError(Exception):
    """A typed failure with a detail for people; becomes `eval.job.JobFailed` at the edge.

    `passing` is None where trying again changes nothing.
    """

    def __init__(self, failure: Failure, detail: str = "", passing: Passing | None = None) -> None:
        super().__init__(f"{failure.sentence} {detail}".strip())
        self.failure = failure
        self.detail = detail
        self.passing = passing


class RequestWrong(EvaluationError):
    """What a person asked for cannot be; `remedy` says what can."""

    def __init__(self, detail: str, remedy: str, failure: Failure = Failure.ENGINE_FAILED) -> None:
        super().__init__(failure, detail)
        self.remedy = remedy


def speaks_of_memory(words: str) -> bool:
    """Whether llama.cpp's words say that it got no memory: the device's trouble, whatever else they blame."""
    return any(word in words.lower() for word in _ALLOCATION_WORDS)


def refused(failure: Failure, words: str) -> EvaluationError:
    """The failure with llama.cpp's words; `OUT_OF_MEMORY` in its place where it had none."""
    return EvaluationError(Failure.OUT_OF_MEMORY if speaks_of_memory(words) else failure, words)

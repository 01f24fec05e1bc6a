"""The one exception by which a part of the evaluator says that a task cannot be evaluated, and whose fault it is."""

from protocol.failures import Failure

_ALLOCATION_WORDS = (
    "failed to allocate",
    "unable to allocate",
    "cannot allocate memory",
    "bad_alloc",
    "out of memory",
    "not enough memory",
    "resource temporarily unavailable",  # no thread can be started
)


class EvaluationError(Exception):
    """A typed failure with a detail for people; becomes `eval.job.JobFailed` at the edge."""

    def __init__(self, failure: Failure, detail: str = "") -> None:
        super().__init__(f"{failure.sentence} {detail}".strip())
        self.failure = failure
        self.detail = detail


def speaks_of_memory(words: str) -> bool:
    """Whether llama.cpp's words say that it got no memory: the device's trouble, whatever else they blame."""
    return any(word in words.lower() for word in _ALLOCATION_WORDS)


def refused(failure: Failure, words: str) -> EvaluationError:
    """The failure with llama.cpp's words; `OUT_OF_MEMORY` in its place where it had none."""
    return EvaluationError(Failure.OUT_OF_MEMORY if speaks_of_memory(words) else failure, words)

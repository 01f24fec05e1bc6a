"""Why a task could not be evaluated: typed, committed and revealed like any other outcome.

What the model causes is a fact about the model, and runners can agree on it (FAILED). What the device causes is
nobody's business but the volunteer's: it counts for nothing.
"""

import enum

FIRST_OF_DEVICE = 64


class Failure(enum.IntEnum):
    """A reason; `of_model` tells whose it is, `sentence` says it to a person."""

    HASH_MISMATCH = 1
    FILE_MISSING = 2
    MODEL_REFUSED = 3
    MODEL_ABORTED = 4
    ADAPTER_REFUSED = 5
    NOT_FINITE = 6
    PROMPT_TOO_LONG = 7
    DEFINITION_MISMATCH = 8
    OUT_OF_MEMORY = FIRST_OF_DEVICE
    TOO_SLOW = 65
    DOWNLOAD_FAILED = 66
    BENCHMARK_UNSUPPORTED = 67
    ENGINE_FAILED = 68
    SANDBOX_WEAK = 69

    @property
    def of_model(self) -> bool:
        """Whether the model is at fault, so that a quorum can say so."""
        return self < FIRST_OF_DEVICE

    @property
    def sentence(self) -> str:
        """What went wrong, for a person."""
        return _SENTENCES[self]


_SENTENCES: dict[Failure, str] = {
    Failure.HASH_MISMATCH: "A file of the model does not have the registered SHA-256.",
    Failure.FILE_MISSING: "A file of the model is not at the registered place, or is private or gated.",
    Failure.MODEL_REFUSED: "llama.cpp refuses to load the model's file.",
    Failure.MODEL_ABORTED: "llama.cpp ended the process while it worked on this model.",
    Failure.ADAPTER_REFUSED: "The adapter does not fit the base model, or has an unsupported form.",
    Failure.NOT_FINITE: "The model computes values that are not finite numbers.",
    Failure.PROMPT_TOO_LONG: "The questions do not fit into the model's context.",
    Failure.DEFINITION_MISMATCH: "The file is not what its registration says (architecture, weight type or size).",
    Failure.OUT_OF_MEMORY: "The task does not fit into the memory that this device may use.",
    Failure.TOO_SLOW: "The device did not finish in time.",
    Failure.DOWNLOAD_FAILED: "A file could not be downloaded.",
    Failure.BENCHMARK_UNSUPPORTED: "This version of the evaluator does not know the benchmark.",
    Failure.ENGINE_FAILED: "The evaluator failed for a reason of its own.",
    Failure.SANDBOX_WEAK: "The device cannot confine the evaluation as strongly as it has to be.",
}

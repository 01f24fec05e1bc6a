"""Why a PEFT adapter cannot be evaluated: a reason that programs can tell apart, and a sentence for people."""

import enum

from eval.failing import EvaluationError
from protocol.failures import Failure


class Refusal(enum.StrEnum):
    """What is wrong with an adapter, or beyond what llama.cpp can apply."""

    FILES = "files"
    PEFT_TYPE = "peft-type"
    DORA = "dora"
    BIAS = "bias"
    WHOLE_LAYERS = "whole-layers"
    EMBEDDINGS = "embeddings"
    INITIALISATION = "initialisation"
    SETTING = "setting"
    SCALE = "scale"
    ARCHITECTURE = "architecture"
    UNKNOWN_TENSOR = "unknown-tensor"
    INCOMPLETE = "incomplete"
    SHAPE = "shape"
    NOT_FINITE = "not-finite"
    OTHER_BASE = "other-base"
    TWICE = "twice"


class AdapterRefused(EvaluationError):
    """An adapter is refused; `reason` is for programs, `detail` for people."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(Failure.ADAPTER_REFUSED, detail)
        self.reason = reason

"""A base model on its way into memory: header first, then a rehearsal without weights, then the weights.

A rehearsal is llama.cpp's own loading with `no_alloc`: it knows the vocabulary, and tells to the byte what a context
would take, without taking it. What does not fit is refused before anything is loaded.
"""

import functools
import re
from pathlib import Path
from types import TracebackType

from eval.backends import Device
from eval.binding import Heard
from eval.context import Context
from eval.failing import EvaluationError
from eval.header import Header, HeaderRefused, read_header
from eval.memory import BASELINE_BYTES, LOGIT_BYTES, ContextPlan, cache_bytes_per_cell, estimate, vocabulary_size
from eval.model import LoadedModel
from protocol.failures import Failure

_COMPUTE = re.compile(r"\b(\S+)\s+compute buffer size =\s*([0-9.]+) MiB")
_CACHE = re.compile(r"(?:kv_cache|memory_recurrent)\S*\s+size =\s*([0-9.]+) MiB")
_CARD_SHARE = 0.9  # of a card's free memory; its driver and others want the rest


class Takes:
    """Bytes that a context takes, by llama.cpp's own account: cache, and compute buffers on and off the card."""

    def __init__(self, words: list[str]) -> None:
        found = [_COMPUTE.search(line) for line in words]
        buffers = [(match[1], _bytes(match[2])) for match in found if match]
        self.host = sum(size for name, size in buffers if _on_host(name))
        self.card = sum(size for name, size in buffers if not _on_host(name))
        self.cache = sum(_bytes(match[1]) for line in words if (match := _CACHE.search(line)))
        self.known = bool(buffers)


def _bytes(mebibytes: str) -> int:
    return round((float(mebibytes) + 0.01) * (1 << 20))  # the log rounds to hundredths


def _on_host(name: str) -> bool:
    return name.startswith("CPU") or name.endswith("_Host")


class Base:
    """A base model: `header`, the vocabulary at once, and the weights when they are asked for."""

    def __init__(self, path: Path, header: Header, card: Device | None = None) -> None:
        self.path = path
        self.header = header
        self.card = card
        self._layers: int | None = None if card else 0
        self._model: LoadedModel | None = None

    @functools.cached_property
    def outline(self) -> LoadedModel:
        """The model without weights: to tokenise with, and to rehearse contexts."""
        layers = self._all_layers if self.card else 0
        return LoadedModel(self.path, weights=False, card_layers=layers, header=self.header)

    @property
    def model(self) -> LoadedModel:
        """The weights, loaded with the first use."""
        if self._model is None:
            self._model = LoadedModel(self.path, card_layers=self._layers or 0, header=self.header)
        return self._model

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._model is not None

    @property
    def card_layers(self) -> int:
        """How many of the model's layers are on the card, the output's among them; 0 until a context was planned."""
        return self._layers or 0

    @property
    def _all_layers(self) -> int:
        return self.header.of_architecture("block_count", 0) + 1

    def takes(self, plan: ContextPlan, besides: int = 0, contexts: int = 1) -> int:
        """Bytes of this machine's memory that evaluating with so many contexts of the plan takes, and `besides`.

        The process and the weights are included.
        """
        fixed = BASELINE_BYTES + self.header.weight_bytes + besides
        found = self._rehearsed(plan)
        if not found.known:
            return fixed + contexts * (estimate(self.header, plan, besides) - fixed)
        logits = LOGIT_BYTES * vocabulary_size(self.header) * plan.rows
        cache = max(found.cache, 0 if found.cache else cache_bytes_per_cell(self.header) * plan.cells)
        return fixed + contexts * (cache + found.host + logits)

    def settle(self, plan: ContextPlan) -> None:
        """Decides, with the first plan, how many layers the card has room for."""
        if self.card is None or self._layers is not None:
            return
        found = self._rehearsed(plan)
        self._layers = layers_that_fit(
            self._all_layers, self.header.weight_bytes + found.cache, int(self.card.free * _CARD_SHARE) - found.card
        )

    def _rehearsed(self, plan: ContextPlan) -> Takes:
        with Heard() as heard, Context(self.outline, plan, 1):
            pass
        return Takes(heard.lines)

    def __enter__(self) -> "Base":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees what is in memory."""
        if self._model is not None:
            self._model.close()
            self._model = None
        if "outline" in self.__dict__:
            self.outline.close()
            del self.outline


def layers_that_fit(layers: int, spread: int, room: int) -> int:
    """How many of `layers` equal parts of `spread` bytes a card with `room` bytes takes."""
    return max(0, min(layers, room * layers // max(1, spread)))


def checked_header(path: Path, refused: Failure) -> Header:
    """The header of a file of the model; typed failures for one that is malformed, or no longer to be read."""
    try:
        header = read_header(path)
    except HeaderRefused as error:
        raise EvaluationError(refused, f"{path.name}: {error}.") from None
    except OSError as error:  # it was there a moment ago: nothing that the model is to blame for
        raise EvaluationError(Failure.ENGINE_FAILED, f"{path} cannot be read: {error.strerror}.") from None
    if header.is_adapter != (refused is Failure.ADAPTER_REFUSED):
        found = "an adapter, not a model: name its base, and this beside it" if header.is_adapter else "no adapter"
        raise EvaluationError(refused, f"{path.name} is {found}.")
    parts = header.integer("split.count", 1)
    if parts > 1:
        part = header.integer("split.no", 0) + 1
        text = f"{path.name} is part {part} of {parts}: join them to one file (llama-gguf-split --merge)."
        raise EvaluationError(refused, text)
    return header

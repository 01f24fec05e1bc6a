"""One llama.cpp context: a key-value cache shared by many sequences, and batches filled through numpy."""

import ctypes
from collections.abc import Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from eval import products
from eval.binding import C, forget_words, last_words
from eval.failing import EvaluationError, refused
from eval.memory import FEWEST_ROWS, ContextPlan
from eval.model import LoadedModel
from protocol.failures import Failure

Tokens = NDArray[np.int32]
Rows = NDArray[np.float32]
State = NDArray[np.uint8]


class Scaled(msgspec.Struct, frozen=True):
    """An adapter's handle and the strength at which it is applied (1.0: as trained)."""

    handle: Any
    scale: float


class Context:
    """A cache of `plan.cells` tokens for up to `plan.sequences` sequences, and the batch to fill it with.

    `plan.layout` says how the cache is divided (`eval.modes`). Keys and values are F16 whatever the weights are,
    because fingerprints are compared between machines.
    """

    def __init__(self, model: LoadedModel, plan: ContextPlan, threads: int, adapters: Sequence[Scaled] = ()) -> None:
        forget_words()
        parameters = C.llama_context_default_params()
        parameters.n_ctx = plan.cells
        parameters.n_seq_max = plan.sequences
        parameters.n_batch = plan.batch
        parameters.n_ubatch = min(plan.batch, plan.micro_batch)
        parameters.n_outputs_max = plan.rows
        parameters.n_threads = parameters.n_threads_batch = threads
        flash = C.LLAMA_FLASH_ATTN_TYPE_AUTO if plan.layout.flash else C.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.flash_attn_type = flash
        parameters.kv_unified = plan.layout.unified
        parameters.offload_kqv = parameters.op_offload = model.card_layers > 0
        parameters.no_perf = True
        with products.offered() if plan.layout.products else nullcontext():
            self._handle: Any = C.llama_init_from_model(model.handle, parameters)
        if not self._handle:
            raise refused(Failure.MODEL_REFUSED, last_words() or "no context can be made for it")
        self._memory: Any = C.llama_get_memory(self._handle)
        self._vocabulary_size = model.vocabulary_size
        self.plan = plan
        self._set_adapters(adapters)
        self._make_batch(plan.batch)

    def __enter__(self) -> "Context":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the cache."""
        if self._handle:
            C.llama_free(self._handle)
            self._handle = None

    def _set_adapters(self, adapters: Sequence[Scaled]) -> None:
        if not adapters:
            return
        handles = (C.llama_adapter_lora_p_ctypes * len(adapters))(*[adapter.handle for adapter in adapters])
        scales = (ctypes.c_float * len(adapters))(*[adapter.scale for adapter in adapters])
        if C.llama_set_adapters_lora(self._handle, handles, len(adapters), scales) != 0:
            self.close()
            raise refused(Failure.ADAPTER_REFUSED, last_words())

    def _make_batch(self, capacity: int) -> None:
        self._token = np.zeros(capacity, np.int32)
        self._position = np.zeros(capacity, np.int32)
        self._output = np.zeros(capacity, np.int8)
        self._sequence = np.zeros(capacity + self.plan.sequences, np.int32)
        self._sequences = np.ones(capacity, np.int32)  # of each token: so many
        self._pointer = np.zeros(capacity, np.uint64)  # of each token: where in `_sequence` they begin
        self._addresses = (self._sequence.ctypes.data + 4 * np.arange(len(self._sequence))).astype(np.uint64)
        self._steps = np.arange(capacity, dtype=np.int32)
        self._count = self._listed = 0
        self._batch = C.llama_batch()
        self._batch.token = _pointer(self._token, C.llama_token)
        self._batch.embd = None
        self._batch.pos = _pointer(self._position, C.llama_pos)
        self._batch.n_seq_id = _pointer(self._sequences, ctypes.c_int32)
        self._batch.seq_id = _pointer(self._pointer, ctypes.POINTER(C.llama_seq_id))
        self._batch.logits = _pointer(self._output, ctypes.c_int8)

    @property
    def room(self) -> int:
        """Tokens that the batch can still take."""
        return self.plan.batch - self._count

    def add(self, tokens: Tokens, position: int, sequence: int, *, every: bool, last: bool) -> None:
        """Puts `tokens` into the batch at `position` on; rows come back for every token, the last one, or none."""
        start, stop = self._count, self._count + len(tokens)
        self._token[start:stop] = tokens
        self._position[start:stop] = self._steps[: len(tokens)] + position
        self._belong(start, stop, [sequence])
        self._output[start:stop] = every
        self._output[stop - 1] = every or last
        self._count = stop

    def add_tree(
        self, tokens: Tokens, positions: Tokens, sequences: Sequence[int], first: Tokens, counts: Tokens
    ) -> None:
        """Puts tokens that may belong to several sequences into the batch, each with a row.

        Token `i` belongs to `counts[i]` of the `sequences` from number `first[i]` on, and comes behind what these hold
        and have in the batch. The cache must be unified, with a cell for each token.
        """
        start, stop = self._count, self._count + len(tokens)
        self._token[start:stop] = tokens
        self._position[start:stop] = positions
        self._belong(start, stop, sequences, first, counts)
        self._output[start:stop] = 1
        self._count = stop

    def add_each(self, tokens: list[int], positions: list[int], sequences: list[int]) -> None:
        """Puts one token of each sequence into the batch, each with a row."""
        start, stop = self._count, self._count + len(tokens)
        self._token[start:stop] = tokens
        self._position[start:stop] = positions
        self._belong(start, stop, sequences, self._steps[: len(tokens)])
        self._output[start:stop] = 1
        self._count = stop

    def _belong(
        self, start: int, stop: int, sequences: Sequence[int], first: Tokens | int = 0, counts: Tokens | int = 1
    ) -> None:
        """Lists the sequences; each token of the batch from `start` to `stop` points at its first one there."""
        listed = self._listed + len(sequences)
        self._sequence[self._listed : listed] = sequences
        self._pointer[start:stop] = self._addresses[self._listed + first]
        self._sequences[start:stop] = counts
        self._listed = listed

    def fill(self) -> None:
        """Tops the last micro-batch up to `FEWEST_ROWS` with tokens that nothing looks at, in the spare sequence.

        Of fewer rows llama.cpp's flash attention on processors adds values up in F16, the worse the longer the context
        (`ggml-cpu/ops.cpp`, the tile of 64 rows).
        """
        spare, micro_batch = self.plan.spare, min(self.plan.batch, self.plan.micro_batch)
        missing = FEWEST_ROWS - self._count % micro_batch
        if spare is not None and 0 < missing < FEWEST_ROWS <= micro_batch:
            self.add(np.zeros(missing, np.int32), 0, spare, every=False, last=False)

    def decode(self) -> Rows:
        """Runs the batch and empties it.

        Rows of float32 logits, one per requested output in the order of the batch, `vocabulary_size` wide. They live
        in llama.cpp's buffer until the next call.
        """
        self._batch.n_tokens = self._count
        rows = int(self._output[: self._count].sum())
        self._count = self._listed = 0
        code = C.llama_decode(self._handle, self._batch)
        if self.plan.spare is not None:
            self.forget(self.plan.spare)
        if self.plan.layout.products:
            products.raise_what_failed()
        if code != 0:
            raise EvaluationError(Failure.ENGINE_FAILED, f"llama_decode returned {code}: {last_words()}")
        if not rows:
            return np.empty((0, self._vocabulary_size), np.float32)
        address = ctypes.cast(C.llama_get_logits(self._handle), ctypes.c_void_p).value
        if address is None:
            raise EvaluationError(Failure.ENGINE_FAILED, "llama.cpp returned no logits")
        buffer = (ctypes.c_float * (rows * self._vocabulary_size)).from_address(address)
        logits: Rows = np.frombuffer(memoryview(buffer), np.float32).reshape(rows, self._vocabulary_size)
        return logits

    def copy(self, source: int, target: int, start: int = 0) -> None:
        """Lets `target`, which holds `start` tokens, share everything that `source` holds behind as many."""
        C.llama_memory_seq_cp(self._memory, source, target, start or -1, -1)

    def set_threads(self, threads: int) -> None:
        """How many threads the next calls compute with."""
        C.llama_set_n_threads(self._handle, threads, threads)

    def state(self, sequence: int) -> State:
        """All that a sequence holds, for `restore` in a context of the same model and plan."""
        held = np.empty(C.llama_state_seq_get_size(self._handle, sequence), np.uint8)
        size = C.llama_state_seq_get_data(self._handle, _pointer(held, ctypes.c_uint8), held.size, sequence)
        return held[:size]

    def restore(self, sequence: int, state: State) -> bool:
        """Puts what another context's sequence holds into one that is empty; False where it is not accepted."""
        return bool(C.llama_state_seq_set_data(self._handle, _pointer(state, ctypes.c_uint8), state.size, sequence))

    def clear(self) -> None:
        """Empties all sequences: what comes next finds the cache as it was at the beginning."""
        C.llama_memory_clear(self._memory, False)

    def forget(self, sequence: int, start: int = 0) -> None:
        """Takes from a sequence all but its first `start` tokens; cells that others share stay."""
        C.llama_memory_seq_rm(self._memory, sequence, start or -1, -1)


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))

"""What an evaluation will take, computed from the header before anything is loaded: what does not fit is refused.

Weights and cache are exact for plain attention; the compute buffer is an upper estimate (logits, feed-forward and
attention activations of one micro-batch). Recurrent layers keep less than the cache counted for them here.
"""

from collections.abc import Callable, Sequence
from functools import partial

from msgspec import Struct

from eval.failing import EvaluationError
from eval.header import Header
from eval.modes import TOGETHER, Layout
from protocol.failures import Failure

CACHE_BYTES_PER_VALUE = 2  # F16
LOGIT_BYTES = 4
ACTIVATION_BYTES = 4
BASELINE_BYTES = 96 << 20  # interpreter, libraries, vocabulary
CELL_STEP = 256  # llama.cpp rounds the cache up to this
LARGEST_BATCH = 2048
MICRO_BATCH = 512
ROW_BUDGET_BYTES = 256 << 20
FEWEST_ROWS = 64
"""Rows of a micro-batch below which llama.cpp's flash attention adds up in F16 on processors: see `Context.fill`."""
SMALLEST_ROWS = 64
MAX_SEQUENCES = 256  # llama.cpp's own limit


class Need(Struct, frozen=True):
    """One question's claim at its worst: cache cells beyond the shared prefix, sequences, and tokens in the longest."""

    cells: int
    sequences: int
    longest: int


class ContextPlan(Struct, frozen=True):
    """The size of a context: cache cells in all, sequences, tokens a batch and a micro-batch, output rows a batch."""

    cells: int
    sequences: int
    batch: int
    micro_batch: int
    rows: int
    layout: Layout = TOGETHER

    @property
    def spare(self) -> int | None:
        """With flash attention the last sequence, whose tokens only fill batches."""
        return self.sequences - 1 if self.layout.flash else None

    @property
    def for_questions(self) -> int:
        """Cells of questions and of what they share."""
        return self.cells - (FEWEST_ROWS if self.layout.flash else 0)


def cache_bytes_per_cell(header: Header) -> int:
    """Bytes that one token takes in the cache, keys and values of all layers."""
    layers = header.of_architecture("block_count", 0)
    heads = max(1, header.of_architecture("attention.head_count", 1))
    key_heads = header.of_architecture("attention.head_count_kv", heads)
    per_head = header.of_architecture("embedding_length", 0) // heads
    key = header.of_architecture("attention.key_length", per_head)
    value = header.of_architecture("attention.value_length", per_head)
    return layers * key_heads * (key + value) * CACHE_BYTES_PER_VALUE


def vocabulary_size(header: Header) -> int:
    """Number of tokens, by the embedding's shape."""
    for tensor in header.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) == 2:
            return tensor.shape[1]
    return header.of_architecture("vocab_size", len(header.token_types))


def estimate(header: Header, plan: ContextPlan, adapter_bytes: int = 0) -> int:
    """Bytes that evaluating with this plan takes at most, the process itself included."""
    vocabulary = vocabulary_size(header)
    heads = header.of_architecture("attention.head_count", 1)
    width = 3 * header.of_architecture("feed_forward_length", 0) + 8 * header.of_architecture("embedding_length", 0)
    micro = min(plan.micro_batch, plan.batch)
    compute = ACTIVATION_BYTES * (min(micro, plan.rows) * vocabulary + micro * (width + plan.cells * (heads + 1)))
    logits = LOGIT_BYTES * vocabulary * plan.rows
    cache = cache_bytes_per_cell(header) * plan.cells
    return BASELINE_BYTES + header.weight_bytes + adapter_bytes + cache + compute + logits


def plan_context(
    header: Header,
    prefix: int,
    needs: Sequence[Need],
    slots: int,
    limit: int,
    *,
    layout: Layout = TOGETHER,
    takes: Callable[[ContextPlan], int] | None = None,
) -> ContextPlan:
    """The largest plan of at most `slots` questions at once that stays within `limit` bytes.

    Room is made for the largest questions together, so that any `slots` of them fit. `takes` tells the bytes of a plan
    (by default `estimate`). Raises `EvaluationError` with `OUT_OF_MEMORY` where not even the largest question fits
    alone.
    """
    takes = takes or partial(estimate, header)
    slots = 1 if layout.alone else slots
    rows = max(SMALLEST_ROWS, min(LARGEST_BATCH, ROW_BUDGET_BYTES // (LOGIT_BYTES * max(1, vocabulary_size(header)))))
    cells = sorted((need.cells for need in needs), reverse=True)
    sequences = sorted((need.sequences for need in needs), reverse=True)
    smallest = 0
    for micro_batch in (MICRO_BATCH, MICRO_BATCH // 4):
        for count in range(max(1, min(slots, len(needs))), 0, -1):
            used = 1 + sum(sequences[:count]) + layout.flash
            if layout.unified:
                total = _stepped(prefix + sum(cells[:count]) + 1 + FEWEST_ROWS * layout.flash)
            else:
                total = used * _stepped(max(need.longest for need in needs) + 1)
            if used > MAX_SEQUENCES:
                continue
            plan = ContextPlan(total, used, min(LARGEST_BATCH, total), micro_batch, max(rows, used), layout)
            smallest = takes(plan)
            if smallest <= limit:
                return plan
    if not smallest:
        raise EvaluationError(Failure.ENGINE_FAILED, f"A question has more than {MAX_SEQUENCES - 2} choices.")
    raise _too_large("It needs", smallest, limit)


def _stepped(cells: int) -> int:
    return -(-cells // CELL_STEP) * CELL_STEP


def check_loading(header: Header, limit: int, adapter_bytes: int = 0) -> None:
    """Refuses with `OUT_OF_MEMORY` a model whose weights alone are too large, before they are loaded."""
    least = BASELINE_BYTES + header.weight_bytes + adapter_bytes
    if least > limit:
        raise _too_large("Its weights need", least, limit)


def _too_large(needs: str, size: int, limit: int) -> EvaluationError:
    """Rounded so that the first figure is always larger than the second."""
    return EvaluationError(Failure.OUT_OF_MEMORY, f"{needs} {-(-size >> 20)} MiB and may use {limit >> 20} MiB.")

"""What a plan takes and how large it is, figure by figure."""

from typing import Any

import numpy as np
import pytest

from eval.header import Header, Tensor
from eval.memory import (
    BASELINE_BYTES,
    ContextPlan,
    Need,
    cache_bytes_per_cell,
    estimate,
    plan_context,
    vocabulary_size,
)
from eval.modes import ALONE, SPLIT, TOGETHER, TOGETHER_PLAIN, Layout

NORM, TABLE = Tensor("output_norm.weight", (64,), 0, 0, 256), Tensor("token_embd.weight", (64, 300), 1, 256, 38_400)
NEEDS = [Need(100, 2, 100), Need(50, 3, 50), Need(70, 1, 70)]


def header(*tensors: Tensor, **changed: Any) -> Header:
    figures = {"block_count": 3, "attention.head_count": 4, "attention.head_count_kv": 2, "embedding_length": 64}
    figures |= {"feed_forward_length": 172} | {key.replace("__", "."): value for key, value in changed.items()}
    metadata: Any = {f"llama.{key}": value for key, value in figures.items() if value is not None}
    metadata["general.architecture"] = "llama"
    return Header(metadata, tensors or (NORM, TABLE), np.ones(17, np.int32), 0)


def test_a_cell_of_the_cache() -> None:
    assert cache_bytes_per_cell(header()) == 3 * 2 * (16 + 16) * 2
    assert cache_bytes_per_cell(header(attention__head_count_kv=None)) == 3 * 4 * (16 + 16) * 2
    assert cache_bytes_per_cell(header(attention__key_length=24, attention__value_length=10)) == 3 * 2 * (24 + 10) * 2
    assert cache_bytes_per_cell(header(attention__head_count=0)) == 3 * 2 * (64 + 64) * 2


def test_a_vocabulary_is_the_embeddings_or_what_the_header_says() -> None:
    assert vocabulary_size(header()) == 300
    flat = Tensor("token_embd.weight", (300,), 0, 0, 1200)
    assert vocabulary_size(header(NORM, flat, vocab_size=299)) == 299
    assert vocabulary_size(header(NORM)) == 17


@pytest.mark.parametrize(("batch", "rows", "looked_up"), [(256, 100, 100), (256, 400, 256), (1024, 700, 512)])
def test_an_estimate_by_hand(batch: int, rows: int, looked_up: int) -> None:
    micro = min(batch, 512)
    compute = 4 * (looked_up * 300 + micro * (3 * 172 + 8 * 64 + 1024 * 5))
    expected = BASELINE_BYTES + (256 + 38_400) + 7 + 384 * 1024 + compute + 4 * 300 * rows
    assert estimate(header(), ContextPlan(1024, 5, batch, 512, rows), 7) == expected


@pytest.mark.parametrize(
    ("layout", "prefix", "slots", "cells", "sequences"),
    [
        (TOGETHER, 10, 2, 256, 1 + 5 + 1),  # 10 + 170 + 1 + 64
        (TOGETHER, 21, 2, 256, 7),
        (TOGETHER, 22, 2, 512, 7),
        (TOGETHER_PLAIN, 35, 3, 256, 1 + 6),
        (TOGETHER_PLAIN, 36, 3, 512, 7),
        (TOGETHER_PLAIN, 10, 9, 256, 7),
        (SPLIT, 10, 2, 6 * 256, 6),
        (ALONE, 10, 3, 256, 1 + 3),
    ],
)
def test_the_size_of_a_plan(layout: Layout, prefix: int, slots: int, cells: int, sequences: int) -> None:
    plan = plan_context(header(), prefix, NEEDS, slots, 1 << 40, layout=layout)
    assert plan == ContextPlan(cells, sequences, cells, 512, 2048, layout)
    assert (plan.spare, plan.for_questions) == ((sequences - 1, cells - 64) if layout.flash else (None, cells))


def test_each_sequence_of_a_divided_cache_holds_the_longest() -> None:
    for longest, cells in ((255, 256), (256, 512)):
        plan = plan_context(header(), 0, [Need(1, 1, longest), Need(1, 1, 9)], 1, 1 << 40, layout=SPLIT)
        assert plan.cells == 2 * cells


@pytest.mark.parametrize(
    ("vocabulary", "sequences", "rows"), [(300, 1, 2048), (131_072, 1, 512), (2_000_000, 1, 64), (2_000_000, 100, 102)]
)
def test_rows_of_a_batch_are_bounded_by_what_they_take(vocabulary: int, sequences: int, rows: int) -> None:
    table = Tensor("token_embd.weight", (64, vocabulary), 1, 0, 128 * vocabulary)
    plan = plan_context(header(table), 0, [Need(5000, sequences, 5000)], 1, 1 << 40)
    assert (plan.rows, plan.batch) == (rows, 2048)


def test_a_file_without_a_vocabulary_can_be_planned_for() -> None:
    assert plan_context(header(NORM, vocab_size=0), 0, NEEDS, 1, 1 << 40).rows == 2048


def test_where_memory_is_short() -> None:
    """Fewer questions are tried before smaller micro-batches."""

    def both(plan: ContextPlan) -> int:
        return plan.sequences * plan.micro_batch

    found = [
        plan_context(header(), 0, NEEDS, 3, limit, layout=TOGETHER_PLAIN, takes=both)
        for limit in (7 * 512, 7 * 512 - 1, 6 * 512 - 1, 4 * 512 - 1, 7 * 128, 7 * 128 - 1, 4 * 128)
    ]
    figures = [(plan.sequences, plan.micro_batch) for plan in found]
    assert figures == [(7, 512), (6, 512), (4, 512), (7, 128), (7, 128), (6, 128), (4, 128)]

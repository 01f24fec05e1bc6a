"""Plans: what fits is planned, what does not is refused before anything is loaded."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.failing import EvaluationError
from eval.header import parse_header
from eval.memory import BASELINE_BYTES, MAX_SEQUENCES, Need, check_loading, estimate, plan_context
from protocol.failures import Failure
from tests.eval.tiny_models import EMBEDDING, LAYERS, gguf_bytes, llama_metadata, llama_tensors

DATA = gguf_bytes(llama_metadata(), llama_tensors())
HEADER = parse_header(DATA, len(DATA))
NEEDS = st.lists(st.builds(Need, st.integers(1, 4000), st.integers(1, 30)), min_size=1, max_size=40)


@given(NEEDS, st.integers(0, 3000), st.integers(1, 40))
def test_any_slots_of_the_questions_fit_together(needs: list[Need], prefix: int, slots: int) -> None:
    plan = plan_context(HEADER, prefix, needs, slots, 1 << 40)
    assert plan.sequences <= MAX_SEQUENCES
    assert plan.rows >= plan.sequences
    assert plan.batch <= plan.cells
    assert plan.cells > prefix + max(need.cells for need in needs)
    assert plan.sequences > max(need.sequences for need in needs)


@given(NEEDS, st.integers(1, 1 << 30))
def test_a_plan_stays_within_its_limit_or_is_refused(needs: list[Need], room: int) -> None:
    limit = BASELINE_BYTES + room
    alone = plan_context(HEADER, 0, needs, 1, 1 << 40)
    if estimate(HEADER, alone) <= limit:
        assert estimate(HEADER, plan_context(HEADER, 0, needs, 16, limit)) <= limit


def test_what_does_not_fit_alone_is_refused() -> None:
    with pytest.raises(EvaluationError) as refused:
        plan_context(HEADER, 0, [Need(1_000_000, 1)], 16, BASELINE_BYTES * 2)
    assert refused.value.failure is Failure.OUT_OF_MEMORY


def test_less_memory_gives_a_smaller_plan() -> None:
    needs = [Need(20_000, 2)] * 16
    roomy = plan_context(HEADER, 0, needs, 16, 1 << 40)
    tight = plan_context(HEADER, 0, needs, 16, estimate(HEADER, roomy) // 2)
    assert tight.cells < roomy.cells


def test_the_cache_is_counted_exactly() -> None:
    one, two = (plan_context(HEADER, 0, [Need(cells, 1)], 1, 1 << 40) for cells in (255, 511))
    heads = 5  # four of attention and the mask
    per_cell = 2 * LAYERS * EMBEDDING * 2
    activations = 4 * 256 * heads * (512 - 256) + 4 * 256 * (511 * 0)
    assert two.cells - one.cells == 256
    grown = estimate(HEADER, two) - estimate(HEADER, one)
    assert grown >= per_cell * 256 + activations


def test_weights_alone_can_be_too_much() -> None:
    with pytest.raises(EvaluationError) as refused:
        check_loading(HEADER, BASELINE_BYTES // 2)
    assert refused.value.failure is Failure.OUT_OF_MEMORY
    assert "MiB" in refused.value.detail


def test_real_use_stays_below_the_estimate(tiny: Path) -> None:
    """The estimate covers what llama.cpp takes for cache, logits and activations of a real context."""
    import psutil

    from eval.context import Context
    from eval.model import LoadedModel

    needs = [Need(1000, 2)] * 16
    plan = plan_context(HEADER, 0, needs, 16, 1 << 40)
    process = psutil.Process()
    with LoadedModel(tiny) as model:
        before = process.memory_info().rss
        with Context(model, plan, 1):
            grown = process.memory_info().rss - before
    assert grown <= estimate(HEADER, plan)

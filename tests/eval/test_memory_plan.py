"""Plans: what fits is planned, what does not is refused before anything is loaded."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.base import Base, Takes, layers_that_fit
from eval.benchmarks import find
from eval.binding import Heard
from eval.client import cause_of_death
from eval.context import Context
from eval.demo import catalogue
from eval.evaluation import evaluate, open_base
from eval.failing import EvaluationError
from eval.header import parse_header
from eval.job import Job
from eval.memory import BASELINE_BYTES, MAX_SEQUENCES, Need, check_loading, estimate, plan_context
from eval.model import LoadedModel
from eval.modes import SPLIT, TOGETHER
from protocol.failures import Failure
from tests.eval.tiny_models import EMBEDDING, LAYERS, gguf_bytes, llama_metadata, llama_tensors

BASE = catalogue.MODELS / "tally-base.gguf"
DATA = gguf_bytes(llama_metadata(), llama_tensors())
HEADER = parse_header(DATA, len(DATA))
CLAIMS = st.builds(Need, st.integers(1, 4000), st.integers(1, 30), st.integers(1, 4000))
NEEDS = st.lists(CLAIMS, min_size=1, max_size=40)


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
        plan_context(HEADER, 0, [Need(1_000_000, 1, 1_000_000)], 16, BASELINE_BYTES * 2)
    assert refused.value.failure is Failure.OUT_OF_MEMORY


def test_less_memory_gives_a_smaller_plan() -> None:
    needs = [Need(20_000, 2, 20_000)] * 16
    roomy = plan_context(HEADER, 0, needs, 16, 1 << 40)
    tight = plan_context(HEADER, 0, needs, 16, estimate(HEADER, roomy) // 2)
    assert tight.cells < roomy.cells


def test_the_cache_is_counted_exactly() -> None:
    one, two = (plan_context(HEADER, 0, [Need(cells, 1, cells)], 1, 1 << 40) for cells in (255, 511))
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
    needs, may = map(int, re.findall(r"(\d+) MiB", refused.value.detail))
    assert (needs, may) == (-(-(BASELINE_BYTES + HEADER.weight_bytes) >> 20), BASELINE_BYTES // 2 >> 20)


def test_the_figures_of_a_refusal_differ_where_a_byte_is_missing() -> None:
    with pytest.raises(EvaluationError, match=r"need 97 MiB and may use 96 MiB"):
        check_loading(HEADER, BASELINE_BYTES + HEADER.weight_bytes - 1)


def test_a_question_beyond_all_sequences_is_said_to_be_so() -> None:
    with pytest.raises(EvaluationError, match="more than 254 choices") as refused:
        plan_context(HEADER, 0, [Need(10, MAX_SEQUENCES, 10)], 16, 1 << 40)
    assert not refused.value.failure.of_model


STARVED = """
import resource, sys
from pathlib import Path
from eval.base import Base, checked_header
from eval.context import Context
from eval.failing import EvaluationError
from eval.memory import ContextPlan
from protocol.failures import Failure
path, cells = Path(sys.argv[1]), int(sys.argv[2])
base = Base(path, checked_header(path, Failure.MODEL_REFUSED))
loaded = base.model if cells > 1 else base.outline
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken, taken))
try:
    Context(base.model, ContextPlan(cells, 4, 512, 512, 64), 1)
except EvaluationError as error:
    print(error.failure.name)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is bounded on Linux only")
@pytest.mark.parametrize("cells", [1, 1 << 20])
def test_a_device_without_memory_does_not_blame_the_model(cells: int) -> None:
    """While the weights are mapped, and while the cache is made; ggml itself aborts where it gets none."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", STARVED, str(BASE), str(cells)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        assert cause_of_death(done.returncode, done.stderr).failure is Failure.OUT_OF_MEMORY, done.stderr
    else:
        assert done.stdout == "OUT_OF_MEMORY\n"


def test_a_rehearsal_tells_what_llama_cpp_takes(tiny: Path) -> None:
    """The same account as that of the real context, without taking anything."""
    needs = [Need(1000, 2, 1000)] * 16
    for divided in (TOGETHER, SPLIT):
        plan = plan_context(HEADER, 0, needs, 4, 1 << 40, layout=divided)
        with Base(tiny, HEADER) as base:
            planned = base.takes(plan)
            assert not base.loaded
            with Heard() as heard, Context(base.model, plan, 1):
                pass
            real = Takes(heard.lines)
        assert real.known
        assert real.cache >= plan.cells * 2 * LAYERS * EMBEDDING * 2
        logits = 4 * plan.rows * HEADER.tensors[0].shape[1]
        assert planned == BASELINE_BYTES + HEADER.weight_bytes + real.cache + real.host + logits
        assert planned <= estimate(HEADER, plan)


def test_adapters_count(tiny: Path) -> None:
    plan = plan_context(HEADER, 0, [Need(100, 1, 100)], 1, 1 << 40)
    with Base(tiny, HEADER) as base:
        assert base.takes(plan, 5000) == base.takes(plan) + 5000


def test_a_job_that_does_not_fit_is_refused_before_its_weights_are_loaded() -> None:
    job = Job(base=str(BASE), base_sha256=bytes(32), benchmark="tally-words", questions=tuple(range(5)))
    with open_base(job) as base:
        limit = BASELINE_BYTES + base.header.weight_bytes + (1 << 20)
        with pytest.raises(EvaluationError) as refused:
            evaluate(
                msgspec.structs.replace(job, memory_limit=limit), base, find("tally-words").load(None), lambda _: None
            )
        assert refused.value.failure is Failure.OUT_OF_MEMORY
        assert not base.loaded
        evaluate(job, base, find("tally-words").load(None), lambda _: None)
        assert base.loaded


@given(st.integers(1, 200), st.integers(1, 1 << 40), st.integers(-(1 << 30), 1 << 40))
def test_a_card_gets_the_layers_that_it_has_room_for(layers: int, spread: int, room: int) -> None:
    fitting = layers_that_fit(layers, spread, room)
    assert 0 <= fitting <= layers
    assert spread * fitting <= max(0, room) * layers
    assert fitting == layers or spread * (fitting + 1) > room * layers


def test_what_a_card_takes_is_not_counted_as_this_machines() -> None:
    said = [
        "sched_reserve:      CUDA0 compute buffer size =   100.00 MiB",
        "sched_reserve:  CUDA_Host compute buffer size =     8.00 MiB",
        "llama_kv_cache: size =   84.00 MiB (  2048 cells,  12 layers, 33/1 seqs), K (f16):   42.00 MiB, V (f16)",
    ]
    found = Takes(said)
    assert (found.card >> 20, found.host >> 20, found.cache >> 20) == (100, 8, 84)


def test_real_use_stays_below_the_estimate(tiny: Path) -> None:
    """The estimate covers what llama.cpp takes for cache, logits and activations of a real context."""
    needs = [Need(1000, 2, 1000)] * 16
    plan = plan_context(HEADER, 0, needs, 16, 1 << 40)
    process = psutil.Process()
    with LoadedModel(tiny) as model:
        before = process.memory_info().rss
        with Context(model, plan, 1):
            grown = process.memory_info().rss - before
    assert grown <= estimate(HEADER, plan)

"""numpy's matrix products in llama.cpp's place: what weights as 32-bit floats would give, whatever the file's."""

import ctypes
import importlib
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from msgspec.structs import replace
from numpy.typing import NDArray

from benchmarks.large_model import with_weights
from eval import ggml, products, weight_products
from eval.backends import devices
from eval.base import Base
from eval.cache_products import FEWEST_ROWS
from eval.context import Context, Scaled
from eval.demo import catalogue
from eval.evaluation import arrangement
from eval.failing import EvaluationError
from eval.generation import Generation
from eval.header import read_header
from eval.job import Job
from eval.lanes import plan_lanes
from eval.memory import ContextPlan
from eval.model import LoadedModel
from eval.modes import FAST, REPRODUCIBLE, TOGETHER_PLAIN, Layout, Mode, layout
from eval.team import FLOAT_BYTES, TILE_VALUES, Team
from tests.eval.tiny_models import Shape, write_adapter, write_llama

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="products are numpy's on x86-64 processors alone"
)

IN_PRODUCTS = replace(TOGETHER_PLAIN, products=True)
WIDE = Shape(embedding=256, layers=2, heads=4, feed_forward=512)
TOKENS = np.random.default_rng(1).integers(3, 250, 700).astype(np.int32)
KINDS = ("F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K_M")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("products") / "wide.gguf", shape=WIDE)


def logits(
    path: Path,
    arranged: Layout,
    *,
    rows: int = 200,
    threads: int = 1,
    micro_batch: int = 512,
    adapter: Path | None = None,
) -> NDArray[np.float32]:
    """Of each of the first tokens."""
    plan = ContextPlan(cells=1024, sequences=1, batch=1024, micro_batch=micro_batch, rows=rows, layout=arranged)
    with LoadedModel(path) as model:
        adapters = [Scaled(model.adapter(adapter, bytes(32)), 1.0)] if adapter else []
        with Context(model, plan, threads, adapters) as context:
            context.add(TOKENS[:rows], 0, 0, every=True, last=True)
            return context.decode().copy()


def apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """How far two sets of logits lie apart, as a share of their spread."""
    return float(np.abs(one - other).mean() / one.std())


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_the_weights_as_floats(plain: Path, tmp_path: Path, kind: str) -> None:
    file = plain if kind == "F16" else with_weights(plain, kind, tmp_path / "other.gguf")
    exact = logits(with_weights(file, "F32", tmp_path / "floats.gguf"), TOGETHER_PLAIN)
    found, without = logits(file, IN_PRODUCTS), logits(file, TOGETHER_PLAIN)
    assert apart(exact, found) < 1e-4
    assert apart(exact, without) > 2 * apart(exact, found)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.integers(FEWEST_ROWS, 600), some.integers(1, 4), some.sampled_from([1 << 8, 1 << 13, 1 << 21]))
def test_tiles_and_threads_change_nothing_that_matters(
    plain: Path, monkeypatch: pytest.MonkeyPatch, rows: int, threads: int, tile: int
) -> None:
    usual = logits(plain, IN_PRODUCTS, rows=rows)
    with monkeypatch.context() as patch:
        patch.setattr(weight_products, "TILE_VALUES", tile)
        other = logits(plain, IN_PRODUCTS, rows=rows, threads=threads, micro_batch=300)
    assert apart(usual, other) < 0.002


@pytest.mark.parametrize("rows", [1, FEWEST_ROWS - 1])
def test_few_rows_stay_with_llama_cpp(plain: Path, rows: int) -> None:
    assert np.array_equal(logits(plain, IN_PRODUCTS, rows=rows), logits(plain, TOGETHER_PLAIN, rows=rows))


@pytest.mark.parametrize("rank", [4, 64])
def test_adapters_are_applied(tmp_path: Path, rank: int) -> None:
    path = write_llama(tmp_path / "tiny.gguf")
    adapter = write_adapter(tmp_path / "adapter.gguf", rank=rank)
    with_it, without = (logits(path, IN_PRODUCTS, adapter=each) for each in (adapter, None))
    assert apart(with_it, logits(path, TOGETHER_PLAIN, adapter=adapter)) < 0.01 < apart(with_it, without)


class Odd(BaseException):
    """As an interrupt is."""


@pytest.mark.parametrize("place", [(Team, "floats"), (products._Backend, "multiply")])
@pytest.mark.parametrize("error", [MemoryError("no room for a tile"), ValueError("odd"), KeyboardInterrupt(), Odd()])
@pytest.mark.parametrize("threads", [1, 3])
def test_what_goes_wrong_in_a_product_is_raised_behind_the_batch(
    plain: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, place: tuple[type, str], threads: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(weight_products, "_WORTH_SHARING", 0)
    monkeypatch.setattr(*place, fail)
    with pytest.raises(type(error)) as caught:
        logits(plain, IN_PRODUCTS, threads=threads)
    assert caught.value is error
    monkeypatch.undo()
    assert np.isfinite(logits(plain, IN_PRODUCTS)).all()


def test_what_goes_wrong_when_llama_cpp_asks_is_raised_behind_the_batch(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    real = products._is_matrix

    def sometimes(tensor: ggml.Tensor) -> bool:
        nonlocal asked
        asked += 1
        if asked % 5 == 0:
            raise MemoryError
        return real(tensor)

    monkeypatch.setattr(products, "_is_matrix", sometimes)
    with pytest.raises(MemoryError):
        logits(plain, IN_PRODUCTS)


def test_what_is_lost_on_the_way_into_a_function_is_raised_too() -> None:
    accelerator = products._Accelerator.only()

    class Lost(NamedTuple):
        exc_type: type[BaseException] = MemoryError
        exc_value: BaseException | None = MemoryError("converting an argument")
        exc_traceback: None = None
        err_msg: str | None = "Exception ignored on converting result of ctypes callback function"
        object: None = None

    accelerator._others_hear, kept = (lambda _: None), accelerator._others_hear
    try:
        accelerator._hear(cast(Any, Lost(err_msg="Exception ignored in a destructor")))
        products.raise_what_failed()
        accelerator._hear(cast(Any, Lost()))
        with pytest.raises(MemoryError, match="converting an argument"):
            products.raise_what_failed()
        products.raise_what_failed()
    finally:
        accelerator._others_hear = kept


def test_an_operation_that_was_never_offered_fails_the_batch(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products._Accelerator, "_is_ours", lambda *_: True)
    with pytest.raises((RuntimeError, EvaluationError)):
        logits(plain, IN_PRODUCTS)


def test_where_memory_is_short_it_is_done_without(plain: Path) -> None:
    with Base(plain, read_header(plain)) as base:
        question = Generation(base.outline, TOKENS[:40].tolist(), (), 4, None)

        def planned(limit: int) -> Layout:
            return plan_lanes(base, [question], 4, 2, limit, IN_PRODUCTS, lanes=1).context.layout

        least = next(limit for limit in range(1 << 26, 1 << 28, 1 << 16) if _fits(planned, limit))
        assert not planned(least).products
        assert planned(1 << 30).products


def _fits(planned: Callable[[int], Layout], limit: int) -> bool:
    try:
        planned(limit)
    except EvaluationError:
        return False
    return True


def test_nothing_is_left_of_it(plain: Path) -> None:
    before = devices()
    logits(plain, IN_PRODUCTS, threads=3)
    assert devices() == before
    assert not products._Accelerator.only()._backends


def test_contexts_that_are_made_outside_are_not_changed(plain: Path) -> None:
    before = logits(plain, TOGETHER_PLAIN)
    logits(plain, IN_PRODUCTS)
    assert np.array_equal(logits(plain, TOGETHER_PLAIN), before)


def test_the_reproducible_mode_does_without(plain: Path) -> None:
    def arranged(mode: Mode) -> Layout:
        job = Job(
            base=str(plain), base_sha256=bytes(32), benchmark="x", questions=(), threads=1, memory_limit=0, mode=mode
        )
        with Base(plain, read_header(plain)) as base:
            return arrangement(job, base, [])

    assert arranged(FAST).products
    assert "products in f32" in arranged(FAST).label
    assert not arranged(REPRODUCIBLE).products
    assert layout(FAST, rows_alone=True, blocks=True, recurrent=False) != arranged(FAST)


@pytest.fixture
def asked_again() -> Iterator[None]:
    products.available.cache_clear()
    yield
    products.available.cache_clear()


@pytest.mark.usefixtures("asked_again")
def test_an_engine_of_another_interface_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ggml, "INTERFACE_VERSION", 3)
    assert not products.available()


@pytest.mark.usefixtures("asked_again")
def test_an_engine_with_other_tensors_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ggml.functions(), "ggml_tensor_overhead", lambda: ctypes.sizeof(ggml.Tensor))
    assert not products.available()


def test_memory_is_planned_for_every_thread(plain: Path) -> None:
    header = read_header(plain)
    largest = 4 * max(tensor.elements for tensor in header.tensors)
    for threads in (1, 2, 16):
        assert products.bytes_taken(header, threads) == threads * (FLOAT_BYTES * TILE_VALUES + largest)
    assert products.bytes_taken(read_header(catalogue.MODELS / "tally-base.gguf"), 1) < products.bytes_taken(header, 1)


def test_numpy_leaves_threads_to_the_job(plain: Path) -> None:
    logits(plain, IN_PRODUCTS, threads=2)
    library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    assert library.scipy_openblas_get_num_threads64_() == 1

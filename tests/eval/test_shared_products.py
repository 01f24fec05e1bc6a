"""Products in tiles, by several threads, are those of numpy's own matrix product, whatever their shape."""

import ctypes
import itertools
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from numpy.typing import NDArray

from eval import blas, cache_products, ggml, team, weight_products
from eval.cache_products import Heads
from eval.team import Team, converts
from eval.weight_products import FEWEST_ROWS, Weights

Floats = NDArray[np.float32]
TILES = some.sampled_from([1 << 7, 1 << 11, 1 << 19])
THREADS = some.sampled_from([1, 2, 3])
ROWS = some.one_of(some.integers(1, 30), some.integers(31, 130))


@pytest.fixture(scope="module")
def teams() -> Iterator[dict[int, Team]]:
    found = {threads: Team(threads) for threads in (1, 2, 3)}
    yield found
    for each in found.values():
        each.close()


def drawn(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(one: Floats, other: Floats) -> bool:
    return bool(np.allclose(one, other, rtol=1e-3, atol=1e-3))


def address(values: NDArray[np.generic]) -> int:
    return values.ctypes.data


@given(some.data(), some.integers(0, 99), THREADS, TILES, ROWS, some.booleans())
def test_weights(
    teams: dict[int, Team], data: some.DataObject, seed: int, threads: int, tile: int, count: int, halves: bool
) -> None:
    inputs = 8 * data.draw(some.integers(4, 100), label="eighths of inputs")
    outputs = data.draw(some.integers(32, 400), label="outputs")
    weights = drawn(seed, outputs, inputs).astype(np.float16 if halves else np.float32)
    rows, result = drawn(seed + 1, count, inputs), np.full((count, outputs), np.nan, np.float32)
    kind = ggml.F16 if halves else ggml.F32
    given = Weights(kind, address(weights), weights.strides[0], inputs, outputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weight_products, "TILE_VALUES", tile)
        patch.setattr(weight_products, "_WORTH_SHARING", 0)
        weight_products.multiply(teams[threads], given, rows, result)
    assert close(result, rows @ weights.astype(np.float32).T)


@given(some.data(), some.integers(0, 99), THREADS, TILES, ROWS, some.integers(1, 4), some.integers(1, 3))
def test_keys_and_values(
    teams: dict[int, Team],
    data: some.DataObject,
    seed: int,
    threads: int,
    tile: int,
    count: int,
    heads: int,
    group: int,
) -> None:
    width = 8 * data.draw(some.integers(1, 16), label="eighths of a head's width")
    room = data.draw(some.integers(1, 700), label="cells that there are")
    cells = data.draw(some.integers(1, room), label="cells that are looked at")
    keys = drawn(seed, room, heads, width).astype(np.float16)[:cells].transpose(1, 0, 2)
    values = drawn(seed, heads, width, room).astype(np.float16)[..., :cells]
    queries = drawn(seed + 1, count, heads, group, width).transpose(1, 2, 0, 3)
    for held, rows in ((keys, queries), (values, drawn(seed + 2, heads, group, count, cells))):
        given = Heads(address(held), *held.shape, *held.strides[:2])
        assert heads == 1 or given.by_head == (held is values)
        result = np.full((heads, group, count, held.shape[1]), np.nan, np.float32)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cache_products, "TILE_VALUES", max(tile, given.values(1, 1)))
            cache_products.multiply(teams[threads], given, rows, result)
        assert close(result, rows @ held.astype(np.float32).transpose(0, 2, 1)[:, None])


Q4_0 = 2


@pytest.fixture(params=[True, False], ids=["with products for small matrices", "without"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(blas, "takes_small_products", lambda: request.param)
    return bool(request.param)


def test_few_rows_and_small_matrices_are_not_worth_it(small: bool) -> None:
    worth = weight_products.worth_it
    for kind, fewest in ((ggml.Q8_0, 16), (ggml.F16, 16), (Q4_0, 24)):
        fewest = fewest if small else FEWEST_ROWS  # noqa: PLW2901
        assert worth(kind, 768, 768, fewest)
        assert not worth(kind, 768, 768, fewest - 1)
    assert not worth(ggml.Q8_0, 64, 64, 100)
    assert worth(ggml.Q8_0, 128, 128, 64)
    assert not worth(ggml.F32, 31, 1 << 20, 512)
    assert not worth(ggml.F32, 1 << 20, 31, 512)


def test_a_part_of_the_cache_is_worth_it_where_most_of_what_lies_between_is_used(small: bool) -> None:
    fewest = 8 if small else 16
    keys = Heads(0, heads=12, outputs=2560, inputs=64, head_bytes=128, row_bytes=12 * 128)
    values = Heads(0, heads=12, outputs=64, inputs=2560, head_bytes=64 * 2 * 2560, row_bytes=2 * 2560)
    far = Heads(0, heads=12, outputs=64, inputs=256, head_bytes=64 * 2 * 2560, row_bytes=2 * 2560)
    turned = Heads(0, heads=2, outputs=16, inputs=256, head_bytes=64 * 2 * 1400, row_bytes=2 * 64 * 4096)
    assert cache_products.worth_it(keys, fewest)
    assert cache_products.worth_it(values, fewest)
    assert not cache_products.worth_it(keys, fewest - 1)
    assert not cache_products.worth_it(far, 512)
    assert not cache_products.worth_it(turned, 512)
    assert not cache_products.worth_it(Heads(0, 2, 64, 32, 64, 128), 16), "too small"


class Odd(BaseException):
    """As an interrupt is."""


@pytest.mark.parametrize("error", [MemoryError(), ValueError("odd"), KeyboardInterrupt(), Odd()])
@pytest.mark.parametrize("by_caller", [True, False])
def test_what_goes_wrong_in_a_thread_is_raised_when_all_have_ended(
    teams: dict[int, Team], error: BaseException, by_caller: bool
) -> None:
    ended: list[int] = []
    here, gate = threading.get_ident(), threading.Barrier(3)

    def work() -> None:
        gate.wait()
        if (threading.get_ident() == here) == by_caller:
            raise error
        ended.append(1)

    with pytest.raises(type(error)) as caught:
        teams[3].share(work)
    assert caught.value is error
    assert len(ended) == (2 if by_caller else 1)
    teams[3].share(lambda: ended.append(2))
    assert ended[-3:] == [2, 2, 2]


class Interrupted(SimpleQueue[Any]):
    """A queue that an interrupt hits when `method` is called for the `last` time of so many."""

    def __init__(self, method: str, last: int) -> None:
        super().__init__()
        self._calls, self._method, self._last = itertools.count(1), method, last

    def _called(self, method: str) -> None:
        if method == self._method and next(self._calls) == self._last:
            raise KeyboardInterrupt

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        self._called("put")
        super().put(item, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        self._called("get")
        return super().get(block, timeout)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("method", ["put", "get"])
def test_an_interrupt_leaves_nobody_at_work_and_what_comes_next_right(
    monkeypatch: pytest.MonkeyPatch, method: str, number: int
) -> None:
    tasks, ended = (Interrupted(method, number), SimpleQueue[Any]())
    queues = iter([tasks, ended] if method == "put" else [ended, tasks])
    monkeypatch.setattr(team, "SimpleQueue", lambda: next(queues))
    before, found = set(threading.enumerate()), list[int]()
    three = Team(3)
    with pytest.raises(KeyboardInterrupt):
        three.share(lambda: found.append(1))
    assert set(threading.enumerate()) == before
    assert found == [1] * (number - 1 if method == "put" else 3)
    three.share(lambda: found.append(threading.get_ident()))
    assert found.count(threading.get_ident()) == 1
    three.close()


def test_work_for_one_is_done_by_the_caller(teams: dict[int, Team]) -> None:
    found: list[int] = []
    teams[3].share(lambda: found.append(threading.get_ident()), alone=True)
    assert found == [threading.get_ident()]


def test_threads_that_cannot_be_had_leave_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before, start = set(threading.enumerate()), threading.Thread.start
    tried = 0

    def sometimes(self: threading.Thread) -> None:
        nonlocal tried
        tried += 1
        if tried == 3:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", sometimes)
    with pytest.raises(RuntimeError):
        Team(5)
    assert set(threading.enumerate()) == before


def test_numbers_that_are_none_are_no_warning(teams: dict[int, Team]) -> None:
    with np.errstate(all="raise"):
        teams[2].share(lambda: np.float32(1e38) * np.full(3, 1e38, np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [ggml.F16, ggml.BF16])
def test_halves_become_the_floats_that_they_are(teams: dict[int, Team], kind: int) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    found = teams[1].floats(kind, address(halves), len(halves))
    expected = halves.view(np.float16).astype(np.float32)
    if kind == ggml.BF16:
        expected = (halves.astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(found, expected, equal_nan=True)
    assert team.values_at(address(found), 3).tolist() == found[:3].tolist()


def test_integers_are_no_weights() -> None:
    assert converts(ggml.F32)
    assert converts(ggml.Q8_0)
    assert not converts(ctypes.c_int(24).value), "I8"

"""How many cores a model gets, by its size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.division import LARGEST_IN_LANES, WEIGHTS_PER_THREAD, lanes_for, threads_for, threads_in_each

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("parameters", "cores", "threads"),
    [
        (1 * MILLION, 0, 1),
        (1 * MILLION, 2, 2),
        (20 * MILLION, 8, 8),
        (20 * MILLION, 16, 8),
        (20 * MILLION + 1, 16, 3),
        (59 * MILLION, 16, 4),
        (60 * MILLION, 16, 5),
        (60 * MILLION, 4, 4),
        (7_000 * MILLION, 16, 16),
    ],
)
def test_threads_that_pay(parameters: int, cores: int, threads: int) -> None:
    assert threads_for(parameters, cores) == threads


@pytest.mark.parametrize(
    ("parameters", "threads", "questions", "lanes"),
    [
        (1 * MILLION, 8, 100, 8),
        (1 * MILLION, 16, 100, 8),
        (1 * MILLION, 8, 3, 3),
        (1 * MILLION, 2, 0, 1),
        (20 * MILLION, 2, 100, 2),
        (20 * MILLION + 1, 2, 100, 1),
    ],
)
def test_lanes_of_small_models_only(parameters: int, threads: int, questions: int, lanes: int) -> None:
    assert lanes_for(parameters, threads, questions) == lanes


@pytest.mark.parametrize(
    ("parameters", "threads", "lanes", "each"),
    [
        (1 * MILLION, 8, 1, 2),
        (1 * MILLION, 8, 4, 2),
        (1 * MILLION, 8, 8, 1),
        (1 * MILLION, 2, 3, 1),
        (174 * MILLION, 16, 1, 10),
    ],
)
def test_threads_of_one_lane(parameters: int, threads: int, lanes: int, each: int) -> None:
    assert threads_in_each(parameters, threads, lanes) == each


@given(st.integers(1, 1 << 36), st.integers(1, 256), st.integers(1, 2000))
def test_lanes_never_have_more_threads_than_are_held(parameters: int, held: int, count: int) -> None:
    threads = threads_for(parameters, held)
    assert 1 <= threads <= held
    found = lanes_for(parameters, threads, count)
    assert 1 <= found <= min(threads, count)
    assert found * threads_in_each(parameters, threads, found) <= threads
    assert found == 1 or parameters <= LARGEST_IN_LANES


@given(st.integers(LARGEST_IN_LANES + 1, 10**12))
def test_a_larger_model_never_gets_fewer_threads(parameters: int) -> None:
    assert threads_for(parameters, 1000) <= threads_for(parameters + WEIGHTS_PER_THREAD, 1000)

"""What one author may say is bounded in messages and bytes, whatever the timing; strangers share one allowance."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from node.allowances import AUTHOR, STRANGERS, Allowance, AuthorAllowances, Pace, Rates

RATES = Rates(2.0, 10.0, 100.0, 1000.0)
asked = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 1200)), max_size=60)


def in_trio(story: Callable[[], Awaitable[None]]) -> None:
    """Run under a clock of its own, for each example."""

    async def told() -> None:
        await story()

    trio.run(told, clock=trio.testing.MockClock(autojump_threshold=0))


@given(asked)
def test_no_stretch_of_time_lets_more_through_than_burst_and_rate(story: list[tuple[float, int]]) -> None:
    async def told() -> None:
        allowance, passed = Allowance(RATES), []
        for pause, size in story:
            await trio.sleep(pause)
            if allowance.spend(size):
                passed.append((trio.current_time(), size))
        for first in range(len(passed)):
            for last in range(first, len(passed)):
                stretch = passed[last][0] - passed[first][0] + 1e-6
                some = passed[first : last + 1]
                assert len(some) <= RATES.burst_messages + RATES.messages * stretch
                assert sum(size for _, size in some) <= RATES.burst_octets + RATES.octets * stretch

    in_trio(told)


@given(st.integers(1, 1000))
def test_who_keeps_to_the_rate_is_never_refused(size: int) -> None:
    async def told() -> None:
        allowance = Allowance(RATES)
        gap = max(1 / RATES.messages, size / RATES.octets) + 1e-6
        for _ in range(100):
            assert allowance.spend(size)
            await trio.sleep(gap)

    in_trio(told)


async def test_what_is_refused_costs_nothing(autojump_clock: trio.testing.MockClock) -> None:
    allowance = Allowance(RATES)
    assert not allowance.spend(1001)
    assert all(allowance.spend(100) for _ in range(10))


async def test_authors_do_not_spend_each_others(autojump_clock: trio.testing.MockClock) -> None:
    allowances = AuthorAllowances({b"ann", b"bob"}.__contains__)
    assert sum(allowances.spend(b"ann", 1) for _ in range(1000)) == AUTHOR.burst_messages
    assert allowances.spend(b"bob", 1)
    assert sum(allowances.spend(b"%d" % number, 1) for number in range(1000)) == STRANGERS.burst_messages
    assert allowances.spend(b"bob", 1)
    await trio.sleep(1)
    assert sum(allowances.spend(b"ann", 1) for _ in range(10)) == AUTHOR.messages
    assert sum(allowances.spend(b"new %d" % number, 1) for number in range(100)) == STRANGERS.messages


async def test_only_so_many_authors_are_remembered(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.allowances.AUTHORS_KNOWN", 3)
    allowances = AuthorAllowances(lambda author: True)
    for number in range(10):
        allowances.spend(b"%d" % number, 1)
    assert len(allowances._of) == 3


async def test_a_pace_lets_a_burst_through_and_then_one_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    pace, times = Pace(2.0, 3.0), []
    start = trio.current_time()
    for _ in range(7):
        await pace.keep()
        times.append(trio.current_time() - start)
    assert times == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5, 2.0])
    await trio.sleep(10)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(pace.keep)
    assert trio.current_time() - began == pytest.approx(1.0)

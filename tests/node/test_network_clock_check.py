"""Peers' clocks beside the own, under a mock clock."""

import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from node.bulletin import Bulletin
from node.clock import Clock
from node.clock_check import CLOCK, ClockCheck
from node.memory_network import MemoryHub, MemoryNetwork, open_memory_hub

UNIX = 1_800_000_000.0


@pytest.fixture
async def hub() -> AsyncIterator[MemoryHub]:
    async with open_memory_hub() as hub:
        yield hub


@asynccontextmanager
async def checking(hub: MemoryHub, off: float, others: list[float]) -> AsyncIterator[tuple[ClockCheck, Bulletin]]:
    """A node whose clock is so far off, connected to others with theirs."""
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(hub.open("node"))
        bulletin = Bulletin(Clock(UNIX + off))
        check = ClockCheck(node, Clock(UNIX + off), bulletin, chance=lambda: 0.5)
        for number, other_off in enumerate(others):
            other = await stack.enter_async_context(hub.open(f"n{number}"))
            ClockCheck(other, Clock(UNIX + other_off), Bulletin(Clock(UNIX)))
            await node.connect(other.addresses[0])
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(check.run)
        yield check, bulletin
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("off", "others", "wrong"),
    [
        (0, [0.5, -0.5, 0], False),
        (-60, [0, 0, 0], True),
        (60, [0, 0, 0], True),
        (0, [3600, 3600, 0, 0, 0], False),
        (9, [0, 0], False),
        (-11, [0], True),
        (-60, [], False),
    ],
)
async def test_a_clock_that_is_off_is_noticed_and_a_minority_of_liars_is_not_heard(
    hub: MemoryHub, autojump_clock: MockClock, off: float, others: list[float], wrong: bool
) -> None:
    async with checking(hub, off, others) as (check, bulletin):
        await trio.sleep(5)
        assert [each["code"] for each in check.warnings()] == ["CLOCK_OFF"] * wrong
        assert [each.code for each in bulletin.activities] == ["CLOCK_OFF"] * wrong
        assert check.off == pytest.approx(-off, abs=1) if others else check.off is None
        for each in check.warnings():
            assert ("behind" if off < 0 else "ahead of") in each["title"]


async def test_it_is_said_once_and_taken_back_when_the_clock_is_set(hub: MemoryHub, autojump_clock: MockClock) -> None:
    async with checking(hub, 60, [0, 0, 0]) as (check, bulletin):
        await trio.sleep(3600)
        assert len(bulletin.activities) == 1
        check._clock._offset -= 60
        await trio.sleep(60)
        assert [each.code for each in bulletin.activities] == ["CLOCK_OFF", "CLOCK_RIGHT"]
        assert check.warnings() == []


class OneAnswer:
    """A network whose one peer says the same to everything."""

    def __init__(self, network: MemoryNetwork, said: bytes) -> None:
        self._said = said
        self.serve = network.serve
        self.peers = network.peers

    async def request(self, peer: str, protocol: str, body: bytes, *, timeout: float) -> bytes:  # noqa: ASYNC109
        await trio.lowlevel.checkpoint()
        return self._said


@given(st.binary(max_size=12) | st.integers(0, 2**64 - 1).map(struct.Struct(">Q").pack))
def test_any_answer_is_a_time_or_none(said: bytes) -> None:
    async def main() -> None:
        async with open_memory_hub() as hub, hub.open("node") as node, hub.open("other") as other:
            await node.connect(other.addresses[0])
            check = ClockCheck(OneAnswer(node, said), Clock(UNIX), Bulletin(Clock(UNIX)))  # type: ignore[arg-type]
            offsets: list[float] = []
            await check._ask("other", offsets)
            assert len(offsets) <= (len(said) == 8)
            check._conclude(offsets)
            check.warnings()

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_the_time_is_told_to_whoever_asks(hub: MemoryHub, autojump_clock: MockClock) -> None:
    async with checking(hub, 5, [0]), hub.open("asker") as asker:
        await asker.connect(hub.networks["node"].addresses[0])
        milliseconds = int.from_bytes(await asker.request("node", CLOCK, b""), "big")
        assert abs(milliseconds / 1000 - UNIX - 5) < 1

"""A node that was away when it should have revealed opens what it had promised when it is back, in whatever epoch."""

from typing import Any

import pytest
import trio.testing

from protocol.lifecycle import TaskState
from protocol.messages import Result

NAMES = ("ada", "ben", "cleo", "dan")
MockClock = trio.testing.MockClock
Kit = Any


@pytest.mark.parametrize("instant", [40.0, 47.0], ids=["not sealed yet", "sealed"])
async def test_a_promise_is_opened_in_the_next_epoch(kit: Kit, autojump_clock: MockClock, instant: float) -> None:
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    dan = kit.identity("dan")
    async with kit.network(evaluators) as network:
        await network.until(60 + instant)
        assert "COMMITTED" in network.codes("dan")
        await network.stop("dan")
        await network.until(120 + 3)
        assert network.state("ada").accounts[dan.account.public].missed, "it did not reveal in time"
        await network.start("dan", evaluators["dan"])
        await network.until(120 + 20)
        assert "OPENED_LATE" in network.codes("dan")
        assert not network.state("ada").accounts[dan.account.public].missed, "the setback is lifted"
        held = network.cores["ada"].replica.held.values()
        said = [e.message for e in held if isinstance(e.message, Result) and e.signer == dan.device.public]
        (late,) = [message for message in said if message.epoch == 1]
        assert any(map(any, late.saw)) is (instant == 47.0), "who did not look says that it saw nobody"
        await network.until(3 * 60 + 10)
        assert len({network.board(name) for name in ("bootstrap", *NAMES)}) == 1
        last = [final for final in network.finals("ada") if final.epoch == 2]
        assert all(dan.account.public in final.agreeing for final in last), "asked and heard again"
        await network.stop("dan")
        await network.start("dan", evaluators["dan"])
        await network.until(3 * 60 + 20)
        assert "OPENED_LATE" not in network.codes("dan"), "there is nothing left to open"


async def test_without_the_bootstrap_a_late_reveal_counts(kit: Kit, autojump_clock: MockClock) -> None:
    """Leaderless epochs stay open: what was sealed in time is as good as any other when the next mark comes."""
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    dan = kit.identity("dan").account.public
    async with kit.network(evaluators) as network:
        await network.until(70)
        await network.stop("bootstrap")
        await network.until(120 + 47)
        await network.stop("dan")
        await network.until(180 + 10)
        await network.start("dan", evaluators["dan"])
        await network.until(180 + 30)
        await network.start("bootstrap", waits_for=0)
        await network.until(240 + 10)
        finals = [final for final in network.finals("ada") if final.epoch == 2]
        assert {final.state for final in finals} == {TaskState.DONE}
        assert all(dan in final.agreeing for final in finals)
        assert len({network.board(name) for name in ("bootstrap", *NAMES)}) == 1

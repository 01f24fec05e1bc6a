"""Two processes with one node's keys: the one that notices says no more, and never do both go on."""

from collections import Counter
from typing import Any

import trio.testing

from protocol.messages import Commitment

NAMES = ("ada", "ben", "cleo", "dan")
MockClock = trio.testing.MockClock
Kit = Any


def commitments(kit: Kit, network: Any) -> Counter[int]:
    """How many the device has made, by epoch, as others hold them."""
    device, held = kit.identity("dan").device.public, network.cores["ada"].replica.held.values()
    return Counter(e.message.epoch for e in held if isinstance(e.message, Commitment) and e.signer == device)


async def test_a_copy_that_hears_the_original_stops(kit: Kit, autojump_clock: MockClock) -> None:
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    async with kit.network(evaluators) as network:
        network.same_keys = {"copy": "dan"}
        await network.until(20)
        copy = kit.FixedEvaluator(kit.sha("dan"), seconds=3.0)
        await network.start("copy", copy)
        await network.until(60 - 1)
        assert "KEYS_ELSEWHERE" not in network.codes("copy"), "it might be its own word, of before it lost its store"
        await network.until(2 * 60 - 1)
        assert "KEYS_ELSEWHERE" in network.codes("copy")
        assert [pause.code for pause in network.schedulers["copy"]._pauses.reasons] == ["KEYS_ELSEWHERE"]
        evaluated = len(copy.evaluated)
        await network.until(4 * 60 + 10)
        assert len(copy.evaluated) == evaluated, "it works no more"
        assert "KEYS_ELSEWHERE" not in network.codes("dan")
        assert set(commitments(kit, network).values()) == {1}
        dan = kit.identity("dan").account.public
        assert all(dan in final.agreeing for final in network.finals("ada") if final.epoch), "the original goes on"
        assert len({network.board(name) for name in ("bootstrap", "copy", *NAMES)}) == 1


async def test_two_that_spoke_before_they_heard_each_other_both_stop(kit: Kit, autojump_clock: MockClock) -> None:
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    async with kit.network(evaluators) as network:
        network.same_keys = {"copy": "dan"}
        await network.until(50)
        await network.start("copy", kit.FixedEvaluator(kit.sha("another device")))
        await network.until(62)
        network.hub.partition(("copy",), ("bootstrap", *NAMES))
        await network.until(60 + 35)
        network.hub.heal()
        await network.until(60 + 55)
        for name in ("dan", "copy"):
            assert "KEYS_ELSEWHERE" in network.codes(name)
        await network.until(2 * 60 + 10)
        dan = kit.identity("dan").account.public
        assert not any(dan in final.counted for final in network.finals("ada") if final.epoch == 1)
        await network.until(3 * 60 + 50)
        assert commitments(kit, network).keys() <= {0, 1}, "nothing new is signed by either"
        assert len({network.board(name) for name in ("bootstrap", *NAMES)}) == 1

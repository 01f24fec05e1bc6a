"""Nodes that end at any instant and come back, partitions, and a log that is away: nothing is lost or said twice."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from protocol.lifecycle import TaskState
from protocol.messages import Commitment, Result

NAMES = ("ada", "ben", "cleo", "dan")
MockClock = trio.testing.MockClock
Kit = Any  # the class of conftest.py, which tests cannot import


def lose_store(folder: Path, name: str) -> None:
    for file in folder.glob(f"{name}.sqlite*"):
        file.unlink()


def honest(kit: Kit) -> dict[str, Any]:
    return {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}


@pytest.mark.parametrize("instant", [2.5, 8.0, 20.0, 44.0, 47.0, 52.0, 58.0])
async def test_a_node_that_comes_back_goes_on_where_it_was(kit: Kit, autojump_clock: MockClock, instant: float) -> None:
    """Whenever it ends in an epoch: nothing is evaluated twice, and it never says two different things."""
    evaluators = honest(kit)
    async with kit.network(evaluators) as network:
        await network.until(60 + instant)
        await network.stop("dan")
        await network.until(60 + instant + 1)
        await network.start("dan", evaluators["dan"])
        await network.until(180 + 10)
        assert len({network.board(name) for name in ("bootstrap", *NAMES)}) == 1
        dan = kit.identity("dan").account.public
        second = [final for final in network.finals("ada") if final.epoch == 1]
        assert {final.state for final in second} == {TaskState.DONE}
        assert all(dan in final.agreeing for final in second), "its work of that epoch counts"
        assert dan not in network.state("ada").opening.set_back
        assert max(Counter(evaluators["dan"].evaluated).values()) == 1, "nothing is evaluated twice"


async def test_who_was_away_catches_up_with_everything(kit: Kit, autojump_clock: MockClock) -> None:
    evaluators = honest(kit)
    async with kit.network(evaluators) as network:
        await network.until(30)
        await network.stop("dan")
        await network.until(4 * 60 + 20)
        await network.start("dan", evaluators["dan"])
        await network.until(4 * 60 + 30)
        assert network.board("dan") == network.board("ada")
        assert network.state("dan").digest() == network.state("ada").digest()


async def test_a_newcomer_needs_nothing_but_the_genesis(kit: Kit, autojump_clock: MockClock) -> None:
    async with kit.network(honest(kit)) as network:
        await network.until(2 * 60 + 20)
        await network.start("eve", kit.FixedEvaluator(kit.sha("eve")))
        await network.until(4 * 60 + 20)
        assert network.board("eve") == network.board("ada")
        eve = kit.identity("eve").account.public
        last = [final for final in network.finals("ada") if final.epoch == 3]
        assert any(eve in final.agreeing for final in last), "asked from the second mark after it came"


async def test_without_the_bootstrap_work_goes_on_and_none_of_it_is_lost(kit: Kit, autojump_clock: MockClock) -> None:
    async with kit.network(honest(kit)) as network:
        await network.until(70)
        await network.stop("bootstrap")
        await network.until(7 * 60 + 10)
        assert "LEADERLESS" in network.codes("ada")
        assert network.state("ada").last_closed == 0
        await network.start("bootstrap", waits_for=0)
        await network.until(9 * 60 + 10)
        assert len({network.board(name) for name in ("bootstrap", *NAMES)}) == 1
        by_epoch = {epoch: {f.state for f in network.finals("ada") if f.epoch == epoch} for epoch in range(8)}
        assert by_epoch == {epoch: {TaskState.DONE} for epoch in range(8)}


async def test_a_mark_that_comes_late_waits_for_the_next_epoch(kit: Kit, autojump_clock: MockClock) -> None:
    async with kit.network(honest(kit)) as network:
        await network.until(70)
        await network.stop("bootstrap")
        await network.until(120 + 20)
        await network.start("bootstrap", waits_for=0)
        await network.until(120 + 50)
        assert network.state("ada").opening.epoch == 1, "epoch 2 stays leaderless: its grace is over"
        await network.until(180 + 10)
        assert network.state("ada").opening.epoch == 3
        assert {final.epoch for final in network.finals("ada")} == {0, 1, 2}


async def test_a_partition_heals_without_trace(kit: Kit, autojump_clock: MockClock) -> None:
    """Two nodes are cut off for an epoch's evaluation and come back before the sealing: everybody counts."""
    async with kit.network(honest(kit)) as network:
        await network.until(61)
        network.hub.partition(("bootstrap", "ada", "ben"), ("cleo", "dan"))
        await network.until(60 + 35)
        network.hub.heal()
        await network.until(120 + 10)
        assert len({network.board(name) for name in ("bootstrap", *NAMES)}) == 1
        finals = [final for final in network.finals("ada") if final.epoch == 1]
        assert [len(final.agreeing) for final in finals] == [4] * 6


async def test_gossip_that_loses_half_of_everything_is_made_good(kit: Kit, autojump_clock: MockClock) -> None:
    async with kit.network(honest(kit)) as network:
        network.hub.loses = lambda sender, receiver, data: kit.sha(sender, receiver, data)[0] < 128
        await network.until(3 * 60 + 10)
        assert len({network.board(name) for name in ("bootstrap", *NAMES)}) == 1
        assert [final.state for final in network.finals("ada")] == [TaskState.DONE] * 18
        assert all(len(final.agreeing) == 4 for final in network.finals("ada"))


async def test_what_was_signed_and_not_sent_is_sent_after_the_restart(kit: Kit, autojump_clock: MockClock) -> None:
    evaluators = honest(kit)
    async with kit.network(evaluators) as network:
        await network.until(60 + 1)
        gossiper = network.cores["dan"].gossiper
        genuine, unsent = gossiper.publish, []

        async def stuck(envelope: Any) -> None:
            if isinstance(envelope.message, Commitment):
                unsent.append(envelope)
                await trio.sleep_forever()
            await genuine(envelope)

        gossiper.publish = stuck
        await network.until(60 + 30)
        await network.stop("dan")
        (envelope,) = unsent
        assert envelope.id not in network.cores["ada"].replica.held
        await network.start("dan", evaluators["dan"])
        await network.until(120 + 10)
        assert envelope.id in network.cores["ada"].replica.held
        dan = kit.identity("dan").account.public
        finals = [final for final in network.finals("ada") if final.epoch == 1]
        assert finals
        assert all(dan in final.agreeing for final in finals), "it came in time to be seen"


async def test_what_is_revealed_is_what_was_stored_before(
    kit: Kit, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that ends between signing and sending says the same when it is back: one commitment, one result."""
    evaluators = honest(kit)
    async with kit.network(evaluators) as network:
        await network.until(60 + 49)
        await network.stop("dan")
        await network.start("dan", evaluators["dan"])
        await network.until(120 + 10)
        spoken: Counter[type] = Counter()
        device = kit.identity("dan").device.public
        for envelope in network.cores["ada"].replica.held.values():
            if envelope.signer == device and getattr(envelope.message, "epoch", None) == 1:
                spoken[type(envelope.message)] += 1
        assert spoken[Commitment] == spoken[Result] == 1


async def test_a_mark_that_is_heard_late_is_worked_on_anew(kit: Kit, autojump_clock: MockClock) -> None:
    """A node that began leaderless switches: the same tasks have other questions, and none of its work is reused."""
    evaluators = honest(kit)
    async with kit.network(evaluators) as network:
        await network.until(100)
        network.hub.partition(("dan",), ("bootstrap", *NAMES[:3]))
        await network.until(120 + 8.5)
        assert "LEADERLESS" in network.codes("dan")
        network.hub.heal()
        await network.until(180 + 10)
        assert "SWITCHED" in network.codes("dan")
        dan = kit.identity("dan").account.public
        last = [final for final in network.finals("ada") if final.epoch == 2]
        assert [dan in final.agreeing for final in last] == [True] * 6
        assert max(Counter(evaluators["dan"].evaluated).values()) == 2, "three tasks were asked again"


async def test_a_bootstrap_hears_its_peers_before_it_marks(kit: Kit, autojump_clock: MockClock) -> None:
    """It comes back just before an epoch begins: the work of the outage must be in the log before the mark."""
    async with kit.network(honest(kit)) as network:
        await network.until(60 + 47)
        await network.stop("bootstrap")
        await network.until(180 - 0.1)
        network.hub.partition(("bootstrap",), NAMES)
        await network.start("bootstrap", waits_for=0)
        await network.until(180 + 2)
        network.hub.heal()
        await network.until(240 + 10)
        assert len({network.board(name) for name in ("bootstrap", *NAMES)}) == 1
        finals = network.finals("ada")
        assert {final.epoch for final in finals} == {0, 1, 2, 3}
        assert {final.state for final in finals} == {TaskState.DONE}


async def test_a_log_key_never_signs_a_shorter_log(kit: Kit, autojump_clock: MockClock, tmp_path: Path) -> None:
    """The bootstrap's store is lost: it waits for a peer with what it has signed instead of beginning anew."""
    async with kit.network(honest(kit)) as network:
        await network.until(70)
        await network.stop("bootstrap")
        size = network.state("ada").frontier.size
        lose_store(tmp_path, "bootstrap")
        network.hub.partition(("bootstrap",), NAMES)
        await network.start("bootstrap", waits_for=0)
        await network.until(100)
        assert network.state("bootstrap").frontier.size == 0, "alone it writes nothing"
        network.hub.heal()
        await network.until(190)
        assert network.state("bootstrap").frontier.size > size
        assert len({network.board(name) for name in ("bootstrap", *NAMES)}) == 1
        assert "FORK" not in network.codes("ada")


async def test_a_node_that_lost_its_store_does_not_commit_twice(
    kit: Kit, autojump_clock: MockClock, tmp_path: Path
) -> None:
    evaluators = honest(kit)
    async with kit.network(evaluators) as network:
        await network.until(60 + 20)
        await network.stop("dan")
        lose_store(tmp_path, "dan")
        await network.start("dan", evaluators["dan"])
        await network.until(120 + 10)
        device = kit.identity("dan").device.public
        commitments = [
            envelope
            for envelope in network.cores["ada"].replica.held.values()
            if envelope.signer == device and isinstance(envelope.message, Commitment) and envelope.message.epoch == 1
        ]
        assert len(commitments) == 1
        assert "COMMITTED_BEFORE" in network.codes("dan")


async def test_a_peer_with_other_entries_is_no_fork(kit: Kit, autojump_clock: MockClock) -> None:
    """A genuine checkpoint with entries that do not fit accuses the peer, not the log key."""
    async with kit.network(honest(kit)) as network:
        await network.until(50)
        await network.stop("dan")
        await network.until(130)
        liar = network.cores["ben"].store
        genuine = liar.log_entries

        async def swapped(start: int, most: int) -> list[bytes]:
            entries: list[bytes] = await genuine(start, most)
            return entries[::-1]

        liar.log_entries = swapped
        network.hub.partition(("dan",), ("bootstrap", "ada", "cleo"))
        await network.start("dan", kit.FixedEvaluator(kit.sha("dan")))
        await network.until(150)
        assert "LOG_REFUSED" in network.codes("dan")
        assert "FORK" not in network.codes("dan")
        network.hub.heal()
        await network.until(175)
        assert network.board("dan") == network.board("ada")


async def test_who_committed_leaderless_does_not_work_on_the_mark_after_a_restart(
    kit: Kit, autojump_clock: MockClock
) -> None:
    """It stays with what it committed to, as it would have without the restart; and it is asked again in the next."""
    evaluators = honest(kit)
    async with kit.network(evaluators) as network:
        await network.until(100)
        network.hub.partition(("dan",), ("bootstrap", *NAMES[:3]))
        await network.until(120 + 20)
        assert "COMMITTED" in network.codes("dan")
        network.hub.heal()
        await network.until(120 + 25)
        assert network.state("dan").opening.epoch == 2, "it knows the mark by now"
        await network.stop("dan")
        await network.start("dan", evaluators["dan"])
        await network.until(180 + 10)
        assert "COMMITTED_LEADERLESS" in network.codes("dan")
        device, account = kit.identity("dan").device.public, kit.identity("dan").account.public
        said = [each.message for each in network.cores["dan"].replica.held.values() if each.signer == device]
        grounds = {each.ground for each in said if isinstance(each, Commitment) and each.epoch == 2}
        assert len(grounds) <= 1, "what stood on the leaderless ground may be forgotten by now"
        assert max(Counter(evaluators["dan"].evaluated).values()) == 1, "nothing was evaluated on the mark's ground"
        final = [final for final in network.finals("ada") if final.epoch == 2]
        assert all(account not in each.counted for each in final)
        assert account in network.state("ada").opening.alive, "its profile was a sign of life"
        assert account not in network.state("ada").opening.set_back
        await network.until(240 + 10)
        assert all(account in each.agreeing for each in network.finals("ada") if each.epoch == 3)


async def test_who_is_always_busy_renews_its_profile_nevertheless(kit: Kit, autojump_clock: MockClock) -> None:
    fixed = replace(kit.genesis(), parameters=replace(kit.genesis().parameters, profile_window=4))
    async with kit.network(honest(kit), fixed) as network:
        await network.until(9 * 60 + 10)
        assert all(len(final.agreeing) == 4 for final in network.finals("ada")), "nobody is missing in any epoch"
        assert max(final.epoch for final in network.finals("ada")) == 8


async def test_what_a_slow_disk_did_not_take_in_time_is_not_promised(kit: Kit, autojump_clock: MockClock) -> None:
    """The time to commit comes while a result waits for the disk: a commitment to it could not be opened."""
    evaluators = {name: kit.FixedEvaluator(kit.sha(name), seconds=7.0) for name in NAMES}
    async with kit.network(evaluators) as network:
        await network.until(38)
        waiting = network.cores["ada"].store._one_at_a_time
        async with waiting:
            await network.until(44)  # evaluations are over at 43, commitments are sealed at 45
        await network.until(70)
        ada = kit.identity("ada").account.public
        assert "COMMITTED" in network.codes("ada")
        assert "REVEALED" in network.codes("ada")
        assert any(ada in final.agreeing for final in network.finals("ada"))


async def test_who_has_no_work_says_that_it_is_there(kit: Kit, autojump_clock: MockClock) -> None:
    """From the first epoch on: a profile from before the first mark is no sign of life for the second."""
    fixed = replace(kit.genesis(), models=kit.genesis().models[:1], benchmarks=kit.genesis().benchmarks[:1])
    names = [f"n{number}" for number in range(9)]
    async with kit.network({name: kit.FixedEvaluator(kit.sha(name)) for name in names}, fixed) as network:
        for epoch in range(1, 4):
            await network.until(epoch * 60 + 10)
            assert network.state("n0").opening.alive == {kit.identity(name).account.public for name in names}


async def test_profiles_are_stamped_where_the_network_asks_for_it(kit: Kit, autojump_clock: MockClock) -> None:
    fixed = replace(kit.genesis(), parameters=replace(kit.genesis().parameters, work_stamp_seconds=1))
    three = dict(tuple(honest(kit).items())[:3])
    async with kit.network(three, fixed) as network:
        await network.until(60 + 10)
        assert {final.state for final in network.finals("ada")} == {TaskState.DONE}
        profiles = [device.profile for known in network.state("ada").accounts.values() for device in known.devices]
        assert len(profiles) == 3
        assert all(profile.stamp for profile in profiles)

"""Envelopes that are valid and still too many, or not for now: nobody is blamed who relays them."""

import itertools
from typing import Any

import trio
import trio.testing

from node.allowances import AUTHOR, STRANGERS
from node.shards import envelopes_topic
from protocol.envelope import seal
from protocol.messages import Claim, Commitment, Profile
from protocol.signing import PrivateKey


async def settle() -> None:
    """Let what was sent arrive."""
    await trio.sleep(0.1)


async def test_one_author_is_relayed_within_its_allowance(kit: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with kit.network({"ann": kit.FixedEvaluator(b"ann")}) as simulation:
        await simulation.until(5)  # the mark is out, so that the log knows ann
        victim, topic = simulation.cores["ann"], envelopes_topic(simulation.genesis.id)
        device = kit.identity("ann").device
        async with simulation.hub.open("relay") as relay, relay.subscribe(topic, lambda data: True):
            await relay.connect(victim.network.addresses[0])
            before = victim.network.traffic
            for number in range(1000):
                await relay.publish(topic, seal(device, simulation.genesis.id, Claim(0, 10_000 + number, ())).data)
            await settle()
            after = victim.network.traffic
            passed = after.delivered - before.delivered
            assert AUTHOR.burst_messages - 10 <= passed <= AUTHOR.burst_messages + 10, "ann has claims of her own"
            assert after.ignored - before.ignored == 1000 - passed
            assert after.rejected == before.rejected
            await relay.publish(topic, seal(PrivateKey(b"s" * 32), simulation.genesis.id, Profile(0, 1, 1, ())).data)
            await settle()
            assert victim.network.traffic.delivered == after.delivered + 1, "others are heard"


async def test_strangers_are_relayed_within_one_allowance(kit: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with kit.network({"ann": kit.FixedEvaluator(b"ann")}) as simulation:
        await simulation.until(5)
        victim, topic = simulation.cores["ann"], envelopes_topic(simulation.genesis.id)
        async with simulation.hub.open("relay") as relay, relay.subscribe(topic, lambda data: True):
            await relay.connect(victim.network.addresses[0])
            before = victim.network.traffic
            for number in range(600):
                stranger = PrivateKey(kit.sha("stranger", number))
                await relay.publish(topic, seal(stranger, simulation.genesis.id, Profile(0, 1, 1, ("cpu",))).data)
            await settle()
            after = victim.network.traffic
            assert after.delivered - before.delivered <= STRANGERS.burst_messages + 10
            assert after.ignored - before.ignored >= 600 - STRANGERS.burst_messages - 10
            assert after.rejected == before.rejected
            await relay.publish(topic, seal(kit.identity("ann").device, simulation.genesis.id, Claim(0, 1, ())).data)
            await settle()
            assert victim.network.traffic.delivered > after.delivered, "an author of the log is heard all the same"


async def test_what_depends_on_state_is_relayed_and_nobody_is_blamed(
    kit: Any, autojump_clock: trio.testing.MockClock
) -> None:
    """Another ground, an epoch to come, a stranger, a task that nobody knows: valid as far as bytes tell."""
    async with kit.network({"ann": kit.FixedEvaluator(b"ann")}) as simulation:
        await simulation.until(5)
        network, topic = simulation.genesis.id, envelopes_topic(simulation.genesis.id)
        victim, device = simulation.cores["ann"], kit.identity("ann").device
        keys, epochs = (device, PrivateKey(b"s" * 32)), (0, 1, 5, 10**6)
        envelopes = [
            seal(key, network, Commitment(epoch, ground, (kit.sha("task"),), kit.sha("digest")))
            for key, epoch, ground in itertools.product(keys, epochs, (bytes(32), b"g" * 32))
        ]
        async with (
            simulation.hub.open("relay") as relay,
            simulation.hub.open("behind") as behind,
            relay.subscribe(topic, lambda data: True),
            behind.subscribe(topic, lambda data: True) as heard,
        ):
            await relay.connect(victim.network.addresses[0])
            await behind.connect(victim.network.addresses[0])
            before = victim.network.traffic
            for envelope in envelopes:
                await relay.publish(topic, envelope.data)
            await settle()
            after = victim.network.traffic
            assert (after.rejected, after.ignored) == (before.rejected, before.ignored)
            got = {heard.receive_nowait().data for _ in range(heard.statistics().current_buffer_used)}
            assert {envelope.data for envelope in envelopes} <= got

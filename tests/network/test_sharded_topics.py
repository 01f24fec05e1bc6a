"""Topics may be split by shard of model id, by some nodes or by all: the rules do not notice, and gossip shrinks."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from node.shards import MOST_BITS, Shards
from protocol.envelope import Envelope, seal
from protocol.lifecycle import TaskState
from protocol.messages import Claim, ClaimedTask, Commitment, Profile, Result
from protocol.signing import PrivateKey

NETWORK = hashlib.sha256(b"network").digest()
NAMES = ("ada", "ben", "cleo", "dan")
ids = st.binary(min_size=32, max_size=32)
Kit = Any  # the class of conftest.py, which tests cannot import


@given(ids, st.integers(0, MOST_BITS - 1))
def test_one_bit_more_splits_each_shard_in_two(model: bytes, bits: int) -> None:
    coarse, fine = Shards(NETWORK, bits), Shards(NETWORK, bits + 1)
    assert fine.of_model(model) in fine.all
    assert fine.of_model(model) // 2 == coarse.of_model(model)


def test_every_topic_is_another_one() -> None:
    topics = [Shards(NETWORK).common]
    for bits in range(1, MOST_BITS + 1):
        shards = Shards(NETWORK, bits)
        assert shards.common == topics[0]
        topics += [shards.topic(shard) for shard in shards.all]
    assert len(set(topics)) == len(topics) == 1 + sum(2**bits for bits in range(1, MOST_BITS + 1))


@pytest.mark.parametrize(
    "topic_bits",
    [dict.fromkeys(("bootstrap", *NAMES), 2), {"ada": 2, "ben": 1, "cleo": 3}],
    ids=["everybody alike", "everybody otherwise"],
)
async def test_split_topics_change_nothing_but_how_messages_travel(
    kit: Kit, autojump_clock: trio.testing.MockClock, topic_bits: Mapping[str, int]
) -> None:
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    async with kit.network(evaluators, topic_bits=topic_bits) as simulation:
        await simulation.until(3 * 60 + 10)
        verdicts = simulation.finals("bootstrap")
        assert {final.state for final in verdicts} == {TaskState.DONE}
        assert {len(final.agreeing) for final in verdicts} == {len(NAMES)}
        assert len(verdicts) == 3 * 2 * 3, "three epochs of two benchmarks and three models"
        assert {simulation.board(name) for name in NAMES} == {simulation.board("bootstrap")}


async def test_a_node_hears_by_gossip_what_it_is_asked_about_and_the_rest_all_the_same(
    kit: Kit, autojump_clock: trio.testing.MockClock
) -> None:
    names = [f"node {number}" for number in range(12)]
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in names}
    async with kit.network(evaluators, topic_bits=dict.fromkeys(("bootstrap", *names), 3)) as simulation:
        await simulation.until(20)
        plan = simulation.cores["bootstrap"].replica.plan(0)
        shards = Shards(simulation.genesis.id, 3)
        for name in names:
            account = kit.identity(name).account.public
            followed = shards.of_account(plan, account)
            asked = {task.subject.model for task in plan.tasks.values() if account in task.ranking}
            assert followed == {shards.of_model(model) for model in asked}
            network = simulation.cores[name].network
            assert {topic for topic in network._subscriptions if topic.startswith(f"{shards.common}/")} == {
                shards.topic(shard) for shard in followed
            }
        assert any(shards.of_account(plan, kit.identity(name).account.public) < shards.all for name in names)
        await simulation.until(58)
        spoken = {len(said.results) for task in plan.tasks.values() for said in _statements(simulation, task)}
        assert spoken == {1}, "who published a shard that another does not hear reached it by reconciliation"
        await simulation.until(70)
        assert len({simulation.board(name) for name in names}) == 1


def _statements(simulation: Any, task: Any) -> list[Any]:
    """What one node holds of all who were assigned."""
    said = simulation.cores["node 0"].replica.overlay.statements(task)
    return [said[account] for account in task.ranking[: task.assigned]]


async def test_each_kind_finds_its_topics(kit: Kit, autojump_clock: trio.testing.MockClock) -> None:
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    async with kit.network(evaluators) as simulation:
        await simulation.until(5)
        plan = simulation.cores["ada"].replica.plan(0)
        shards, key = Shards(simulation.genesis.id, 5), PrivateKey(b"k" * 32)
        by_shard = {shards.of_model(task.subject.model): task for task in plan.tasks.values()}
        assert len(by_shard) > 1

        def sealed(message: Any) -> Envelope:
            return seal(key, simulation.genesis.id, message)

        tasks = tuple(by_shard[shard].id for shard in sorted(by_shard))
        topics = [shards.topic(shard) for shard in sorted(by_shard)]
        commitment = sealed(Commitment(0, plan.ground, tasks, bytes(32)))
        assert shards.topics_of(commitment, plan) == topics
        assert shards.topics_of(commitment, None) == [shards.common], "an epoch that is not known here"
        assert Shards(simulation.genesis.id).topics_of(commitment, plan) == [shards.common], "nothing is split"
        claim = sealed(Claim(0, 1, tuple(ClaimedTask(task, 0) for task in tasks)))
        assert shards.topics_of(claim, plan) == topics[:1]
        assert shards.topics_of(sealed(Claim(0, 1, ())), plan) == [shards.common]
        assert shards.topics_of(sealed(Profile(0, 1, 1, ("cpu",))), plan) == [shards.common]
        unknown = sealed(Commitment(0, plan.ground, (bytes(32),), bytes(32)))
        assert shards.topics_of(unknown, plan) == [shards.common]
        await simulation.until(55)
        held = simulation.cores["ada"].replica.held.values()
        results = [envelope for envelope in held if isinstance(envelope.message, Result)]
        assert results
        for envelope in results:
            named = {plan.tasks[result.task].subject.model for result in envelope.message.tasks}
            assert shards.topics_of(envelope, plan) == [
                shards.topic(shard) for shard in sorted({shards.of_model(model) for model in named})
            ]

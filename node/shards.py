"""On which topics a network's envelopes travel: one for all, or one for each shard of model ids beside it.

A topic is transport: no rule of the protocol reads it, and any valid envelope is valid on each of them. So a node may
split as it likes, whatever others do: what gossip does not bring, reconciliation and the log bring once. Splitting
saves the copies in which gossip brings everything else.
"""

from msgspec import Struct

from protocol.envelope import Envelope
from protocol.messages import Claim, Commitment, Result
from protocol.plan import Plan

MOST_BITS = 5
"""A peer may subscribe to 64 topics."""


def envelopes_topic(network: bytes) -> str:
    """The topic of what concerns no model, and of everything where nothing is split."""
    return f"/peerboard/{network.hex()[:32]}/envelopes/1"


class Shards(Struct, frozen=True):
    """2 ** `bits` shards: a model's is the number that the first bits of its id are."""

    network: bytes
    bits: int = 0

    @property
    def common(self) -> str:
        """The topic that every node takes part in."""
        return envelopes_topic(self.network)

    @property
    def all(self) -> frozenset[int]:
        """Every shard; none where nothing is split."""
        return frozenset(range(2**self.bits)) if self.bits else frozenset()

    def topic(self, shard: int) -> str:
        """A shard's topic."""
        return f"{self.common}/{self.bits}/{shard}"

    def of_model(self, model: bytes) -> int:
        """The shard of a model id."""
        return int.from_bytes(model[:8], "big") >> (64 - self.bits)

    def of_account(self, plan: Plan, account: bytes) -> frozenset[int]:
        """The shards in which an account is asked in an epoch: those that it must hear."""
        if not self.bits:
            return frozenset()
        return frozenset(self.of_model(task.subject.model) for task in plan.tasks.values() if account in task.ranking)

    def topics_of(self, envelope: Envelope, plan: Plan | None) -> list[str]:
        """Where to publish: on the topic of each shard whose models it speaks of, else on the common one.

        A claim, which is for people and may name many tasks, goes to the first one's shard.
        """
        named = _tasks(envelope)
        if not self.bits or plan is None or not named:
            return [self.common]
        if isinstance(envelope.message, Claim):
            named = named[:1]
        found = {self.of_model(plan.tasks[task].subject.model) for task in named if task in plan.tasks}
        return [self.topic(shard) for shard in sorted(found)] or [self.common]


def _tasks(envelope: Envelope) -> list[bytes]:
    match envelope.message:
        case Commitment(tasks=tasks):
            return list(tasks)
        case Result(tasks=results):
            return [result.task for result in results]
        case Claim(tasks=claimed):
            return [each.task for each in claimed]
    return []

"""Commit, then reveal: this node's results of an epoch, in batches, with an honest account of what it saw.

A batch is one commitment and the one result that opens it. It closes when its result would become too large for an
envelope, or when the time to commit has come. The salt, the commitment and the result are stored before they are sent;
after a restart the same ones are sent again.
"""

import os
from collections.abc import Callable, Mapping, Sequence

from node.evaluation import Evaluated
from node.gossip import Gossiper
from node.identity import Identity
from node.replica import EPOCHS_HELD, Replica
from node.store import Store
from node.transcripts import TRANSCRIPT_BYTES
from protocol import cbor
from protocol.counting import Statements
from protocol.envelope import MAX_BYTES, Envelope, open_envelope, seal
from protocol.messages import (
    MAX_TASKS_PER_BATCH,
    SEEN_BYTES,
    Commitment,
    Result,
    Run,
    TaskResult,
    commitment_digest,
)
from protocol.plan import Plan
from protocol.tasks import Task

ENVELOPE_OVERHEAD = 600
SEEN_OVERHEAD = SEEN_BYTES + 1


class Batches:
    """Commits and reveals for one account through one device."""

    def __init__(
        self,
        identity: Identity,
        replica: Replica,
        store: Store,
        gossiper: Gossiper,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._identity = identity
        self._replica = replica
        self._store = store
        self._gossiper = gossiper
        self._entropy = entropy

    async def committed_tasks(self, plan: Plan) -> set[bytes]:
        """Tasks of the epoch that this node has committed to on this ground."""
        return {task for commitment in await self._commitments(plan) for task in commitment.tasks}

    async def said_elsewhere(self, plan: Plan) -> dict[bytes, bytes]:
        """Of the tasks to which the account is known to have committed, and not by this store: the envelope's id."""
        account = self._identity.account.public
        rows = await self._store.batches(plan.epoch)
        own = {open_envelope(data, self._network, check_signature=False).id for _, data, _ in rows}
        found = {}
        for task in plan.of(account):
            said = self._replica.overlay.statements(task).get(account)
            for commitment in said.commitments if said else ():
                if commitment.id not in own:
                    found[task.id] = commitment.id
        return found

    async def has_committed(self, epoch: int) -> bool:
        """Whether this node has committed in the epoch, on whatever ground."""
        return bool(await self._store.batches(epoch))

    async def has_committed_elsewhere(self, plan: Plan) -> bool:
        """Whether this node has committed in the epoch on another ground: it says nothing on a second one."""
        return any(ground != plan.ground for ground, _, _ in await self._store.batches(plan.epoch))

    async def commit(self, plan: Plan, results: Sequence[Evaluated]) -> int:
        """Commit to the results, in as many batches as they need; how many were sent.

        A batch with a task that was committed to before, by whoever else writes to this store, is left out.
        """
        salt = await self._store.salt(plan.epoch, self._entropy(32))
        sent = 0
        groups = _split(results, plan, self._gossiper.shards.of_model)
        for run, tasks in groups:
            # what it opens is not known yet; the digest covers neither that nor what will have been seen
            draft = Result(plan.epoch, plan.ground, bytes(32), salt, run, tasks, ())
            digest = commitment_digest(self._network, self._identity.account.public, draft)
            commitment = Commitment(plan.epoch, plan.ground, tuple(task.task for task in tasks), digest)
            envelope = seal(self._identity.device, self._network, commitment)
            if await self._store.keep_batch(plan.epoch, plan.ground, envelope.data, commitment.tasks):
                await self._gossiper.publish(envelope)
                sent += 1
        return sent

    async def fix_what_was_seen(self, plan: Plan) -> None:
        """Sign, and store, the result of each batch of the epoch that has none yet, with what is held now."""
        work = await self.kept(plan)
        salt = await self._store.salt(plan.epoch, self._entropy(32))
        for ground, data, result in await self._store.batches(plan.epoch):
            if result is not None or ground != plan.ground:
                continue
            commitment = self._reopen(data)
            tasks = tuple(work[task].result for task in commitment.tasks)
            saw = tuple(self._saw(plan.tasks[task]) for task in commitment.tasks)
            run = work[commitment.tasks[0]].run
            envelope_id = open_envelope(data, self._network, check_signature=False).id
            message = Result(plan.epoch, plan.ground, envelope_id, salt, run, tasks, saw)
            await self._store.keep_result(data, seal(self._identity.device, self._network, message).data)

    async def reveal(self, epoch: int) -> int:
        """Send the stored results of the epoch, on whatever ground: whoever is still on it counts them; how many."""
        sent = 0
        for _, _, result in await self._store.batches(epoch):
            if result is not None:
                await self._gossiper.publish(open_envelope(result, self._network, check_signature=False))
                sent += 1
        return sent

    async def open_earlier(self, epoch: int) -> int:
        """After a restart: send the results of the epochs before `epoch` that nobody is known to have; how many.

        One that was not sealed then says that this node saw nobody's commitment: it was not there to look. It may be
        too late to count, and still lifts the setback of a promise that was not kept.
        """
        sent = 0
        oldest = (self._replica.marked_epoch or 0) - EPOCHS_HELD
        for earlier in await self._store.batch_epochs(oldest, epoch):
            for ground, data, sealed in await self._store.batches(earlier):
                promised = open_envelope(data, self._network, check_signature=False)
                if promised.id not in self._replica.held:
                    continue  # nobody heard of it
                result = sealed or await self._seal_blindly(ground, promised)
                if result is None:
                    continue
                envelope = open_envelope(result, self._network, check_signature=False)
                if envelope.id not in self._replica.held:
                    await self._gossiper.publish(envelope)
                    sent += 1
        return sent

    async def _seal_blindly(self, ground: bytes, promised: Envelope) -> bytes | None:
        commitment = self._reopen(promised.data)
        work = await self._kept_on(ground)
        if not all(task in work for task in commitment.tasks):
            return None
        salt = await self._store.salt(commitment.epoch, self._entropy(32))
        tasks = tuple(work[task].result for task in commitment.tasks)
        run = work[commitment.tasks[0]].run
        message = Result(commitment.epoch, ground, promised.id, salt, run, tasks, tuple(() for _ in tasks))
        result = seal(self._identity.device, self._network, message).data
        await self._store.keep_result(promised.data, result)
        return result

    async def resend(self, plan: Plan) -> None:
        """After a restart: send the epoch's commitments again."""
        for ground, commitment, _ in await self._store.batches(plan.epoch):
            if ground == plan.ground:
                await self._gossiper.publish(open_envelope(commitment, self._network, check_signature=False))

    async def keep(self, plan: Plan, evaluated: Evaluated) -> None:
        """Store a task's result, so that it is not evaluated twice, and its transcript for those who may ask for it."""
        result, run = cbor.encode(evaluated.result), cbor.encode(evaluated.run)
        digest, data = evaluated.result.transcript, evaluated.transcript
        transcript = (digest, data) if digest and data and len(data) <= TRANSCRIPT_BYTES else None
        await self._store.keep_work(plan.ground, evaluated.result.task, plan.epoch, result, run, transcript)

    async def kept(self, plan: Plan) -> dict[bytes, Evaluated]:
        """The results stored on this ground, by task: on another one the same task has other questions."""
        return await self._kept_on(plan.ground)

    async def _kept_on(self, ground: bytes) -> dict[bytes, Evaluated]:
        return {
            task: Evaluated(cbor.decode(result, TaskResult), cbor.decode(run, Run))
            for task, (result, run) in (await self._store.work(ground)).items()
        }

    @property
    def _network(self) -> bytes:
        return self._replica.genesis.id

    async def _commitments(self, plan: Plan) -> list[Commitment]:
        rows = await self._store.batches(plan.epoch)
        return [self._reopen(commitment) for ground, commitment, _ in rows if ground == plan.ground]

    def _reopen(self, data: bytes) -> Commitment:
        message = open_envelope(data, self._network, check_signature=False).message
        assert isinstance(message, Commitment)  # noqa: S101  only commitments are stored there
        return message

    def _saw(self, task: Task) -> tuple[bytes, ...]:
        """For each rank the start of the id of its only commitment; nothing where none or two are held."""
        statements = self._replica.overlay.statements(task)
        return tuple(_only_commitment(statements, account) for account in task.ranking)


def _only_commitment(statements: Mapping[bytes, Statements], account: bytes) -> bytes:
    said = statements.get(account)
    if said is None or len(said.commitments) != 1:
        return b""
    (commitment,) = said.commitments
    return commitment.id[:SEEN_BYTES]


def _split(
    results: Sequence[Evaluated], plan: Plan, shard_of: Callable[[bytes], int]
) -> list[tuple[Run, tuple[TaskResult, ...]]]:
    """Batches of results of one kind of run, and of models of one shard, whose envelopes stay within the limit."""
    batches: list[tuple[Run, list[TaskResult]]] = []
    open_batches: dict[tuple[bytes, int], list[TaskResult]] = {}
    room: dict[tuple[bytes, int], int] = {}
    for evaluated in results:
        ranks = len(plan.tasks[evaluated.result.task].ranking)
        size = len(cbor.encode(evaluated.result)) + ranks * SEEN_OVERHEAD + 8
        shard = shard_of(plan.tasks[evaluated.result.task].subject.model)
        key = cbor.encode(evaluated.run), shard
        if key not in open_batches or room[key] < size or len(open_batches[key]) == MAX_TASKS_PER_BATCH:
            open_batches[key] = []
            batches.append((evaluated.run, open_batches[key]))
            room[key] = MAX_BYTES - ENVELOPE_OVERHEAD
        open_batches[key].append(evaluated.result)
        room[key] -= size
    return [(run, tuple(tasks)) for run, tasks in batches]

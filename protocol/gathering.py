"""What runners said in one epoch, as sets: the log's part in the state, the rest in a node's overlay.

Only what names the epoch's ground and one of its tasks, from an account with a rank in it, is gathered. Of one account
at most two different commitments and two different results are kept for a task: two are as bad as ten. A commitment
counts as opened only by a result that is what it committed to: a salt that was chosen later moves no beacon.
"""

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import chain, repeat

from protocol.counting import Committed, Revealed, Statements
from protocol.envelope import Envelope
from protocol.messages import Commitment, Result
from protocol.opening import opened_digest
from protocol.plan import Plan
from protocol.rejections import Rejection

MOST_PER_ACCOUNT = 2
NOTHING = Statements()
NO_TASKS: frozenset[bytes] = frozenset()


class Gathering:
    """Statements of one epoch, by task and account, and which batches were opened."""

    def __init__(self, network: bytes, plan: Plan) -> None:
        self._network = network
        self.plan = plan
        self.statements: dict[bytes, dict[bytes, Statements]] = {task: {} for task in plan.tasks}
        self.committed: dict[bytes, dict[bytes, bytes]] = {}
        """By account: digest of each of its commitments, by the envelope's id."""
        self.revealed: dict[bytes, dict[tuple[bytes, bytes], bytes]] = {}
        """By account: the salt of each result, by the commitment that it names and the digest that it has."""
        self._tasks: dict[bytes, set[bytes]] = {}
        """By account: the tasks in which it has a rank."""
        for task in plan.tasks.values():
            for account in task.ranking:
                self._tasks.setdefault(account, set()).add(task.id)

    def add_commitment(self, envelope_id: bytes, account: bytes, message: Commitment) -> Rejection | None:
        """Take a commitment in; the reason why it has no effect, or None."""
        if message.ground != self.plan.ground:
            return Rejection.VOID_OTHER_GROUND
        tasks = self._ranked(account, message.tasks)
        if not tasks:
            return Rejection.VOID_NOT_A_RUNNER
        mine = self.committed.setdefault(account, {})
        if envelope_id in mine:
            return Rejection.VOID_DUPLICATE
        mine[envelope_id] = message.digest
        first = Statements(frozenset((Committed(envelope_id, message.digest),)))
        for task in tasks:
            said = self.statements[task]
            known = said.get(account)
            if known is None:
                said[account] = first
            elif len(known.commitments) < MOST_PER_ACCOUNT:
                said[account] = Statements(known.commitments | first.commitments, known.results)
        return None

    def add_result(self, envelope: Envelope, account: bytes, message: Result) -> Rejection | None:
        """Take a result in, which is the envelope's message; the reason why it has no effect, or None."""
        if message.ground != self.plan.ground:
            return Rejection.VOID_OTHER_GROUND
        tasks = self._ranked(account, [result.task for result in message.tasks])
        if not tasks:
            return Rejection.VOID_NOT_A_RUNNER
        digest = opened_digest(self._network, account, envelope, message)
        envelope_id, commitment = envelope.id, message.commitment
        fresh = False
        for result, saw in zip(message.tasks, chain(message.saw, repeat(())), strict=False):
            if result.task not in tasks:
                continue
            said = self.statements[result.task]
            known = said.get(account, NOTHING)
            revealed = Revealed(envelope_id, commitment, digest, result, saw)
            if known.results:
                if len(known.results) >= MOST_PER_ACCOUNT or any(other.id == envelope_id for other in known.results):
                    continue
                both = sorted((*known.results, revealed), key=lambda item: item.id)
                said[account] = Statements(known.commitments, tuple(both))
            else:
                said[account] = Statements(known.commitments, (revealed,))
            fresh = True
        mine = self.revealed.setdefault(account, {})
        fresh = fresh or (message.commitment, digest) not in mine
        mine[message.commitment, digest] = message.salt
        return None if fresh else Rejection.VOID_DUPLICATE

    def unopened(self) -> Iterator[bytes]:
        """Accounts with a commitment that no result of theirs opened."""
        for account, commitments in self.committed.items():
            revealed = self.revealed.get(account, {})
            if any(commitment not in revealed for commitment in commitments.items()):
                yield account

    def salts(self, counted: Set[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """(account, salt) of those with a result that counts who opened all that they committed to, with one salt.

        Others saw the commitment of a result that counts before anything was revealed: nobody chooses a salt when it
        knows the others'. And nobody chooses between several of its own by what it opens.
        """
        for account in sorted(counted):
            revealed = self.revealed.get(account, {})
            salts = {revealed.get(commitment) for commitment in self.committed.get(account, {}).items()}
            salt = salts.pop() if len(salts) == 1 else None
            if salt is not None:
                yield account, salt

    def close(self, mark: int) -> "ClosedGathering":
        """What has to be kept after the close at this mark: which commitments still wait to be opened."""
        waiting = {
            account: {
                commitment: digest
                for commitment, digest in self.committed[account].items()
                if (commitment, digest) not in self.revealed.get(account, {})
            }
            for account in self.unopened()
        }
        return ClosedGathering(self._network, self.plan.ground, mark, waiting)

    def _ranked(self, account: bytes, tasks: Iterable[bytes]) -> frozenset[bytes]:
        return frozenset(tasks) & self._tasks.get(account, NO_TASKS)


@dataclass
class ClosedGathering:
    """An epoch after its close at `mark`. `waiting`: by account, digests of the commitments that nobody opened."""

    network: bytes
    ground: bytes
    mark: int
    waiting: dict[bytes, dict[bytes, bytes]]

    def open_late(self, envelope: Envelope, account: bytes, message: Result) -> Rejection:
        """Take a late reveal in: `VOID_LATE` where it opens what the account had left, else why it does not."""
        if message.ground != self.ground:
            return Rejection.VOID_OTHER_GROUND
        waiting = self.waiting.get(account, {})
        if message.commitment not in waiting:
            return Rejection.VOID_NO_COMMITMENT
        if waiting[message.commitment] != opened_digest(self.network, account, envelope, message):
            return Rejection.VOID_DOES_NOT_OPEN
        del waiting[message.commitment]
        if not waiting:
            del self.waiting[account]
        return Rejection.VOID_LATE

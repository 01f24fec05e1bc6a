"""What runners said in one epoch, as sets: the log's part in the state, the rest in a node's overlay.

Only what names the epoch's ground and one of its tasks, from an account with a rank in it, is gathered. Of one account
at most two different commitments and two different results are kept for a task: two are as bad as ten.
"""

from collections.abc import Iterable, Iterator

from protocol.counting import Committed, Revealed, Statements
from protocol.messages import Commitment, Result, commitment_digest
from protocol.plan import Plan
from protocol.rejections import Rejection

MOST_PER_ACCOUNT = 2


class Gathering:
    """Statements of one epoch, by task and account, and which batches were opened."""

    def __init__(self, network: bytes, plan: Plan) -> None:
        self._network = network
        self.plan = plan
        self.statements: dict[bytes, dict[bytes, Statements]] = {}
        self.committed: dict[bytes, dict[bytes, bytes]] = {}
        """By account: digest of each of its commitments, by the envelope's id."""
        self.opened: dict[bytes, dict[bytes, bytes]] = {}
        """By account: the salt that opened a commitment, by the commitment's id."""

    def add_commitment(self, envelope_id: bytes, account: bytes, message: Commitment) -> Rejection | None:
        """Take a commitment in; the reason why it has no effect, or None."""
        tasks = self._ranked(account, message.tasks)
        if message.ground != self.plan.ground:
            return Rejection.VOID_OTHER_GROUND
        if not tasks:
            return Rejection.VOID_NOT_A_RUNNER
        mine = self.committed.setdefault(account, {})
        mine[envelope_id] = message.digest
        for task in tasks:
            known = self._of(task, account)
            if len(known.commitments) < MOST_PER_ACCOUNT:
                both = known.commitments | {Committed(envelope_id, message.digest)}
                self.statements[task][account] = Statements(both, known.results)
        return None

    def add_result(self, envelope_id: bytes, account: bytes, message: Result) -> Rejection | None:
        """Take a result in; the reason why it has no effect, or None."""
        tasks = self._ranked(account, (result.task for result in message.tasks))
        if message.ground != self.plan.ground:
            return Rejection.VOID_OTHER_GROUND
        if not tasks:
            return Rejection.VOID_NOT_A_RUNNER
        digest = commitment_digest(self._network, account, message)
        self.opened.setdefault(account, {})[message.commitment] = message.salt
        for number, result in enumerate(message.tasks):
            if result.task not in tasks:
                continue
            known = self._of(result.task, account)
            if len(known.results) >= MOST_PER_ACCOUNT or any(r.id == envelope_id for r in known.results):
                continue
            saw = message.saw[number] if number < len(message.saw) else ()
            revealed = Revealed(envelope_id, message.commitment, digest, result, saw)
            ordered = tuple(sorted((*known.results, revealed), key=lambda item: item.id))
            self.statements[result.task][account] = Statements(known.commitments, ordered)
        return None

    def unopened(self) -> Iterator[bytes]:
        """Accounts with a commitment that no result of theirs opened."""
        for account, commitments in self.committed.items():
            if any(commitment not in self.opened.get(account, {}) for commitment in commitments):
                yield account

    def salts(self) -> Iterator[tuple[bytes, bytes]]:
        """(account, salt) of the assigned runners who opened what they committed, with one salt."""
        assigned = {account for task in self.plan.tasks.values() for account in task.ranking[: task.assigned]}
        for account in sorted(assigned & self.opened.keys()):
            mine = self.committed.get(account, {})
            salts = {salt for commitment, salt in self.opened[account].items() if commitment in mine}
            if len(salts) == 1:
                yield account, salts.pop()

    def _ranked(self, account: bytes, tasks: Iterable[bytes]) -> set[bytes]:
        plan = self.plan.tasks
        return {task for task in tasks if task in plan and account in plan[task].ranking}

    def _of(self, task: bytes, account: bytes) -> Statements:
        return self.statements.setdefault(task, {}).setdefault(account, Statements())

"""Writes the logs that vectors are about: people who join, work, lie, and say what they are not asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from protocol import cbor, ledger
from protocol.envelope import Envelope, seal
from protocol.failures import Failure
from protocol.genesis import Genesis
from protocol.messages import (
    Attestation,
    Commitment,
    Delegation,
    Message,
    Profile,
    Result,
    Run,
    Succession,
    TaskResult,
    commitment_digest,
    consent_to,
    succession_consent,
)
from protocol.plan import Plan
from protocol.signing import PrivateKey
from protocol.tasks import Task
from tests.vectors.files import Input, sha
from tests.vectors.fingerprints import made
from tests.vectors.networks import ATTESTER, CHAIN, GENESIS, LOG_KEY

RUN = Run("example 1", "cpu", "reproducible", 0)


@dataclass(frozen=True)
class Finding:
    """What someone says of a task of two questions; `camp` is the model that was run."""

    outcomes: tuple[int, ...] = (1000, 0)
    camp: str = "model"
    failure: Failure | None = None


HONEST = Finding()
LIE = Finding(camp="lie")


def key(*parts: object) -> PrivateKey:
    """A key that has this name in all vectors."""
    return PrivateKey(sha(*parts))


class LogWriter:
    """Writes a log that makes sense, entry by entry; `state` is what it amounts to so far."""

    def __init__(self, genesis: Genesis = GENESIS, chain: Sequence[bytes] = CHAIN) -> None:
        self.genesis = genesis
        self._chain = chain
        self.state = ledger.begin(genesis)
        self.entries: list[str] = []

    def log(self, *envelopes: Envelope) -> None:
        """Append."""
        for envelope in envelopes:
            ledger.append(self.state, envelope)
            self.entries.append(envelope.data.hex())

    def seal(self, name: str, message: Message) -> Envelope:
        """Signed by this person's device."""
        return seal(key("device", name), self.genesis.id, message)

    def say(self, name: str, *messages: Message) -> None:
        """Append what this person's device signs."""
        self.log(*(self.seal(name, message) for message in messages))

    def delegation(self, name: str) -> Envelope:
        """The account takes its device in."""
        account, device = key("account", name), key("device", name)
        return seal(account, self.genesis.id, Delegation(device.public, device.sign(self._consent(name))))

    def _consent(self, name: str) -> bytes:
        return consent_to(self.genesis.id, key("account", name).public)

    def join(self, *names: str, epoch: int = 0) -> None:
        """Delegations and profiles."""
        for name in names:
            self.log(self.delegation(name))
            self.live(name, epoch=epoch)

    def live(self, *names: str, epoch: int) -> None:
        """Profiles: signs of life."""
        for name in names:
            self.say(name, Profile(epoch, 4096, 8192, ("cpu",)))

    def attest(self, name: str, person: str, sequence: int = 0, attester: PrivateKey = ATTESTER) -> None:
        """The account is this person's."""
        message = Attestation(key("account", name).public, sha("person", person), sequence)
        self.log(seal(attester, self.genesis.id, message))

    def mark(self, epoch: int, preimage: bytes | None = None, signer: PrivateKey = LOG_KEY, **change: object) -> None:
        """The next mark, of which `change` replaces fields."""
        used = self.genesis.chain_length - self.state.chain_left
        fields = ledger.next_mark(self.state, epoch, preimage or self._chain[min(used, len(self._chain) - 1)])
        values = {name: getattr(fields, name) for name in fields.__struct_fields__} | change
        self.log(seal(signer, self.genesis.id, type(fields)(**values)))

    def succeed(self, new: PrivateKey, chain: list[bytes], sequence: int, signer: PrivateKey = LOG_KEY) -> None:
        """The log key becomes another, with this chain."""
        parts = new.public, chain[-1], len(chain) - 1
        consent = new.sign(succession_consent(self.genesis.id, signer.public, *parts, sequence))
        self.log(seal(signer, self.genesis.id, Succession(*parts, consent, sequence)))

    def plan(self, epoch: int) -> Plan:
        """The tasks of an open epoch."""
        where = ledger.gathering(self.state, epoch)
        assert where is not None
        return where.plan

    def work(
        self,
        epoch: int,
        *names: str,
        finds: Mapping[str, Finding] | Callable[[Task, str], Finding] | None = None,
        silent: tuple[str, ...] = (),
    ) -> list[Envelope]:
        """These people commit to all tasks in which they have a rank, and reveal; the silent ones' results.

        `finds`: what they say, by name or by task and name; what is not in it is honest.
        """
        commitments, results = self.statements(epoch, *names, finds=finds)
        self.log(*commitments.values())
        self.log(*(result for name, result in results.items() if name not in silent))
        return [result for name, result in results.items() if name in silent]

    def statements(
        self, epoch: int, *names: str, finds: Mapping[str, Finding] | Callable[[Task, str], Finding] | None = None
    ) -> tuple[dict[str, Envelope], dict[str, Envelope]]:
        """Commitments and results of people who saw each other, by name."""
        plan = self.plan(epoch)

        def found(task: Task, name: str) -> Finding:
            if finds is None:
                return HONEST
            return finds(task, name) if callable(finds) else finds.get(name, HONEST)

        drafts = {}
        for name in names:
            account = key("account", name).public
            mine = tuple(result_of(t, found(t, name)) for t in plan.tasks.values() if account in t.ranking)
            if mine:
                drafts[name] = Result(epoch, plan.ground, bytes(32), sha("salt", name, epoch), RUN, mine, ())
        commitments = {name: self.commitment(name, draft) for name, draft in drafts.items()}
        starts = {key("account", name).public: envelope.id[:16] for name, envelope in commitments.items()}
        results = {}
        for name, draft in drafts.items():
            ranks = [plan.tasks[result.task].ranking for result in draft.tasks]
            saw = tuple(tuple(starts.get(account, b"") for account in ranking) for ranking in ranks)
            parts = draft.epoch, draft.ground, commitments[name].id, draft.salt, draft.run, draft.tasks, saw
            results[name] = self.seal(name, Result(*parts))
        return commitments, results

    def commitment(self, name: str, draft: Result) -> Envelope:
        """To this result."""
        digest = commitment_digest(self.genesis.id, key("account", name).public, draft)
        tasks = tuple(result.task for result in draft.tasks)
        return self.seal(name, Commitment(draft.epoch, draft.ground, tasks, digest))

    def given(self, **more: object) -> Input:
        """The vector's input."""
        return {"genesis": cbor.encode(self.genesis).hex(), "entries": self.entries, **more}


def result_of(task: Task, found: Finding) -> TaskResult:
    """What a finding is on a task of two questions."""
    if found.failure is not None:
        return TaskResult(task.id, found.failure)
    return TaskResult(
        task=task.id,
        questions=task.questions_digest,
        outcomes=found.outcomes,
        total=sum(found.outcomes),
        margins=(500, 500),
        near_ties=b"\0",
        fingerprint=bytes.fromhex(made(2, found.camp)),
        transcript=sha("transcript"),
    )

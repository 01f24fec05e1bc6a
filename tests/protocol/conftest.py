"""A small world in which rules can be tried: keys, a genesis, and a log that is written entry by entry."""

import hashlib
from collections.abc import Callable, Iterable, Mapping

import pytest
from msgspec.structs import replace

from protocol import epochs, ledger
from protocol.definitions import Benchmark, Dataset, HubFile, Model, TaskKind
from protocol.envelope import Envelope, seal
from protocol.fingerprint import values_per_question
from protocol.genesis import Genesis
from protocol.messages import (
    Attestation,
    Commitment,
    Delegation,
    Message,
    Profile,
    Result,
    Run,
    TaskResult,
    commitment_digest,
    consent_to,
)
from protocol.parameters import DEMO, Bound, Parameters
from protocol.plan import Plan
from protocol.rejections import Rejection
from protocol.signing import PrivateKey
from protocol.state import Account, State
from protocol.tasks import Task

CHAIN_SEED = b"c" * 32
RUN = Run("test 1", "cpu", "reproducible", 0)


def sha(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


class World:
    """A network's log, its state, and the people who write to it."""

    def __init__(self, models: int = 2, parameters: Parameters = DEMO, bounds: tuple[Bound, ...] = ()) -> None:
        self.log_key = PrivateKey(b"l" * 32)
        self.recovery_key = PrivateKey(b"r" * 32)
        self.attester = PrivateKey(b"a" * 32)
        self.chain = epochs.hash_chain(CHAIN_SEED, 100)
        dataset = Dataset("test/questions", "0" * 40, "main", "test", sha("content"), 100)
        benchmark = Benchmark(
            "sums", 1, "maths", "en", TaskKind.GENERATION, dataset, "p/1", "s/1", 0, 8, ("0.3.36", "0.3.36")
        )
        files = [HubFile("test/models", "0" * 40, f"m{n}.gguf", sha("model", n), 1000) for n in range(models)]
        self.genesis = Genesis(
            name="world",
            time=1_800_000_000,
            parameters=parameters,
            benchmarks=(benchmark,),
            models=tuple(Model(file, (), "llama", 1000, "F16", "MIT") for file in files),
            log_key=self.log_key.public,
            chain_anchor=self.chain[-1],
            chain_length=100,
            attesters=(self.attester.public,),
            recovery_key=self.recovery_key.public,
            bounds=bounds,
        )
        self.state = ledger.begin(self.genesis)
        self.entries: list[Envelope] = []
        self.voids: list[Rejection | None] = []
        self.skill = 700

    def account(self, name: str) -> PrivateKey:
        return PrivateKey(sha("account", name))

    def device(self, name: str) -> PrivateKey:
        return PrivateKey(sha("device", name))

    def seal(self, name: str, message: Message) -> Envelope:
        return seal(self.device(name), self.genesis.id, message)

    def log(self, *envelopes: Envelope) -> Rejection | None:
        """Append to the log; the last one's reason to be void."""
        for envelope in envelopes:
            self.entries.append(envelope)
            self.voids.append(ledger.append(self.state, envelope))
        return self.voids[-1]

    def delegation(self, name: str) -> Envelope:
        account, device = self.account(name), self.device(name)
        consent = device.sign(consent_to(self.genesis.id, account.public))
        return seal(account, self.genesis.id, Delegation(device.public, consent))

    def join(self, *names: str, epoch: int = 0, disk: int = 1024) -> None:
        """Delegations and profiles of these people."""
        for name in names:
            self.log(self.delegation(name), self.seal(name, Profile(epoch, 4096, disk, ("cpu",))))

    def enrich(self, *names: str, credit: int = 10_000) -> None:
        """Credit and agreement that would take many epochs to earn."""
        for name in names:
            key = self.account(name).public
            known = self.state.accounts.get(key, Account(since=0))
            self.state.accounts[key] = replace(known, credit=credit, judged=100, agreed=100)

    def attest(self, person: str, *names: str) -> None:
        """All these accounts are one person's."""
        for name in names:
            account = self.account(name).public
            message = Attestation(account, sha("person", person), self.state.attestations.get(account, -1) + 1)
            self.log(seal(self.attester, self.genesis.id, message))

    def mark(self, epoch: int) -> Rejection | None:
        message = ledger.next_mark(self.state, epoch, self.chain[self.state.marks])
        return self.log(seal(self.log_key, self.genesis.id, message))

    def plan(self, epoch: int) -> Plan:
        where = ledger.gathering(self.state, epoch)
        assert where is not None
        return where.plan

    def result_of(self, task: Task, camp: str = "", skill: int | None = None) -> TaskResult:
        """What an honest runner finds, the same for all; another `camp` has run another model."""
        skill = self.skill if skill is None else skill
        outcomes = tuple(1000 if int.from_bytes(sha(q)[:2], "big") % 1000 < skill else 0 for q in task.questions)
        values = bytearray()
        for question in task.questions:
            for place in range(values_per_question(len(task.questions))):
                values += (1000 + int.from_bytes(sha(camp, task.id, question, place)[:2], "big") % 4000).to_bytes(
                    3, "big"
                )
        return TaskResult(
            task=task.id,
            questions=task.questions_digest,
            outcomes=outcomes,
            total=sum(outcomes),
            margins=(500,) * len(outcomes),
            near_ties=bytes(-(-len(outcomes) // 8)),
            fingerprint=bytes(values),
            transcript=sha("transcript", task.id),
            tokens_in=1,
            tokens_out=1,
            run_ms=1,
        )

    def statements(
        self, plan: Plan, names: Iterable[str], camps: Mapping[str, str] | None = None
    ) -> tuple[list[Envelope], list[Envelope]]:
        """Commitments and results of people who evaluate everything and see everybody; `camps` by name."""
        names = list(names)
        drafts: dict[str, Result] = {}
        commitments: dict[str, Envelope] = {}
        for name in names:
            account = self.account(name).public
            camp = (camps or {}).get(name, "")
            mine = tuple(self.result_of(task, camp) for task in plan.tasks.values() if account in task.ranking)
            if not mine:
                continue
            salt = sha("salt", name, plan.epoch)
            draft = Result(plan.epoch, plan.ground, bytes(32), salt, RUN, mine, ())
            digest = commitment_digest(self.genesis.id, account, draft)
            tasks = tuple(result.task for result in mine)
            drafts[name] = draft
            commitments[name] = self.seal(name, Commitment(plan.epoch, plan.ground, tasks, digest))
        by_account = {self.account(name).public: envelope.id[:16] for name, envelope in commitments.items()}
        results = []
        for name, draft in drafts.items():
            saw = tuple(
                tuple(by_account.get(account, b"") for account in plan.tasks[result.task].ranking)
                for result in draft.tasks
            )
            message = Result(draft.epoch, draft.ground, commitments[name].id, draft.salt, draft.run, draft.tasks, saw)
            results.append(self.seal(name, message))
        return list(commitments.values()), results

    def epoch(self, epoch: int, names: Iterable[str]) -> None:
        """Mark an epoch and let these people do all of its work."""
        assert self.mark(epoch) is None
        commitments, results = self.statements(self.plan(epoch), names)
        self.log(*commitments, *results)

    def refold(self) -> State:
        """The state of the same log, folded from scratch."""
        state = ledger.begin(self.genesis)
        for entry in self.entries:
            ledger.append(state, entry)
        return state


@pytest.fixture(scope="session")
def new_world() -> Callable[..., World]:
    """Makes worlds: `new_world(models=2, parameters=DEMO)`."""
    return World

"""Vectors of whole logs: entries in order, which of them are void, and what the state amounts to after each mark.

They cover what no single function shows: delegation, profiles, marks, runners, commitments and reveals, what an
account earned, and what a registration costs.
"""

from collections.abc import Iterator
from typing import Any

from protocol import cbor, ledger
from protocol.envelope import Envelope, open_envelope, seal
from protocol.genesis import read_genesis
from protocol.messages import (
    Attestation,
    Commitment,
    Delegation,
    Message,
    Profile,
    Registration,
    Result,
    Revocation,
    Run,
    TaskResult,
    commitment_digest,
    consent_to,
)
from protocol.plan import Plan
from protocol.quota import quota
from protocol.scores import board
from protocol.signing import PrivateKey
from protocol.state import State
from tests.vectors.files import Case, Compute, Input, sha
from tests.vectors.fingerprints import made
from tests.vectors.networks import ATTESTER, CHAIN, GENESIS, LOG_KEY, base

RUN = Run("example 1", "cpu", "reproducible", 0)
NAMES = ("ann", "ben", "cat")


def _log(given: Input) -> Any:
    genesis = read_genesis(bytes.fromhex(given["genesis"]))
    state = ledger.begin(genesis)
    seen = [_summary(state)]
    voids = []
    for entry in given["entries"]:
        marks = state.marks
        void = ledger.append(state, open_envelope(bytes.fromhex(entry), genesis.id))
        voids.append(void.value if void else None)
        if state.marks > marks or len(voids) == len(given["entries"]):
            seen.append(_summary(state))
    return {"voids": voids, "states": seen}


def _summary(state: State) -> Any:
    opening = state.opening
    where = ledger.gathering(state, opening.epoch) if opening else None
    return {
        "size": state.frontier.size,
        "root": state.frontier.root.hex(),
        "digest": state.digest().hex(),
        "marks": state.marks,
        "beacon": opening.beacon.hex() if opening else None,
        "ground": where.plan.ground.hex() if where else None,
        "tasks": [
            {
                "id": task.id.hex(),
                "questions": list(task.questions),
                "quorum": task.quorum,
                "assigned": task.assigned,
                "ranking": [account.hex() for account in task.ranking],
            }
            for task in (where.plan.tasks.values() if where else ())
        ],
        "verdicts": {final.task.hex(): final.state.value for final in state.recent.values()},
        "quota": {
            account.hex(): [quota(state, account).earned, quota(state, account).required]
            for account in sorted(state.accounts)
        },
        "credit": {account.hex(): known.credit for account, known in sorted(state.accounts.items())},
        "board": [
            [row.subject.model.hex(), row.score, row.low, row.high, row.rank_low, row.rank_high]
            for row in board(state.benchmarks, state.standings)
        ],
    }


COMPUTES: dict[str, Compute] = {"log": _log}


class _Writer:
    """Writes a log that makes sense."""

    def __init__(self) -> None:
        self.state = ledger.begin(GENESIS)
        self.entries: list[str] = []

    def log(self, *envelopes: Envelope) -> None:
        for envelope in envelopes:
            ledger.append(self.state, envelope)
            self.entries.append(envelope.data.hex())

    def say(self, name: str, message: Message) -> None:
        self.log(_sealed(name, message))

    def join(self, *names: str) -> None:
        for name in names:
            account, device = _key("account", name), _key("device", name)
            consent = device.sign(consent_to(GENESIS.id, account.public))
            self.log(seal(account, GENESIS.id, Delegation(device.public, consent)))
            self.say(name, Profile(0, 4096, 1024, ("cpu",)))

    def mark(self, epoch: int, preimage: bytes | None = None) -> None:
        message = ledger.next_mark(self.state, epoch, preimage or CHAIN[self.state.marks])
        self.log(seal(LOG_KEY, GENESIS.id, message))

    def work(self, epoch: int, *names: str, liar: str = "", silent: str = "") -> None:
        """These people commit to all tasks in which they have a rank, and reveal."""
        where = ledger.gathering(self.state, epoch)
        assert where is not None
        drafts = {name: draft for name in names if (draft := _draft(name, where.plan, name == liar)) is not None}
        commitments = {name: _commitment(name, draft) for name, draft in drafts.items()}
        self.log(*commitments.values())
        starts = {_key("account", name).public: envelope.id[:16] for name, envelope in commitments.items()}
        for name, draft in drafts.items():
            ranks = [where.plan.tasks[result.task].ranking for result in draft.tasks]
            saw = tuple(tuple(starts.get(account, b"") for account in ranking) for ranking in ranks)
            parts = (draft.epoch, draft.ground, commitments[name].id, draft.salt, draft.run, draft.tasks, saw)
            if name != silent:
                self.say(name, Result(*parts))

    def given(self) -> Input:
        return {"genesis": cbor.encode(GENESIS).hex(), "entries": self.entries}


def _key(*parts: object) -> PrivateKey:
    return PrivateKey(sha(*parts))


def _sealed(name: str, message: Message) -> Envelope:
    return seal(_key("device", name), GENESIS.id, message)


def _draft(name: str, plan: Plan, lies: bool) -> Result | None:
    account = _key("account", name).public
    mine = tuple(_result(task, lies) for task in plan.tasks.values() if account in task.ranking)
    return Result(plan.epoch, plan.ground, bytes(32), sha("salt", name, plan.epoch), RUN, mine, ()) if mine else None


def _result(task: Any, lies: bool) -> TaskResult:
    return TaskResult(
        task=task.id,
        questions=task.questions_digest,
        outcomes=(1000, 0),
        total=1000,
        margins=(500, 500),
        near_ties=b"\0",
        fingerprint=bytes.fromhex(made(2, "lie" if lies else "model")),
        transcript=sha("transcript"),
    )


def _commitment(name: str, draft: Result) -> Envelope:
    digest = commitment_digest(GENESIS.id, _key("account", name).public, draft)
    return _sealed(name, Commitment(draft.epoch, draft.ground, tuple(result.task for result in draft.tasks), digest))


def cases() -> Iterator[Case]:
    """All cases, in the order of the file."""
    yield "two epochs of work, and a registration that they pay", "log", _earning()
    yield "entries out of place", "log", _out_of_place()
    yield "an outage: a leaderless epoch, then a lie and a missed reveal", "log", _outage()


def _earning() -> Input:
    log = _Writer()
    log.join(*NAMES)
    log.mark(0)
    log.say("ann", Registration(base("two"), 0))  # nothing is DONE yet: free
    log.work(0, *NAMES)
    log.mark(1)
    log.say("ben", Registration(base("three"), 1))  # spends the one result that is earned
    log.say("ben", Registration(base("four"), 1))  # void: nothing is left
    log.work(1, "ben", "cat")
    log.mark(2)
    return log.given()


def _out_of_place() -> Input:
    log = _Writer()
    log.join("ann")
    log.say("ben", Profile(0, 1, 1, ()))  # no delegation
    log.say("ann", Registration(base("two"), 0))  # before the first mark
    log.mark(0, preimage=CHAIN[1])  # not the next preimage
    log.mark(0)
    log.mark(0)  # the same epoch again
    attested = Attestation(_key("account", "ann").public, sha("person"), 0)
    log.say("ann", attested)  # not an attester
    log.log(seal(ATTESTER, GENESIS.id, attested), seal(ATTESTER, GENESIS.id, attested))
    log.say("ann", Registration(base("one"), 0))  # on the board already
    log.say("ann", Commitment(0, sha("ground"), (sha("task"),), sha("digest")))  # another ground
    log.say("ann", Commitment(99, sha("ground"), (sha("task"),), sha("digest")))  # no such epoch
    revocation = seal(_key("account", "ann"), GENESIS.id, Revocation(_key("device", "ann").public))
    log.log(revocation, revocation)
    return log.given()


def _outage() -> Input:
    log = _Writer()
    log.join(*NAMES)
    log.mark(0)
    log.work(1, *NAMES)  # leaderless
    log.mark(3)
    log.work(3, *NAMES, liar="cat", silent="ben")
    log.mark(4)
    return log.given()

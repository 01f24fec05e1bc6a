"""What a log prefix amounts to. `ledger` folds entries into it; nothing else changes it.

Invariants: two nodes with the same prefix have states of the same `digest`; everything that a rule reads is in here,
and nothing here comes from a clock, from gossip or from the order in which entries arrived outside the log. Records
are frozen: whoever changes one sets another in its table, so that the digest follows.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from protocol.audits import Audited, Conclusion
from protocol.definitions import Benchmark, Model
from protocol.failures import Failure
from protocol.gathering import ClosedGathering, Gathering
from protocol.genesis import Genesis
from protocol.hashing import digest
from protocol.lifecycle import TaskState
from protocol.merkle import Frontier
from protocol.messages import Profile, Proposal
from protocol.parameters import Parameters
from protocol.plan import Opening
from protocol.pools import Pool
from protocol.standings import Standing
from protocol.table import Table
from protocol.tasks import Purpose, Subject, Turn

WINDOW = 24
"""Marks for which verdicts stay at hand: to be appealed against, and to count what a registration costs."""


class DeviceProfile(Struct, frozen=True):
    """A device's newest profile, the envelope that it came in, and the count of marks when it was renewed."""

    device: bytes
    profile: Profile
    envelope: bytes
    renewed: int


class Account(Struct, frozen=True):
    """What the log says of one account. Ages are counts of marks.

    `devices`: by key. `harvest`: (mark, results that agreed with a DONE verdict and were not spent yet), oldest first,
    within the window. `missed`: epochs whose commitment it did not open, with the mark that closed them. `judged`,
    `agreed`: how many of its results counted, and agreed with the verdict, for ever. `credit` in MiB times questions.
    `audits`: what examinations concluded about its results, oldest first, within the window of profiles.
    """

    since: int
    seen: int = -1
    devices: tuple[DeviceProfile, ...] = ()
    harvest: tuple[tuple[int, int], ...] = ()
    missed: Mapping[int, int] = {}
    credit: int = 0
    judged: int = 0
    agreed: int = 0
    audits: tuple[Audited, ...] = ()

    @property
    def earned(self) -> tuple[int, ...]:
        """The mark of every result that agreed with a DONE verdict and was not spent yet."""
        return tuple(mark for mark, count in self.harvest for _ in range(count))

    def has_failed_audit(self, since: int, *conclusions: Conclusion) -> bool:
        """Whether an examination that closed after the mark `since` came to one of these conclusions."""
        return any(audit.mark > since and audit.conclusion in conclusions for audit in self.audits)


class Entry(Struct, frozen=True):
    """A registered model. `dormant` after three FAILED verdicts in a row, until it is registered again."""

    model: Model
    sponsors: tuple[bytes, ...] = ()
    dormant: bool = False


class Final(Struct, frozen=True, gc=False):
    """A verdict that the log made final at mark `closed_by`. It is never computed again.

    `transcripts`: of a DONE, the digests of the agreeing results' transcripts, joined in the order of `agreeing`.
    """

    task: bytes
    subject: Subject
    epoch: int
    state: TaskState
    quorum: int
    questions: int
    counted: tuple[bytes, ...]
    agreeing: tuple[bytes, ...]
    total: int | None
    failure: Failure | None
    purpose: Purpose = Purpose.REGULAR
    looks_at: bytes | None = None
    closed_by: int = 0
    transcripts: bytes = b""


class Pending(Struct, frozen=True, order=True):
    """A DONE task that is to be looked at again, at the next mark with room for it."""

    purpose: Purpose
    task: bytes


class Motion(Struct, frozen=True):
    """A proposal under vote, made by `account`. `weights`: by person, credit and whether attested, frozen at the basis.

    `voters`: the accounts with credit then, each with its person then: who is whose is frozen with the weights, so that
    a later attestation gives nobody a second vote and takes nobody's. `opened`: count of marks. `adopted`: the count of
    marks at which the vote was won; it takes effect after the notice.
    """

    proposal: Proposal
    account: bytes
    opened: int
    weights: tuple[tuple[bytes, int, bool], ...]
    voters: tuple[tuple[bytes, bytes], ...]
    adopted: int | None = None


class Vote(Struct, frozen=True):
    """A person's newest ballot on a motion."""

    epoch: int
    yes: bool


class Rated(Struct, frozen=True):
    """A person's newest stars."""

    epoch: int
    stars: int


class Chain(Struct, frozen=True):
    """A hash chain of the log key that has not begun: its anchor, and how many preimages it has."""

    anchor: bytes
    length: int


@dataclass
class State:
    """The fold of a log prefix of `frontier.size` entries."""

    genesis: Genesis
    parameters: Parameters
    """In force; genesis' own until governance changes them."""
    log_key: bytes
    last_preimage: bytes
    chain_left: int
    next_chain: Chain | None = None
    """Begins behind the next mark."""
    successions: int = 0
    """How many there were: each names the next number."""
    frontier: Frontier = field(default_factory=Frontier)
    marks: int = 0
    halted: int | None = None
    """The version in force where this code lacks it: from then on nothing is derived."""
    devices: Table[bytes, bytes] = field(default_factory=Table)
    """By device that speaks now: its account."""
    revoked: Table[bytes, bytes] = field(default_factory=Table)
    persons: Table[bytes, bytes] = field(default_factory=Table)
    """By attested account: its person."""
    attestations: Table[bytes, int] = field(default_factory=Table)
    """By attested account: the sequence number of the attestation that holds."""
    accounts: Table[bytes, Account] = field(default_factory=Table)
    models: Table[bytes, Entry] = field(default_factory=Table)
    benchmarks: Table[bytes, Benchmark] = field(default_factory=Table)
    """On the board: asked now or in the past."""
    definitions: Table[bytes, Benchmark] = field(default_factory=Table)
    """Made known, so that a proposal can name them."""
    retired: Table[bytes, int] = field(default_factory=Table)
    """Benchmarks that are asked no longer, with the mark since which."""
    tracks: Table[str, tuple[bytes, ...]] = field(default_factory=Table)
    """What governance made of tracks; other tracks are what benchmarks say of themselves."""
    pools: Table[bytes, Pool] = field(default_factory=Table)
    turns: Table[Subject, Turn] = field(default_factory=Table)
    submissions: Table[tuple[bytes, str], int] = field(default_factory=Table)
    """By account and repository: the mark count of the last registration that counted."""
    appeals: Table[tuple[bytes, bytes], int] = field(default_factory=Table)
    """By account and task: the mark count of the appeal."""
    motions: Table[bytes, Motion] = field(default_factory=Table)
    votes: Table[tuple[bytes, bytes], Vote] = field(default_factory=Table)
    """By motion and person, as of its voters."""
    ratings: Table[tuple[bytes, str, bytes], Rated] = field(default_factory=Table)
    """By model, track and person."""
    pending: tuple[Pending, ...] = ()
    standings: dict[Subject, Standing] = field(default_factory=dict)
    opening: Opening | None = None
    gatherings: dict[int, Gathering] = field(default_factory=dict)
    """By epoch, the open ones: the marked epoch and the leaderless ones after it."""
    closed: dict[int, ClosedGathering] = field(default_factory=dict)
    """By epoch, those closed by the last two marks, for late reveals."""
    verdicts: deque[tuple[Final, ...]] = field(default_factory=deque)
    """Of the epochs closed by the last `WINDOW` marks, oldest first."""
    recent: dict[bytes, Final] = field(default_factory=dict)
    """The same, by task."""
    history: bytes = b""
    """Hash chain over all final verdicts and medians, and over what was superseded."""
    last_closed: int | None = None
    head: tuple[int, bytes, int] | None = None
    """Size and root of the log up to and with the last mark, and that mark's epoch: what ledger answers name."""

    def person(self, account: bytes) -> bytes:
        """The person to whom the account is attested; an account without attestation is its own person."""
        return self.persons.get(account, account)

    def accounts_of(self, account: bytes) -> tuple[bytes, ...]:
        """The account and all others of its person."""
        person = self.persons.get(account)
        if person is None:
            return (account,)
        return tuple(other for other, known in self.persons.items() if known == person)

    def digest(self) -> bytes:
        """32 bytes for everything that later entries may depend on; what the next mark must carry.

        Verdicts, medians and what was superseded are in `history`, the open epochs' statements in the log's root.
        """
        return digest(
            "peerboard/state/1",
            self.genesis.id,
            self.parameters,
            self.frontier.size,
            self.frontier.root,
            self.marks,
            self.log_key,
            self.last_preimage,
            self.chain_left,
            self.next_chain,
            self.successions,
            self.pending,
            self.history,
            tuple(
                table.digest()
                for table in (
                    self.devices,
                    self.revoked,
                    self.persons,
                    self.attestations,
                    self.accounts,
                    self.models,
                    self.benchmarks,
                    self.definitions,
                    self.retired,
                    self.tracks,
                    self.pools,
                    self.turns,
                    self.submissions,
                    self.appeals,
                    self.motions,
                    self.votes,
                    self.ratings,
                )
            ),
        )

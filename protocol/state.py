"""What a log prefix amounts to. `ledger` folds entries into it; nothing else changes it.

Invariants: two nodes with the same prefix have states of the same `digest`; everything that a rule reads is in here,
and nothing here comes from a clock, from gossip or from the order in which entries arrived outside the log.
"""

from collections import deque
from dataclasses import dataclass, field

from msgspec import Struct

from protocol.definitions import Benchmark, Model
from protocol.failures import Failure
from protocol.gathering import Gathering
from protocol.genesis import Genesis
from protocol.hashing import digest
from protocol.lifecycle import TaskState
from protocol.merkle import Frontier
from protocol.messages import Profile
from protocol.plan import Opening
from protocol.pools import Pool
from protocol.tasks import Subject, Turn

VERDICT_EPOCHS_KEPT = 24


class DeviceProfile(Struct, frozen=True):
    """A device's newest profile, and the count of marks when it was renewed."""

    profile: Profile
    renewed: int


@dataclass
class Account:
    """What the log says of one account. Ages are counts of marks.

    `earned`: marks at which a result agreed with a DONE verdict and was not spent yet. `missed`: epochs whose
    commitment it did not open, with the mark that closed them.
    """

    since: int
    seen: int = -1
    devices: dict[bytes, DeviceProfile] = field(default_factory=dict)
    earned: list[int] = field(default_factory=list)
    missed: dict[int, int] = field(default_factory=dict)
    credit: int = 0


@dataclass
class Entry:
    """A registered model. `dormant` after three FAILED verdicts in a row, until it is registered again."""

    model: Model
    sponsors: set[bytes]
    dormant: bool = False


class Final(Struct, frozen=True):
    """A verdict that the log made final. It is never computed again."""

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


@dataclass
class Standing:
    """What is known of one model on one benchmark: medians per question (0 to 1000), judges, newest verdicts."""

    answers: dict[int, int] = field(default_factory=dict)
    judges: set[bytes] = field(default_factory=set)
    newest: TaskState = TaskState.WAITING
    done_epoch: int | None = None


@dataclass
class State:
    """The fold of a log prefix of `frontier.size` entries."""

    genesis: Genesis
    frontier: Frontier = field(default_factory=Frontier)
    marks: int = 0
    last_preimage: bytes = b""
    devices: dict[bytes, bytes] = field(default_factory=dict)
    accounts: dict[bytes, Account] = field(default_factory=dict)
    models: dict[bytes, Entry] = field(default_factory=dict)
    benchmarks: dict[bytes, Benchmark] = field(default_factory=dict)
    pools: dict[bytes, Pool] = field(default_factory=dict)
    turns: dict[Subject, Turn] = field(default_factory=dict)
    standings: dict[Subject, Standing] = field(default_factory=dict)
    opening: Opening | None = None
    gatherings: dict[int, Gathering] = field(default_factory=dict)
    """By epoch, the open ones: the marked epoch and the leaderless ones after it."""
    closed: dict[int, Gathering] = field(default_factory=dict)
    """By epoch, those closed by the last two marks, for late reveals."""
    verdicts: deque[tuple[Final, ...]] = field(default_factory=lambda: deque(maxlen=VERDICT_EPOCHS_KEPT))
    """Of the last closed epochs, oldest first."""
    history: bytes = b""
    """Hash chain over all final verdicts and medians."""
    last_closed: int | None = None
    head: tuple[int, bytes, int] | None = None
    """Size and root of the log up to and with the last mark, and that mark's epoch: what ledger answers name."""

    def digest(self) -> bytes:
        """32 bytes for everything that later entries may depend on; what the next mark must carry."""
        accounts = tuple(
            (
                key,
                account.since,
                account.seen,
                tuple((device, *_profile(account.devices[device])) for device in sorted(account.devices)),
                tuple(account.earned),
                tuple(sorted(account.missed.items())),
                account.credit,
            )
            for key, account in sorted(self.accounts.items())
        )
        models = tuple(
            (key, tuple(sorted(entry.sponsors)), entry.dormant) for key, entry in sorted(self.models.items())
        )
        pools = tuple(
            (base, tuple(slot and (slot.account, slot.device) for slot in self.pools[base]))
            for base in sorted(self.pools)
        )
        turns = tuple(
            (s.model, s.benchmark, t.asked, t.due_again, t.quorum, t.disputes, t.failures)
            for s, t in sorted(self.turns.items())
        )
        return digest(
            "peerboard/state/1",
            self.genesis.id,
            self.frontier.size,
            self.frontier.root,
            self.marks,
            self.last_preimage,
            tuple(sorted(self.devices.items())),
            accounts,
            models,
            pools,
            turns,
            self.history,
        )


def _profile(known: DeviceProfile) -> tuple[int, object]:
    return known.renewed, known.profile

"""Who may evaluate a base model: a pool of slots per base, redrawn in turn.

A base is downloaded by few, and no owner can choose who judges: slots are drawn by each mark's beacon from all
eligible accounts, and every slot is drawn anew after `period` marked epochs.

Invariants after every redraw: a pool has exactly `pool_size` slots; no account has two slots of one base; no device
holds more bases than the disk that it offers, nor one that exceeds its memory; of a pool's slots at most a share is
held by accounts without attestation, where the network asks for that.
"""

from collections.abc import Iterator, Mapping, Sequence, Set

from msgspec import Struct

from protocol.hashing import as_number, digest
from protocol.parameters import Parameters


class Slot(Struct, frozen=True):
    """A place in a pool, held by one account through one of its devices."""

    account: bytes
    device: bytes


class Offer(Struct, frozen=True):
    """What one device of an eligible account offers: MiB of memory and of disk."""

    device: bytes
    memory: int
    disk: int


Pool = tuple[Slot | None, ...]
Offers = Mapping[bytes, tuple[Offer, ...]]
"""By account: the devices of every eligible account. Who is not in it is not eligible."""

MIB = 1 << 20
MEMORY_OVERHEAD_MIB = 512


def pool_size(eligible: int, bases: int, parameters: Parameters) -> int:
    """max(POOL, ceil(3n / B)) slots, never more than there are eligible accounts."""
    return min(eligible, max(parameters.pool, -(-3 * eligible // max(1, bases))))


def its_turn(base: bytes, number: int, marks: int, parameters: Parameters) -> bool:
    """Whether a slot is drawn anew at the mark after `marks` others.

    Every slot has its turn once in `period` marks. The slots of one base follow each other at even distances, and
    bases begin at different times, so that a mark never empties a whole pool, nor all pools one slot.
    """
    step = max(1, parameters.period // parameters.pool)
    return (marks + as_number(base[:8]) + number * step) % parameters.period == 0


def redraw(
    pools: Mapping[bytes, Pool],
    bases: Mapping[bytes, int],
    offers: Offers,
    *,
    beacon: bytes,
    marks: int,
    parameters: Parameters,
    attested: Set[bytes] | None = None,
) -> dict[bytes, Pool]:
    """The pools after a mark; `bases` gives the size in bytes of each active base, `marks` counts the marks so far.

    First every slot whose turn it is, whose holder is no longer eligible or which lies beyond the pool's size is
    vacated; then the empty slots are filled, by base and slot. `attested`: the accounts that may hold any slot, while
    all others share `unattested_slots` of each pool; None where the network makes no difference.
    """
    size = pool_size(len(offers), len(bases), parameters)
    most_unattested = size if attested is None else size * parameters.unattested_slots // 1000
    room = _Room(offers, bases)
    drafts = {base: _Draft(base, size, attested or frozenset(), most_unattested, room) for base in sorted(bases)}
    for base, draft in drafts.items():
        for number, slot in enumerate(pools.get(base, ())[:size]):
            if slot is not None and not its_turn(base, number, marks, parameters):
                draft.keep(number, slot)
    accounts = sorted(offers)
    for draft in drafts.values():
        draft.fill(accounts, beacon)
    return {base: tuple(draft.slots) for base, draft in drafts.items()}


class _Draft:
    """One base's pool while it is drawn."""

    def __init__(self, base: bytes, size: int, attested: Set[bytes], most_unattested: int, room: "_Room") -> None:
        self.slots: list[Slot | None] = [None] * size
        self._base = base
        self._attested = attested
        self._unattested_left = most_unattested
        self._room = room
        self._held: set[bytes] = set()

    def keep(self, number: int, slot: Slot) -> None:
        """The slot stays with its holder, if the holder is still eligible."""
        if self._allowed(slot.account) and slot.device in self._room.fitting(self._base, slot.account):
            self._take(number, slot)

    def fill(self, accounts: Sequence[bytes], beacon: bytes) -> None:
        """Draw the empty slots: the account at index H(beacon, base, slot, try) mod n, next try if it may not have it.

        A slot that nobody may have stays empty until the next mark.
        """
        for number in range(len(self.slots)):
            if self.slots[number] is not None:
                continue
            candidates = {account for account in accounts if self._allowed(account)}
            for account in _draws(self._base, number, beacon, accounts):
                if not candidates:
                    return  # who may not have this slot may have none of the later ones either
                if account in candidates:
                    if devices := self._room.fitting(self._base, account):
                        choice = as_number(digest("peerboard/device/1", self._base, account)) % len(devices)
                        self._take(number, Slot(account, devices[choice]))
                        break
                    candidates.discard(account)

    def _allowed(self, account: bytes) -> bool:
        return account not in self._held and (account in self._attested or self._unattested_left > 0)

    def _take(self, number: int, slot: Slot) -> None:
        self.slots[number] = slot
        self._held.add(slot.account)
        self._room.take(self._base, slot.device)
        if slot.account not in self._attested:
            self._unattested_left -= 1


def _draws(base: bytes, number: int, beacon: bytes, accounts: Sequence[bytes]) -> Iterator[bytes]:
    """Accounts in the order of the tries. After 4 n tries: all in order, from the first try's on, so that it ends."""
    count = len(accounts)
    first = None
    for attempt in range(4 * count):
        index = as_number(digest("peerboard/slot/1", beacon, base, number, attempt)) % count
        first = index if first is None else first
        yield accounts[index]
    for place in range(count):
        yield accounts[((first or 0) + place) % count]


class _Room:
    """What each device has left beside the bases that it holds."""

    def __init__(self, offers: Offers, bases: Mapping[bytes, int]) -> None:
        self._bases = bases
        self._offers = {key: sorted(devices, key=lambda offer: offer.device) for key, devices in offers.items()}
        self._disk = {offer.device: offer.disk * MIB for devices in offers.values() for offer in devices}

    def fitting(self, base: bytes, account: bytes) -> list[bytes]:
        """The account's devices with room for the base, in order; none for who is not eligible."""
        size = self._bases[base]
        return [
            offer.device
            for offer in self._offers.get(account, ())
            if self._disk[offer.device] >= size and offer.memory * MIB >= size + MEMORY_OVERHEAD_MIB * MIB
        ]

    def take(self, base: bytes, device: bytes) -> None:
        """The device holds the base from now on."""
        self._disk[device] -= self._bases[base]


def with_room(pools: Mapping[bytes, Pool], bases: Mapping[bytes, int], offers: Offers, base: bytes) -> Iterator[bytes]:
    """The eligible accounts that could hold one more base beside what they hold; `bases` has its size."""
    room = _Room(offers, bases)
    for held, pool in pools.items():
        for slot in pool:
            if slot is not None and held != base:
                room.take(held, slot.device)
    return (account for account in sorted(offers) if room.fitting(base, account))

"""Who may evaluate a base model: a pool of slots per base, redrawn in turn.

A base is downloaded by few, and no owner can choose who judges: slots are drawn by each mark's beacon from all
eligible accounts, and every slot is drawn anew after `period` marked epochs.
"""

from collections.abc import Mapping, Sequence

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


def redraw(
    pools: Mapping[bytes, Pool],
    bases: Mapping[bytes, int],
    offers: Offers,
    *,
    beacon: bytes,
    marks: int,
    parameters: Parameters,
) -> dict[bytes, Pool]:
    """The pools after a mark; `bases` gives the size in bytes of each active base, `marks` counts the marks so far.

    First every slot whose turn it is, whose holder is no longer eligible or which lies beyond the pool's size is
    vacated; then the empty slots are filled, by base and slot.
    """
    size = pool_size(len(offers), len(bases), parameters)
    kept = {base: _vacate(pools.get(base, ()), size, offers, marks, parameters) for base in sorted(bases)}
    room = _Room(offers, bases, kept)
    accounts = sorted(offers)
    drawn: dict[bytes, Pool] = {}
    for base in sorted(bases):
        slots = list(kept[base])
        for number in range(size):
            if slots[number] is None:
                slots[number] = _draw(base, number, slots, accounts, room, beacon)
        drawn[base] = tuple(slots)
    return drawn


def _vacate(pool: Pool, size: int, offers: Offers, marks: int, parameters: Parameters) -> list[Slot | None]:
    kept: list[Slot | None] = []
    for number, slot in enumerate((*pool[:size], *[None] * (size - len(pool)))):
        its_turn = (marks + number) % parameters.period == 0
        stays = slot is not None and not its_turn and _still_offered(slot, offers)
        kept.append(slot if stays else None)
    return kept


def _still_offered(slot: Slot, offers: Offers) -> bool:
    return any(offer.device == slot.device for offer in offers.get(slot.account, ()))


def _draw(
    base: bytes,
    number: int,
    slots: Sequence[Slot | None],
    accounts: list[bytes],
    room: "_Room",
    beacon: bytes,
) -> Slot | None:
    """The account at index H(beacon, base, slot, try) mod n; next try if it may not have the slot.

    Tries are bounded: after 4 n of them the first account in order that may have it, starting at the first try's
    index, gets the slot; a slot that nobody may have stays empty until the next mark.
    """
    held = {slot.account for slot in slots if slot is not None}
    count = len(accounts)
    if len(held) >= count:
        return None
    for attempt in range(4 * count):
        account = accounts[as_number(digest("peerboard/slot/1", beacon, base, number, attempt)) % count]
        if account not in held and (slot := room.take(base, account)):
            return slot
    first = as_number(digest("peerboard/slot/1", beacon, base, number, 0)) % count
    for account in accounts[first:] + accounts[:first]:
        if account not in held and (slot := room.take(base, account)):
            return slot
    return None


class _Room:
    """What each device has left beside the bases that it holds."""

    def __init__(
        self, offers: Offers, bases: Mapping[bytes, int], pools: Mapping[bytes, Sequence[Slot | None]]
    ) -> None:
        self._offers = offers
        self._bases = bases
        self._disk = {offer.device: offer.disk * MIB for devices in offers.values() for offer in devices}
        for base, slots in pools.items():
            for slot in slots:
                if slot is not None:
                    self._disk[slot.device] -= bases[base]

    def take(self, base: bytes, account: bytes) -> Slot | None:
        """A slot on one of the account's devices with room, at index H(base, account) of several; else None."""
        size = self._bases[base]
        fitting = sorted(
            offer.device
            for offer in self._offers[account]
            if self._disk[offer.device] >= size and offer.memory * MIB >= size + MEMORY_OVERHEAD_MIB * MIB
        )
        if not fitting:
            return None
        device = fitting[as_number(digest("peerboard/device/1", base, account)) % len(fitting)]
        self._disk[device] -= size
        return Slot(account, device)

"""Who is asked to evaluate a task: a new order of the pool's accounts each epoch.

The order comes from the beacon, so that no account or registration can have been made for it, and from the model, so
that an account's tasks share downloads.
"""

from collections.abc import Iterable, Mapping, Set

from protocol.hashing import DIGEST, around, continued
from protocol.parameters import Parameters
from protocol.tasks import Purpose

SPARES = 2


def ranking(
    candidates: Iterable[bytes],
    *,
    beacon: bytes,
    model: bytes,
    purpose: Purpose,
    excluded: Set[bytes],
    set_back: Set[bytes],
    behind: Set[bytes] = frozenset(),
    persons: Mapping[bytes, bytes] | None = None,
    one_unattested: bool = False,
) -> tuple[bytes, ...]:
    """All candidates in order, without those `excluded`; accounts in `set_back` come after all others.

    `candidates`: accounts of the pool that gave a sign of life in the last marked epoch. `excluded`: sponsors of the
    model and all other accounts of theirs. `set_back`: who committed and did not reveal within the window. `behind`:
    who only fills up. `persons`: by account, the person to whom it is attested: of one person's accounts only the first
    in this order is asked, and with `one_unattested` likewise of all accounts without attestation.
    """
    before, between, _ = around("peerboard/rank/1", beacon, DIGEST, purpose, DIGEST)
    order = sorted(set(candidates) - excluded, key=continued(before + model + between))
    for last in (behind, set_back):
        if last:
            order.sort(key=last.__contains__)
    if not persons and not one_unattested:
        return tuple(order)
    first: dict[bytes | None, bytes] = {}
    for account in order:
        person = (persons or {}).get(account, None if one_unattested else account)
        first.setdefault(person, account)
    return tuple(first.values())


def quorum_and_assigned(available: int, quorum: int, parameters: Parameters) -> tuple[int, int]:
    """(K, R) of a task for which `available` accounts can be ranked and K should be `quorum`.

    R = 2K - 1. Where fewer can be ranked all of them are assigned and K is their majority, never below the network's
    quorum; fewer than that: nobody is assigned, and the task is WAITING.
    """
    assigned = 2 * quorum - 1
    if available >= assigned:
        return quorum, assigned
    majority = max(parameters.quorum, available // 2 + 1)
    return (majority, available) if available >= majority else (majority, 0)

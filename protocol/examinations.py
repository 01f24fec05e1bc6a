"""Audits and appeals: a DONE task is asked again, of others, once.

The beacon draws `audit_share` of the regular tasks that a mark made DONE; any person may appeal once against a DONE
task while its verdict is at hand. Both ask the same questions with a new tail (the beacon's), with K = 5, nobody whose
result counted then. An audit asks the pool's others first and fills up from all eligible, an appeal asks all eligible.
They take at most a tenth of an epoch's tasks; what finds no room waits for the next mark, until its verdict is no
longer at hand.
"""

import itertools
from collections.abc import Mapping, Set

from protocol import pools
from protocol.audits import Examined
from protocol.envelope import Envelope
from protocol.hashing import DIGEST, DIGEST_BYTES, around, as_number, continued
from protocol.lifecycle import TaskState
from protocol.messages import Appeal
from protocol.plan import Examination
from protocol.rejections import Rejection
from protocol.state import Pending, State
from protocol.tasks import Purpose
from protocol.tiers import Scope, admit

SHARE_OF_TASKS = 10


def appeal(state: State, envelope: Envelope, message: Appeal) -> Rejection | None:
    """Fold an appeal: the task is looked at again at the next mark with room."""
    account = admit(state, envelope.signer, message.epoch, Scope.APPEAL)
    if isinstance(account, Rejection):
        return account
    final = state.recent.get(message.task)
    if final is None or final.state is not TaskState.DONE:
        return Rejection.VOID_NOT_DONE
    if message.task in state.standings[final.subject].superseded:
        return Rejection.VOID_SUPERSEDED
    if any((mine, message.task) in state.appeals for mine in state.accounts_of(account)):
        return Rejection.VOID_APPEALED
    state.appeals[account, message.task] = state.marks
    _add(state, Pending(Purpose.APPEAL, message.task))
    return None


def draw_audits(state: State, beacon: bytes) -> None:
    """Choose from what this mark made DONE, by its beacon."""
    threshold = (state.parameters.audit_share << 256) // 1000
    before, _ = around("peerboard/audit/1", beacon, DIGEST)
    number = continued(before)
    fresh = [finals for finals in state.verdicts if finals[0].closed_by == state.marks]
    for final in itertools.chain.from_iterable(fresh):
        regular = final.purpose is Purpose.REGULAR and final.state is TaskState.DONE
        if regular and as_number(number(final.task)) < threshold:
            _add(state, Pending(Purpose.AUDIT, final.task))


def take_pending(state: State, offers: pools.Offers, bases: Mapping[bytes, int]) -> tuple[Examination, ...]:
    """The examinations of the epoch that a mark opens; the rest stays pending."""
    most = max(1, state.parameters.tasks_max // SHARE_OF_TASKS)
    waiting = [pending for pending in state.pending if _is_open(state, pending)]
    state.pending = tuple(waiting[most:])
    room: dict[bytes, Set[bytes]] = {}
    return tuple(_examination(state, pending, offers, bases, room) for pending in waiting[:most])


def _add(state: State, pending: Pending) -> None:
    if pending not in state.pending:
        state.pending = (*state.pending, pending)


def _is_open(state: State, pending: Pending) -> bool:
    final = state.recent.get(pending.task)
    if final is None or final.subject.model not in state.models:
        return False
    return pending.task not in state.standings[final.subject].superseded


def _examination(
    state: State,
    pending: Pending,
    offers: pools.Offers,
    bases: Mapping[bytes, int],
    room: dict[bytes, Set[bytes]],
) -> Examination:
    final = state.recent[pending.task]
    work = next(work for work in state.standings[final.subject].works if work.task == pending.task)
    model = state.models[final.subject.model].model
    base = model.base.sha256
    if base not in room:
        size = max(bases.get(base, 0), model.total_bytes)
        room[base] = frozenset(pools.with_room(state.pools, {**bases, base: size}, offers, base))
    holders = {slot.account for slot in state.pools.get(base, ()) if slot is not None}
    involved = {state.person(account) for account in final.counted}
    others = {account for account in room[base] | holders if state.person(account) not in involved}
    audit = pending.purpose is Purpose.AUDIT
    return Examination(
        purpose=pending.purpose,
        looks_at=pending.task,
        subject=final.subject,
        depth=final.questions,
        questions=work.indexes(),
        first=frozenset(others & holders if audit else others),
        rest=frozenset(others - holders if audit else ()),
        examined=tuple(
            Examined(account, final.transcripts[DIGEST_BYTES * place : DIGEST_BYTES * (place + 1)])
            for place, account in enumerate(final.agreeing)
        ),
    )

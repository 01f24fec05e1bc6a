"""The state after part of a log, written and read, goes on like the one that folded all of it."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from node.answers import Answers
from node.state_record import Captured, Piece, Unusable, capture, pieces, restore
from protocol import ledger
from protocol.envelope import Envelope, open_envelope
from protocol.genesis import Genesis, read_genesis
from protocol.messages import Mark, Rating
from protocol.rejections import Rejected, Rejection
from protocol.state import State
from tests.vectors.log_writing import LIE, LogWriter
from tests.vectors.networks import AUDITED, GENESIS, STAMPED
from tests.vectors.scenarios import logs

PEOPLE = ("ada", "ben", "cleo", "dan", "eve", "finn")
LOGS = dict(logs())


def entries_of(genesis: Genesis, entries: list[str]) -> Iterator[Envelope]:
    for data in entries:
        try:
            yield open_envelope(bytes.fromhex(data), genesis.id)
        except Rejected:
            return


def amounts_to(state: State) -> tuple[Any, ...]:
    """All that a state is, and all that is published of it."""
    gathered = {
        epoch: (where.plan, where.statements, where.committed, where.revealed)
        for epoch, where in state.gatherings.items()
    }
    return state.digest(), capture(state), gathered, dict(state.recent), Answers(state).contents()


def folded(genesis: Genesis, entries: list[Envelope]) -> tuple[State, list[Rejection | None], dict[int, Captured]]:
    """The whole log, and what was captured just after each mark on the way."""
    state, voids, captured = ledger.begin(genesis), [], {}
    for place, entry in enumerate(entries, 1):
        voids.append(ledger.append(state, entry))
        if isinstance(entry.message, Mark) and voids[-1] is None:
            captured[place] = capture(state)
    return state, voids, captured


def check(genesis: Genesis, entries: list[Envelope]) -> None:
    whole, voids, captured = folded(genesis, entries)
    for place, held in captured.items():
        state = restore(genesis, pieces(held))
        assert ledger.extend(state, entries[place:]) == voids[place:]
        assert amounts_to(state) == amounts_to(whole)


@pytest.mark.parametrize("name", LOGS)
def test_every_log_that_is_a_vector_goes_on_from_each_of_its_marks(name: str) -> None:
    genesis = read_genesis(bytes.fromhex(LOGS[name]["genesis"]))
    check(genesis, list(entries_of(genesis, LOGS[name]["entries"])))


NAMES = st.sampled_from(PEOPLE)
STEPS = st.one_of(
    st.tuples(st.just("mark"), st.integers(1, 4)),
    st.tuples(st.just("work"), st.sets(NAMES, min_size=3), st.sets(NAMES, max_size=2), st.sampled_from((0, 0, 1))),
    st.tuples(st.just("late")),
    st.tuples(st.just("again"), st.integers(0, 200)),
    st.tuples(st.just("join"), st.sampled_from(("gil", "hal"))),
    st.tuples(st.just("attest"), NAMES, st.sampled_from("xy")),
    st.tuples(st.just("rate"), NAMES, st.integers(1, 5)),
)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from((GENESIS, AUDITED, STAMPED)), st.lists(STEPS, max_size=14))
def test_any_log_goes_on_from_each_of_its_marks(genesis: Genesis, steps: list[tuple[Any, ...]]) -> None:
    log = LogWriter(genesis)
    log.join(*PEOPLE)
    log.mark(0)
    opened, late = 0, []
    for number, (kind, *how) in enumerate(steps):
        if kind == "mark":
            opened += how[0]
            log.live(*PEOPLE, epoch=opened)
            log.mark(opened)
        elif kind == "work":
            names, liars, ahead = how
            late += log.work(
                opened + ahead, *sorted(names), finds=dict.fromkeys(liars, LIE), silent=tuple(sorted(names))[:1]
            )
        elif kind == "late":
            log.log(*late)
        elif kind == "again":
            data = bytes.fromhex(log.entries[how[0] % len(log.entries)])
            log.log(open_envelope(data, genesis.id))
        elif kind == "join":
            log.join(*how, epoch=opened)
        elif kind == "attest":
            log.attest(how[0], how[1], number)
        else:
            log.say(how[0], Rating(opened, genesis.models[0].id, "maths", how[1]))
    log.mark(opened + 1)
    check(genesis, list(entries_of(genesis, log.entries)))


def recorded() -> list[Piece]:
    log = LOGS["audits of all that is done"]
    *_, captured = folded(AUDITED, list(entries_of(AUDITED, log["entries"])))
    return list(pieces(captured[max(captured)]))


PIECES = recorded()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(PIECES) - 1), st.integers(0, 10**6), st.binary(max_size=9), st.integers(0, 9))
def test_what_is_damaged_is_a_state_or_said_to_be_unusable(which: int, at: int, instead: bytes, cut: int) -> None:
    piece = PIECES[which]
    at %= len(piece.data)
    damaged = replace(piece, data=piece.data[:at] + instead + piece.data[at + cut :])
    try:
        state = restore(AUDITED, [*PIECES[:which], damaged, *PIECES[which + 1 :]])
    except Unusable:
        return
    assert len(state.digest()) == 32


@pytest.mark.parametrize("which", range(len(PIECES)))
def test_a_piece_too_many_or_too_few_is_noticed(which: int) -> None:
    rest = [*PIECES[:which], *PIECES[which + 1 :]]
    has_items = PIECES[which].data[0] & 0xF0 in (0x90, 0xD0)
    unknown = Piece("unknown", b"\x00")
    with pytest.raises(Unusable):
        restore(AUDITED, [*PIECES, unknown])
    if not has_items:
        with pytest.raises(Unusable):
            restore(AUDITED, rest)
        with pytest.raises(Unusable):
            restore(AUDITED, [*PIECES, PIECES[which]])


def test_large_tables_lie_in_several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.state_record.ITEMS_A_PIECE", 2)
    some = recorded()
    assert len(some) > len(PIECES)
    assert amounts_to(restore(AUDITED, some)) == amounts_to(restore(AUDITED, PIECES))

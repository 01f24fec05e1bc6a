"""Signatures that are checked in processes of their own: none passes that would not pass here."""

import io
import os
import signal
import sys
from collections.abc import Sequence

import psutil
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from node.offload import inline
from node.signature_checks import open_signature_checks
from node.signature_process import ANSWER, HEAD, answer
from protocol.envelope import Envelope, open_envelope, seal
from protocol.messages import Profile
from protocol.rejections import Rejected
from protocol.signing import PrivateKey
from protocol.tiles import encode_bundle

NETWORK = b"n" * 32
KEY = PrivateKey(b"k" * 32)
GOOD = [seal(KEY, NETWORK, Profile(epoch, 1024, 2048, ("cpu",))).data for epoch in range(20)]
FORGED = seal(KEY, b"m" * 32, Profile(7, 1024, 2048, ("cpu",))).data


def first_refused(entries: Sequence[bytes]) -> int:
    """By what opening them says."""
    for place, data in enumerate(entries):
        try:
            assert isinstance(open_envelope(data, NETWORK), Envelope)
        except Rejected:
            return place
    return len(entries)


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children() if "node.signature_process" in child.cmdline()}


@given(st.lists(st.lists(st.one_of(st.sampled_from([*GOOD, FORGED]), st.binary(max_size=99)), min_size=1), max_size=4))
def test_it_is_told_how_many_of_the_first_are_well_signed(asked: list[list[bytes]]) -> None:
    told = io.BytesIO()
    contents = [(encode_bundle(entries), len(entries)) for entries in asked]
    answer(io.BytesIO(b"".join(HEAD.pack(len(data), width) + data for data, width in contents)), told, NETWORK)
    assert told.getvalue() == b"".join(ANSWER.pack(first_refused(entries)) for entries in asked)


async def test_processes_answer_each_question_with_its_own_answer() -> None:
    asked = [[*GOOD[:place], FORGED, *GOOD[place:]] for place in range(len(GOOD))] + [GOOD]
    told: dict[int, int] = {}
    async with open_signature_checks(NETWORK) as checks:

        async def ask(place: int) -> None:
            told[place] = await checks.well_signed(encode_bundle(asked[place]), len(asked[place]))

        async with trio.open_nursery() as nursery:
            for place in range(len(asked)):
                nursery.start_soon(ask, place)
    assert told == {place: place for place in range(len(asked))}
    assert not children()


async def test_what_a_process_that_has_ended_was_asked_is_not_known() -> None:
    async with open_signature_checks(NETWORK) as checks:
        assert await checks.well_signed(encode_bundle(GOOD), len(GOOD)) == len(GOOD)
        for child in children():
            os.kill(child, signal.SIGKILL)
        assert [await checks.well_signed(encode_bundle(GOOD), len(GOOD)) for _ in range(8)] == [0] * 8


async def test_a_question_that_is_given_up_gives_no_other_its_answer() -> None:
    async with open_signature_checks(NETWORK) as checks:
        for child in children():
            os.kill(child, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(checks.well_signed, encode_bundle(GOOD), len(GOOD))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        for child in children():
            os.kill(child, signal.SIGCONT)
        forged = encode_bundle([FORGED] * 10)
        assert [await checks.well_signed(forged, 10) for _ in range(8)] == [0] * 8
    assert not children()


async def test_without_processes_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with open_signature_checks(NETWORK) as checks:
        assert await checks.well_signed(encode_bundle(GOOD), len(GOOD)) == 0
    inline.set(True)
    async with open_signature_checks(NETWORK) as checks:
        assert not children()
        assert await checks.well_signed(encode_bundle(GOOD), len(GOOD)) == 0

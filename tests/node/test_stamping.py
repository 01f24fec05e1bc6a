"""Work stamps, found in a process of their own."""

import sys

import pytest
import trio

from node import stamping
from node.stamping import StampingFailed
from protocol.stamps import find_stamp, is_stamped

NETWORK, DEVICE = b"n" * 32, b"d" * 32


async def test_another_process_finds_the_stamp() -> None:
    stamp = await stamping.find(NETWORK, DEVICE, 7, 1)
    assert is_stamped(NETWORK, DEVICE, 7, stamp, 1)
    assert not is_stamped(NETWORK, DEVICE, 8, stamp, 1), "of another epoch"
    assert not is_stamped(NETWORK, bytes(32), 7, stamp, 1), "of another device"
    assert not is_stamped(NETWORK, DEVICE, 7, stamp + b"\0", 1)
    assert stamp == find_stamp(NETWORK, DEVICE, 7, 1), "the first that there is"


async def test_a_search_that_is_cancelled_ends() -> None:
    with trio.move_on_after(0.2) as scope:
        await stamping.find(NETWORK, DEVICE, 7, 10**6)
    assert scope.cancelled_caught


async def test_a_search_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StampingFailed, match="status 1"):
        await stamping.find(NETWORK, DEVICE, 7, 1)

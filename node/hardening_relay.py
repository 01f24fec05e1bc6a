"""Which of two neighbours hands a message on to the other: a deviation from py-libp2p 0.8.1's gossip for speed alone.

`docs/upstream.md` has it as a report.
"""

import math
from collections.abc import Collection

import trio
from msgspec import Struct

import node.hardening_import  # noqa: F401  comes before libp2p

# isort: split
from libp2p.peer.id import ID

HOLD_SECONDS = 0.1
"""Longer than a message takes over most links and through a busy node, so that the other's copy comes first."""


def speaks_first(mine: ID, other: ID, identity: bytes) -> bool:
    """Of two neighbours that both have a message, whether it is for `mine` to send it.

    It is for the one whose peer id is nearer to the message's id (XOR of the last bytes): both can tell, and each is it
    half of the time.
    """
    point, length = int.from_bytes(identity, "big"), len(identity)
    return _tail(mine, length) ^ point <= _tail(other, length) ^ point


def _tail(peer: ID, length: int) -> int:
    return int.from_bytes(peer.to_bytes()[-length:], "big")


class _Held(Struct):
    due: float
    frame: bytes
    peers: set[ID]


class Withheld:
    """Frames for neighbours who are to speak first, each for `HOLD_SECONDS`, to be sent to those who do not."""

    def __init__(self) -> None:
        self._held: dict[bytes, _Held] = {}
        self._turn = trio.CancelScope()

    def hold(self, identity: bytes, frame: bytes, peers: Collection[ID]) -> None:
        """Keep a frame with the message of that id for these neighbours from now on."""
        if not peers:
            return
        due = trio.current_time() + HOLD_SECONDS
        self._held[identity] = _Held(due, frame, set(peers))
        if self._turn.deadline == math.inf:
            self._turn.deadline = due

    def drop(self, identity: bytes, peer: ID) -> None:
        """The neighbour has the message."""
        held = self._held.get(identity)
        if held is None:
            return
        held.peers.discard(peer)
        if not held.peers:
            del self._held[identity]
            if not self._held:  # no need to wake up
                self._turn.deadline = math.inf

    async def overdue(self) -> dict[ID, bytes]:
        """Wait for frames whose time has come: by neighbour, one after the other, and held no more."""
        ready: dict[ID, bytes] = {}
        while not ready:
            now = trio.current_time()
            oldest = min((held.due for held in self._held.values()), default=math.inf)
            # One turn serves what came close together.
            with trio.CancelScope(deadline=max(oldest, now + HOLD_SECONDS / 2)) as self._turn:
                await trio.sleep_forever()
            now = trio.current_time()
            for identity in [identity for identity, held in self._held.items() if held.due <= now]:
                held = self._held.pop(identity)
                for peer in held.peers:
                    ready[peer] = ready.get(peer, b"") + held.frame
        return ready

"""Deviations from py-libp2p 0.8.1 for speed alone: the same bytes on the wire for about half the CPU time.

`docs/upstream.md` has each as a report; `benchmarks/gossip_cost.py` shows their sum.
"""

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any

import trio

import node.hardening_import  # noqa: F401  comes before libp2p

# isort: split
from libp2p.io.trio import TrioTCPStream
from libp2p.network.stream.net_stream import NetStream
from libp2p.stream_muxer.yamux import yamux

READ_AHEAD = 64 * 1024
READS_PER_TURN = 32


class QuickLock:
    """A lock that costs no turn of the scheduler when it is free.

    Replaces: `trio.Lock` in connections and streams. Reason: acquiring a `trio.Lock` is a checkpoint, free or not; a
    gossip message passes seven of them on each side, a third of its CPU time. All that they guard waits for the socket
    in the end, so the loop gets its turns.
    """

    def __init__(self) -> None:
        self._taken = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        if self._taken:
            await self._waiting.park()  # whoever releases it hands it over
        self._taken = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._waiting:
            self._waiting.unpark()
        else:
            self._taken = False


class QuickWriteLock:
    """The half of `ReadWriteLock` that a stream uses."""

    def __init__(self) -> None:
        self._lock = QuickLock()

    def write_lock(self) -> QuickLock:
        """To be entered by the one writer."""
        return self._lock


def _quickly_locked(construct: Callable[..., None], **locks: Callable[[], Any]) -> Callable[..., None]:
    @functools.wraps(construct)
    def constructed(thing: Any, *arguments: Any, **named: Any) -> None:
        construct(thing, *arguments, **named)
        for name, lock in locks.items():
            setattr(thing, name, lock())

    return constructed


_stock_read = TrioTCPStream.read
_stock_window_update = yamux.YamuxStream._auto_tune_and_send_window_update
_stock_constructors = {kind: kind.__init__ for kind in (TrioTCPStream, NetStream, yamux.YamuxStream, yamux.Yamux)}


async def _read_ahead(stream: Any, n: int | None = None) -> bytes:
    """Read as much as there is, give out as much as is asked for.

    Replaces: `TrioTCPStream.read`. Reason: two system calls and two turns of the scheduler for each encrypted message,
    one for its two bytes of length. A turn is given to others now and then, or one peer's tiny frames hold the loop.
    """
    ahead: bytearray = stream.__dict__.setdefault("_ahead", bytearray())
    if not ahead:
        chunk: bytes = await _stock_read(stream, READ_AHEAD if n is None or n else 0)
        if n is None or len(chunk) <= n:
            return chunk
        ahead += chunk
    stream._served = stream.__dict__.get("_served", 0) + 1
    if stream._served % READS_PER_TURN == 0:
        await trio.lowlevel.checkpoint()
    taken = bytes(ahead) if n is None else bytes(ahead[:n])
    del ahead[: len(taken)]
    return taken


async def _send_batched_window_update(stream: Any, *, bytes_read: int = 0) -> None:
    """Give receive window back half a window at a time.

    Replaces: `YamuxStream._auto_tune_and_send_window_update`. Reason: the original sends a WINDOW_UPDATE frame for
    nearly every read, each encrypted and written by itself: about a third of the CPU time of a gossip message.
    """
    stream._pending_recv_release += bytes_read
    released = stream._pending_recv_release
    if released >= yamux.DEFAULT_WINDOW_SIZE // 2:
        stream._pending_recv_release = 0
        stream.recv_window += released
        await stream.send_window_update(released, skip_lock=True)


def apply_speed_deviations() -> None:
    """Put the functions above in place of the library's. Doing it twice is the same as once."""
    TrioTCPStream.read = _read_ahead
    yamux.YamuxStream._auto_tune_and_send_window_update = _send_batched_window_update
    locks: dict[Any, dict[str, Callable[[], Any]]] = {
        TrioTCPStream: {"read_lock": QuickLock, "write_lock": QuickLock},
        NetStream: {"_state_lock": QuickLock},
        yamux.YamuxStream: {"window_lock": QuickLock, "close_lock": QuickLock, "rw_lock": QuickWriteLock},
        yamux.Yamux: {"streams_lock": QuickLock, "_write_lock": QuickLock},
    }
    for kind, named in locks.items():
        kind.__init__ = _quickly_locked(_stock_constructors[kind], **named)

"""Deviations from py-libp2p 0.8.1 in QUIC. `docs/upstream.md` has each as a report."""

from typing import Any

import structlog
import trio

import node.hardening_import  # noqa: F401  comes before libp2p
from node.hardening_speed import QuickLock

# isort: split
from aioquic.quic.connection import QuicConnectionState
from aioquic.quic.events import ConnectionTerminated
from libp2p.io.exceptions import IOException
from libp2p.transport.quic.connection import QUICConnection
from libp2p.transport.quic.exceptions import QUICStreamClosedError
from libp2p.transport.quic.stream import QUICStream

log = structlog.get_logger(__name__)

END_SECONDS = 5.0
OVER = frozenset({QuicConnectionState.DRAINING, QuicConnectionState.TERMINATED})

_stock_terminated = QUICConnection._handle_connection_terminated
_stock_close = QUICConnection.close
_stock_process = QUICConnection._process_quic_events_batched
_stock_transmit = QUICConnection._transmit
_stock_read = QUICStream.read
_stock_take = QUICStream.handle_data_received


async def _handle_connection_terminated(connection: Any, event: Any) -> None:
    """Tell everybody that the peer closed the connection.

    Replaces: `QUICConnection._handle_connection_terminated`. Reason: it cancels the task that it runs in before it
    tells the swarm; twice at a time it tells nobody; and it waits for each stream to be closed in good order, which a
    peer that is gone does not answer: with an error's number streams are reset.
    """
    if connection.__dict__.get("_told"):
        return
    connection._told = True
    with trio.move_on_after(END_SECONDS, shield=True):
        await _stock_terminated(connection, ConnectionTerminated(event.error_code or 1, None, event.reason_phrase))
    with trio.move_on_after(END_SECONDS, shield=True):
        if connection.on_close:  # whatever came of that; the swarm forgets a connection once
            await connection.on_close()


async def _process_quic_events(connection: Any) -> bool:
    """Handle what a datagram brought, the end of the connection at once.

    Replaces: `QUICConnection._process_quic_events_batched`. Reason: the peer's closing is told of only when a timer of
    the draining connection has passed and somebody looks, two seconds later: a peer that comes back in between is
    connected twice, and gossip stays on the dead connection.
    """
    processed: bool = await _stock_process(connection)
    ended = connection._quic._close_event
    if ended is not None and connection._quic._state in OVER and not connection._closed:
        await connection._handle_connection_terminated(ended)
    return processed


async def _close(connection: Any) -> None:
    """Say goodbye, then take leave of the streams.

    Replaces: `QUICConnection.close`. Reason: it first waits for each stream to be closed in good order, and gives the
    closing datagram a tenth of a second at the end; on a busy machine that is not enough, and the peer never hears.
    """
    if not connection._closed:
        with trio.move_on_after(END_SECONDS, shield=True):
            connection._quic.close()
            await connection._transmit()
    await _stock_close(connection)


async def _transmit_in_order(connection: Any) -> None:
    """Send what waits, one task at a time.

    Replaces: `QUICConnection._transmit`. Reason: every task that sends takes datagrams and gives others a turn after
    each, so that those of two tasks are mixed; the peer takes what comes late for lost, and the window stays at a few
    packets. And a task that is cancelled on the way loses the datagrams that it took.
    """
    if connection._socket is None:
        return
    lock: QuickLock = connection.__dict__.setdefault("_transmitting", QuickLock())
    async with lock:
        with trio.CancelScope(shield=True):
            await _stock_transmit(connection)


async def _read_to_the_end(stream: Any, n: int | None = None) -> bytes:
    """Read up to n bytes; the end only when there are none.

    Replaces: `QUICStream.read`. Reason: it looks for bytes, gives others a turn, and looks whether the stream has
    ended: what comes with the end in that turn is lost, one long response in three on a busy machine.
    """
    while True:
        try:
            received: bytes = await _stock_read(stream, n)
        except (IOException, QUICStreamClosedError):
            if not stream._receive_buffer:
                raise
        else:
            return received


async def _take_or_reset(stream: Any, data: bytes, end_stream: bool) -> None:
    """Keep bytes for the reader; a stream whose reader is too far behind ends.

    Replaces: `QUICStream.handle_data_received`. Reason: what does not fit into the buffer is dropped, and the reader
    gets the bytes before and after as if nothing had been between.
    """
    if len(stream._receive_buffer) + len(data) > stream.MAX_RECEIVE_BUFFER_SIZE:
        log.debug("a stream is not read from and ends", stream=stream.stream_id)
        await stream.reset()
    else:
        await _stock_take(stream, data, end_stream)


def apply_quic_deviations() -> None:
    """Put the functions above in place of the library's. Doing it twice is the same as once."""
    QUICConnection._handle_connection_terminated = _handle_connection_terminated
    QUICConnection.close = _close
    QUICConnection._process_quic_events_batched = _process_quic_events
    QUICConnection._transmit = _transmit_in_order
    QUICStream.read = _read_to_the_end
    QUICStream.handle_data_received = _take_or_reset

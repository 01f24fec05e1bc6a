"""Deviations from py-libp2p 0.8.1 in QUIC. `docs/upstream.md` has each as a report."""

from typing import Any

import trio

import node.hardening_import  # noqa: F401  comes before libp2p

# isort: split
from aioquic.quic.connection import QuicConnectionState
from aioquic.quic.events import ConnectionTerminated
from libp2p.transport.quic.connection import QUICConnection

END_SECONDS = 5.0
OVER = frozenset({QuicConnectionState.DRAINING, QuicConnectionState.TERMINATED})

_stock_terminated = QUICConnection._handle_connection_terminated
_stock_close = QUICConnection.close
_stock_process = QUICConnection._process_quic_events_batched


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


async def _process_quic_events(connection: Any) -> None:
    """Handle what a datagram brought, the end of the connection at once.

    Replaces: `QUICConnection._process_quic_events_batched`. Reason: the peer's closing is told of only when a timer of
    the draining connection has passed and somebody looks, two seconds later: a peer that comes back in between is
    connected twice, and gossip stays on the dead connection.
    """
    await _stock_process(connection)
    ended = connection._quic._close_event
    if ended is not None and connection._quic._state in OVER and not connection._closed:
        await connection._handle_connection_terminated(ended)


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


def apply_quic_deviations() -> None:
    """Put the functions above in place of the library's. Doing it twice is the same as once."""
    QUICConnection._handle_connection_terminated = _handle_connection_terminated
    QUICConnection.close = _close
    QUICConnection._process_quic_events_batched = _process_quic_events

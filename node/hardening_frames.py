"""Deviations from py-libp2p 0.8.1 in how a connection's bytes are read and written, for speed alone.

The same bytes on the wire. `docs/upstream.md` has each as a report; `benchmarks/gossip_cost.py` shows their sum.
"""

import struct
from collections.abc import Callable
from typing import Any

import trio

import node.hardening_import  # noqa: F401  comes before libp2p

# isort: split
from libp2p.io.exceptions import IncompleteReadError
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH, NoiseTransportReadWriter
from libp2p.stream_muxer.yamux import yamux

READ_AHEAD = 64 * 1024
MESSAGES_PER_TURN = 32
LENGTH_BYTES = 2
HEADER = struct.Struct(yamux.YAMUX_HEADER_FORMAT)

_stock_read_message = NoiseTransportReadWriter.read_msg
_stock_write_message = NoiseTransportReadWriter.write_msg
_stock_stream_read = yamux.YamuxStream.read


async def _read_message(secured: Any, prefix_encoded: bool = False) -> bytes:
    """The next decrypted message. Raises `IncompleteReadError` at the end of the connection.

    Replaces: `NoiseTransportReadWriter.read_msg`. Reason: two system calls and two turns of the scheduler for each
    message, one for its two bytes of length, each through seven coroutines. Here as much is read as there is. A turn is
    given to others now and then, or one peer's tiny messages hold the loop.
    """
    if prefix_encoded:
        return bytes(await _stock_read_message(secured, prefix_encoded))
    ahead: bytearray | None = secured.__dict__.get("_ahead")
    if ahead is None:
        ahead = secured._ahead = bytearray()
        secured._served = 0
    while len(ahead) < LENGTH_BYTES or len(ahead) < (end := LENGTH_BYTES + (ahead[0] << 8 | ahead[1])):
        chunk = await secured.read_writer.read_write_closer.read(READ_AHEAD)
        if not chunk:
            raise IncompleteReadError("the connection ended", expected_bytes=LENGTH_BYTES, received_bytes=len(ahead))
        ahead += chunk
    secured._served += 1
    if secured._served % MESSAGES_PER_TURN == 0:
        await trio.lowlevel.checkpoint()
    message = bytes(ahead[LENGTH_BYTES:end])
    del ahead[:end]
    return bytes(secured.decrypt(message))


async def _write_message(secured: Any, message: bytes, prefix_encoded: bool = False) -> None:
    """Encrypt and write, in one piece.

    Replaces: `NoiseTransportReadWriter.write_msg`. Reason: it writes each part of a long message by itself.
    """
    if prefix_encoded:
        await _stock_write_message(secured, message, prefix_encoded)
        return
    parts = []
    for start in range(0, len(message), MAX_PLAINTEXT_LENGTH) or (0,):
        part = secured.encrypt(message[start : start + MAX_PLAINTEXT_LENGTH])
        parts += [len(part).to_bytes(LENGTH_BYTES, "big"), part]
    await secured.read_writer.read_write_closer.write(b"".join(parts))


async def _read_stream(stream: Any, n: int | None = -1) -> bytes:
    """What lies in an open stream's buffer, or comes next, up to n bytes; the original does the rest.

    Replaces: `YamuxStream.read`. Reason: three locks and a dozen formatted debug lines for each read.
    """
    connection, identity = stream.conn, stream.stream_id
    buffer = connection.stream_buffers.get(identity)
    while n is not None and n > 0 and buffer is not None and _is_open(stream):
        if buffer:
            data = bytes(buffer[:n])
            del buffer[:n]
            await stream._auto_tune_and_send_window_update(bytes_read=len(data))
            return data
        await connection.stream_events[identity].wait()
        if identity in connection.stream_events:
            connection.stream_events[identity] = trio.Event()
        buffer = connection.stream_buffers.get(identity)
    return bytes(await _stock_stream_read(stream, n))


def _is_open(stream: Any) -> bool:
    return not (
        stream.recv_closed or stream.closed or stream.reset_received or stream.conn.event_shutting_down.is_set()
    )


class PlainFrames:
    """A secured connection that gives the data of ordinary frames to their streams, and the library all the rest.

    Replaces: what `Yamux.handle_incoming` does with a frame of data without flags for an open stream, within its
    window. Reason: two reads through eight coroutines, a timeout, locks and a dozen formatted debug lines for each. The
    library sees the headers of all other frames (and the data, where there is some), as if the ordinary ones had not
    been there.

    `has_room(length)` tells whether so many more bytes may be buffered.
    """

    def __init__(self, connection: yamux.Yamux, has_room: Callable[[int], bool]) -> None:
        self._connection = connection
        self._below = connection.secured_conn
        self._has_room = has_room
        self._buffer = bytearray()
        self._left = 0
        self.write = self._below.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)

    async def read(self, n: int | None = None) -> bytes:
        """The next n bytes of what the library is to see, or all that are left of a frame."""
        while not self._left:
            self._left = self._dispatch()
            if not self._left:
                self._buffer += await self._below.read(None)  # raises at the end of the connection
        wanted = self._left if n is None else min(n, self._left)
        while len(self._buffer) < wanted:
            self._buffer += await self._below.read(None)
        taken = bytes(self._buffer[:wanted])
        del self._buffer[:wanted]
        self._left -= wanted
        return taken

    def _dispatch(self) -> int:
        """Take ordinary frames off the buffer; how many bytes the library is to read after them."""
        buffer, at = self._buffer, 0
        streams, events = self._connection.streams, self._connection.stream_events
        for_library = 0
        while len(buffer) - at >= HEADER.size:
            _, kind, flags, identity, length = HEADER.unpack_from(buffer, at)
            stream = streams.get(identity)
            end = at + HEADER.size + length
            if (
                kind != yamux.TYPE_DATA
                or flags
                or stream is None
                or stream.closed
                or end > len(buffer)  # the library sees to it that the rest comes in time
                or length > stream.recv_window
                or not self._has_room(length)
            ):
                for_library = HEADER.size + (length if kind == yamux.TYPE_DATA else 0)
                break
            self._connection.stream_buffers[identity] += buffer[at + HEADER.size : end]
            stream.recv_window -= length
            events[identity].set()
            at = end
        del buffer[:at]
        return for_library


def apply_frame_deviations() -> None:
    """Put the functions above in place of the library's. Doing it twice is the same as once."""
    NoiseTransportReadWriter.read_msg = _read_message
    NoiseTransportReadWriter.write_msg = _write_message
    yamux.YamuxStream.read = _read_stream

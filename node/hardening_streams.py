"""Deviations from py-libp2p 0.8.1 below gossip: tasks, hosts, muxed connections.

Each class or function says what it replaces and why. `docs/upstream.md` has each as a report.
"""

import functools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import structlog
import trio

import node.hardening_import  # noqa: F401  comes before libp2p
from node.hardening_frames import PlainFrames

# isort: split
from libp2p.abc import IMuxedConn
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.host.basic_host import BasicHost
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.connection import swarm_connection
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer import muxer_multistream
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.stream_muxer.yamux import yamux
from libp2p.tools.anyio_service import trio_manager

log = structlog.get_logger(__name__)

STREAMS_PER_CONNECTION = 64
BUFFERED_PER_CONNECTION = 8 * 1024 * 1024
FINISH_SECONDS, OPEN_SECONDS = 1.0, 5.0


class GuardedHost(BasicHost):  # type: ignore[misc]
    """A host that no stream of a remote peer can bring down.

    Replaces: `BasicHost._swarm_stream_handler`. Reason: an exception in any inbound stream handler, the
    library's own included, runs up through the connection's nursery into the swarm's and ends the process.
    And the number of streams that one peer may hold open is not bounded: here beyond
    `STREAMS_PER_CONNECTION` at a time each further one is reset at once.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._open: Counter[int] = Counter()
        super().__init__(*arguments, **named)

    async def _swarm_stream_handler(self, net_stream: Any) -> None:
        connection = id(net_stream.muxed_conn)
        self._open[connection] += 1
        try:
            if self._open[connection] > STREAMS_PER_CONNECTION:
                await net_stream.reset()
                return
            await super()._swarm_stream_handler(net_stream)
        except Exception as error:
            log.debug("an inbound stream failed", peer=str(net_stream.muxed_conn.peer_id), error=repr(error))
            await _reset(net_stream)
        finally:
            self._open[connection] -= 1
            if not self._open[connection]:
                del self._open[connection]


async def _reset(stream: Any) -> None:
    with trio.move_on_after(1):
        try:
            await stream.reset()
        except Exception as error:
            log.debug("a stream could not be reset", error=repr(error))


class BoundedYamux(yamux.Yamux):  # type: ignore[misc]
    """A muxed connection with bounded memory.

    Replaces: `Yamux._read_data_body`, `Yamux._write_frame`. Reason: a peer that ignores its receive window
    is only warned about, and what it sends is buffered without bound; here a connection whose unread bytes
    exceed `BUFFERED_PER_CONNECTION` is closed. And each written frame is unpacked again and formatted for a
    debug line, wanted or not. A writer's cancellation is met between two frames: see `_write_whole`.
    """

    async def handle_incoming(self) -> None:
        """Read frames until the connection ends; what they mean is in `PlainFrames` and the library."""
        self.secured_conn = PlainFrames(self, self._has_room)
        await super().handle_incoming()

    def _has_room(self, length: int) -> bool:
        return length + sum(map(len, self.stream_buffers.values())) <= BUFFERED_PER_CONNECTION

    async def _read_data_body(self, length: int) -> bytes:
        if not self._has_room(length):
            log.warning("a peer ignores its receive window; the connection is closed", peer=str(self.peer_id))
            # The read loop closes the connection on exactly this error.
            raise trio.TooSlowError
        return cast(bytes, await super()._read_data_body(length))

    async def _write_frame(self, data: bytes) -> None:
        async with self._write_lock:
            await self.secured_conn.write(data)
        await trio.lowlevel.checkpoint_if_cancelled()


def _contained(work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(work)
    async def contained(*arguments: Any) -> None:
        try:
            await work(*arguments)
        except Exception as error:
            log.warning("a task of the library failed", task=work.__qualname__, error=repr(error))

    return contained


_run_task = trio_manager.TrioManager.run_task
_schedule_task = trio_manager.TrioManager._schedule_task


def _run_contained_task(
    manager: Any, work: Any, *arguments: Any, daemon: bool = False, name: str | None = None, _internal: bool = False
) -> None:
    """Run a task whose failure ends only itself.

    Replaces: `TrioManager.run_task` for all but a service's own main loop and its daemons. Reason: an
    exception in the task of one peer or one message cancels the whole service, and with it the node.
    """
    chosen = work if daemon or _internal else _contained(work)
    _run_task(manager, chosen, *arguments, daemon=daemon, name=name, _internal=_internal)


def _schedule_unless_closed(manager: Any, task: Any) -> None:
    """Drop a task that comes while the service ends.

    Replaces: `TrioManager._schedule_task`. Reason: under load, shutdown raises `Nursery is closed to new
    arrivals` out of whatever connection or stream is being handled at that moment.
    """
    try:
        _schedule_task(manager, task)
    except (RuntimeError, trio_manager.LifecycleError) as error:
        log.debug("a task came too late", task=str(task), error=repr(error))


async def _write_whole(stream: Any, data: bytes) -> None:
    """Write all of it, cancelled or not; whoever calls this meets the cancellation afterwards.

    Replaces: `TrioTCPStream.write`. Reason: what comes here was encrypted under the next number that the other end
    expects, and may be half of a frame. One task that is cancelled before or amid its bytes made the connection
    undecipherable for all streams on it. A cancelled write is given `FINISH_SECONDS`; if it is stuck even then, the
    connection ends.
    """
    async with stream.write_lock:
        socket = stream.stream.socket
        rest = memoryview(data)
        try:
            try:
                while rest:
                    rest = rest[await socket.send(rest) :]
            except trio.Cancelled:
                with trio.move_on_after(FINISH_SECONDS, shield=True):
                    while rest:
                        rest = rest[await socket.send(rest) :]
                if rest:
                    socket.close()
                    raise
        except (OSError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError(f"the TCP connection is closed: {error}", transport="tcp") from error


_stock_write = TrioTCPStream.write
_stock_new_stream = swarm_connection.SwarmConn.new_stream


async def _open_whole(connection: Any) -> Any:
    """Open a stream that somebody holds in the end.

    Replaces: `SwarmConn.new_stream`. Reason: whoever is cancelled while the stream is opened leaves one that nobody
    knows: it keeps one of 256 places here, and at the peer, which waits for the name of a protocol for ten seconds.
    """
    with trio.CancelScope(deadline=trio.current_time() + OPEN_SECONDS, shield=True):
        return await _stock_new_stream(connection)
    raise MuxedStreamError(f"no stream could be opened within {OPEN_SECONDS:g} s")


_stock_take_inbound = Swarm._do_handle_inbound_connection


async def _take_inbound(swarm: Any, stream: Any, place: Any, failure: Any) -> None:
    """Let a connection in, and hold its place until it ends.

    Replaces: `Swarm._do_handle_inbound_connection`. Reason: it waits until the swarm ends, and with it a place among as
    many as there may be connections, and a task: after so many inbound connections, ended or not, nobody is let in.
    """
    try:
        if isinstance(stream, IMuxedConn):
            connection = await swarm.add_conn(stream, direction="inbound")
            await connection.event_closed.wait()
        else:
            muxed = await swarm.upgrade_inbound_raw_conn(RawConnection(stream, False), place)
            await muxed.event_closed.wait()
    except Exception as error:
        log.debug("an inbound connection failed", error=repr(error))
        await stream.close()


_stock_remote_address = TrioTCPStream.get_remote_address


def _remote_address(stream: Any) -> tuple[str, int] | None:
    """The other end of a TCP connection, over IPv6 as well.

    Replaces: `TrioTCPStream.get_remote_address`. Reason: an IPv6 socket's name has four parts, and the original returns
    None for anything but two, so that nothing that depends on a peer's address works.
    """
    known: tuple[str, int] | None = _stock_remote_address(stream)
    if known is None:
        try:
            name = stream.stream.socket.getpeername()
        except OSError:
            return None
        stream._cached_remote_address = known = (str(name[0]), int(name[1]))
    return known


def forget_failed_dial(swarm: Swarm, peer: ID) -> None:
    """Allow the peer to be dialled now.

    Replaces: nothing; to be called before each dial. Reason: after one failed dial the swarm refuses
    further ones for 60 s (`_NegativePeerCache`), and it dials all addresses that it ever heard of rather
    than the one that is asked for.
    """
    swarm._negative_peer_cache.evict(str(peer))
    swarm.peerstore.clear_addrs(peer)


class NoAutoConnector(AutoConnector):  # type: ignore[misc]
    """Dials nobody.

    Replaces: `AutoConnector.maybe_connect`. Reason: whatever the marks are set to, the library dials every
    address that any peer ever named, until the count is halfway between them. Whom to dial is decided in
    `node.reach`.
    """

    async def maybe_connect(self) -> None:
        """Do nothing."""


def noise_only(key_pair: KeyPair) -> dict[Any, Any]:
    """The one secure transport on offer.

    Replaces: the default secure transports of `new_swarm`. Reason: besides Noise they offer TLS, SECIO and
    plaintext, in which anybody who dials may claim any peer id.
    """
    return {NOISE: NoiseTransport(key_pair, noise_privkey=create_new_x25519_key_pair().private_key)}


def apply_stream_deviations() -> None:
    """Put the functions above in place of the library's. Doing it twice is the same as once."""
    # The selector makes a plain Yamux whatever class it is configured with.
    muxer_multistream.Yamux = BoundedYamux
    # It logs each rejected message, reset stream and closed socket, in part as errors with tracebacks, and to standard
    # error: under attack that alone stalled a node for ten seconds. The project's own code logs what matters.
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    TrioTCPStream.get_remote_address = _remote_address
    TrioTCPStream.write = _write_whole
    swarm_connection.SwarmConn.new_stream = _open_whole
    Swarm._do_handle_inbound_connection = _take_inbound
    trio_manager.TrioManager.run_task = _run_contained_task
    trio_manager.TrioManager._schedule_task = _schedule_unless_closed
    # `logging.debug` of the module logging installs a handler on the root logger at its first call, so that every
    # library's warnings would appear on standard error; a logger has the same methods and no such effect.
    swarm_connection.logging = logging.getLogger("libp2p.network.connection")

"""Relaying for peers that cannot be dialled: circuit relay v2 (libp2p specs), the relay's side.

A peer behind NAT keeps a connection to the relay and a reservation there; whoever wants to reach it asks the relay for
a circuit, two streams whose bytes are copied. What travels is encrypted end to end: the relay sees who and how much.
Circuits are paced rather than cut off: a node keeps gossip on them for hours.

In place of py-libp2p 0.8.1's `CircuitV2Protocol`: see docs/upstream.md, "Relay".
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog
import trio

from node import circuit_wire as wire

# Before the first import of libp2p, which it mends.
from node.hardening import GuardedHost

# isort: split
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, Status, StopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as WirePeer
from multiaddr import Multiaddr

log = structlog.get_logger(__name__)

RESERVATION_SECONDS = 600
RESERVATIONS = 128
CIRCUITS, CIRCUITS_PER_PEER = 128, 16
CHUNK_BYTES = 32 * 1024
PACE_BYTES_PER_SECOND = 256 * 1024.0
BURST_BYTES = 1024 * 1024.0


class RelayService:
    """Answers reservations and circuits for one host.

    `addresses` names where the relay can be dialled; `direct(peer)` whether a peer is connected without a relay.
    """

    def __init__(self, host: GuardedHost, addresses: Callable[[], tuple[str, ...]], direct: Callable[[str], bool]):
        self.carried = 0
        self._host = host
        self._addresses = addresses
        self._direct = direct
        self._reservations: dict[str, float] = {}
        self._circuits: Counter[str] = Counter()
        host.set_stream_handler(wire.HOP, self._handle)

    @property
    def reserved(self) -> tuple[str, ...]:
        """The connected peers that can be reached through this relay."""
        now = trio.current_time()
        return tuple(peer for peer, until in self._reservations.items() if until > now and self._direct(peer))

    def forget(self, peer: str) -> None:
        """A peer left: its reservation ends with its connection."""
        self._reservations.pop(peer, None)

    async def _handle(self, stream: Any) -> None:
        """Answer the one message of a stream; a circuit lives as long as this does."""
        peer = str(stream.muxed_conn.peer_id)
        try:
            with trio.fail_after(wire.MESSAGE_SECONDS):
                message = await wire.receive(stream, HopMessage)
            if not self._direct(peer):
                await self._refuse(stream, Status.PERMISSION_DENIED)
            elif message.type == HopMessage.RESERVE:
                await self._reserve(stream, peer)
            elif message.type == HopMessage.CONNECT:
                await self._connect(stream, peer, str(ID(message.peer.id)))
            else:
                await self._refuse(stream, Status.MALFORMED_MESSAGE)
        except wire.CircuitFailed as error:
            log.debug("a relay's message was not understood", peer=peer, error=str(error))
            await self._refuse(stream, Status.MALFORMED_MESSAGE)
        except BaseException:
            await wire.reset(stream)
            raise

    async def _reserve(self, stream: Any, peer: str) -> None:
        if peer not in self._reservations and len(self.reserved) >= RESERVATIONS:
            await self._refuse(stream, Status.RESERVATION_REFUSED)
            return
        self._reservations[peer] = trio.current_time() + RESERVATION_SECONDS
        answer = wire.hop_status(Status.OK)
        answer.reservation.expire = int(time.time()) + RESERVATION_SECONDS
        answer.reservation.addrs.extend(Multiaddr(address).to_bytes() for address in self._addresses())
        await wire.send(stream, answer)
        await stream.close()

    async def _connect(self, stream: Any, caller: str, called: str) -> None:
        if called not in self.reserved or called == caller:
            await self._refuse(stream, Status.NO_RESERVATION)
            return
        most = max(self._circuits[caller], self._circuits[called])
        if self._circuits.total() >= 2 * CIRCUITS or most >= CIRCUITS_PER_PEER:
            await self._refuse(stream, Status.RESOURCE_LIMIT_EXCEEDED)
            return
        self._circuits.update((caller, called))
        try:
            with trio.fail_after(wire.MESSAGE_SECONDS):
                onward = await self._call(caller, called)
        except Exception as error:
            log.debug("a called peer did not answer", caller=caller, called=called, error=repr(error))
            await self._refuse(stream, Status.CONNECTION_FAILED)
        else:
            try:
                await wire.send(stream, wire.hop_status(Status.OK))
                await self._join(stream, onward)
            finally:
                await wire.reset(onward)
                await wire.reset(stream)
        finally:
            self._circuits.subtract((caller, called))
            self._circuits += Counter()

    async def _call(self, caller: str, called: str) -> Any:
        """A stream to the called peer that takes the call. Raises whatever goes wrong."""
        onward = await self._host.new_stream(ID.from_string(called), [wire.STOP])
        try:
            who = WirePeer(id=ID.from_string(caller).to_bytes())
            await wire.send(onward, StopMessage(type=StopMessage.CONNECT, peer=who))
            answer = await wire.receive(onward, StopMessage)
        except BaseException:
            await wire.reset(onward)
            raise
        if answer.type != StopMessage.STATUS or answer.status != Status.OK:
            await wire.reset(onward)
            raise wire.CircuitFailed(f"{called} takes no call", answer.status)
        return onward

    async def _join(self, one: Any, other: Any) -> None:
        """Copy in both directions until both have ended, or one breaks off."""
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._copy, one, other, scope)
                nursery.start_soon(self._copy, other, one, scope)

    async def _copy(self, source: Any, sink: Any, scope: trio.CancelScope) -> None:
        credit, at = BURST_BYTES, trio.current_time()
        try:
            while chunk := await source.read(CHUNK_BYTES):
                now = trio.current_time()
                credit = min(BURST_BYTES, credit + (now - at) * PACE_BYTES_PER_SECOND) - len(chunk)
                at = now
                if credit < 0:
                    await trio.sleep(-credit / PACE_BYTES_PER_SECOND)
                await sink.write(chunk)
                self.carried += len(chunk)
        except StreamEOF:
            pass
        except Exception as error:
            log.debug("a circuit broke", error=repr(error))
            scope.cancel()
            return
        try:
            await sink.close_write()
        except Exception as error:
            log.debug("a circuit could not be half closed", error=repr(error))
            scope.cancel()

    async def _refuse(self, stream: Any, status: "Status.ValueType") -> None:
        try:
            with trio.fail_after(wire.CLOSE_SECONDS):
                await wire.send(stream, wire.hop_status(status))
                await stream.close()
        except Exception as error:
            log.debug("a refusal was not heard", error=repr(error))

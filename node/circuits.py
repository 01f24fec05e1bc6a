"""Being reached through a relay, and reaching others so: circuit relay v2 (libp2p specs), the client's side."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
import trio

from node import circuit_wire as wire

# Before the first import of libp2p, which it mends.
from node.hardening import GuardedHost

# isort: split
from libp2p.abc import ConnectionType
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, Status, StopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as WirePeer
from multiaddr import Multiaddr

log = structlog.get_logger(__name__)

SHORTEST_RESERVATION, LONGEST_RESERVATION = 60.0, 3600.0
CALLS = 8
DIAL_SECONDS, UPGRADE_SECONDS = 20.0, 10.0
WRITE_SECONDS = 10.0


class CircuitConnection(RawConnection):  # type: ignore[misc]
    """A stream through a relay in the place of a socket; `place` is the circuit's address without the peer.

    As over a socket, what is written goes whole, or the connection ends: it was encrypted under the next number.
    """

    def __init__(self, stream: Any, place: str, *, outbound: bool) -> None:
        super().__init__(stream, outbound, ConnectionType.RELAYED, [Multiaddr(place)])

    async def write(self, data: bytes) -> None:
        """Write all of it, cancelled or not, within `WRITE_SECONDS`. Raises `RawConnError`, `ConnectionClosedError`."""
        with trio.move_on_after(WRITE_SECONDS, shield=True) as scope:
            await super().write(data)
        if scope.cancelled_caught:
            await wire.reset(self.stream)
            raise ConnectionClosedError(f"the circuit took nothing for {WRITE_SECONDS:g} s")


class Circuits:
    """Reserves, dials and takes calls for one host.

    `place_of(peer)` is where a directly connected peer is, without its id; None if it is not connected directly.
    """

    def __init__(self, host: GuardedHost, place_of: Callable[[str], str | None]) -> None:
        self._host = host
        self._place_of = place_of
        self._reserved: dict[str, float] = {}
        self._calls = 0
        host.set_stream_handler(wire.STOP, self._take_call)

    @property
    def relays(self) -> tuple[str, ...]:
        """The connected peers that relay for this node now."""
        now = trio.current_time()
        return tuple(peer for peer, until in self._reserved.items() if until > now and self._place_of(peer))

    def forget(self, relay: str) -> None:
        """A peer left: its reservation ends with its connection."""
        self._reserved.pop(relay, None)

    async def reserve(self, relay: str) -> float:
        """Be reachable through a connected peer; for how many seconds. Raises `CircuitFailed`."""
        stream = await self._hop(relay)
        async with _breaking_off(stream, f"{relay} did not answer", wire.MESSAGE_SECONDS):
            await wire.send(stream, HopMessage(type=HopMessage.RESERVE))
            answer = await wire.receive(stream, HopMessage)
            await stream.close()
        if answer.type != HopMessage.STATUS or answer.status != Status.OK:
            raise wire.CircuitFailed(f"{relay} grants no reservation.", answer.status)
        left = float(answer.reservation.expire) - time.time()
        seconds = min(max(left, SHORTEST_RESERVATION), LONGEST_RESERVATION)
        self._reserved[relay] = trio.current_time() + seconds
        return seconds

    async def dial(self, relay: str, peer: str) -> None:
        """Connect to a peer that holds a reservation with a connected relay. Raises `CircuitFailed`."""
        place = self._circuit_place(relay)
        stream = await self._hop(relay)
        async with _breaking_off(stream, f"no circuit to {peer} through {relay}", DIAL_SECONDS):
            who = WirePeer(id=ID.from_string(peer).to_bytes())
            await wire.send(stream, HopMessage(type=HopMessage.CONNECT, peer=who))
            answer = await wire.receive(stream, HopMessage)
            if answer.type != HopMessage.STATUS or answer.status != Status.OK:
                raise wire.CircuitFailed(f"{relay} makes no circuit to {peer}.", answer.status)
            connection = CircuitConnection(stream, place, outbound=True)
            await self._host.upgrade_outbound_connection(connection, ID.from_string(peer))

    def _circuit_place(self, relay: str) -> str:
        place = self._place_of(relay)
        if place is None:
            raise wire.CircuitFailed(f"there is no direct connection to {relay}.")
        return f"{place}/p2p/{relay}/p2p-circuit"

    async def _hop(self, relay: str) -> Any:
        if self._place_of(relay) is None:
            raise wire.CircuitFailed(f"there is no direct connection to {relay}.")
        try:
            with trio.fail_after(wire.MESSAGE_SECONDS):
                return await self._host.new_stream(ID.from_string(relay), [wire.HOP])
        except Exception as error:
            raise wire.CircuitFailed(f"{relay} does not relay.") from error

    async def _take_call(self, stream: Any) -> None:
        """A relay hands over a caller. Who it really is, the handshake over the circuit shows."""
        relay = str(stream.muxed_conn.peer_id)
        try:
            with trio.fail_after(wire.MESSAGE_SECONDS):
                message = await wire.receive(stream, StopMessage)
            if message.type != StopMessage.CONNECT or relay not in self.relays or self._calls >= CALLS:
                await wire.send(stream, wire.stop_status(Status.PERMISSION_DENIED))
                await stream.close()
                return
            place = self._circuit_place(relay)
            self._calls += 1
            try:
                await wire.send(stream, wire.stop_status(Status.OK))
                with trio.fail_after(UPGRADE_SECONDS):
                    connection = CircuitConnection(stream, place, outbound=False)
                    await self._host.upgrade_inbound_connection(connection, Multiaddr(place))
            finally:
                self._calls -= 1
        except BaseException as error:
            await wire.reset(stream)
            if not isinstance(error, Exception):
                raise
            log.debug("a call through a relay failed", relay=relay, error=repr(error))


@asynccontextmanager
async def _breaking_off(stream: Any, sentence: str, seconds: float) -> AsyncIterator[None]:
    """Whatever goes wrong inside, slowness too, resets the stream; what the other side did is a `CircuitFailed`."""
    try:
        with trio.fail_after(seconds):
            yield
    except wire.CircuitFailed:
        await wire.reset(stream)
        raise
    except Exception as error:
        await wire.reset(stream)
        raise wire.CircuitFailed(f"{sentence}.") from error
    except BaseException:
        await wire.reset(stream)
        raise

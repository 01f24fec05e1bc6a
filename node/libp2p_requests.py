"""One request and one response, each framed, on a stream of its own."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog
import trio

from node.allowances import Pace
from node.framing import TooLong, read_body, write_body, write_refusal

# Before the first import of libp2p, which it mends.
from node.hardening import GuardedHost
from node.network import (
    HANDLERS,
    REQUEST_MAXIMUM,
    REQUESTS_PER_PEER,
    RESPONSE_MAXIMUM,
    Handler,
    Reason,
    RequestFailed,
)

# isort: split
from libp2p.peer.id import ID

log = structlog.get_logger(__name__)

READ_SECONDS = 10.0
SERVE_SECONDS = 60.0
CLOSE_SECONDS = 1.0
REQUESTS_A_SECOND, REQUESTS_AT_ONCE = 50.0, 500.0
"""How often one peer is answered. Who asks more often waits, in its own places: others are answered meanwhile."""


class Requests:
    """Asks and answers for one host."""

    def __init__(self, host: GuardedHost, connected: Callable[[str], bool]) -> None:
        self.requested = 0
        self.served = 0
        self._host = host
        self._connected = connected
        self._protocols: set[str] = set()
        self._handling: Counter[str] = Counter()
        self._running = 0
        self._paces: dict[str, Pace] = {}
        self._limits: dict[str, trio.CapacityLimiter] = {}

    async def ask(self, peer: str, protocol: str, body: bytes, seconds: float) -> bytes:
        """See `Network.request`."""
        if len(body) > REQUEST_MAXIMUM:
            raise ValueError(f"a request of {len(body)} bytes is longer than {REQUEST_MAXIMUM}")
        with trio.move_on_after(seconds):
            async with self._limits.setdefault(peer, trio.CapacityLimiter(REQUESTS_PER_PEER)):
                return await self._exchange(peer, protocol, body)
        raise RequestFailed(Reason.TIMED_OUT, f"{peer} did not answer {protocol} in {seconds:g} s.")

    def serve(self, protocol: str, handler: Handler) -> None:
        """See `Network.serve`."""
        if protocol in self._protocols:
            raise ValueError(f"{protocol} is served already")
        self._protocols.add(protocol)

        async def handle(stream: Any) -> None:
            await self._handle(stream, protocol, handler)

        self._host.set_stream_handler(protocol, handle)

    def forget(self, peer: str) -> None:
        """A peer left."""
        self._paces.pop(peer, None)
        limit = self._limits.get(peer)
        if limit is not None and not limit.borrowed_tokens:
            del self._limits[peer]

    async def _exchange(self, peer: str, protocol: str, body: bytes) -> bytes:
        if not self._connected(peer):
            raise RequestFailed(Reason.NOT_CONNECTED, f"there is no connection to {peer}.")
        self.requested += 1
        try:
            stream = await self._host.new_stream(ID.from_string(peer), [protocol])
        except Exception as error:
            if "not supported" in str(error.__cause__):
                raise RequestFailed(Reason.UNSUPPORTED, f"{peer} does not speak {protocol}.") from error
            raise RequestFailed(Reason.RESET, f"{peer} took no stream for {protocol}.") from error
        try:
            await write_body(stream, body)
            response = await read_body(stream, RESPONSE_MAXIMUM)
            await stream.close()
        except TooLong as error:
            await _reset(stream)
            raise RequestFailed(Reason.TOO_LARGE, f"{peer} answers with over {RESPONSE_MAXIMUM} bytes.") from error
        except Exception as error:
            await _reset(stream)
            raise RequestFailed(Reason.RESET, f"{peer} broke off {protocol}.") from error
        except BaseException:
            await _reset(stream)
            raise
        return response

    async def _handle(self, stream: Any, protocol: str, handler: Handler) -> None:
        """Answer on one inbound stream; whatever goes wrong ends that stream and no more."""
        peer = str(stream.muxed_conn.peer_id)
        if self._handling[peer] >= REQUESTS_PER_PEER:
            await _reset(stream)
            return
        self._handling[peer] += 1
        try:
            with trio.fail_after(SERVE_SECONDS):
                await self._paces.setdefault(peer, Pace(REQUESTS_A_SECOND, REQUESTS_AT_ONCE)).keep()
                await self._answer_if_free(stream, peer, handler)
        except Exception as error:
            log.warning("a request was not answered", peer=peer, protocol=protocol, error=repr(error))
            await _reset(stream)
        except BaseException:
            await _reset(stream)
            raise
        finally:
            self._handling[peer] -= 1
            if not self._handling[peer]:
                del self._handling[peer]

    async def _answer_if_free(self, stream: Any, peer: str, handler: Handler) -> None:
        if self._running >= HANDLERS:
            await _reset(stream)
            return
        self._running += 1
        try:
            await self._answer(stream, peer, handler)
        finally:
            self._running -= 1

    async def _answer(self, stream: Any, peer: str, handler: Handler) -> None:
        with trio.fail_after(READ_SECONDS):
            body = await read_body(stream, REQUEST_MAXIMUM)
        response = await handler(peer, body)
        if len(response) > RESPONSE_MAXIMUM:
            log.error("a handler's response is too long", length=len(response), maximum=RESPONSE_MAXIMUM)
            await write_refusal(stream)
        else:
            self.served += 1
            await write_body(stream, response)
        await stream.close()


async def _reset(stream: Any) -> None:
    with trio.move_on_after(CLOSE_SECONDS, shield=True):
        try:
            await stream.reset()
        except Exception as error:
            log.debug("a stream could not be reset", error=repr(error))

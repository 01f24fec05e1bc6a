"""Requests and responses of one in-memory network: what `node.libp2p_requests` is over libp2p."""

from collections import Counter
from collections.abc import Callable
from typing import Self

import structlog
import trio

from node.network import (
    HANDLERS,
    REQUEST_MAXIMUM,
    REQUESTS_PER_PEER,
    RESPONSE_MAXIMUM,
    Handler,
    Reason,
    RequestFailed,
)

log = structlog.get_logger(__name__)

Send = Callable[[str, str, Callable[[], None]], None]


class _Exchange:
    """One request under way: who takes part, and how it ended."""

    def __init__(self, client: str, server: str) -> None:
        self.ends = frozenset((client, server))
        self.done = trio.Event()
        self.outcome: bytes | RequestFailed | None = None

    def finish(self, outcome: bytes | RequestFailed) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self.done.set()


class MemoryRequests:
    """Asks and answers for the network named `name`.

    `find` gives another network's requests; `send(sender, receiver, arrive)` lets something travel between two.
    """

    def __init__(
        self,
        name: str,
        connected: Callable[[str], bool],
        find: Callable[[str], Self | None],
        send: Send,
        nursery: trio.Nursery,
    ) -> None:
        self.requested = 0
        self.served = 0
        self._name = name
        self._connected = connected
        self._find = find
        self._send = send
        self._nursery = nursery
        self._handlers: dict[str, Handler] = {}
        self._handling: Counter[str] = Counter()
        self._limits: dict[str, trio.CapacityLimiter] = {}
        self._exchanges: list[_Exchange] = []

    async def ask(self, peer: str, protocol: str, body: bytes, seconds: float) -> bytes:
        """See `Network.request`."""
        if len(body) > REQUEST_MAXIMUM:
            raise ValueError(f"a request of {len(body)} bytes is longer than the {REQUEST_MAXIMUM} that travel")
        exchange = _Exchange(self._name, peer)
        with trio.move_on_after(seconds):
            async with self._limits.setdefault(peer, trio.CapacityLimiter(REQUESTS_PER_PEER)):
                server = self._find(peer)
                if server is None or not self._connected(peer):
                    raise RequestFailed(Reason.NOT_CONNECTED, f"there is no connection to {peer}.")
                self.requested += 1
                self._exchanges.append(exchange)
                self._send(self._name, peer, lambda: server._arrived(self._name, protocol, body, exchange))
                try:
                    await exchange.done.wait()
                finally:
                    self._exchanges.remove(exchange)
        if isinstance(exchange.outcome, bytes):
            return exchange.outcome
        raise exchange.outcome or RequestFailed(Reason.TIMED_OUT, f"{peer} did not answer {protocol} in {seconds:g} s.")

    def serve(self, protocol: str, handler: Handler) -> None:
        """See `Network.serve`."""
        if protocol in self._handlers:
            raise ValueError(f"{protocol} is served already")
        self._handlers[protocol] = handler

    def break_off(self, peer: str) -> None:
        """The connection to a peer ended, and with it what was asked of it."""
        for exchange in self._exchanges:
            if exchange.ends == {self._name, peer}:
                exchange.finish(RequestFailed(Reason.RESET, f"the connection to {peer} ended."))

    def _arrived(self, client: str, protocol: str, body: bytes, exchange: _Exchange) -> None:
        """A request came in: answer it in a task of its own, or refuse it."""
        if not self._connected(client):
            return
        handler = self._handlers.get(protocol)
        if handler is None:
            refusal = RequestFailed(Reason.UNSUPPORTED, f"{self._name} does not speak {protocol}.")
            self._send(self._name, client, lambda: exchange.finish(refusal))
            return
        if self._handling[client] >= REQUESTS_PER_PEER or self._handling.total() >= HANDLERS:
            self._send(self._name, client, lambda: exchange.finish(self._reset(protocol)))
            return
        self._handling[client] += 1
        self._nursery.start_soon(self._handle, handler, client, protocol, body, exchange)

    async def _handle(self, handler: Handler, client: str, protocol: str, body: bytes, exchange: _Exchange) -> None:
        outcome: bytes | RequestFailed
        try:
            outcome = await handler(client, body)
            self.served += 1
        except Exception:
            log.exception("a request handler failed; the stream is reset", protocol=protocol)
            outcome = self._reset(protocol)
        finally:
            self._handling[client] -= 1
            if not self._handling[client]:
                del self._handling[client]
        if isinstance(outcome, bytes) and len(outcome) > RESPONSE_MAXIMUM:
            outcome = RequestFailed(Reason.TOO_LARGE, f"the response of {self._name} is over {RESPONSE_MAXIMUM} bytes.")
        self._send(self._name, client, lambda: exchange.finish(outcome))

    def _reset(self, protocol: str) -> RequestFailed:
        return RequestFailed(Reason.RESET, f"{self._name} broke off {protocol}.")

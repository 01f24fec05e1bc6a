"""Listening to a daemon: one event stream, a snapshot beside it, and patience when nobody answers.

A session opens `/v1/events` first and fetches everything then, so nothing falls between the two. It ends
when the stream ends, stays silent or has a gap; then everything begins anew, after a gap at once, else
with growing pauses. What is shown meanwhile is what was known.
"""

import asyncio
import time
from collections.abc import Callable

import httpx

from tui.answers import Board, Peer, Peers, Status, Tasks, Verdicts
from tui.link import LOST_AFTER, PROBE_AFTER, Instant, Trouble, wait_before
from tui.source import Show
from tui.view import (
    BoardAsked,
    BoardTold,
    Delta,
    Dropped,
    Event,
    Heard,
    Opened,
    PeersTold,
    Snapshot,
    StatusTold,
    View,
    reduce,
)
from tui.wire import DeniedError, LostError, Wire

BOARD_EVERY = 1.0
PEERS_EVERY = 10.0
AFTER_GAP = 1.0
"""Least seconds between two beginnings: a daemon that counts badly is not asked for everything in a tight loop."""

Locate = Callable[[], tuple[str, str | None]]


class GapError(Exception):
    """A delta is missing."""


class Connection:
    """The control API at `url` as a source of views.

    `locate` gives address and token anew before each session, for daemons that come back at another port.
    `transport` takes the place of the network.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        locate: Locate | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.view = View()
        self._place = (url, token)
        self._locate = locate
        self._transport = transport
        self._show: Show = lambda _view: None
        self._wire: Wire | None = None
        self._complete = False
        self._hurry = asyncio.Event()
        self._due = asyncio.Event()

    async def run(self, show: Show) -> None:
        """Listen until cancelled."""
        self._show = show
        attempt = 0
        while True:
            began = _now().steady
            self._complete = False
            try:
                await self._session()
            except GapError:
                await asyncio.sleep(max(0.0, began + AFTER_GAP - _now().steady))
            except LostError as lost:
                attempt = 1 if self._complete else attempt + 1
                pause = wait_before(attempt)
                self._apply(Dropped(lost.trouble, lost.detail, _now().steady + pause))
                await self._pause(pause)

    async def command(self, path: str) -> str | None:
        """POST; the status that comes back is shown at once."""
        if self._wire is None or not self.view.link.connected:
            return "There is no connection to the daemon."
        try:
            status, cautions = await self._wire.ask(path, Status, method="POST")
        except LostError as lost:
            return lost.detail or "The daemon did not answer."
        except DeniedError as denied:
            return denied.sentence
        self._apply(StatusTold(_now(), status, cautions))
        return None

    def retry(self) -> None:
        """Try at once."""
        self._hurry.set()

    def _apply(self, event: Event) -> None:
        self.view = reduce(event, self.view)
        if self.view.board_due:
            self._due.set()
        self._show(self.view)

    async def _pause(self, seconds: float) -> None:
        self._hurry.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return

    async def _session(self) -> None:
        """From opening the stream to its end: raises `GapError` or `LostError`."""
        if self._locate is not None:
            self._place = self._locate()
        wire = Wire(*self._place, self._transport)
        async with wire.client:
            try:
                async with wire.events() as events:
                    self._wire = wire
                    self._apply(Opened(_now()))
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._keep_up(wire))
                        group.create_task(self._watch_silence(wire))
                        async for event in events:
                            self._apply(Heard(_now()) if event is None else Delta(_now(), *event))
                            if self.view.gap:
                                raise GapError
            except ExceptionGroup as group:
                raise _ending(group) from None
            finally:
                self._wire = None

    async def _watch_silence(self, wire: Wire) -> None:
        """Ask a quiet daemon whether it is there; give up one that does not answer."""
        while True:
            heard = self.view.link.heard
            silent = 0.0 if heard is None else _now().steady - heard.steady
            if silent >= LOST_AFTER:
                raise LostError(Trouble.SILENT)
            if silent < PROBE_AFTER:
                await asyncio.sleep(PROBE_AFTER - silent)
                continue
            try:
                status, cautions = await wire.ask("/v1/status", Status)
                self._apply(StatusTold(_now(), status, cautions))
            except DeniedError as denied:
                raise LostError(Trouble.STRANGE, denied.sentence) from denied
            except LostError as lost:
                if lost.trouble is not Trouble.SILENT:
                    raise

    async def _keep_up(self, wire: Wire) -> None:
        """Everything once, then the board when it changed and the peers now and then."""
        try:
            await self._fetch_all(wire)
            self._complete = True
            while True:
                self._due.clear()
                if not self.view.board_due:
                    try:
                        async with asyncio.timeout(PEERS_EVERY):
                            await self._due.wait()
                    except TimeoutError:
                        self._apply(PeersTold(_now(), await self._peers(wire)))
                        continue
                self._apply(BoardAsked())
                board, verdicts = await _board(wire)
                self._apply(BoardTold(_now(), board, verdicts.verdicts))
                await asyncio.sleep(BOARD_EVERY)
        except DeniedError as denied:
            raise LostError(Trouble.STRANGE, denied.sentence) from denied

    async def _fetch_all(self, wire: Wire) -> None:
        since = self.view.sequence
        self._apply(BoardAsked())
        status, cautions = await wire.ask("/v1/status", Status)
        tasks, _ = await wire.ask("/v1/tasks", Tasks)
        board, verdicts = await _board(wire)
        # Only now is it known whose answers these are.
        self._apply(Snapshot(_now(), since, status, cautions, tasks, board, verdicts.verdicts, None))
        self._apply(PeersTold(_now(), await self._peers(wire)))

    async def _peers(self, wire: Wire) -> tuple[Peer, ...] | None:
        """The neighbours; the bootstrap does not tell them."""
        if not self.view.is_node:
            return None
        try:
            peers, _ = await wire.ask("/v1/peers", Peers)
        except DeniedError:
            return None
        return peers.peers


async def _board(wire: Wire) -> tuple[Board, Verdicts]:
    try:
        board, _ = await wire.ask("/v1/leaderboard?live=1", Board)
    except DeniedError:
        # Whoever has no overlay still has the last closed epoch.
        board, _ = await wire.ask("/v1/leaderboard", Board)
    try:
        verdicts, _ = await wire.ask("/v1/results?epochs=3", Verdicts)
    except DeniedError:
        verdicts = Verdicts()
    return board, verdicts


def _now() -> Instant:
    return Instant(asyncio.get_running_loop().time(), time.time())


def _ending(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended a session of several tasks: a defect before a gap before a loss."""
    leaves: list[BaseException] = []
    rest: list[BaseException] = [group]
    while rest:
        error = rest.pop(0)
        if isinstance(error, BaseExceptionGroup):
            rest.extend(error.exceptions)
        else:
            leaves.append(error)
    return min(leaves, key=lambda error: (isinstance(error, LostError), isinstance(error, GapError)))

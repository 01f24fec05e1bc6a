"""Whether this machine's clock is right, by what the others' clocks say.

No rule reads a clock, but schedules do: who is late seals and reveals when nobody counts it any more. Every node
answers `/peerboard/clock/1` with its time. What counts is the median of a few peers', those that this node dialled and
the bootstraps before others: a liar can cause a false warning only together with most of them, and nothing but a
warning.
"""

import random
import struct
from collections.abc import Callable, Iterable
from statistics import median_low
from typing import Any

import structlog
import trio

from node.bulletin import Bulletin, Level
from node.clock import Clock
from node.network import Network, Peer, RequestFailed

CLOCK = "/peerboard/clock/1"
ASKED = 7
ANSWER_SECONDS = 5.0
LONGEST_ROUND_TRIP = 2.0
OFF_SECONDS = 10.0
AGAIN_SECONDS, SOON_SECONDS = 600.0, 30.0
LATEST = 1 << 40
"""Unix time far beyond any clock, in seconds."""

_MILLISECONDS = struct.Struct(">Q")
log = structlog.get_logger(__name__)


class ClockCheck:
    """Compares one node's clock with its peers'; answers them from the moment it is made.

    `off`: by how many seconds this clock is behind (negative: ahead), None before anybody was asked. `tolerance` in
    seconds: beyond it the owner is told.
    """

    def __init__(
        self,
        network: Network,
        clock: Clock,
        bulletin: Bulletin,
        *,
        tolerance: float = OFF_SECONDS,
        trusted: Iterable[str] = (),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.off: float | None = None
        self.asked = 0
        self._network = network
        self._clock = clock
        self._bulletin = bulletin
        self._tolerance = min(tolerance, OFF_SECONDS)
        self._trusted = frozenset(trusted)
        self._chance = chance
        self._told = False
        network.serve(CLOCK, self._answer)

    async def run(self) -> None:
        """Compare now, soon again while there is nobody or it is off, and every ten minutes."""
        while True:
            offsets: list[float] = []
            async with trio.open_nursery() as nursery:
                for peer in self._chosen():
                    nursery.start_soon(self._ask, peer.peer, offsets)
            self._conclude(offsets)
            pause = AGAIN_SECONDS if offsets and not self.wrong else SOON_SECONDS
            await trio.sleep(pause * (0.75 + self._chance() / 2))

    @property
    def wrong(self) -> bool:
        """Whether the clock is off by more than the tolerance."""
        return self.off is not None and abs(self.off) > self._tolerance

    def warnings(self) -> list[dict[str, Any]]:
        """What a person should look at now."""
        if not self.wrong:
            return []
        remedy = "Set the clock: timedatectl set-ntp true"
        return [{"code": "CLOCK_OFF", "severity": "warn", "title": self._sentence(), "remedy": remedy}]

    def _sentence(self) -> str:
        off = self.off or 0.0
        side = "behind" if off > 0 else "ahead of"
        others = "a peer's" if self.asked == 1 else f"those of {self.asked} peers"
        return f"This machine's clock is {abs(off):,.0f} s {side} {others}: work comes at the wrong time."

    def _chosen(self) -> list[Peer]:
        """Bootstraps, then peers that this node dialled, then others: an attacker can fill the places that are open."""
        peers = sorted(self._network.peers(), key=lambda _: self._chance())
        peers.sort(key=lambda peer: (peer.peer not in self._trusted, not peer.outbound))
        return peers[:ASKED]

    async def _ask(self, peer: str, offsets: list[float]) -> None:
        before = trio.current_time()
        try:
            answer = await self._network.request(peer, CLOCK, b"", timeout=ANSWER_SECONDS)
            theirs = _MILLISECONDS.unpack(answer)[0] / 1000
        except (RequestFailed, struct.error) as error:
            log.debug("a peer does not tell the time", peer=peer, reason=str(error))
            return
        taken = trio.current_time() - before
        if taken <= LONGEST_ROUND_TRIP and theirs < LATEST:
            offsets.append(theirs - (self._clock.now() - taken / 2))

    def _conclude(self, offsets: list[float]) -> None:
        if not offsets:
            return
        self.off, self.asked = median_low(offsets), len(offsets)
        if self.wrong and not self._told:
            self._bulletin.tell(Level.WARN, "CLOCK_OFF", self._sentence(), off=self.off)
        elif self._told and not self.wrong:
            self._bulletin.tell(Level.OK, "CLOCK_RIGHT", "This machine's clock agrees with its peers' again.")
        self._told = self.wrong

    async def _answer(self, peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return _MILLISECONDS.pack(int(max(0.0, self._clock.now()) * 1000))

"""Peers that were reached before, kept in a file: a node that comes back finds the network without the bootstrap."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import structlog
import trio
from msgspec import Meta, Struct

from node.addresses import LENGTH_MAXIMUM, parse
from node.durable import write_durably
from node.network import Network
from node.offload import offload
from node.reach import Reach

KEPT = 64
OLDEST_SECONDS = 30 * 86_400.0
WRITE_SECONDS = 60.0
SUGGEST_SECONDS = 120.0
FILE_BYTES = 64 * 1024

log = structlog.get_logger(__name__)


class Known(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a peer was reached, and when last (Unix time)."""

    address: Annotated[str, Meta(max_length=LENGTH_MAXIMUM)]
    seen: Annotated[float, Meta(ge=0)]


_decoder = msgspec.json.Decoder(list[Known])


class KnownPeers:
    """The file of one node: at most `KEPT` peers, the latest first, none that was not reached for a month."""

    def __init__(self, file: Path, network: Network, reach: Reach, now: Callable[[], float] = time.time) -> None:
        self._file = file
        self._network = network
        self._reach = reach
        self._now = now
        self._known: dict[str, Known] = {}

    async def run(self) -> None:
        """Suggest the known peers while some are missing, and keep the file up to date; for ever."""
        self._known = await offload(self._read)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._suggest)
            await self._keep()

    async def _suggest(self) -> None:
        while True:
            self._reach.suggest([known.address for known in self._known.values()])
            await trio.sleep(SUGGEST_SECONDS)

    async def _keep(self) -> None:
        """Write soon after peers came or went, and not more often than once a minute."""
        async with self._network.changes() as changes:
            while True:
                await changes.receive()
                await trio.sleep(WRITE_SECONDS / 12)
                await self._note()
                await trio.sleep(WRITE_SECONDS)

    async def _note(self) -> None:
        now = self._now()
        reached = [parse(text) for text in self._reach.known()]
        fresh = {address.peer: Known(address.text, now) for address in reached if address and not address.relay}
        known = self._bounded({**self._known, **fresh})
        if known != self._known:
            self._known = known
            content = msgspec.json.format(msgspec.json.encode(list(known.values())), indent=1)
            await offload(partial(self._write, content))

    def _write(self, content: bytes) -> None:
        write_durably(self._file, content, private=True)  # where others are is nobody's business

    def _read(self) -> dict[str, Known]:
        """What the file holds; nothing if it cannot be read: it is a help, no more."""
        try:
            with self._file.open("rb") as stream:
                found = _decoder.decode(stream.read(FILE_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("the known peers cannot be read; others are found", file=str(self._file), reason=str(error))
            return {}
        parsed = ((parse(known.address), known) for known in found)
        return self._bounded({address.peer: known for address, known in parsed if address and not address.relay})

    def _bounded(self, known: dict[str, Known]) -> dict[str, Known]:
        oldest = self._now() - OLDEST_SECONDS
        latest = sorted(known.items(), key=lambda item: item[1].seen, reverse=True)
        return {peer: each for peer, each in latest[:KEPT] if each.seen >= oldest}

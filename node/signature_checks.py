"""Checking many signatures beside everything else: processes that do nothing else.

A thread would not do. libsodium works without the interpreter's lock, but comes back for it after each signature, and
then waits for whoever holds it: two busy threads together check hardly more than one.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
import trio
from trio.abc import ReceiveStream, SendStream

from node.offload import inline
from node.signature_process import ANSWER, HEAD

MOST_PROCESSES = 2
"""What one process that fetches, decodes, stores and folds can keep busy."""
BUNDLES_AHEAD = 2
"""How many each is given at once, so that it never waits for the loop."""

log = structlog.get_logger(__name__)


class SignatureChecks:
    """Some processes, each with so many places for bundles."""

    def __init__(self, checkers: "list[_Checker]") -> None:
        self._taken, self._free = trio.open_memory_channel["_Checker"](max(1, len(checkers) * BUNDLES_AHEAD))
        for checker in checkers * BUNDLES_AHEAD:
            self._taken.send_nowait(checker)
        self._none = not checkers

    async def well_signed(self, bundle: bytes, width: int) -> int:
        """How many of the first of a bundle's `width` entries are known to be well signed.

        The others are for the caller to look at: one that is not, or all where no process could say.
        """
        if self._none:
            return 0
        checker = await self._free.receive()
        try:
            return await checker.ask(bundle, width)
        finally:
            self._taken.send_nowait(checker)


class _Checker:
    """One process."""

    def __init__(self, asked: SendStream, told: ReceiveStream) -> None:
        self._asked, self._told = asked, told
        self._asking, self._hearing = trio.Lock(), trio.Lock()
        self._broken = False

    async def ask(self, bundle: bytes, width: int) -> int:
        if self._broken:
            return 0
        try:
            async with self._asking:
                await self._asked.send_all(HEAD.pack(len(bundle), width) + bundle)
            async with self._hearing:  # locks are given in the order in which they are asked for
                return 0 if self._broken else min(await self._hear(), width)
        except trio.BrokenResourceError:
            log.warning("a process that checks signatures has ended; they are checked without it")
            self._broken = True
            return 0
        except BaseException:
            self._broken = True  # which answer belongs to which question is not known any more
            raise

    async def _hear(self) -> int:
        answer = b""
        while len(answer) < ANSWER.size:
            told = await self._told.receive_some(ANSWER.size - len(answer))
            if not told:
                raise trio.BrokenResourceError
            answer += told
        return int(ANSWER.unpack(answer)[0])


@asynccontextmanager
async def open_signature_checks(network: bytes) -> AsyncIterator[SignatureChecks]:
    """Processes for envelopes of a network, as many as there are cores and use for them; they end with the context."""
    async with AsyncExitStack() as stack:
        count = 0 if inline.get() else min(MOST_PROCESSES, os.cpu_count() or 1)
        checkers = []
        try:
            for _ in range(count):
                checkers.append(await stack.enter_async_context(_open_checker(network)))
        except OSError as error:
            log.warning("a process that checks signatures cannot be started", error=str(error))
        yield SignatureChecks(checkers)


@asynccontextmanager
async def _open_checker(network: bytes) -> AsyncIterator[_Checker]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-I", "-m", "node.signature_process", network.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    if process.stdin is None or process.stdout is None:
        raise OSError("a process has no pipes")
    try:
        yield _Checker(process.stdin, process.stdout)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdin.aclose()
            await process.stdout.aclose()

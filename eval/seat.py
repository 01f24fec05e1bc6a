"""A node's hold on its launcher and on the child that the launcher has started: sockets, pipes, and their end."""

import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import trio

from eval import bubblewrap
from eval.frames import LENGTH_BYTES, FrameTooLarge, pack, payload_length
from eval.sandbox import launch_command
from eval.seating import SeatEnded, SeatRequest, rights

KEPT_WORDS = 4096
MOST_WORDS = 1 << 20
REAP_SECONDS = 1.0
_ENDINGS = msgspec.msgpack.Decoder(SeatEnded)


class ChildGone(Exception):
    """The child's, or the launcher's, end of a pipe is closed."""


class Words:
    """The end of what a process writes to stderr; after `MOST_WORDS` nobody listens any more."""

    def __init__(self) -> None:
        self.silent = trio.Event()
        self._kept = bytearray()

    @property
    def text(self) -> str:
        """The last few thousand bytes."""
        return self._kept.decode("utf-8", "replace")

    async def listen(self, descriptor: int) -> None:
        """Reads until the end. Owns the descriptor."""
        heard = 0
        async with trio.lowlevel.FdStream(descriptor) as stream:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while heard < MOST_WORDS and (chunk := await stream.receive_some(KEPT_WORDS)):
                    heard += len(chunk)
                    self._kept += chunk
                    del self._kept[:-KEPT_WORDS]
        self.silent.set()


class Seat:
    """A child: `stream` carries jobs and events, closing the lifeline ends it."""

    def __init__(self, stream: trio.SocketStream, lifeline: int) -> None:
        self.stream = stream
        self.words = Words()
        self._lifeline: int | None = lifeline

    async def send(self, data: bytes) -> None:
        """Writes to the child. Raises `ChildGone`."""
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ChildGone from None

    async def read(self, count: int) -> bytes:
        """Exactly `count` bytes of what the child writes. Raises `ChildGone`."""
        return await _read(self.stream, count)

    def kill(self) -> None:
        """Has the launcher end it at once."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
            self.stream.socket.close()


class Launcher:
    """The process that starts children, one at a time; see `eval.launcher`."""

    def __init__(self, process: subprocess.Popen[bytes], control: trio.SocketStream) -> None:
        self.process = process
        self.words = Words()
        self._control = control

    @property
    def pid(self) -> int:
        """Its process id; under bubblewrap that of `bwrap`."""
        return self.process.pid

    async def seat(self, request: SeatRequest, files: Sequence[int], nursery: trio.Nursery) -> Seat:
        """A child for these files, whose words are listened to in `nursery`. Raises `OSError`, `ChildGone`."""
        own, given = socket.socketpair()
        lifeline_end, lifeline = os.pipe()
        words, words_end = os.pipe()
        passed = [given.fileno(), words_end, lifeline_end]
        seat = Seat(trio.SocketStream(trio.socket.from_stdlib_socket(own)), lifeline)
        nursery.start_soon(seat.words.listen, words)
        try:
            await self._request(pack(request), [*passed, *files])
        except BaseException:
            seat.kill()
            raise
        finally:
            given.close()
            os.close(words_end)
            os.close(lifeline_end)
        return seat

    async def _request(self, data: bytes, descriptors: list[int]) -> None:
        try:
            sent = await self._control.socket.sendmsg([data], rights(descriptors))
            await self._control.send_all(data[sent:])
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise ChildGone from None

    async def ended(self, seat: Seat) -> int | None:
        """Waits a moment for the end of a child that is ending. Its return code, or None."""
        code = None
        with trio.move_on_after(REAP_SECONDS, shield=True), suppress(ChildGone, FrameTooLarge, msgspec.DecodeError):
            code = _ENDINGS.decode(
                await _read(self._control, payload_length(await _read(self._control, LENGTH_BYTES)))
            ).code
            await seat.words.silent.wait()
        return code

    async def listen(self) -> None:
        """Keeps the end of what the launcher writes to stderr, and reaps it when it ends."""
        if self.process.stderr is not None:
            await self.words.listen(os.dup(self.process.stderr.fileno()))
        with trio.CancelScope(shield=True):
            self.kill()
            await trio.to_thread.run_sync(self.process.wait)

    async def end(self) -> None:
        """Lets it end by itself, and the child with it; after a second with force."""
        self._control.socket.close()
        with trio.move_on_after(REAP_SECONDS, shield=True):
            await self.words.silent.wait()
        self.kill()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.process.wait)

    def kill(self) -> None:
        """Ends it at once, and everything that it has started."""
        self._control.socket.close()
        with suppress(ProcessLookupError):
            self.process.kill()


def open_launcher(level: str, command: Sequence[str]) -> Launcher:
    """Starts a launcher at this level of confinement. Raises `OSError`.

    From this thread, not from one of trio's: bubblewrap ends when the thread that started it does.
    """
    own, given = socket.socketpair()
    with given:
        try:
            process = subprocess.Popen(
                launch_command(level, command),
                stdin=given.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=bubblewrap.environment(),
                start_new_session=True,
            )
        except OSError:
            own.close()
            raise
    return Launcher(process, trio.SocketStream(trio.socket.from_stdlib_socket(own)))


async def _read(stream: trio.SocketStream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        try:
            chunk = await stream.receive_some(count - len(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ChildGone from None
        if not chunk:
            raise ChildGone
        data += chunk
    return bytes(data)

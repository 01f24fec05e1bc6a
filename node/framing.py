"""Length-prefixed bytes on a stream: four bytes big-endian, then the body."""

from typing import Protocol

PREFIX = 4
READ_BYTES = 64 * 1024
REFUSED = 0xFFFFFFFF


class Stream(Protocol):
    """What is needed of a stream."""

    async def read(self, n: int) -> bytes:
        """Up to n bytes, at least one; nothing at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send all of the data."""
        ...


class Incomplete(Exception):
    """The stream ended before the body was complete."""


class TooLong(Exception):
    """The announced length is over the limit."""


async def read_body(stream: Stream, maximum: int) -> bytes:
    """Read one body. Raises `Incomplete`, `TooLong`, or what the stream raises."""
    buffer = bytearray()
    length: int | None = None
    while length is None or len(buffer) < PREFIX + length:
        chunk = await stream.read(READ_BYTES)
        if not chunk:
            raise Incomplete
        buffer += chunk
        if length is None and len(buffer) >= PREFIX:
            length = int.from_bytes(buffer[:PREFIX], "big")
            if length > maximum:
                raise TooLong(length)
    return bytes(memoryview(buffer)[PREFIX : PREFIX + length])


async def write_body(stream: Stream, body: bytes) -> None:
    """Write one body."""
    await stream.write(len(body).to_bytes(PREFIX, "big") + body)


async def write_refusal(stream: Stream) -> None:
    """Announce a body that is longer than any limit, in place of one."""
    await stream.write(REFUSED.to_bytes(PREFIX, "big"))

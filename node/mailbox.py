"""A bounded queue that never makes its writer wait: when it is full, the oldest item goes and is counted."""

from types import TracebackType
from typing import Generic, Self, TypeVar

import trio

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds at most `size` items for one reader; leaving the context ends the reader's channel."""

    def __init__(self, size: int) -> None:
        self._writer, self.channel = trio.open_memory_channel[T](size)
        self._spill = self.channel.clone()
        self.dropped = 0

    def put(self, item: T) -> None:
        """Add an item, at the cost of the oldest one if there is no room. Does nothing once closed."""
        try:
            self._writer.send_nowait(item)
        except trio.WouldBlock:
            self._spill.receive_nowait()
            self.dropped += 1
            self._writer.send_nowait(item)
        except trio.ClosedResourceError:
            pass

    def close(self) -> None:
        """End the channel; what waits in it can still be read."""
        self._writer.close()
        self._spill.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

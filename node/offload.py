"""Work that would hold up the event loop goes to a thread."""

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")

inline: trio.lowlevel.RunVar[bool] = trio.lowlevel.RunVar("inline", default=False)
"""Set by tests on a mock clock: such a clock does not wait for threads, so the work is done on the spot."""


async def offload(call: Callable[[], T]) -> T:
    """The result of `call`, made in a thread. A call that was begun is finished even if its task is cancelled."""
    if inline.get():
        await trio.lowlevel.checkpoint()
        return call()
    return await trio.to_thread.run_sync(call)

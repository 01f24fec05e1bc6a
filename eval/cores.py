"""Who computes when, among all evaluators of one user on one machine.

Two evaluators with two threads each on two cores are 80 times slower than one after the other. So each core that may
be used has a slot: a lock file in a folder of this user. A job takes free slots, at least one, and runs with as many
threads. The kernel gives a slot back when its holder dies.
"""

import fcntl
import math
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import trio

from eval.user_folder import private, user_folder

SHORTEST_WAIT, LONGEST_WAIT = 0.02, 0.06


class Held:
    """Slots that a job holds. `threads` is how many. Release them, or let the process end."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors
        self.threads = len(descriptors)

    def release(self) -> None:
        """Gives the slots back; safe to call again."""
        while self._descriptors:
            os.close(self._descriptors.pop())


class CoreSlots:
    """The slots of this machine. All evaluators with the same `folder` share them.

    `slots` is by default the number of cores that this process may use; `waiting` is called when somebody
    has to wait for one. Raises `UserFolderUnavailable`.
    """

    def __init__(
        self, folder: Path | None = None, slots: int | None = None, waiting: Callable[[], None] = lambda: None
    ) -> None:
        self._folder = private(folder) if folder else user_folder("cores")
        self.slots = slots or usable_cores()
        self._waiting = waiting

    async def acquire(self, wanted: int) -> Held:
        """Waits for at least one free slot and takes up to `wanted` of them. Cancelling it leaves nothing taken.

        Whoever waits for slots holds the queue's lock, so that no newcomer passes; the order of those behind is chance.
        """
        pause = _Pause(self._waiting)
        queue = await self._lock_queue(pause)
        try:
            while True:
                taken: list[int] = []
                for number in range(self.slots):
                    if len(taken) == max(1, wanted):
                        break
                    descriptor = self._try(f"core-{number}")
                    if descriptor is not None:
                        taken.append(descriptor)
                if taken:
                    return Held(taken)
                await pause()
        finally:
            os.close(queue)

    @asynccontextmanager
    async def take(self, wanted: int) -> AsyncIterator[int]:
        """Holds slots for the length of a block, which gets the number of threads that it may use."""
        held = await self.acquire(wanted)
        try:
            yield held.threads
        finally:
            held.release()

    async def _lock_queue(self, pause: "_Pause") -> int:
        while True:
            await trio.lowlevel.checkpoint()
            descriptor = self._try("queue")
            if descriptor is not None:
                return descriptor
            await pause()

    def _try(self, name: str) -> int | None:
        """A locked descriptor, or None where somebody else holds the lock."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._folder / name, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor


class _Pause:
    """Waits a moment; before the first time it tells `waiting`."""

    def __init__(self, waiting: Callable[[], None]) -> None:
        self._waiting: Callable[[], None] | None = waiting

    async def __call__(self) -> None:
        if self._waiting is not None:
            self._waiting()
            self._waiting = None
        await trio.sleep(random.uniform(SHORTEST_WAIT, LONGEST_WAIT))  # noqa: S311  (spreads the waiting, hides nothing)


def usable_cores() -> int:
    """Physical cores that this process may use, by its affinity and its control group; at least 1."""
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    usable = min(usable, psutil.cpu_count(logical=False) or math.inf, _group_quota())
    return max(1, int(usable))


def _group_quota() -> float:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return math.inf

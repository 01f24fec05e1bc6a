"""The threads that compute a product together, and what each needs for it."""

import ctypes
import functools
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import ggml

FLOAT_BYTES = 4
TILE_VALUES = 1 << 19
"""A thread converts about so many at once; within wide bounds the number matters little."""

Values = NDArray[np.float32]


class Team:
    """So many `threads`, of which the caller's is one; close it to end the others."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._own = threading.local()
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._others: list[threading.Thread] = []
        try:
            for number in range(1, threads):
                other = threading.Thread(target=self._help, name=f"products-{number}", daemon=True)
                other.start()
                self._others.append(other)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the other threads."""
        for _ in self._others:
            self._tasks.put(None)
        for other in self._others:
            other.join()
        self._others = []

    def share(self, work: Callable[[], None], *, alone: bool = False) -> None:
        """Has every thread do the work once, or if `alone` the caller's only; raises what went wrong in any of them.

        None is at it any more afterwards: the result may be gone soon. Where an interrupt ends the waiting itself, the
        other threads are ended, and the caller's does what comes next alone. numpy warns of nothing meanwhile: weights
        may be anything, and logits that are no numbers are refused where they are read.
        """
        others = 0 if alone else len(self._others)
        try:
            for _ in range(others):
                self._tasks.put(work)
            own = _what_went_wrong(work)
            errors = [own, *[self._ended.get() for _ in range(others)]]
        except BaseException:  # nobody knows how many have begun or ended
            self.close()
            raise
        for error in errors:
            if error is not None:
                raise error

    def _help(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._ended.put(_what_went_wrong(task))

    def floats(self, kind: int, address: int, count: int) -> Values:
        """So many values of a ggml type as floats, in a place of this thread's that the next ones take."""
        if kind == ggml.F32:
            return values_at(address, count)
        tile: Values | None = getattr(self._own, "tile", None)
        if tile is None or tile.size < count:
            tile = self._own.tile = np.empty(count, np.float32)
        _to_float(kind)(address, tile.ctypes.data, count)
        return tile[:count]


def _what_went_wrong(work: Callable[[], None]) -> BaseException | None:
    try:
        with np.errstate(all="ignore"):
            work()
    except BaseException as error:
        return error
    return None


def values_at(address: int, count: int) -> Values:
    """Floats that lie in memory."""
    return np.frombuffer(memoryview((ctypes.c_float * count).from_address(address)), np.float32)


def converts(kind: int) -> bool:
    """Whether ggml can turn values of this type into floats."""
    return kind == ggml.F32 or _to_float(kind) is not None


@functools.cache
def _to_float(kind: int) -> Any:
    """ggml's function that turns values of a type into floats: (values, floats, how many); None where it has none."""
    if kind == ggml.F16:
        return ggml.functions().ggml_cpu_fp16_to_fp32  # the other one is not made for processors of today
    address = ggml.functions().ggml_get_type_traits(kind).contents.to_float
    return ggml.ToFloat(address) if address else None

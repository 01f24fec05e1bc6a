"""How a command ends when somebody ends it: Ctrl-C, a polite `kill`, a terminal that closes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Interruption:
    """Which signal ended a command, if one did."""

    number: int = signal.SIGINT

    @property
    def code(self) -> int:
        """The exit code that shells give for it."""
        return 128 + self.number


def is_interrupt(error: BaseException) -> bool:
    """Whether this is Ctrl-C, be it in a group because it came while a nursery was open."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(KeyboardInterrupt)[0] is not None
    return isinstance(error, KeyboardInterrupt)


@contextmanager
def ending_like_control_c() -> Iterator[Interruption]:
    """Within the block SIGTERM and SIGHUP clear up as Ctrl-C does; then `SystemExit` has the signal's own code.

    What `nohup` started stays deaf to SIGHUP. Ctrl-C is heard even where a script runs this in the background, where
    shells have it ignored: only in the place of Python's own handler does trio put one that it survives.
    """
    interruption = Interruption()

    def interrupt(number: int, frame: FrameType | None) -> None:
        interruption.number = number
        on_interrupt = signal.getsignal(signal.SIGINT)  # trio has its own while it runs, for the sake of its own state
        if callable(on_interrupt):
            on_interrupt(signal.SIGINT, frame)

    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in ENDING_SIGNALS[1:]:
        if before[number] != signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield interruption
    except BaseException as error:
        if interruption.number == signal.SIGINT or not is_interrupt(error):
            raise
        raise SystemExit(interruption.code) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def without_interrupts() -> Iterator[None]:
    """A second signal does not leave half of the clearing up undone."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

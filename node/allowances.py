"""How much one peer, or one author, may cost this node: token buckets."""

from collections import OrderedDict
from collections.abc import Callable

import trio
from msgspec import Struct

AUTHORS_KNOWN = 10_000


class Rates(Struct, frozen=True):
    """Messages and bytes a second in the long run, and at most at once."""

    messages: float
    burst_messages: float
    octets: float
    burst_octets: float


NEIGHBOUR = Rates(100.0, 400.0, 512 * 1024.0, 4 * 1024 * 1024.0)
"""What one neighbour may hand on, whoever the authors are."""
AUTHOR = Rates(2.0, 128.0, 64 * 1024.0, 2 * 1024 * 1024.0)
"""What one author may say: a claim every few seconds, and all batches of an epoch at once."""
STRANGERS = Rates(10.0, 256.0, 64 * 1024.0, 1024 * 1024.0)
"""What all authors that the log does not know may say together: keys cost nothing."""


class Allowance:
    """What is left to one of them."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._messages, self._octets = rates.burst_messages, rates.burst_octets
        self._at = trio.current_time()

    def spend(self, size: int) -> bool:
        """Take a message of `size` bytes out of it; False, and nothing taken, where it is too much now."""
        rates, now = self._rates, trio.current_time()
        passed, self._at = now - self._at, now
        self._messages = min(rates.burst_messages, self._messages + passed * rates.messages)
        self._octets = min(rates.burst_octets, self._octets + passed * rates.octets)
        if self._messages < 1 or self._octets < size:
            return False
        self._messages -= 1
        self._octets -= size
        return True


class AuthorAllowances:
    """An allowance for each author that `is_known`, and one for all others together."""

    def __init__(self, is_known: Callable[[bytes], bool]) -> None:
        self._is_known = is_known
        self._of: OrderedDict[bytes, Allowance] = OrderedDict()
        self._strangers = Allowance(STRANGERS)

    def spend(self, author: bytes, size: int) -> bool:
        """Whether the author may say so much now. Ask only after the signature was checked: else anyone spends it."""
        if not self._is_known(author):
            return self._strangers.spend(size)
        allowance = self._of.setdefault(author, Allowance(AUTHOR))
        self._of.move_to_end(author)
        if len(self._of) > AUTHORS_KNOWN:
            self._of.popitem(last=False)
        return allowance.spend(size)


class Pace:
    """Slows down who comes more often than `rate` times a second after the first `burst`."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, trio.current_time()

    async def keep(self) -> None:
        """Return when it is the caller's turn; callers take turns in the order in which they came."""
        now = trio.current_time()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - 1
        self._at = now
        await trio.sleep(max(0.0, -self._left / self._rate))

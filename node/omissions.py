"""What this node held before a mark and does not find in front of it. Without a receipt that is its own word only.

A mark is looked at where it came within its grace: whoever hears of it later was cut off, and so was what it held.
"""

from collections.abc import Callable, Mapping

from node.replica import Replica, is_for_the_log
from protocol.witnesses import allowance

Arrived = Callable[[], Mapping[bytes, float]]
"""By envelope: when it came in, Unix time."""


class Omissions:
    """Envelopes that the log has left out so far, with the epoch whose mark lacked them."""

    def __init__(self, replica: Replica, arrived: Arrived) -> None:
        self._replica = replica
        self._arrived = arrived
        self.missing: dict[bytes, int] = {}

    def look(self, now: float) -> None:
        """A mark was folded just now: what was held a sixtieth of an epoch before it should be in the log."""
        replica, genesis, epoch = self._replica, self._replica.genesis, self._replica.marked_epoch
        if epoch is None:
            return
        start = genesis.start_of(epoch)
        self.missing = {key: since for key, since in self.missing.items() if key in replica.held and since == epoch}
        if now > start + genesis.parameters.grace_seconds + allowance(genesis):
            return
        arrived, latest = self._arrived(), min(start, now) - allowance(genesis)
        state = replica.state
        for key, envelope in replica.held.items():
            known = envelope.signer in state.devices or envelope.signer in state.accounts
            in_time = arrived.get(key, now) <= latest
            if known and in_time and is_for_the_log(envelope) and key not in replica.logged:
                self.missing[key] = epoch

    def forget_found(self) -> None:
        """What came into the log after all was only late."""
        self.missing = {key: epoch for key, epoch in self.missing.items() if key not in self._replica.logged}

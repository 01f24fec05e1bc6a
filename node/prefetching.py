"""The bases whose pools this device is in are fetched before anybody asks for them, one after the other."""

from collections.abc import Callable, Sequence

from eval.hub import Fetching
from node.evaluation import Evaluator
from node.pauses import Pauses
from node.replica import Replica
from protocol.definitions import HubFile


class Prefetching:
    """Looks after each mark; what could not be fetched is tried again at the next one."""

    def __init__(
        self,
        replica: Replica,
        device: bytes,
        evaluator: Evaluator,
        pauses: Pauses,
        tell: Callable[[Fetching | None], None],
    ) -> None:
        self._replica = replica
        self._device = device
        self._evaluator = evaluator
        self._pauses = pauses
        self._tell = tell

    async def run(self) -> None:
        """Fetch until cancelled."""
        while True:
            marks = self._replica.state.marks
            for base in await self._evaluator.lacking(self.bases()):
                await self._pauses.none_left()
                await self._evaluator.fetch(base, self._tell)
                if self._replica.state.marks != marks:
                    break  # other pools by now
            else:
                await self._replica.next_mark()

    def bases(self) -> Sequence[HubFile]:
        """Of the pools in which this device has a slot, the smallest first."""
        state = self._replica.state
        known = {entry.model.base.sha256: entry.model.base for entry in state.models.values() if not entry.dormant}
        held = [
            known[base]
            for base, pool in state.pools.items()
            if base in known and any(slot is not None and slot.device == self._device for slot in pool)
        ]
        return sorted(held, key=lambda file: (file.size, file.sha256))

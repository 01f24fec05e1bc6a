"""Why a node does not evaluate at the moment. Reasons stack; each says how it ends."""

import trio
from msgspec import Struct

from node.bulletin import Bulletin, Level, Topic


class Pause(Struct, frozen=True):
    """A reason: `code` for programs, `title` for people, `until` when it ends, in words; `level` of telling it."""

    code: str
    title: str
    until: str
    level: Level = Level.WARN


USER = Pause("USER", "paused by you", "you resume it", Level.NOTE)
SANDBOX_WEAK = Pause(
    "SANDBOX_WEAK", "the sandbox is weaker than `sandbox` in the settings", "it is stronger, and the node starts again"
)
KEYS_ELSEWHERE = Pause(
    "KEYS_ELSEWHERE",
    "another process signs with this node's keys, and what two say of one task counts for neither",
    "you stop the other one, or give one of them keys of its own, and start this node again",
    Level.FAIL,
)
DISK_FULL = Pause("DISK_FULL", "the disk is full", "there is space again")


class Pauses:
    """The reasons in force."""

    def __init__(self, bulletin: Bulletin) -> None:
        self._bulletin = bulletin
        self._reasons: dict[str, Pause] = {}
        self._lifted = trio.Event()

    @property
    def reasons(self) -> tuple[Pause, ...]:
        """In the order in which they began."""
        return tuple(self._reasons.values())

    def begin(self, pause: Pause) -> None:
        """Pause for a reason; nothing happens if it is in force already."""
        if pause.code in self._reasons:
            return
        self._reasons[pause.code] = pause
        self._bulletin.tell(pause.level, pause.code, f"Paused: {pause.title}, until {pause.until}.")
        self._bulletin.touch(Topic.STATUS)

    def end(self, pause: Pause) -> None:
        """Lift a reason."""
        if self._reasons.pop(pause.code, None) is None:
            return
        self._bulletin.tell(Level.OK, pause.code, f"No longer paused: {pause.title}.")
        self._bulletin.touch(Topic.STATUS)
        if not self._reasons:
            self._lifted.set()
            self._lifted = trio.Event()

    def has(self, pause: Pause) -> bool:
        """Whether this reason is in force."""
        return pause.code in self._reasons

    async def none_left(self) -> None:
        """Return as soon as no reason is in force."""
        await trio.lowlevel.checkpoint()
        while self._reasons:
            await self._lifted.wait()

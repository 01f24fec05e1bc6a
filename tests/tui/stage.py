"""The dashboard on a scripted source, in a terminal of one of three sizes, with a clock that a test moves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from textual.pilot import Pilot
from textual.strip import Strip

from tui.app import Dashboard
from tui.board import BoardList
from tui.link import Instant
from tui.view import View

SIZES = [(80, 24), (100, 30), (140, 40)]
SIGHT = {
    (80, 24): {"board"},
    (100, 30): {"board", "now", "today", "log"},
    (140, 40): {"board", "tasks", "now", "today", "log"},
}


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: Instant) -> None:
        self.now = now

    def __call__(self) -> Instant:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now = Instant(self.now.steady + seconds, self.now.wall + seconds)


class Stage:
    """A dashboard on a scripted source."""

    def __init__(self, scene: Any, script: Any) -> None:
        self.clock = Clock(scene.now)
        self.script = script
        self.app = Dashboard(lambda: script, clock=self.clock)
        self.pilot: Pilot[None]

    def play(self, size: tuple[int, int], course: Callable[["Stage"], Awaitable[None]]) -> None:
        async def run() -> None:
            async with self.app.run_test(size=size, notifications=True) as pilot:
                self.pilot = pilot
                await self.settle()
                await course(self)

        asyncio.run(run())

    async def settle(self) -> None:
        """Everything that waits for the next turn has happened, and the panes show it."""
        for _ in range(3):
            await self.pilot.pause()
        self.app.draw()
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settle()

    async def tell(self, view: View) -> None:
        self.script.tell(view)
        await self.settle()

    @property
    def screen(self) -> list[str]:
        """The lines of the screen."""
        strips: list[Strip] = self.app.screen._compositor.render_strips()
        return [strip.text for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.screen)

    @property
    def said(self) -> list[str]:
        """What popped up."""
        return [note.message for note in self.app._notifications]

    @property
    def rows(self) -> BoardList:
        return self.app.query_one(BoardList)

    @property
    def order(self) -> list[str]:
        return [row.id for row in self.rows.rows]

    @property
    def in_sight(self) -> set[str]:
        names = ("board", "tasks", "peers", "model", "now", "today", "log")
        return {name for name in names if self.app.query_one(f"#{name}").region.area > 0}

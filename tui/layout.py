"""Which panes are in sight: one at a time on a small screen, all that matter on a large one."""

from msgspec import Struct

LETTERS: dict[str, str] = {"b": "board", "n": "now", "t": "tasks", "p": "peers", "l": "log"}
TITLES: dict[str, str] = {
    "board": "Board",
    "now": "Now",
    "today": "Today",
    "tasks": "Tasks",
    "peers": "Peers",
    "log": "Activity log",
    "model": "Model",
}
SIDE = ("now", "today", "log")
"""The right-hand column."""

TWO_COLUMNS_FROM = 100
TWO_PANES_FROM = 120
TALL_FROM = 28


class Choice(Struct, frozen=True):
    """What the reader chose last: at all, in the left column, and in its lower half."""

    pane: str = "board"
    main: str = "board"
    lower: str = "tasks"

    def choose(self, pane: str) -> "Choice":
        """After a letter key."""
        if pane in SIDE:
            return Choice(pane, self.main, self.lower)
        return Choice(pane, pane, self.lower if pane == "board" else pane)


def panes_in_sight(width: int, height: int, choice: Choice) -> tuple[frozenset[str], frozenset[str]]:
    """The panes of the left and of the right column; an empty column is not there."""
    if width < TWO_COLUMNS_FROM:
        if choice.pane == "now":
            return frozenset(), frozenset({"now", "today"})
        if choice.pane in SIDE:
            return frozenset(), frozenset({choice.pane})
        return frozenset({choice.pane}), frozenset()
    if width < TWO_PANES_FROM or height < TALL_FROM:
        return frozenset({choice.main}), frozenset(SIDE)
    return frozenset({"board", choice.lower}), frozenset(SIDE)

"""Colours and frames. One accent, amber for what asks for attention, red for failed checks, no colour for
"good"."""

from textual.theme import Theme

DARK = Theme(
    name="peerboard",
    primary="#7aa7e8",
    secondary="#7aa7e8",
    accent="#7aa7e8",
    warning="#e0af5c",
    error="#e57474",
    success="#7aa7e8",
    foreground="#d6dae0",
    background="#11141a",
    surface="#11141a",
    panel="#1b2029",
    dark=True,
    variables={"muted": "#8b93a1", "faint": "#3d4552", "border": "#39414e"},
)

LIGHT = Theme(
    name="peerboard-light",
    primary="#1f5fb8",
    secondary="#1f5fb8",
    accent="#1f5fb8",
    warning="#8a5a00",
    error="#b3261e",
    success="#1f5fb8",
    foreground="#1c2128",
    background="#fbfbfa",
    surface="#fbfbfa",
    panel="#eeeeec",
    dark=False,
    variables={"muted": "#5c6470", "faint": "#c9ccd1", "border": "#b9bdc4"},
)

VARIABLES = {"muted": "#8b93a1", "faint": "#4a5260", "border": "#39414e"}
"""For themes that lack these."""

CSS = """
Screen { background: $background; color: $foreground; layout: vertical; }
#header { height: 1; padding: 0 1; background: $panel; }
#notice { height: 1; padding: 0 1; display: none; }
#footer { height: 1; padding: 0 1; }
#body { height: 1fr; }
#main { width: 1fr; }
#side { width: 38%; min-width: 38; max-width: 58; }
App.-one #side, App.-one #main { width: 100%; max-width: 100%; }

.pane {
    border: round $border;
    border-title-color: $foreground;
    border-title-style: none;
    background: $background;
    padding: 0 1;
    height: 1fr;
    overflow-x: hidden;
    scrollbar-size-vertical: 1;
    scrollbar-color: $border;
    scrollbar-color-hover: $accent;
    scrollbar-background: $background;
}
.pane:focus, .pane:focus-within { border: round $accent; border-title-style: bold; }
#board { height: 11fr; }
#tasks, #peers, #model { height: 9fr; }
#now { height: 10; }
#today { height: 4; }
App.-one #now { height: 11; }
App.-one #today { height: 1fr; }

#board-head, #board-legend { height: 1; }
#rows {
    height: 1fr;
    background: $background;
    overflow-x: hidden;
    scrollbar-size-vertical: 1;
    scrollbar-color: $border;
    scrollbar-background: $background;
}
#filter { height: 1; border: none; padding: 0; background: $panel; margin: 0 0 0 0; }

HelpScreen { align: center middle; background: $background 70%; }
#help { width: 84; max-width: 100%; height: auto; max-height: 100%; }

.paint--text { color: $foreground; }
.paint--muted { color: $muted; }
.paint--faint { color: $faint; }
.paint--strong { color: $foreground; text-style: bold; }
.paint--accent { color: $accent; }
.paint--look { color: $warning; }
.paint--fail { color: $error; text-style: bold; }
.paint--cursor { color: $accent; text-style: bold; }
"""

"""The keys, in one line."""

from tui.layout import LETTERS
from tui.lines import Line, Piece, Span, line, span, strip_of
from tui.view import View

_WORDS = {"board": "Board", "now": "Now", "tasks": "Tasks", "peers": "Peers", "log": "Log"}

ROOMY = 96


def footer(view: View, pane: str, width: int) -> Line:
    """Letters of the panes (the chosen one in brackets), then what can be done."""
    pieces = []
    for letter, name in LETTERS.items():
        if name == pane:
            pieces.append(Piece(line(span(f"[{letter} {_WORDS[name]}]", "strong")), 1))
        else:
            pieces.append(Piece(_key(letter, _WORDS[name]), 2))
    paused = view.status is not None and view.status.state == "paused"
    keys = [("/", "filter", 4), ("s", "sort", 7), ("⏎", "open", 6)]
    if view.is_node:
        keys.append(("space", "resume" if paused else "pause", 4))
    keys += [("^p", "commands", 8), ("q", "close", 5), ("?", "help", 3)]
    pieces += [Piece(_key(key, word), importance) for key, word, importance in keys]
    return strip_of(pieces, width, gap="  " if width >= ROOMY else " ")


def _key(key: str, word: str) -> tuple[Span, ...]:
    return line(span(key, "accent"), span(f" {word}", "muted"))

"""What the keys do and what the signs mean."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from tui.lines import BLANK, Line, cell, line, span
from tui.painting import Pane
from tui.plain import wrapped
from tui.words import VERDICTS

_KEYS = (
    ("b n t p l", "Board, Now, Tasks, Peers, Log"),
    ("↑ ↓  PgUp PgDn", "move the cursor; rows rest for three seconds after"),
    ("← →", "one benchmark after the other, then all"),
    ("enter", "open the model under the cursor; esc goes back"),
    ("/", "filter the board by words; esc clears"),
    ("s", "sort by rank, newest, most questions, name"),
    ("space", "pause or resume this node"),
    ("r", "try to connect now"),
    ("tab", "next pane"),
    ("ctrl+p", "all commands, and colours"),
    ("q", "close the dashboard; the daemon lives on"),
)

_SENTENCES = (
    "A rank is a range: 2–6 means that the data cannot yet say which of the five it is. Rows with ┊ cannot be "
    "told apart from the one under the cursor.",
    "├──━━●━━──┤ is the score: the dot the estimate, thin the range on questions like these, thick on exactly "
    "these. Dashed: provisional. Hollow: disputed. Below 60 questions scores are whole points.",
    "A verdict needs runners that agree: “3 of 4 agree, firm” stays even if any one result should drop out.",
)


def help_lines(width: int) -> list[Line]:
    """The page."""
    lines: list[Line] = [line(span("Keys", "strong"))]
    lines += [line(cell(keys, 17, "accent"), does) for keys, does in _KEYS]
    lines += [BLANK, line(span("Signs", "strong"))]
    signs = ["~ provisional", *(sign.text for sign in VERDICTS.values() if sign.glyph in "!×–")]
    lines += [line("   ".join(signs)), BLANK]
    for sentence in _SENTENCES:
        lines += [line(text) for text in wrapped(sentence, width)]
        lines.append(BLANK)
    lines.append(line(span("esc closes this page", "muted")))
    return lines


class HelpScreen(ModalScreen[None]):
    """The help page over everything else."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark", "dismiss_page", "Close", show=False)]

    def compose(self) -> ComposeResult:
        """One pane."""
        yield Pane("Help", id="help", classes="pane")

    def on_mount(self) -> None:
        """Fill it."""
        pane = self.query_one(Pane)
        pane.show(help_lines)
        pane.focus()

    def action_dismiss_page(self) -> None:
        """Back to the dashboard."""
        self.dismiss()

"""What happened, the newest first."""

from tui.lines import Line, line, span
from tui.plain import wrapped
from tui.view import View
from tui.words import LEVELS, moment, unknown

ROOMY = 44


def activity_lines(view: View, width: int) -> list[Line]:
    """One entry after the other: time, glyph, sentence; long sentences go on under themselves."""
    if not view.activities:
        sentence = "Nothing has happened yet. Verdicts, pauses and warnings appear here."
        return [line(span(text, "muted")) for text in wrapped(sentence, width)]
    lines: list[Line] = []
    for activity in reversed(view.activities):
        sign = LEVELS.get(activity.level) or unknown(activity.level)
        when = moment(activity.time)
        before = len(when) + 3
        # In a narrow column a hanging indent as wide as the time would leave no room for words.
        indent = before if width >= ROOMY else 2
        first, *rest = wrapped(activity.text or activity.code, width - indent, first=width - before, most=4)
        style = "text" if sign.style in ("muted", "accent") else sign.style
        lines.append(line(span(f"{when} ", "muted"), span(f"{sign.glyph} ", sign.style), span(first, style)))
        lines.extend(line(" " * indent, span(text, style)) for text in rest)
    return lines

"""How numbers, times and states are written: a glyph with a word, never a colour alone."""

import math
from datetime import UTC, datetime
from typing import NamedTuple

from tui.answers import Reason, Row, Task
from tui.lines import Style

FEW_QUESTIONS = 60
"""Below this a score is shown in whole points: its decimals would say nothing."""


class Sign(NamedTuple):
    """A state for people."""

    glyph: str
    word: str
    style: Style

    @property
    def text(self) -> str:
        """Glyph and word."""
        return f"{self.glyph} {self.word}"


VERDICTS: dict[str, Sign] = {
    "DONE": Sign("✓", "done", "text"),
    "DISPUTED": Sign("!", "disputed", "look"),
    "FAILED": Sign("×", "failed", "look"),
    "EXPIRED": Sign("–", "expired", "muted"),
    "WAITING": Sign("·", "waiting", "muted"),
    "QUEUED": Sign("·", "queued", "muted"),
    "RUNNING": Sign("~", "running", "text"),
}

STATES: dict[str, Sign] = {
    "starting": Sign("◌", "starting", "text"),
    "catching_up": Sign("◌", "catching up", "text"),
    "waiting": Sign("○", "waiting", "text"),
    "evaluating": Sign("●", "evaluating", "accent"),
    "paused": Sign("‖", "paused", "strong"),
    "stopping": Sign("■", "stopping", "look"),
}

LEVELS: dict[str, Sign] = {
    "ok": Sign("✓", "ok", "accent"),
    "note": Sign("·", "note", "muted"),
    "warn": Sign("!", "warning", "look"),
    "fail": Sign("×", "failure", "fail"),
}


def measured(value: float) -> str:
    """A physical quantity to three digits."""
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def unknown(state: str) -> Sign:
    """A state that a newer daemon may have: shown by its own name."""
    return Sign("·", state.lower().replace("_", " "), "muted")


def row_sign(row: Row) -> Sign:
    """What stands behind a row of the board."""
    if row.status == "DONE":
        return Sign("~", "provisional", "muted") if row.provisional else Sign(" ", "final", "muted")
    return VERDICTS.get(row.status) or unknown(row.status)


def task_sign(task: Task) -> Sign:
    """The verdict so far of an open task, with how many agree."""
    if task.state == "RUNNING":
        if not task.counted:
            revealed = sum(runner.revealed for runner in task.runners)
            return Sign("·", f"{revealed} of {task.quorum} revealed" if revealed else "running", "muted")
        if not task.agreeing:
            return Sign("~", f"{task.counted} counted, {task.quorum} must agree", "text")
        firm = ", firm" if task.firm else ""
        return Sign("~", f"{task.agreeing} of {task.counted} agree{firm}", "text")
    sign = VERDICTS.get(task.state) or unknown(task.state)
    if task.state in ("DONE", "DISPUTED"):
        return sign._replace(word=f"{sign.word}, {task.agreeing} of {task.counted} agree")
    if task.state == "WAITING":
        return sign._replace(word="too few runners")
    return sign


def reason_sentence(reason: Reason) -> str:
    """Why the node is paused, and what ends it."""
    sentence = reason.title or reason.code
    return f"{reason.code}: {sentence}" + (f", until {reason.until}" if reason.until else "")


def count(number: int | None) -> str:
    """A whole number with thousands separated; `–` where there is none."""
    return "–" if number is None else f"{number:,}".replace("-", "\N{MINUS SIGN}")


def megabytes(size: int) -> str:
    """Bytes in millions, with a decimal below ten: `3.1`, `1,874`."""
    return f"{size / 1e6:,.1f}" if size < 1e7 else f"{size / 1e6:,.0f}"


def percent(value: float | None) -> str:
    """A percentage with one decimal."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.1f}".replace("-", "\N{MINUS SIGN}")


def score_cell(row: Row) -> str:
    """The score, decimals under each other; whole points while there are few questions."""
    if row.score is None or not math.isfinite(row.score):
        return "–  "
    if row.questions < FEW_QUESTIONS:
        return f"{row.score:.0f}  "
    return percent(row.score)


def ranks(row: Row) -> str:
    """A rank is a range when the data cannot separate models."""
    if row.rank_low is None:
        return "–"
    if row.rank_high is None or row.rank_high == row.rank_low:
        return str(row.rank_low)
    return f"{row.rank_low}–{row.rank_high}"


def left(seconds: float) -> str:
    """A time span that runs down: `0:41`, `22:41`, `3:02:00`."""
    whole = max(0, math.ceil(seconds)) if math.isfinite(seconds) else 0
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"


def age(seconds: float) -> str:
    """A time span that has passed, roughly: `14 s`, `3 min`, `2 h`, `5 d`."""
    whole = max(0, int(seconds)) if math.isfinite(seconds) else 0
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if whole >= size * (2 if unit == "min" else 1):
            return f"{whole // size} {unit}"
    return f"{whole} s"


def clock(wall: float, *, seconds: bool = True) -> str:
    """Local time of day of a Unix time."""
    try:
        moment = datetime.fromtimestamp(wall).astimezone()
    except (OverflowError, OSError, ValueError):
        return "–"
    return moment.strftime("%H:%M:%S" if seconds else "%H:%M")


def moment(text: str) -> str:
    """Local time of day of an ISO 8601 time; `–` where it is none."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return "–"
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return clock(parsed.timestamp())


def short(key: str, length: int = 4) -> str:
    """The beginning of a digest or key."""
    return key[:length]

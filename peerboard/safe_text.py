"""Text from the network, made harmless for a terminal.

A name can carry escape sequences that repaint the screen, and marks that turn the reading direction around, so that a
row says something else than it holds. Only what is printed for people is cleaned: JSON goes out as it came in.
"""

import re
import unicodedata

_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]).*?(?:\x1b\\|\x07|\x9c|$)"  # strings: window titles, links
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_WIDE = frozenset({"W", "F"})
_MARKS = frozenset({"Mn", "Me"})
_MOST_MARKS = 2  # on one letter: enough for Vietnamese, too few to cover the lines above


def safe(text: object) -> str:
    """One line of `text` without escape sequences, controls, invisible and direction-turning characters."""
    line = _SEQUENCES.sub("", str(text))
    kept: list[str] = []
    marks = 0
    for character in line:
        category = unicodedata.category(character)
        if character in "\t\n\r\v\f" or category in {"Zl", "Zp"}:
            kept.append(" ")
            marks = 0
        elif category not in _HIDDEN:
            marks = marks + 1 if category in _MARKS else 0
            if marks <= _MOST_MARKS:
                kept.append(character)
    return "".join(kept)


def cells(text: str) -> int:
    """How many cells of a terminal a safe text takes: East Asian characters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if unicodedata.category(character) in _MARKS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1


def cut_middle(text: str, width: int) -> str:
    """`text` in at most `width` cells: what is left out is the middle, because names differ at both ends."""
    if cells(text) <= width:
        return text
    if width <= 1:
        return "…"[: max(0, width)]
    start = cut_end(text, width // 2, mark="")
    end = cut_end(text[::-1], width - 1 - cells(start), mark="")[::-1]
    return f"{start}…{end}"


def cut_end(text: str, width: int, mark: str = "…") -> str:
    """`text` in at most `width` cells, its end left out."""
    if cells(text) <= width:
        return text
    room = width - cells(mark)
    if room < 0:
        return ""
    kept = ""
    for character in text:
        room -= _cells(character)
        if room < 0:
            break
        kept += character
    return kept + mark

"""Text from the network, made harmless for a terminal: nothing that moves the cursor, hides, or turns the
direction.

A name that somebody else chose is shown as it is as far as it is printable; what a terminal would obey
instead of show is replaced by a visible sign, so that nobody is misled and no column moves. Markup is no
concern here: nothing in this package hands network text to a markup parser.
"""

import unicodedata

from rich.cells import cell_len, set_cell_size

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
MARKS_IN_A_ROW = 2
"""Combining marks that may follow one letter; scripts need up to two, more only climb into other lines."""

_UNSHOWABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SELECTORS = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0x180B, 0x1810))
_SIGNS: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(0x20)},
    0x7F: "\N{SYMBOL FOR DELETE}",
    # They change the width of the sign before them, and terminals disagree by how much.
    **dict.fromkeys(_SELECTORS, ""),
}


def plain(text: str) -> str:
    """One line of printable signs; control characters become their pictures (`␛`), others `�`."""
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    marks = 0
    for character in unicodedata.normalize("NFC", text):
        sign = _SIGNS.get(ord(character))
        if sign is not None:
            shown.append(sign)
            continue
        category = unicodedata.category(character)
        if category in ("Mn", "Me"):
            marks += 1
            # Without a letter before it a mark would land on our own text.
            shown.append(character if shown and marks <= MARKS_IN_A_ROW else "")
            continue
        marks = 0
        if category in _UNSHOWABLE:
            shown.append(REPLACEMENT)
        else:
            shown.append(" " if category == "Zs" else character)
    return "".join(shown)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Plain `text` in exactly `width` cells: cut at the end with `…`, or padded (to the left if `right`)."""
    if width <= 0:
        return ""
    text = plain(text)
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, width - 1) + "…"
    padding = " " * (width - size)
    return padding + text if right else text + padding


def cut_middle(text: str, width: int) -> str:
    """Plain `text` in at most `width` cells, cut in the middle: names often differ at the end."""
    text = plain(text)
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return text
    if width < 5:
        return fit(text, width)
    end = (width - 1) // 2
    tail = ""
    for character in reversed(text):
        if cell_len(character + tail) > end:
            break
        tail = character + tail
    return set_cell_size(text, width - 1 - cell_len(tail)) + "…" + tail


def wrapped(text: str, width: int, *, first: int | None = None, most: int = 6) -> list[str]:
    """Plain `text` broken at spaces into at most `most` lines of at most `width` cells, the first of `first`."""
    width = max(1, width)
    room = width if first is None else max(1, first)
    lines: list[str] = []
    line = ""
    for word in plain(text).split():
        if line and cell_len(line) + 1 + cell_len(word) <= room:
            line = f"{line} {word}"
            continue
        if line:
            lines.append(line)
            room = width
        rest = word
        while cell_len(rest) > room and len(lines) <= most:
            piece = _head(rest, room)
            lines.append(piece)
            rest, room = rest[len(piece) :], width
        line = rest
    if line:
        lines.append(line)
    if len(lines) > most:
        lines = [*lines[: most - 1], fit(lines[most - 1] + " …", width).rstrip()]
    return lines or [""]


def _head(word: str, width: int) -> str:
    """The longest beginning of at most `width` cells, at least one character."""
    head = word[0]
    for character in word[1:]:
        if cell_len(head + character) > width:
            break
        head += character
    return head

"""Numbers as people read them."""

from peerboard.safe_text import safe

SHORT_DIGITS = 12
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_BINARY = 1024


def short(digits: object) -> str:
    """The beginning of a long hex number."""
    text = safe(digits)
    return text if len(text) <= SHORT_DIGITS else text[:SHORT_DIGITS] + "…"


def duration(seconds: float) -> str:
    """`42 s`, `5 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = int(seconds)
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    if whole < 2 * _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def size(count: float) -> str:
    """Bytes in binary units with one decimal: `512 B`, `1.9 MiB`."""
    if count < _BINARY:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= _BINARY
        if count < _BINARY:
            return f"{count:.1f} {unit}"
    return f"{count / _BINARY:.1f} TiB"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 task`, `3 tasks`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"

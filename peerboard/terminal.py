"""Where facts are printed: how wide it is, and whether it shows colours."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "amber": "33", "blue": "34"}


@dataclass(frozen=True)
class Terminal:
    """`width` in cells; None where nobody looks (a pipe, a file): then nothing is cut."""

    width: int | None
    colour: bool

    def paint(self, text: str, style: str) -> str:
        """`text` in a style (`bold`, `dim`, `red`, `green`, `amber`, `blue`), or as it is without colours.

        A style only underlines what a word says already.
        """
        if not self.colour or not style:
            return text
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def terminal_of(stream: TextIO, environment: Mapping[str, str] = os.environ) -> Terminal:
    """What `stream` is; `NO_COLOR` (https://no-color.org) and `TERM=dumb` are heeded."""
    if not stream.isatty():
        return Terminal(None, colour=False)
    colour = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    return Terminal(shutil.get_terminal_size().columns, colour)


def standard_output() -> Terminal:
    """What facts are printed to."""
    return terminal_of(sys.stdout)

"""How a file of vectors is written: a JSON list, one vector a line, each with its name, kind, input and expectation.

What is expected is computed from the JSON input alone, by one function per kind. So a vector holds all that another
implementation needs, and the same functions check the files.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "protocol" / "vectors"
Input = dict[str, Any]
Case = tuple[str, str, Input]
"""Name, kind and input of a vector."""
Compute = Callable[[Input], Any]


def sha(*parts: object) -> bytes:
    """32 bytes that stand for something."""
    return hashlib.sha256(repr(parts).encode()).digest()


def unhex(values: Iterable[str]) -> list[bytes]:
    """Bytes of several hex texts."""
    return [bytes.fromhex(value) for value in values]


def hexed(values: Iterable[bytes]) -> list[str]:
    """Hex texts of several bytes."""
    return [value.hex() for value in values]


def encode(cases: Iterable[Case], computes: Mapping[str, Compute]) -> str:
    """The text of a file."""
    lines = [
        json.dumps(
            {"name": name, "kind": kind, "input": given, "expected": computes[kind](given)},
            ensure_ascii=False,
            separators=(",", ":"),
        )
        for name, kind, given in cases
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n"

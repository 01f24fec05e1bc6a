"""Fills the tables of docs/protocol.md that are made from the code.

    python -m tests.vectors.document

A table stands between a line `<!-- table: NAME -->` and a line `<!-- end of table -->`.
"""

import ast
import enum
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args, get_type_hints

from msgspec import Struct

from protocol import tables
from protocol.audits import Audited, Conclusion, Sight
from protocol.definitions import ModelType, TaskKind
from protocol.pools import Slot
from protocol.state import Account, Chain, DeviceProfile, Entry, Motion, Pending, Rated, State, Vote
from protocol.tasks import Purpose, Subject, Turn
from protocol.tiers import TIERS
from protocol.transcripts import Stop

FILE = Path(__file__).parents[2] / "docs" / "protocol.md"
BLOCK = re.compile(r"(<!-- table: (?P<name>[a-z]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

DIGESTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "peerboard/model/1": (
        "id of a model",
        (
            "SHA-256 of the base",
            "array of [SHA-256, scale] of the adapters, with their configuration's SHA-256 third where they have one",
        ),
    ),
    "peerboard/benchmark/1": ("id of a benchmark", ("the `Benchmark`",)),
    "peerboard/text/1": ("a text document", ("the `TextDocument`",)),
    "peerboard/consent/1": ("consent of a device", ("network", "account")),
    "peerboard/succession/1": (
        "consent of a new log key",
        ("network", "signer of the succession", "log key", "chain anchor", "chain length", "sequence"),
    ),
    "peerboard/stamp/1": ("prefix of a work stamp", ("network", "device", "epoch")),
    "peerboard/salts/1": ("what runners revealed", ("array of [epoch, account, salt]",)),
    "peerboard/beacon/1": ("beacon of a marked epoch", ("preimage", "digest of the salts")),
    "peerboard/leaderless/1": ("beacon of a leaderless epoch", ("beacon of the last marked one", "epoch")),
    "peerboard/ground/1": ("ground of an epoch", ("size of the basis", "root of the basis", "beacon")),
    "peerboard/task/1": (
        "id of a task",
        ("model", "benchmark", "epoch", "depth", "purpose", "task looked at, or `null`"),
    ),
    "peerboard/questions-order/1": ("key of the question order", ("beacon", "content hash of the data set")),
    "peerboard/questions/1": ("question indexes of a task", ("array of indexes, in order",)),
    "peerboard/slot/1": ("draw of a slot", ("beacon", "base", "slot", "try")),
    "peerboard/device/1": ("choice of a device", ("base", "account")),
    "peerboard/rank/1": ("place in a ranking", ("beacon", "model", "purpose", "account")),
    "peerboard/fingerprint/1": (
        "seed of a tail (byte layout of its own, section 11)",
        ("network", "beacon", "model", "content hash of the data set", "question"),
    ),
    "peerboard/commit/1": (
        "what a commitment carries",
        ("network", "account", "epoch", "ground", "salt", "the `Run`", "array of `TaskResult`"),
    ),
    "peerboard/transcript-prompt/1": ("a question's prompt", ("array of token ids",)),
    "peerboard/transcript-question/1": ("a question's answer", ("the `Answer`",)),
    "peerboard/transcript/1": (
        "transcript of a result",
        (
            "SHA-256 of the base",
            "array of [SHA-256, scale] of the adapters",
            "content hash of the data set",
            "array of the digests of the answers",
        ),
    ),
    "peerboard/audit/1": ("draw of an audit", ("beacon", "task")),
    "peerboard/history/1": (
        "chain of verdicts, one link an epoch",
        ("history before", "epoch", "array of verdicts (section 14)"),
    ),
    "peerboard/superseded/1": ("the same, for a superseded task", ("history before", "old task", "new task")),
    "peerboard/state/1": (
        "the state",
        (
            "network",
            "`Parameters` in force",
            "size",
            "root",
            "marks",
            "log key",
            "last preimage",
            "preimages left",
            "the `Chain` that waits, or `null`",
            "successions so far",
            "array of `Pending`",
            "history",
            "array of table digests",
        ),
    ),
    "peerboard/receipt/1": (
        "promise of a receipt (signed as it is, not hashed)",
        ("network", "envelope id", "bound", "size"),
    ),
    "peerboard/sighting/1": (
        "word of a witness (signed as it is, not hashed)",
        ("network", "epoch", "mark's envelope id", "time"),
    ),
    "peerboard/snapshot/1": ("header of a snapshot (signed as it is, not hashed)", ("the `Snapshot`",)),
}
"""By tag: what the digest is, and its parts. A test compares tags and numbers of parts with the code."""


def state_tables() -> list[str]:
    """Names of the tables in the order in which the state's digest has them."""
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(State.digest))).body
    loops = [node for node in ast.walk(function) if isinstance(node, ast.comprehension)]
    (tables_named,) = [loop.iter for loop in loops if isinstance(loop.iter, ast.Tuple)]
    return [element.attr for element in tables_named.elts if isinstance(element, ast.Attribute)]


def _rows(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _structs() -> str:
    parts = []
    for struct in tables.structs():
        meaning = inspect.cleandoc(struct.__doc__ or "")
        parts.append(f"### `{struct.__name__}`\n\n{meaning}\n\n{tables.fields_of(struct)}")
    return "\n".join(parts)


def _digests() -> str:
    rows = ((f"`{tag}`", what, ", ".join(parts)) for tag, (what, parts) in DIGESTS.items())
    return _rows(("tag", "digest of", "parts"), rows)


def _tiers() -> str:
    rows = ((tier.name, f"{tier.credit:,}", tier.agreement, ", ".join(tier.opens) or "–") for tier in TIERS)
    return _rows(("tier", "credit", "agreement", "opens"), rows)


def _tables() -> str:
    hints = {name: str(hint).split("Table[", 1)[-1].removesuffix("]") for name, hint in State.__annotations__.items()}
    rows = ((f"`{name}`", f"`{re.sub(MODULES, '', hints[name])}`") for name in state_tables())
    return _rows(("table", "key, record"), rows)


def _records() -> str:
    return _rows(
        ("record", "fields, in order"),
        ((f"`{record.__name__}`", f"`{_fields(record)}`") for record in RECORDS),
    )


def _fields(record: type[Struct]) -> str:
    hints = get_type_hints(record)
    return ", ".join(f"{name}: {_name(hints[name])}" for name in record.__struct_fields__)


def _name(hint: object) -> str:
    text = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    return re.sub(MODULES, "", text)


def _enums() -> str:
    rows = ((f"`{each.__name__}`", ", ".join(f"{one.value} {one.name}" for one in each)) for each in ENUMS)
    return _rows(("enum", "members"), rows)


RECORDS: tuple[type[Struct], ...] = (
    Account,
    Audited,
    DeviceProfile,
    Entry,
    Slot,
    Subject,
    Turn,
    Motion,
    Vote,
    Rated,
    Pending,
    Chain,
)
"""What the state's tables, its list of pending examinations hold, beyond what travels."""
ENUMS: tuple[type[enum.Enum], ...] = (ModelType, TaskKind, Purpose, Stop, Sight, Conclusion)
MODULES = r"\b[a-z_]+\.(?:[a-z_]+\.)*"

MAKERS: dict[str, Callable[[], str]] = {
    "kinds": tables.kinds,
    "structs": _structs,
    "failures": tables.failures,
    "digests": _digests,
    "parameters": tables.parameters,
    "states": tables.transitions,
    "tiers": _tiers,
    "tables": _tables,
    "records": _records,
    "enums": _enums,
    "refused": lambda: tables.rejections(stateless=True),
    "void": lambda: tables.rejections(stateless=False),
}


def filled(text: str) -> str:
    """The document with all tables as the code has them. Raises `KeyError` for a table that nothing makes."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{MAKERS[block['name']]().strip()}\n\n{block[3]}", text)


if __name__ == "__main__":
    FILE.write_text(filled(FILE.read_text(encoding="utf-8")), encoding="utf-8")

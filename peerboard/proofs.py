"""Files that somebody hands over: an exported board, a saved checkpoint, a snapshot's header, a receipt.

Each says something of the log at one place; what is true there, a recomputed log tells.
"""

import json
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from node.answers import canonical
from node.recomputation import Recomputed
from protocol import cbor
from protocol.checkpoint import parse_checkpoint
from protocol.genesis import Genesis
from protocol.notes import InvalidNote, parse_note
from protocol.receipts import Receipt, is_signed
from protocol.rejections import Rejected
from protocol.snapshot import SignedSnapshot, open_snapshot

LEDGER_ANSWERS = ("benchmarks", "leaderboard", "models", "results", "runners")
_RESULTS = "results"


class Verdict(Struct, frozen=True):
    """Whether what a file says is so, in words; `index` of the log's entry that it hangs on, where there is one."""

    holds: bool
    sentence: str
    index: int | None = None


class NoProof(Exception):
    """The file is none of what can be checked."""


class Board(Struct, frozen=True):
    """A ledger answer: the bytes that `peerboard leaderboard --json` and the like print."""

    data: bytes
    name: str
    size: int

    def check(self, genesis: Genesis, log: Recomputed) -> Verdict:
        """Whether the log gives these bytes at the mark that they name."""
        mark = log.at_marks.get(self.size)
        if mark is None:
            return Verdict(False, _elsewhere(self.size, log, "ends with no mark"))
        own = mark.contents[f"{self.name}.json"]
        if self.data == own or (self.name == _RESULTS and self.data in mark.results):
            return Verdict(
                True, f"The answer `{self.name}` is what the log gives at {self.size} entries.", self.size - 1
            )
        return Verdict(False, _difference(self.data, own), self.size - 1)


class Saved(Struct, frozen=True):
    """A checkpoint that somebody kept."""

    data: bytes
    size: int

    def check(self, genesis: Genesis, log: Recomputed) -> Verdict:
        """Whether the log begins with what the checkpoint says."""
        try:
            said = log.keys.open(self.data).checkpoint
        except (InvalidNote, Rejected) as error:
            return Verdict(False, f"The checkpoint is by no key of this log: {error}.")
        root = log.roots.get(said.size)
        if root is None:
            return Verdict(False, _elsewhere(said.size, log, "is not there"))
        if root != said.root:
            sentence = (
                f"The log key signed two histories: its log of {said.size} entries had another root. Keep the file."
            )
            return Verdict(False, sentence)
        return Verdict(True, f"The log begins with the {said.size} entries of the checkpoint.")


class Header(Struct, frozen=True):
    """A signed snapshot header."""

    data: bytes
    size: int

    def check(self, genesis: Genesis, log: Recomputed) -> Verdict:
        """Whether the log gives this header."""
        mark = log.at_marks.get(self.size)
        if mark is None:
            return Verdict(False, _elsewhere(self.size, log, "ends with no mark"))
        for key in {log.keys.in_force, genesis.log_key, *log.signers}:
            try:
                said = open_snapshot(self.data, genesis.id, key)
            except Rejected:
                continue
            if said == mark.snapshot:
                return Verdict(True, f"The snapshot of version {said.version} is what the log gives.", self.size - 1)
            return Verdict(
                False, "The log key signed another snapshot than the log gives. Keep the file.", self.size - 1
            )
        return Verdict(False, "No key of this log signed the snapshot.")


class Promise(Struct, frozen=True):
    """A receipt."""

    receipt: Receipt

    def check(self, genesis: Genesis, log: Recomputed) -> Verdict:
        """Whether the envelope stands where it was promised."""
        receipt = self.receipt
        if not any(is_signed(receipt, genesis.id, key) for key in {log.keys.in_force, genesis.log_key, *log.signers}):
            return Verdict(False, "No key of this log signed the receipt.")
        for index, found in log.ids.items():
            if found == receipt.envelope:
                return Verdict(True, f"The envelope is entry {index}, as promised.", index)
        if receipt.bound > log.size:
            return Verdict(False, f"The promise runs until entry {receipt.bound}, and the log here has {log.size}.")
        where = f"between entry {receipt.size} and {receipt.bound - 1}"
        return Verdict(False, f"The log key promised the envelope {where}, and did not log it.", receipt.size)


Proof = Board | Saved | Header | Promise


def read_proof(data: bytes) -> Proof:
    """What a file holds, by its bytes; evidence is not among it. Raises `NoProof`."""
    if data.startswith(b"{"):
        return _board(data)
    if data.startswith(b"peerboard/"):
        try:
            return Saved(data, parse_checkpoint(parse_note(data).text).size)
        except InvalidNote as error:
            raise NoProof(f"The file is no checkpoint: {error}.") from None
    try:
        return Header(data, cbor.decode(data, SignedSnapshot).snapshot.size)
    except Rejected:
        pass
    try:
        return Promise(cbor.decode(data, Receipt))
    except Rejected:
        text = "The file is neither a board as JSON, nor a checkpoint, a snapshot's header, a receipt or evidence."
        raise NoProof(text) from None


def _board(data: bytes) -> Board:
    try:
        answer = json.loads(data)
        name = answer["schema"].removeprefix("peerboard.").removesuffix("/1")
        size = answer["checkpoint"]["size"]
        known = name in LEDGER_ANSWERS and isinstance(size, int) and canonical(answer) == data.rstrip(b"\n")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        text = f"The JSON is none that `leaderboard --json` and the like print: {error}."
        raise NoProof(text) from None
    if not known:
        raise NoProof("The JSON is no answer from the ledger in canonical bytes, as `leaderboard --json` prints it.")
    return Board(data.rstrip(b"\n"), name, size)


def _elsewhere(size: int, log: Recomputed, what: str) -> str:
    if size > log.size:
        return f"The file is of a log of {size} entries, and the one here has {log.size}: ask for a newer one."
    return f"The log of {size} entries, which the file names, {what}."


def _difference(given: bytes, own: bytes) -> str:
    """The first place at which two answers differ, in words."""
    try:
        path, theirs, ours = next(_differences(json.loads(given), json.loads(own)))
    except (ValueError, StopIteration, RecursionError):
        return "The bytes differ from what the log gives."
    return f"At {path or 'the top'} it says {_brief(theirs)}, and the log gives {_brief(ours)}."


def _differences(given: Any, own: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(given, dict) and isinstance(own, dict):
        for key in sorted({*given, *own}):
            yield from _differences(given.get(key), own.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(given, list) and isinstance(own, list) and len(given) == len(own):
        for place, (one, other) in enumerate(zip(given, own, strict=True)):
            name = one.get("name", place) if isinstance(one, dict) else place
            yield from _differences(one, other, f"{path}[{name}]")
    elif given != own:
        yield path, given, own


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"

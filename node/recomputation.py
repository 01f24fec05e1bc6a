"""The log folded again by somebody who believes nobody: from entries and the genesis to everything that is published.

Without a store, a network or a clock. What is asked about places in the log is answered while the fold passes them.
"""

from collections.abc import Collection, Iterable

from msgspec import Struct

from node.answers import VERDICT_EPOCHS_MOST, Answers
from node.log_keys import LogKeys
from protocol import ledger
from protocol.envelope import open_envelope
from protocol.genesis import Genesis
from protocol.messages import Mark
from protocol.rejections import Rejected
from protocol.snapshot import Snapshot
from protocol.successions import keys_in_force


class BadEntry(Exception):
    """An entry that no honest log holds: which, and why."""

    def __init__(self, index: int, sentence: str) -> None:
        super().__init__(sentence)
        self.index = index


class AtMark(Struct, frozen=True):
    """What is published at one mark, recomputed."""

    snapshot: Snapshot
    contents: dict[str, bytes]
    results: tuple[bytes, ...]
    """The verdicts of the last 1, 2, … closed epochs."""


class Recomputed(Struct, frozen=True):
    """A whole log, folded: `roots` and `at_marks` by the sizes that were asked for."""

    size: int
    root: bytes
    keys: LogKeys
    signers: tuple[bytes, ...]
    """By whom a checkpoint of the whole may be signed."""
    roots: dict[int, bytes]
    at_marks: dict[int, AtMark]
    ids: dict[int, bytes]
    """Ids of entries, by index, where they were asked for."""
    void: int
    halted: int | None
    """The protocol's version in force, where this program lacks it."""


def recompute(
    genesis: Genesis, entries: Iterable[bytes], sizes: Collection[int] = (), indices: range = range(0)
) -> Recomputed:
    """Fold the entries, every signature checked. Raises `BadEntry`.

    `sizes`: of prefixes whose roots, and what is published at them where they end with a mark, are wanted; `indices`:
    of entries whose ids are.
    """
    state, keys = ledger.begin(genesis), LogKeys(genesis)
    answers = Answers(state)
    roots, at_marks, ids = {}, {}, {}
    void = 0
    signers: tuple[bytes, ...] = (genesis.log_key,)
    if 0 in sizes:
        roots[0] = state.frontier.root
    for index, data in enumerate(entries):
        try:
            envelope = open_envelope(data, genesis.id)
        except Rejected as error:
            raise BadEntry(index, f"Entry {index} is no envelope of this network: {error}") from None
        signers = keys_in_force(genesis, keys.in_force, keys.count, (envelope,))
        keys.learn(index, (envelope,))
        reason = ledger.append(state, envelope)
        void += reason is not None
        if index in indices:
            ids[index] = envelope.id
        size = index + 1
        marks = isinstance(envelope.message, Mark)
        if marks and reason and envelope.signer in signers and state.halted is None:
            raise BadEntry(index, f"Entry {index} is a mark without effect: {reason.sentence}")
        if marks and size in sizes and reason is None:
            at_marks[size] = _at_mark(answers)
        if size in sizes:
            roots[size] = state.frontier.root
    return Recomputed(
        size=state.frontier.size,
        root=state.frontier.root,
        keys=keys,
        signers=signers,
        roots=roots,
        at_marks=at_marks,
        ids=ids,
        void=void,
        halted=state.halted,
    )


def _at_mark(answers: Answers) -> AtMark:
    answers.after_mark()
    if answers.snapshot is None:
        raise ValueError("there is no mark")
    results = tuple(answers.results(epochs) for epochs in range(1, VERDICT_EPOCHS_MOST + 1))
    return AtMark(answers.snapshot, answers.contents(), results)

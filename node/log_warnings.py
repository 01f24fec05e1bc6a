"""What this node has found about the log, in words for its owner."""

from collections.abc import Iterator
from typing import Any

from node.core import Core
from protocol.evidence import EvidenceKind
from protocol.governance import coming_version
from protocol.ledger import PROTOCOL_VERSION
from protocol.witnesses import allowance, quorum

Json = dict[str, Any]
STALE_EPOCHS = 2
COMPARE = "Compare with other runners; a stranger can check the file with the network's genesis alone."


def log_warnings(core: Core) -> Iterator[Json]:
    """Warnings of the API: proven evidence, a mark without effect, omissions, versions of the protocol."""
    replica, watch = core.replica, core.log_reader.watch
    for kept in watch.box.kept:
        frozen = ""
        if kept.finding.kind is EvidenceKind.FORK:
            fork = watch.box.fork
            size = fork.divergence.size if fork and fork.divergence else replica.size
            frozen = f" Finality is frozen at {size} entries; this node goes on relaying."
        title = f"{kept.finding.sentence}{frozen} Evidence: {kept.file}"
        yield _warning(kept.finding.kind.name, "fail", title, COMPARE)
    state = replica.state
    if state.halted is not None:
        title = (
            f"Version {state.halted} of the protocol is in force, and this program has {PROTOCOL_VERSION}: it derives"
        )
        yield _warning(
            "VERSION", "fail", f"{title} nothing, and goes on relaying.", "Update this program and restart it."
        )
    elif replica.void_mark:
        title = f"The log's newest mark has no effect: {replica.void_mark.sentence}"
        yield _warning("MARK_VOID", "fail", title, "Look for a newer version, and compare with other runners.")
    if coming := coming_version(state):
        version, mark = coming
        if version > PROTOCOL_VERSION:
            title = f"Version {version} of the protocol takes effect in {mark - state.marks} marks."
            yield _warning("VERSION_COMING", "warn", title, "Update this program before.")
    yield from _of_the_mark(core)
    if missing := core.log_reader.omissions.missing:
        title = (
            f"{len(missing)} messages that were held here before the mark of epoch {max(missing.values())} are not in"
        )
        remedy = "The bootstrap left them out, or did not hear of them. If this goes on, compare with other runners."
        yield _warning("OMITTED", "warn", f"{title} the log.", remedy)


def _of_the_mark(core: Core) -> Iterator[Json]:
    """The published snapshot, the witnesses, and the age of what is known."""
    marks, genesis, now = core.marks, core.replica.genesis, core.clock.now()
    if marks.differs:
        yield _warning("SNAPSHOT_DIFFERS", "fail", marks.differs, COMPARE)
    opened = core.replica.marked_epoch
    if opened is None:
        return
    settled = genesis.start_of(opened) + genesis.parameters.grace_seconds + allowance(genesis)
    if marks.witnessed is False and now > settled:
        needed = f"{marks.witnesses} of {len(genesis.witnesses)} witnesses cosigned it, {quorum(genesis)} are needed."
        title = f"The mark of epoch {opened} is unwitnessed: {needed}"
        yield _warning("UNWITNESSED", "note", title, "Nothing to do, unless it stays so: ask who runs the witnesses.")
    behind = core.timetable.epoch_at(now) - opened
    if behind >= STALE_EPOCHS:
        title = f"The newest mark is {behind} epochs old: what is shown as final is as old."
        yield _warning("STALE", "warn", title, "The bootstrap is away, or this node is cut off from it: see `peers`.")


def _warning(code: str, severity: str, title: str, remedy: str) -> Json:
    return {"code": code, "severity": severity, "title": title, "remedy": remedy}

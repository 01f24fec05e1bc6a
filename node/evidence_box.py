"""The evidence that this node keeps: one small file each, checked whenever it comes in, bounded in number.

The files outlive the store, and a stranger can check them with the genesis alone (`protocol.evidence_checks`).
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import structlog
from msgspec import Struct

from node.bulletin import Bulletin, Level, Topic
from node.durable import write_durably
from node.offload import offload
from protocol.evidence import MAX_BYTES, EvidenceKind, Fork
from protocol.evidence_checks import Finding, verify_evidence
from protocol.genesis import Genesis
from protocol.rejections import Rejected

MOST_OF_KIND = 16
SUFFIX = ".evidence"

log = structlog.get_logger(__name__)


class Kept(Struct, frozen=True):
    """A piece of evidence: its digest, its bytes, what they prove, and the file that they lie in."""

    id: bytes
    data: bytes
    finding: Finding
    file: Path


class EvidenceBox:
    """Evidence by what it is about; a better proof of the same takes the place of the one before."""

    def __init__(self, genesis: Genesis, folder: Path, bulletin: Bulletin) -> None:
        self._genesis = genesis
        self.folder = folder
        self._bulletin = bulletin
        self._kept: dict[tuple[EvidenceKind, str], Kept] = {}
        self.binds: Callable[[Fork], bool] = lambda fork: True
        """Whether a fork is of keys that count for this node."""

    @property
    def kept(self) -> tuple[Kept, ...]:
        """All of it, in the order in which it came."""
        return tuple(self._kept.values())

    @property
    def fork(self) -> Fork | None:
        """The proof that the log key signed two histories, if there is one that binds this node."""
        found = next((kept.finding.evidence for kept in self.kept if kept.finding.kind is EvidenceKind.FORK), None)
        return found if isinstance(found, Fork) and self.binds(found) else None

    async def load(self) -> None:
        """Read the folder. What proves nothing stays where it is and counts for nothing."""
        for file in await offload(lambda: sorted(self.folder.glob(f"*{SUFFIX}"))):
            try:
                data = await offload(partial(_read, file))
                finding = await offload(partial(verify_evidence, data, self._genesis))
            except (OSError, Rejected) as error:
                log.warning("a file of evidence is not used", file=str(file), reason=str(error))
                continue
            self._kept[finding.kind, finding.subject] = Kept(_digest(data), data, finding, file)

    async def keep(self, data: bytes, prefix: Iterable[bytes] = ()) -> bool:
        """Check evidence and keep it; whether it was new, or a better proof. Raises `Rejected`."""
        finding = await offload(partial(verify_evidence, data, self._genesis, prefix))
        key = finding.kind, finding.subject
        before = self._kept.get(key)
        if before and not self._is_better(finding, before.finding):
            return False
        if not before and sum(kind is finding.kind for kind, _ in self._kept) >= MOST_OF_KIND:
            return False
        digest = _digest(data)
        file = self.folder / f"{finding.kind.name.lower()}-{digest.hex()[:16]}{SUFFIX}"
        try:
            await offload(partial(_write, file, data, before.file if before else None))
        except OSError as error:
            self._bulletin.tell(Level.WARN, "EVIDENCE_NOT_WRITTEN", f"{file} cannot be written: {error.strerror}.")
        self._kept[key] = Kept(digest, data, finding, file)
        self._bulletin.tell(Level.FAIL, finding.kind.name, f"{finding.sentence} The evidence is {file}.")
        self._bulletin.touch(Topic.STATUS)
        return True

    def _is_better(self, new: Finding, old: Finding) -> bool:
        """Of forks: one that binds this node, then one that shows where the histories part, the earliest place."""
        if not isinstance(new.evidence, Fork) or not isinstance(old.evidence, Fork):
            return False
        binds, bound = self.binds(new.evidence), self.binds(old.evidence)
        if binds != bound or new.evidence.divergence is None:
            return binds and not bound
        known = old.evidence.divergence
        return known is None or new.evidence.divergence.size < known.size


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def _write(file: Path, data: bytes, instead_of: Path | None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_durably(file, data)
    if instead_of and instead_of != file:
        instead_of.unlink(missing_ok=True)

"""`peerboard verify`: what the bootstrap publishes, or a file that somebody handed over, checked by a stranger.

Everything is recomputed from the log's entries and the genesis: root, ledger, state, board. Nothing of the publication
is believed but the genesis, where none is given: its id is shown, to be compared with what others have.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from node.recomputation import BadEntry, Recomputed, recompute
from peerboard.exits import CommandFailed, Exit, json_answer
from peerboard.proofs import Board, Header, NoProof, Promise, Proof, Saved, read_proof
from peerboard.public_files import NotPublished, OutOfReach, PublicFiles, public_files
from peerboard.safe_text import safe
from protocol import cbor
from protocol.checkpoint import Checkpoint, cosignature, parse_checkpoint
from protocol.evidence_checks import verify_evidence
from protocol.genesis import Genesis, read_genesis
from protocol.merkle import leaf_hash
from protocol.notes import InvalidNote, parse_note
from protocol.rejections import Rejected
from protocol.snapshot import SignedSnapshot, open_snapshot
from protocol.tiles import InvalidTile, bundles, decode_bundle, hashes_in, tile_root, tiles
from protocol.witnesses import may_cosign, quorum, witness_keys

TRIES, PAUSE_SECONDS = 3, 1.0
_EVIDENCE = b"\x82"
_GOOD, _BAD, _UNSURE = "✓", "×", "!"


class Mismatch(Exception):
    """A step found something else than was published."""

    def __init__(self, step: str, sentence: str, index: int | None = None) -> None:
        super().__init__(sentence)
        self.step = step
        self.index = index


@dataclass
class Step:
    """One thing that was looked at."""

    step: str
    ok: bool
    found: str
    index: int | None = None


@dataclass
class Report:
    """What was found, in order. `warnings`: what is right, and still worth a look."""

    steps: list[Step] = field(default_factory=list)
    warnings: list[dict[str, str]] = field(default_factory=list)
    network: str = ""
    size: int | None = None
    root: str | None = None
    epoch: int | None = None

    @property
    def matches(self) -> bool:
        """Whether nothing differed."""
        return all(step.ok for step in self.steps)

    def good(self, step: str, found: str) -> None:
        """Note what is right."""
        self.steps.append(Step(step, True, found))

    def warn(self, code: str, title: str, remedy: str) -> None:
        """Note what is worth a look."""
        self.warnings.append({"code": code, "severity": "warn", "title": title, "remedy": remedy})


def verify(
    place: str | None, genesis_file: Path | None, network: str | None, proof_file: Path | None, *, as_json: bool
) -> int:
    """Print what was found; the exit code. Raises `CommandFailed` for what cannot be looked at."""
    if place is None and (proof_file is None or genesis_file is None):
        text = "There is nothing to verify: name a folder or an address, or evidence with --proof and --genesis."
        raise CommandFailed("USAGE", text, "peerboard verify --help", Exit.USAGE)
    report = Report()
    proof = _read(proof_file) if proof_file else None
    try:
        if place is None and genesis_file and proof is not None:
            genesis = _known_genesis(genesis_file, network, report)
            _check_evidence(genesis, proof, (), report)
        elif place is not None:
            _check_publication(public_files(place), genesis_file, network, proof, time.time(), report)
    except Mismatch as error:
        report.steps.append(Step(error.step, False, str(error), error.index))
    except OutOfReach as error:
        text = f"{error}."
        raise CommandFailed("UNREACHABLE", text, "Check the address, or try again later.", Exit.NOT_RUNNING) from None
    _print(report, place or str(proof_file), as_json=as_json)
    return int(Exit.FINE if report.matches else Exit.VERIFICATION_FAILED)


def _check_publication(
    files: PublicFiles, genesis_file: Path | None, network: str | None, given: bytes | None, now: float, report: Report
) -> None:
    if genesis_file:
        genesis = _known_genesis(genesis_file, network, report)
    else:
        genesis = _genesis(_published(files, "genesis.cbor", "genesis"), network, report)
        if network is None:
            remedy = "Compare the network's id with people whom you trust, or give --genesis or --network."
            report.warn("NETWORK_NOT_PINNED", "The genesis came from where the rest came from.", remedy)
    note, header = _newest(files)
    said = _checkpoint(note)
    entries = list(_entries(files, said))
    proof = None if given is None or given.startswith(_EVIDENCE) else _proof(given)
    sizes = {said.size, *([proof.size] if isinstance(proof, Board | Saved | Header) else [])}
    promised = range(proof.receipt.size, proof.receipt.bound) if isinstance(proof, Promise) else range(0)
    try:
        log = recompute(genesis, entries, sizes, promised)
    except BadEntry as error:
        raise Mismatch("ledger", str(error), error.index) from None
    if log.halted is not None:
        raise Mismatch("ledger", f"Version {log.halted} of the protocol is in force: verify with a newer program.")
    report.size, report.root = log.size, log.root.hex()
    if log.root != said.root:
        raise Mismatch("tree", f"The {log.size} entries have the root {log.root.hex()}, the checkpoint another.")
    report.good("tree", f"{log.size:,} entries have the root that the checkpoint names")
    report.good("ledger", f"every signature holds, every mark names the state before it; {log.void:,} entries are void")
    _check_tiles(files, entries)
    report.good("tiles", "the hash tiles are those of the entries")
    _check_signatures(genesis, note, log, report)
    _check_snapshot(files, genesis, log, header, now, report)
    if given is not None:
        if proof is None:
            _check_evidence(genesis, given, entries, report)
        else:
            verdict = proof.check(genesis, log)
            if not verdict.holds:
                raise Mismatch("proof", verdict.sentence, verdict.index)
            report.good("proof", verdict.sentence)


def _newest(files: PublicFiles) -> tuple[bytes, bytes]:
    """Checkpoint and snapshot header of one mark: while a new one is being published they may be of two."""
    for _ in range(TRIES):
        note, header = _published(files, "checkpoint", "checkpoint"), _published(files, "snapshot.cbor", "snapshot")
        try:
            if cbor.decode(header, SignedSnapshot).snapshot.size == _checkpoint(note).size:
                break
        except Rejected:
            break
        time.sleep(PAUSE_SECONDS)
    return note, header


def _known_genesis(file: Path, network: str | None, report: Report) -> Genesis:
    return _genesis(_read(file), network, report)


def _genesis(data: bytes, network: str | None, report: Report) -> Genesis:
    try:
        genesis = read_genesis(data)
    except Rejected as error:
        raise Mismatch("genesis", f"It is no genesis: {error}") from None
    report.network = genesis.id.hex()
    if network is not None and genesis.id.hex() != network.lower():
        raise Mismatch("genesis", f"The genesis is of network {genesis.id.hex()}, not of {network}.")
    report.good("genesis", f"network {genesis.name}, {genesis.id.hex()}")
    return genesis


def _published(files: PublicFiles, name: str, step: str) -> bytes:
    try:
        return files.read(name)
    except NotPublished as error:
        raise Mismatch(step, f"{error}.") from None


def _checkpoint(note: bytes) -> Checkpoint:
    try:
        return parse_checkpoint(parse_note(note).text)
    except InvalidNote as error:
        raise Mismatch("checkpoint", f"It is no checkpoint: {error}.") from None


def _entries(files: PublicFiles, said: Checkpoint) -> Iterator[bytes]:
    for bundle in bundles(said.size):
        try:
            yield from decode_bundle(_published(files, bundle.path, "entries"), bundle.width)
        except InvalidTile as error:
            raise Mismatch("entries", f"{bundle.path}: {error}.", bundle.index << 8) from None


def _check_tiles(files: PublicFiles, entries: list[bytes]) -> None:
    rows = {0: [leaf_hash(entry) for entry in entries]}
    for tile in tiles(len(entries)):
        if tile.level not in rows:
            below = rows[tile.level - 1]
            rows[tile.level] = [_tile_root(below[i : i + 256]) for i in range(0, len(below) - 255, 256)]
        start = tile.index << 8
        try:
            found = hashes_in(tile, _published(files, tile.path, "tiles"))
        except InvalidTile as error:
            raise Mismatch("tiles", f"{error}.") from None
        if found != rows[tile.level][start : start + tile.width]:
            raise Mismatch("tiles", f"{tile.path} is not the tile of these entries.")


def _tile_root(hashes: list[bytes]) -> bytes:
    return tile_root(b"".join(hashes))


def _check_signatures(genesis: Genesis, note: bytes, log: Recomputed, report: Report) -> None:
    try:
        said = log.keys.open(note)
        opened = parse_note(note)
        found = [cosignature(opened, key) for key in witness_keys(genesis)]
    except (InvalidNote, Rejected) as error:
        raise Mismatch("checkpoint", f"Its signatures do not hold: {error}.") from None
    if said.key not in log.signers:
        raise Mismatch("checkpoint", "It is signed by a log key that is not in force there.")
    report.good("checkpoint", f"signed by the log key in force, {said.key.hex()}")
    needed, mark = quorum(genesis), log.at_marks.get(log.size)
    if not needed or mark is None:
        return
    epoch, first = mark.snapshot.epoch, mark.snapshot.version == 1
    timely = sum(may_cosign(genesis, epoch, each.time, first=first) for each in found if each)
    of = f"{timely} of {len(genesis.witnesses)} witnesses cosigned it in time"
    if timely >= needed:
        report.good("witnesses", of)
    else:
        report.warn("UNWITNESSED", f"Of the mark, {of}; {needed} are needed.", "Ask again in a minute, or ask them.")


def _check_snapshot(
    files: PublicFiles, genesis: Genesis, log: Recomputed, data: bytes, now: float, report: Report
) -> None:
    mark = log.at_marks.get(log.size)
    if mark is None:
        raise Mismatch("snapshot", "The published log does not end with a mark.", log.size - 1)
    report.epoch = mark.snapshot.epoch
    try:
        said = open_snapshot(data, genesis.id, log.keys.in_force)
    except Rejected as error:
        raise Mismatch("snapshot", f"Its header is not signed by the log key: {error}") from None
    if said != mark.snapshot:
        fields = [name for name in said.__struct_fields__ if getattr(said, name) != getattr(mark.snapshot, name)]
        raise Mismatch("snapshot", f"The header names another {', '.join(fields)} than the log gives.", log.size - 1)
    report.good("snapshot", f"version {said.version}: state and parts are what the log gives")
    for name, own in mark.contents.items():
        found = _published(files, f"snapshot/{said.version}/{name}", "contents")
        if found != own:
            verdict = Board(found, name.removesuffix(".json"), log.size).check(genesis, log)
            raise Mismatch("contents", f"{name}: {verdict.sentence}", log.size - 1)
    report.good("contents", ", ".join(sorted(mark.contents)))
    if now >= said.expires:
        remedy = "The bootstrap publishes nothing new: it is away, or something old is shown to you."
        report.warn("EXPIRED", "The snapshot has expired: it was to be replaced by now.", remedy)


def _check_evidence(genesis: Genesis, data: bytes, prefix: list[bytes] | tuple[()], report: Report) -> None:
    try:
        finding = verify_evidence(data, genesis, prefix)
    except Rejected as error:
        raise Mismatch("proof", f"It proves nothing: {error}") from None
    report.good("proof", f"{finding.kind.name}: {finding.sentence}")


def _proof(data: bytes) -> Proof:
    try:
        return read_proof(data)
    except NoProof as error:
        raise Mismatch("proof", str(error)) from None


def _read(file: Path) -> bytes:
    try:
        return file.expanduser().read_bytes()
    except OSError as error:
        text = f"{file} cannot be read: {error.strerror}."
        raise CommandFailed("FILE_UNREADABLE", text, "Name another file.", Exit.USAGE) from None


def _print(report: Report, place: str, *, as_json: bool) -> None:
    if as_json:
        data: dict[str, Any] = {"place": place, "matches": report.matches, **asdict(report)}
        del data["warnings"]
        print(json_answer("verify", data, warnings=report.warnings))
        return
    for step in report.steps:
        where = f" (entry {step.index})" if step.index is not None else ""
        print(f"{_GOOD if step.ok else _BAD} {step.step:<10} {safe(step.found)}{where}")
    for each in report.warnings:
        print(f"{_UNSURE} {safe(each['title'])}\n→ {safe(each['remedy'])}")
    last = "Everything matches." if report.matches else "It does not match: see the line with ×."
    print(last)

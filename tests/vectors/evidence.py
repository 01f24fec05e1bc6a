"""Vectors of what a log is held to: evidence, sightings, cosignatures of witnesses, snapshots."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from protocol import cbor, epochs, ledger
from protocol.checkpoint import Checkpoint, cosign, sign_checkpoint
from protocol.envelope import Envelope, open_envelope, seal
from protocol.evidence import (
    KINDS,
    Branch,
    Divergence,
    Fork,
    Omission,
    SecondMark,
    UntimelyMark,
    WrongState,
    encode_evidence,
)
from protocol.evidence_checks import verify_evidence
from protocol.genesis import read_genesis
from protocol.merkle import Frontier, consistency_proof, inclusion_proof, leaf_hash
from protocol.messages import Delegation, Succession, consent_to, succession_consent
from protocol.notes import InvalidNote, SignerKey
from protocol.receipts import issue
from protocol.rejections import Rejected
from protocol.signing import PrivateKey
from protocol.snapshot import header, open_snapshot, problems, sign_snapshot
from protocol.witnesses import open_cosigned, open_sighting, sign_sighting, timing, witness_signer
from tests.vectors.files import Case, Compute, Input, hexed, sha, unhex
from tests.vectors.networks import CHAIN, LOG_KEY
from tests.vectors.networks import GENESIS as COMMON_GENESIS

WITNESSES = tuple(PrivateKey(sha("witness", number)) for number in range(3))
NEW_KEY = PrivateKey(sha("new log key"))
GENESIS = replace(COMMON_GENESIS, witnesses=tuple(key.public for key in WITNESSES))
GENESIS_HEX = cbor.encode(GENESIS).hex()


def _evidence(given: Input) -> Any:
    data, genesis = unhex((given["evidence"], given["genesis"]))
    try:
        found = verify_evidence(data, read_genesis(genesis), unhex(given["prefix"]))
    except Rejected as rejected:
        return {"rejection": rejected.reason.value}
    return {"kind": found.kind.name.lower(), "subject": found.subject}


def _sighting(given: Input) -> Any:
    data, genesis = bytes.fromhex(given["sighting"]), read_genesis(bytes.fromhex(given["genesis"]))
    try:
        seen = open_sighting(data, genesis)
    except Rejected as rejected:
        return {"rejection": rejected.reason.value}
    when = timing(genesis, seen.epoch, seen.time)
    return {"epoch": seen.epoch, "mark": seen.mark.hex(), "time": seen.time, "timing": when.value}


def _cosigned(given: Input) -> Any:
    genesis = read_genesis(bytes.fromhex(given["genesis"]))
    try:
        checkpoint, cosigned = open_cosigned(given["note"].encode(), genesis, genesis.log_verifier)
    except InvalidNote:
        return None
    return {"size": checkpoint.size, "times": {each.key.public.hex(): each.time for each in cosigned}}


def _snapshot(given: Input) -> Any:
    contents = {name: bytes.fromhex(content) for name, content in given["contents"].items()}
    try:
        known = open_snapshot(*unhex((given["snapshot"], given["network"], given["log_key"])))
    except Rejected as rejected:
        return {"rejection": rejected.reason.value}
    return {
        "size": known.size,
        "root": known.root.hex(),
        "epoch": known.epoch,
        "version": known.version,
        "expires": known.expires,
        "protocol": known.protocol,
        "state": known.state.hex(),
        "problems": [problem.value for problem in problems(known, contents, given["time"], given["known_version"])],
    }


def _header(given: Input) -> Any:
    genesis = read_genesis(bytes.fromhex(given["genesis"]))
    state = ledger.begin(genesis)
    ledger.extend(state, (open_envelope(data, genesis.id) for data in unhex(given["entries"])))
    found = header(state, {name: bytes.fromhex(content) for name, content in given["contents"].items()})
    return cbor.encode(found).hex() if found else None


COMPUTES: dict[str, Compute] = {
    "evidence": _evidence,
    "sighting": _sighting,
    "cosigned": _cosigned,
    "snapshot": _snapshot,
    "snapshot-header": _header,
}


class _Tree:
    """A log of these entries."""

    def __init__(self, entries: list[bytes], key: PrivateKey = LOG_KEY) -> None:
        self.entries = entries
        self._leaves = [leaf_hash(entry) for entry in entries]
        self._signer = SignerKey(GENESIS.log_verifier.name, key)

    def at(self, size: int) -> Frontier:
        return Frontier().extend(self._leaves[:size])

    def note(self, size: int | None = None) -> bytes:
        size = len(self.entries) if size is None else size
        checkpoint = Checkpoint(self._signer.verifier.name, size, self.at(size).root)
        return sign_checkpoint(checkpoint, self._signer).encode()

    def grown(self, first: int) -> tuple[bytes, ...]:
        return consistency_proof(self._node, first, len(self.entries))

    def branch(self, size: int) -> Branch:
        inclusion = inclusion_proof(self._node, size, len(self.entries))
        return Branch(self.grown(size), self._leaves[size], inclusion)

    def _node(self, level: int, index: int) -> bytes:
        return Frontier().extend(self._leaves[index << level : (index + 1) << level]).root


def _delegation(name: str) -> Envelope:
    account, device = PrivateKey(sha("account", name)), PrivateKey(sha("device", name))
    consent = device.sign(consent_to(GENESIS.id, account.public))
    return seal(account, GENESIS.id, Delegation(device.public, consent))


def _log() -> list[Envelope]:
    state = ledger.begin(GENESIS)
    entries = [_delegation("ann"), _delegation("ben")]
    ledger.extend(state, entries)
    for epoch in range(2):
        mark = seal(LOG_KEY, GENESIS.id, ledger.next_mark(state, epoch, CHAIN[epoch]))
        ledger.append(state, mark)
        entries.append(mark)
    return entries


def _succession(signer: PrivateKey) -> bytes:
    anchor = epochs.hash_chain(sha("new chain"), 8)[-1]
    consent = NEW_KEY.sign(succession_consent(GENESIS.id, signer.public, NEW_KEY.public, anchor, 8, 1))
    return seal(signer, GENESIS.id, Succession(NEW_KEY.public, anchor, 8, consent, 1)).data


def cases() -> Iterator[Case]:
    """All vectors of this file."""
    for name, evidence, prefix in _pieces():
        data = encode_evidence(evidence).hex()
        yield name, "evidence", {"genesis": GENESIS_HEX, "evidence": data, "prefix": hexed(prefix)}
    yield "an unknown kind", "evidence", {"genesis": GENESIS_HEX, "evidence": "8205a0", "prefix": []}
    yield "no CBOR", "evidence", {"genesis": GENESIS_HEX, "evidence": "8200", "prefix": []}
    assert len(KINDS) == 5
    yield from _of_witnesses()
    yield from _of_snapshots()


def _pieces() -> Iterator[tuple[str, Any, list[bytes]]]:
    envelopes = _log()
    entries = [entry.data for entry in envelopes]
    one, other = _Tree(entries), _Tree([*entries[:2], _delegation("cat").data, entries[3], entries[2]])
    where = Divergence(2, one.at(2).root, one.branch(2), other.branch(2))
    fork = Fork((), one.note(), other.note(), divergence=where)
    yield "fork: where it parts", fork, []
    yield "fork: of one size", Fork((), one.note(4), other.note(4)), []
    apart = Fork((), one.note(3), other.note(), other.grown(3), other.at(3).root)
    yield "fork: of two sizes", apart, []
    yield "fork: of two sizes, not shown", Fork((), one.note(3), other.note()), []
    yield "fork: the same history", replace(apart, first=other.note(3)), []
    yield "fork: a leaf of another place", replace(fork, divergence=replace(where, second=other.branch(3))), []
    replaced = _Tree(other.entries, NEW_KEY)
    yield "fork: by another key", replace(fork, second=replaced.note()), []
    following = replace(fork, second=replaced.note(), successions=(_succession(LOG_KEY),))
    yield "fork: by the key of a succession", following, []
    receipt = issue(LOG_KEY, GENESIS.id, _delegation("cat").id, 3, 1)
    omission = Omission((), receipt, one.note(), one.at(1).hashes, tuple(entries[1:3]), one.grown(3))
    yield "omission: left out", omission, []
    kept = issue(LOG_KEY, GENESIS.id, envelopes[2].id, 3, 1)
    yield "omission: kept", replace(omission, receipt=kept), []
    yield "omission: other entries", replace(omission, entries=tuple(entries[2:4])), []
    yield "omission: an entry too few", replace(omission, entries=tuple(entries[1:2])), []
    marks = [seal(LOG_KEY, GENESIS.id, replace(envelopes[3].message, state=sha(n))).data for n in range(2)]
    yield "second mark", SecondMark((), entries[3], marks[0]), []
    yield "second mark: the same", SecondMark((), entries[3], entries[3]), []
    yield "second mark: of another epoch", SecondMark((), entries[2], entries[3]), []
    wrong = _Tree([*entries[:3], marks[0], b"more"])
    state = WrongState((), wrong.note(), 3, marks[0], wrong.grown(4))
    yield "wrong state", state, entries[:3]
    yield "wrong state: without the entries before it", state, []
    yield "wrong state: other entries", state, [entries[1], entries[0], entries[2]]
    yield "wrong state: a right one", WrongState((), one.note(), 3, entries[3], ()), entries[:3]
    start = GENESIS.start_of(1)
    for name, times in (
        ("early", (-2, -2, 0)),
        ("in time", (-1, 5, 6)),
        ("late", (7, 0, 9)),
        ("late, says one", (7, 0, 0)),
    ):
        seen = tuple(
            sign_sighting(key, GENESIS.id, 1, envelopes[3].id, start + time)
            for key, time in zip(WITNESSES, times, strict=True)
        )
        yield f"untimely mark: {name}", UntimelyMark((), entries[3], seen), []
    once = sign_sighting(WITNESSES[0], GENESIS.id, 1, envelopes[3].id, start + 7)
    yield "untimely mark: one witness twice", UntimelyMark((), entries[3], (once, once)), []


def _of_witnesses() -> Iterator[Case]:
    start = GENESIS.start_of(4)
    for seconds in (-2, -1, 0, 6, 7):
        seen = cbor.encode(sign_sighting(WITNESSES[0], GENESIS.id, 4, sha("mark"), start + seconds))
        yield f"{seconds} seconds", "sighting", {"genesis": GENESIS_HEX, "sighting": seen.hex()}
    stranger = cbor.encode(sign_sighting(NEW_KEY, GENESIS.id, 4, sha("mark"), start))
    yield "by a stranger", "sighting", {"genesis": GENESIS_HEX, "sighting": stranger.hex()}
    signer = SignerKey(GENESIS.log_verifier.name, LOG_KEY)
    note = sign_checkpoint(Checkpoint(signer.verifier.name, 7, sha("root")), signer)
    lines = [cosign(note, witness_signer(key), start + n) for n, key in enumerate((*WITNESSES, NEW_KEY))]
    for name, chosen in (
        ("by two", lines[:2]),
        ("by nobody", []),
        ("by a stranger", lines[3:]),
        ("with another's signature", [replace(lines[0], value=lines[1].value)]),
    ):
        text = note.with_signatures(*chosen).encode().decode()
        yield name, "cosigned", {"genesis": GENESIS_HEX, "note": text}


def _of_snapshots() -> Iterator[Case]:
    state = ledger.begin(GENESIS)
    envelopes = _log()
    contents = {"leaderboard": b"{}", "benchmarks": b"[]"}
    shown = {name: content.hex() for name, content in contents.items()}
    for name, some in (("after two marks", envelopes), ("before the first mark", envelopes[:2])):
        given = {"genesis": GENESIS_HEX, "entries": hexed(entry.data for entry in some), "contents": shown}
        yield name, "snapshot-header", given
    ledger.extend(state, envelopes)
    snapshot = header(state, contents)
    assert snapshot is not None
    valid = {
        "snapshot": sign_snapshot(LOG_KEY, snapshot).hex(),
        "network": GENESIS.id.hex(),
        "log_key": LOG_KEY.public.hex(),
        "contents": shown,
        "time": snapshot.expires - 1,
        "known_version": 2,
    }
    yield "valid", "snapshot", valid
    yield "expired", "snapshot", {**valid, "time": snapshot.expires}
    yield "older than what was seen", "snapshot", {**valid, "known_version": 3}
    yield "another content", "snapshot", {**valid, "contents": {**shown, "leaderboard": "00"}}
    yield "a content too few", "snapshot", {**valid, "contents": {"leaderboard": shown["leaderboard"]}}
    yield "of another network", "snapshot", {**valid, "network": sha("other").hex()}
    yield "of another key", "snapshot", {**valid, "log_key": NEW_KEY.public.hex()}

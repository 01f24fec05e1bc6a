"""Witnesses: nodes that the genesis names say when they saw a mark; what the log key publishes at it is compared."""

from pathlib import Path
from typing import Any

import pytest
import trio.testing

import bootstrap.log_writer
from node.log_warnings import log_warnings
from node.mark_watch import ToldMark
from protocol import cbor
from protocol.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from protocol.evidence import EvidenceKind
from protocol.evidence_checks import verify_evidence
from protocol.notes import Note, NoteSignature
from protocol.snapshot import open_snapshot, sign_snapshot
from protocol.witnesses import open_cosigned, quorum, witness_keys

NAMES = ("ada", "ben", "cleo", "dan")
MockClock = trio.testing.MockClock
Kit = Any  # the class of conftest.py, which tests cannot import


def honest(kit: Kit, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    return {name: kit.FixedEvaluator(kit.sha(name)) for name in names}


def witnessed(kit: Kit) -> Any:
    return kit.genesis(witnesses=tuple(kit.witness(name).public for name in NAMES))


def warned(network: Any, name: str) -> list[str]:
    return [warning["code"] for warning in log_warnings(network.cores[name])]


async def test_every_mark_is_cosigned_and_everybody_can_check_it(kit: Kit, autojump_clock: MockClock) -> None:
    async with kit.network(honest(kit), witnessed(kit)) as network:
        fixed = network.genesis
        for minute in range(3):
            await network.until(60 * minute + 20)
            for name in ("bootstrap", *NAMES):
                marks = network.cores[name].marks
                assert marks.head == network.state(name).head
                checkpoint, cosigned = open_cosigned(marks.note.encode(), fixed, fixed.log_verifier)
                assert (checkpoint.size, checkpoint.root) == marks.head[:2]
                assert {each.key for each in cosigned} == set(witness_keys(fixed))
                assert marks.witnessed is True
                snapshot = open_snapshot(marks.snapshot, fixed.id, fixed.log_key)
                assert snapshot == network.cores[name].replica.answers.snapshot
                assert snapshot.version == minute + 1
                assert warned(network, name) == []
        # Who comes late, or comes back, asks for what it missed.
        await network.stop("dan")
        await network.start("dan", kit.FixedEvaluator(kit.sha("dan")))
        await network.start("eve", kit.FixedEvaluator(kit.sha("eve")))
        await network.until(3 * 60 - 5)
        for name in ("dan", "eve"):
            assert network.cores[name].marks.witnesses == 4


async def test_what_is_below_the_quorum_is_shown_as_unwitnessed(kit: Kit, autojump_clock: MockClock) -> None:
    async with kit.network(honest(kit), witnessed(kit)) as network:
        await network.until(70)
        for name in ("cleo", "dan"):
            await network.stop(name)
        await network.until(2 * 60 + 20)
        assert network.cores["ada"].marks.witnesses == 2 < quorum(network.genesis)
        assert network.cores["ada"].marks.witnessed is False
        assert "UNWITNESSED" in warned(network, "ada")
        await network.start("cleo", kit.FixedEvaluator(kit.sha("cleo")))
        await network.until(2 * 60 + 50)
        assert network.cores["bootstrap"].marks.witnesses == 2, "who comes late cosigns no mark of before"
        await network.until(3 * 60 + 20)
        assert network.cores["bootstrap"].marks.witnessed is True
        assert "UNWITNESSED" not in warned(network, "ada")


async def test_a_witness_cosigns_no_log_that_contradicts_what_it_cosigned(
    kit: Kit, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Ada's memory of what it cosigned is of another history: it says so, and cosigns no more."""
    async with kit.network(honest(kit), witnessed(kit)) as network:
        await network.until(80)
        file = tmp_path / "ada-cosigned.note"
        size, root, _ = network.state("ada").head
        assert open_checkpoint(file.read_bytes(), network.genesis.log_verifier).checkpoint.root == root
        signer = network._writers["bootstrap"]._signer
        other = Checkpoint(signer.verifier.name, size, bytes(32))
        file.write_bytes(sign_checkpoint(other, signer).encode())
        await network.until(2 * 60 + 20)
        assert network.cores["ben"].marks.witnesses == 3
        assert "NOT_COSIGNED" in network.codes("ada")


async def test_a_quorum_that_sees_a_mark_late_proves_it(
    kit: Kit, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kit.network(honest(kit), witnessed(kit)) as network:
        await network.until(70)
        await network.until(115)
        monkeypatch.setattr(type(network._writers["bootstrap"]), "_may_mark", lambda self, epoch: False)
        await network.until(2 * 60 + 10)
        writer = type(network._writers["bootstrap"])
        monkeypatch.setattr(writer, "_may_mark", lambda self, epoch: epoch > self._core.replica.marked_epoch)
        await network.until(2 * 60 + 30)
        for name in NAMES:
            assert "UNTIMELY_MARK" in warned(network, name)
            (kept,) = network.cores[name].log_reader.watch.box.kept
            found = verify_evidence(kept.data, network.genesis)
            assert found.kind is EvidenceKind.UNTIMELY_MARK
            assert "late" in found.sentence
            assert network.cores[name].marks.witnessed is False


async def test_another_snapshot_than_the_nodes_own_is_told(
    kit: Kit, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def other(key: Any, snapshot: Any) -> bytes:
        part = type(snapshot.parts[1])(snapshot.parts[1].name, bytes(32))
        fields = {name: getattr(snapshot, name) for name in snapshot.__struct_fields__}
        return sign_snapshot(key, type(snapshot)(**fields | {"parts": (snapshot.parts[0], part, *snapshot.parts[2:])}))

    async with kit.network(honest(kit, ("ada", "ben"))) as network:
        await network.until(70)
        monkeypatch.setattr(bootstrap.log_writer, "sign_snapshot", other)
        await network.until(2 * 60 + 20)
        for name in ("ada", "ben"):
            (found,) = [each for each in log_warnings(network.cores[name]) if each["code"] == "SNAPSHOT_DIFFERS"]
            assert "leaderboard.json" in found["title"]
        kept = (tmp_path / "ada-evidence" / "snapshot-3.cbor").read_bytes()
        assert open_snapshot(kept, network.genesis.id, network.genesis.log_key).version == 3
        monkeypatch.undo()
        await network.until(3 * 60 + 20)
        assert warned(network, "ada") == []


async def test_what_a_stranger_adds_to_a_note_is_left_out(kit: Kit, autojump_clock: MockClock) -> None:
    """Lines of keys that nobody knows must not push out those of witnesses, and wrong ones refuse the whole."""
    async with kit.network(honest(kit), witnessed(kit)) as network:
        await network.until(80)
        marks = network.cores["ada"].marks
        good, snapshot, head = marks.note, marks.snapshot, marks.head
        junk = tuple(NoteSignature(f"peerboard/witness/{n}", bytes(4), bytes(72)) for n in range(58))
        log_line = good.signatures[:1]
        marks._forget(head)
        await marks._take(cbor.encode(ToldMark(Note(good.text, (*junk, *log_line)).encode(), b"", ())))
        assert marks.note.signatures == log_line
        wrong = NoteSignature(good.signatures[1].name, good.signatures[1].key_id, bytes(72))
        told = ToldMark(Note(good.text, (*log_line, wrong)).encode(), snapshot, ())
        assert not marks._is_valid(cbor.encode(told))
        await marks._take(cbor.encode(told))
        assert (marks.note.signatures, marks.snapshot) == (log_line, b"")
        await marks._take(cbor.encode(ToldMark(good.encode(), snapshot, ())))
        assert marks.witnesses == 4
        assert marks.note.encode() == good.encode()
        other = Checkpoint(network.genesis.log_verifier.name, head[0], bytes(32))
        forged = sign_checkpoint(other, network._writers["bootstrap"]._signer).encode()
        await marks._take(cbor.encode(ToldMark(forged, b"", ())))
        assert marks.note.encode() == good.encode(), "a mark of another history is not this one"

"""The log is held to its word: two histories, broken promises, wrong marks, chains that end, versions that change."""

from pathlib import Path
from typing import Any

import pytest
import trio.testing

from bootstrap.promises import Promises
from node.log_warnings import log_warnings
from protocol import ledger
from protocol.envelope import seal
from protocol.evidence import EvidenceKind, Fork
from protocol.evidence_checks import verify_evidence

NAMES = ("ada", "ben", "cleo", "dan")
MockClock = trio.testing.MockClock
Kit = Any  # the class of conftest.py, which tests cannot import


def honest(kit: Kit, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    return {name: kit.FixedEvaluator(kit.sha(name)) for name in names}


def warned(network: Any, name: str) -> list[str]:
    return [warning["code"] for warning in log_warnings(network.cores[name])]


def findings(network: Any, name: str) -> list[Any]:
    """What the node's evidence files prove to somebody who has them and the genesis."""
    folder: Path = network._folder / f"{name}-evidence"
    return [verify_evidence(file.read_bytes(), network.genesis) for file in sorted(folder.glob("*.evidence"))]


async def two_histories(kit: Kit, network: Any) -> int:
    """From 75 s on a second holder of the log's key writes for one half of the network; the entries in common."""
    await network.start("shadow", writes=False)
    await network.until(75)
    network.hub.partition(("bootstrap", "ada", "ben"), ("shadow", "cleo", "dan"))
    common = int(network.state("ada").frontier.size)
    network.write("shadow")
    await network.until(190)
    assert network.board("ada") != network.board("cleo")
    return common


async def test_a_proven_fork_freezes_finality_at_the_common_prefix(kit: Kit, autojump_clock: MockClock) -> None:
    async with kit.network(honest(kit)) as network:
        common = await two_histories(kit, network)
        network.hub.heal()
        await network.until(220)
        everybody = ("bootstrap", "shadow", *NAMES)
        assert {network.state(name).frontier.size for name in everybody} == {common}
        assert len({network.board(name) for name in everybody}) == 1
        assert len({network.state(name).digest() for name in everybody}) == 1
        for name in everybody:
            assert "FORK" in warned(network, name)
            (found,) = findings(network, name)
            assert isinstance(found.evidence, Fork)
            assert found.evidence.divergence is not None
            assert found.evidence.divergence.size == common
        last = network.state("ada").head
        # Nothing more is written or folded; what is said goes on from node to node, and comes to whoever returns.
        await network.stop("dan")
        await network.until(250)
        await network.start("dan", kit.FixedEvaluator(kit.sha("dan")))
        await network.start("eve", kit.FixedEvaluator(kit.sha("eve")))
        await network.until(290)
        for name in ("ada", "dan", "eve"):
            assert network.state(name).head == last
            assert network.state(name).frontier.size == common
            assert "FORK" in warned(network, name)
        eve = kit.identity("eve").device.public
        assert any(envelope.signer == eve for envelope in network.cores["ada"].replica.held.values())


async def test_every_message_gets_a_receipt_and_an_honest_log_keeps_them(
    kit: Kit, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int, bytes]] = []
    signed = Promises._signed

    def remembered(self: Promises, envelope: Any, bound: int, size: int) -> bytes:
        given.append((size, bound, envelope.id))
        return signed(self, envelope, bound, size)

    monkeypatch.setattr(Promises, "_signed", remembered)
    async with kit.network(honest(kit)) as network:
        await network.until(3 * 60 + 20)
        log = await network.cores["bootstrap"].store.log_entries(0, 4000)
        assert len(given) >= 4 * (2 + 3 * 2), "delegation and profile, then commitments and results of three epochs"
        for size, bound, envelope in given:
            places = await network.cores["bootstrap"].store.positions(envelope)
            assert any(size <= place < bound for place in places)
            assert bound - size <= 40
        for name in NAMES:
            assert not findings(network, name)
            assert warned(network, name) == []
            assert len(await network.cores[name].store.due_receipts(len(log))) == 0, "what was kept is forgotten"
        assert not await network.cores["bootstrap"].store.outstanding_receipts()


async def test_a_log_that_leaves_out_what_it_promised_is_proven_to(
    kit: Kit, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bootstrap promises dan's messages like all others, and logs none of them after the first mark."""
    dan = kit.identity("dan").device.public
    in_order = Promises.in_order

    def selective(self: Promises, pending: Any) -> Any:
        marked = self._core.replica.marked_epoch is not None
        return [e for e in in_order(self, pending) if not (marked and e.signer == dan)]

    monkeypatch.setattr(Promises, "in_order", selective)
    async with kit.network(honest(kit)) as network:
        await network.until(2 * 60 + 40)
        proven = findings(network, "dan")
        assert proven
        assert {found.kind for found in proven} == {EvidenceKind.OMISSION}
        for found in proven:
            assert not await network.cores["bootstrap"].store.positions(found.evidence.receipt.envelope)
        assert "OMISSION" in warned(network, "dan")
        # The others take over the proof, and say that they held what the mark lacks.
        assert {found.subject for found in findings(network, "ada")} >= {proven[0].subject}
        assert "OMITTED" in warned(network, "ada")


@pytest.mark.parametrize("kind", [EvidenceKind.SECOND_MARK, EvidenceKind.WRONG_STATE])
async def test_wrong_marks_are_found_in_the_log(kit: Kit, autojump_clock: MockClock, kind: EvidenceKind) -> None:
    async with kit.network(honest(kit, ("ada", "ben"))) as network:
        await network.until(80)
        writer, state = network._writers["bootstrap"], network.state("bootstrap")
        epoch = 1 if kind is EvidenceKind.SECOND_MARK else 2
        preimage = writer._chains.preimage(ledger.chain_at(state, epoch)[0])
        before = ledger.next_mark(state, epoch, preimage)
        await writer._append([kit.identity("ada").delegation(network.genesis.id)])
        await writer._append([seal(writer._key, network.genesis.id, before)])
        await network.until(100)
        assert kind.name in warned(network, "ada")
        prefix = await network.cores["ada"].store.log_entries(0, 4000)
        (kept,) = network.cores["ada"].log_reader.watch.box.kept
        assert verify_evidence(kept.data, network.genesis, prefix).kind is kind


async def test_a_hash_chain_is_renewed_before_it_ends(kit: Kit, autojump_clock: MockClock) -> None:
    async with kit.network(honest(kit, NAMES[:2]), kit.genesis(chain_length=4)) as network:
        await network.until(6 * 60 + 20)
        assert network.state("ada").opening.epoch == 6
        assert network.state("ada").marks == 7
        assert "CHAIN_RENEWED" in network.codes("bootstrap")
        assert len({network.state(name).digest() for name in ("bootstrap", *NAMES[:2])}) == 1
        await network.stop("bootstrap")
        await network.start("bootstrap", waits_for=0)
        await network.until(8 * 60 + 20)
        assert network.state("ada").opening.epoch == 8, "after a restart the seeds are those of the file"


async def test_a_chain_that_cannot_go_on_is_said_and_mended(
    kit: Kit, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with kit.network(honest(kit, NAMES[:2]), kit.genesis(chain_length=2)) as network:
        writer = network._writers["bootstrap"]
        file, writer._chains._file = writer._chains._file, tmp_path / "gone" / "chain"
        await network.until(2 * 60 + 20)
        assert network.state("ada").opening.epoch == 1
        assert "CHAIN_NOT_RENEWED" in network.codes("bootstrap")
        assert [warning["code"] for warning in writer.warnings()] == ["CHAIN_EXHAUSTED"]
        await network.until(2 * 60 + 50)
        writer._chains._file = file
        await network.until(3 * 60 + 20)
        assert network.state("ada").opening.epoch == 3
        assert not list(writer.warnings())


async def test_a_program_without_the_version_in_force_relays_and_goes_on_once_updated(
    kit: Kit, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody has version 2 in a network of version 2; then dan's program is an old one for a while."""
    monkeypatch.setattr(ledger, "PROTOCOL_VERSION", 2)
    fixed = kit.genesis(version=2)
    async with kit.network(honest(kit), fixed) as network:
        await network.until(80)
        dan = network.cores["dan"].replica
        dan.state.halted = 2  # what an old program does where the version takes effect
        await network.until(130)
        assert dan.marked_epoch == 1
        assert "VERSION" in warned(network, "dan")
        assert dan.size == network.cores["ada"].replica.size, "the log is followed and kept"
        assert dan.plan(1) is None
        await network.stop("dan")
        await network.start("dan", kit.FixedEvaluator(kit.sha("dan")))
        await network.until(3 * 60 + 10)
        assert network.board("dan") == network.board("ada")
        assert warned(network, "dan") == []

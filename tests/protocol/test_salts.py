"""What runners bring to the next beacon: one salt each, fixed before anybody knew another's."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

import pytest
from msgspec.structs import replace

from protocol import ledger
from protocol.envelope import Envelope, seal
from protocol.epochs import marked_beacon
from protocol.messages import Commitment, Result, Run, commitment_digest

World = Any  # the class of conftest.py, which tests cannot import
NewWorld = Callable[..., World]
HONEST = ("ada", "ben", "cleo", "dan")
RUN = Run("test 1", "cpu", "reproducible", 0)


@pytest.fixture
def world(new_world: NewWorld) -> World:
    made = new_world(models=2)
    made.join(*HONEST, "eve")
    made.mark(0)
    assert all(len(task.ranking) == task.assigned == 5 for task in made.plan(0).tasks.values())
    return made


def batches(world: World, name: str, salts: Sequence[bytes]) -> list[tuple[Any, Result]]:
    """A batch for each task: its commitment, and the result that opens it and saw nobody."""
    plan, account, found = world.plan(0), world.account(name).public, []
    for task, salt in zip(plan.tasks.values(), salts, strict=True):
        draft = Result(0, plan.ground, bytes(32), salt, RUN, (world.result_of(task),), ())
        digest = commitment_digest(world.genesis.id, account, draft)
        commitment = world.seal(name, Commitment(0, plan.ground, (task.id,), digest))
        found.append((commitment, replace(draft, commitment=commitment.id)))
    return found


def honest(world: World, seen: Mapping[bytes, Mapping[bytes, bytes]] | None = None) -> list[Envelope]:
    """What the four say; `seen`: by task, commitments beside their own, by account."""
    commitments, results = world.statements(world.plan(0), HONEST)
    said = []
    for name, envelope in zip(HONEST, results, strict=True):
        rows = []
        for result, row in zip(envelope.message.tasks, envelope.message.saw, strict=True):
            others = (seen or {}).get(result.task, {})
            ranking = world.plan(0).tasks[result.task].ranking
            rows.append(tuple(others.get(key, saw) for key, saw in zip(ranking, row, strict=True)))
        said.append(world.seal(name, replace(envelope.message, saw=tuple(rows))))
    return [*commitments, *said]


def next_beacon(world: World, *entries: Envelope) -> bytes:
    """Of the mark that closes the epoch behind these entries."""
    twin = world.refold()
    for entry in entries:
        ledger.append(twin, entry)
    mark = ledger.next_mark(twin, 1, world.chain[1])
    assert ledger.append(twin, seal(world.log_key, world.genesis.id, mark)) is None
    beacon: bytes = twin.opening.beacon
    return beacon


def salts_of(world: World, names: Collection[str]) -> dict[tuple[int, bytes], bytes]:
    _, results = world.statements(world.plan(0), names)
    authors = {world.device(name).public: world.account(name).public for name in names}
    return {(0, authors[result.signer]): result.message.salt for result in results}


def test_the_beacon_is_of_the_preimage_and_the_salts_of_whose_results_count(world: World) -> None:
    expected = marked_beacon(world.chain[1], salts_of(world, HONEST))
    assert next_beacon(world, *honest(world)) == expected
    assert next_beacon(world) == marked_beacon(world.chain[1], {})


def test_who_commits_when_others_have_revealed_moves_no_beacon(world: World) -> None:
    """A log key that has an assigned rank of its own could try as many salts as it likes, and knows the preimage."""
    world.log(*honest(world))
    without = next_beacon(world)
    for salt in (b"1" * 32, b"2" * 32):
        late = batches(world, "eve", (salt, salt))
        said = [*(commitment for commitment, _ in late), *(world.seal("eve", result) for _, result in late)]
        assert next_beacon(world, *said) == without


@pytest.mark.parametrize("salts", [(b"1" * 32, b"1" * 32), (b"1" * 32, b"2" * 32)], ids=["one salt", "two salts"])
def test_between_its_batches_nobody_chooses_a_beacon(world: World, salts: tuple[bytes, bytes]) -> None:
    """All of them are opened and have one salt, or they bring none: who withholds has two beacons to choose from."""
    mine = batches(world, "eve", salts)
    eve = world.account("eve").public
    seen = {commitment.message.tasks[0]: {eve: commitment.id[:16]} for commitment, _ in mine}
    world.log(*(commitment for commitment, _ in mine), *honest(world, seen))
    results = [world.seal("eve", result) for _, result in mine]
    opened = chain.from_iterable(combinations(results, count) for count in range(3))
    beacons = {next_beacon(world, *some) for some in opened}
    without = marked_beacon(world.chain[1], salts_of(world, HONEST))
    assert without in beacons
    whole = {marked_beacon(world.chain[1], salts_of(world, HONEST) | {(0, eve): salts[0]})}
    assert beacons == {without} | (whole if len(set(salts)) == 1 else set())


def test_a_leaderless_epoch_brings_no_salts(world: World) -> None:
    """Withholding costs nothing there, and whoever holds the log key chooses when to come back."""
    world.log(*honest(world))
    plan = world.plan(1)
    commitments, results = world.statements(plan, HONEST)
    world.log(*commitments, *results)
    assert world.mark(3) is None
    finals = {final.epoch for epoch in world.state.verdicts for final in epoch if final.counted}
    assert finals == {0, 1}
    expected = {(0, world.account(name).public): salt for name, salt in zip(HONEST, salts_in(world, 0), strict=True)}
    assert world.state.opening.beacon == marked_beacon(world.chain[1], expected)


def salts_in(world: World, epoch: int) -> list[bytes]:
    """What the four revealed in an epoch, in their order."""
    found = {
        entry.signer: entry.message.salt
        for entry in world.entries
        if isinstance(entry.message, Result) and entry.message.epoch == epoch
    }
    return [found[world.device(name).public] for name in HONEST]

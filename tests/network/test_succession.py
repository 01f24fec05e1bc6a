"""The log's key is replaced: by its own word, or by the recovery key after it was stolen."""

from pathlib import Path
from typing import Any

import trio.testing

from bootstrap.chains import Chains
from bootstrap.log_writer import LogWriter
from node.log_warnings import log_warnings
from protocol import epochs
from protocol.envelope import Envelope, seal
from protocol.messages import Succession, succession_consent
from protocol.signing import PrivateKey

NAMES = ("ada", "ben", "cleo")
MockClock = trio.testing.MockClock
Kit = Any  # the class of conftest.py, which tests cannot import
NEW_KEY, RECOVERY = PrivateKey(b"n" * 32), PrivateKey(b"r" * 32)
NEW_SEED = b"d" * 32


def succession(network: Any, signer: PrivateKey) -> Envelope:
    """The new key takes over, with a chain of its own."""
    fixed, sequence = network.genesis, network.state("ada").successions + 1
    anchor = epochs.hash_chain(NEW_SEED, fixed.chain_length)[-1]
    words = succession_consent(fixed.id, signer.public, NEW_KEY.public, anchor, fixed.chain_length, sequence)
    message = Succession(NEW_KEY.public, anchor, fixed.chain_length, NEW_KEY.sign(words), sequence)
    return seal(signer, fixed.id, message)


def heir(network: Any, folder: Path) -> LogWriter:
    """A writer with the new key, on a node that followed the log so far."""
    seeds = folder / "heir.chain"
    seeds.write_text(NEW_SEED.hex() + "\n")
    core = network.cores["heir"]
    return LogWriter(core, NEW_KEY, Chains(seeds, network.genesis.chain_length), folder / "heir.note")


def evaluators(kit: Kit) -> dict[str, Any]:
    return {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}


def check_who_is_followed(network: Any, names: tuple[str, ...], epoch: int) -> None:
    """All of them follow the new key, and have the same board."""
    for name in names:
        assert network.state(name).log_key == NEW_KEY.public
        assert network.state(name).opening.epoch == epoch
        assert network.cores[name].log_reader.watch.keys.in_force == NEW_KEY.public
    assert len({network.state(name).digest() for name in names}) == 1
    assert len({network.board(name) for name in names}) == 1


async def test_the_log_key_hands_over(kit: Kit, autojump_clock: MockClock, tmp_path: Path) -> None:
    async with kit.network(evaluators(kit)) as network:
        await network.start("heir", kit.FixedEvaluator(kit.sha("heir")))
        await network.until(70)
        network._nursery.start_soon(heir(network, tmp_path).run)
        await network.until(75)
        assert network.state("ada").log_key == network.genesis.log_key, "a key that nobody named writes nothing"
        await network.stop("cleo")
        key = network._writers["bootstrap"]._key
        await network.cores["heir"].gossiper.publish(succession(network, key))
        await network.until(80)
        assert "LOG_STOPPED" in network.codes("bootstrap")
        await network.stop("bootstrap")
        await network.until(3 * 60 + 20)
        await network.start("cleo", kit.FixedEvaluator(kit.sha("cleo")))
        await network.start("eve", kit.FixedEvaluator(kit.sha("eve")))
        await network.until(4 * 60 + 20)
        everybody = ("heir", *NAMES, "eve")
        check_who_is_followed(network, everybody, 4)
        for name in everybody:
            assert [each["code"] for each in log_warnings(network.cores[name])] == []
        # Receipts of the new key are taken, and kept by the log.
        assert network.finals("ada")[-1].agreeing
        await network.stop("ada")
        await network.start("ada", kit.FixedEvaluator(kit.sha("ada")))
        await network.until(5 * 60 + 20)
        check_who_is_followed(network, everybody, 5)


async def test_a_stolen_key_freezes_nobody_who_follows_the_recovery_key(
    kit: Kit, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """The thief goes on writing with the old key; whoever follows the succession keeps the proof and its own log."""
    async with kit.network(evaluators(kit), kit.genesis(recovery_key=RECOVERY.public)) as network:
        await network.start("heir", kit.FixedEvaluator(kit.sha("heir")))
        await network.until(75)
        network.hub.partition(("bootstrap", "cleo"), ("heir", "ada", "ben"))
        network._nursery.start_soon(heir(network, tmp_path).run)
        await network.cores["heir"].gossiper.publish(succession(network, RECOVERY))
        await network.until(2 * 60 + 30)
        assert network.state("cleo").opening.epoch == 2, "the thief's side goes on"
        network.hub.heal()
        await network.until(4 * 60 + 20)
        check_who_is_followed(network, ("heir", "ada", "ben"), 4)
        assert "FORK" in [each["code"] for each in log_warnings(network.cores["ada"])]
        assert network.cores["ada"].log_reader.watch.box.fork is None
        assert network.cores["cleo"].log_reader.watch.box.fork is not None, "who followed the thief stands still"
        await network.stop("ada")
        await network.start("ada", kit.FixedEvaluator(kit.sha("ada")))
        await network.until(5 * 60 + 20)
        check_who_is_followed(network, ("heir", "ada", "ben"), 5)

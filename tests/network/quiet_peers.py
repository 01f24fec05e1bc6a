"""Cores in memory that do not run: they answer, hold what they are given of a log, and do what they are told."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from node.bulletin import Bulletin
from node.clock import Clock
from node.core import Core, open_core
from node.memory_network import MemoryHub
from node.snapshots import Retention
from protocol import epochs, ledger
from protocol.checkpoint import Checkpoint, sign_checkpoint
from protocol.envelope import Envelope, seal
from protocol.genesis import Genesis
from protocol.merkle import Frontier, leaf_hash
from protocol.messages import Delegation, Rating, consent_to
from protocol.notes import SignerKey
from protocol.signing import PrivateKey

LOG_KEY = PrivateKey(b"l" * 32)
CHAIN = epochs.hash_chain(b"c" * 32, 64)
MARKS = 3
LENGTH = 900
START = 1_800_000_000


def a_log(genesis: Genesis, length: int = LENGTH, stars: int = 1, marks: int = MARKS) -> list[Envelope]:
    """Entries with some marks, some that have an effect, and many that have none."""
    return list(_written(genesis, length, stars, marks))


@cache
def _written(genesis: Genesis, length: int, stars: int, marks: int) -> tuple[Envelope, ...]:
    state = ledger.begin(genesis)
    written: list[Envelope] = []

    def write(envelope: Envelope) -> None:
        written.append(envelope)
        ledger.append(state, envelope)

    for epoch in range(marks):
        account, device = PrivateKey(bytes([epoch, 1]) * 16), PrivateKey(bytes([epoch, 2]) * 16)
        consent = device.sign(consent_to(genesis.id, account.public))
        write(seal(account, genesis.id, Delegation(device.public, consent)))
        write(seal(LOG_KEY, genesis.id, ledger.next_mark(state, epoch, CHAIN[epoch])))
        for number in range(length // marks - 2):
            write(seal(account, genesis.id, Rating(number, genesis.models[0].id, "maths", stars)))
    return tuple(written)


class Peers:
    """Cores on one hub, each with a store in `folder`."""

    def __init__(self, hub: MemoryHub, genesis: Genesis, folder: Path) -> None:
        self.hub = hub
        self._genesis = genesis
        self._folder = folder

    @asynccontextmanager
    async def open(
        self, name: str, held: Sequence[Envelope] = (), retention: Retention | None = None
    ) -> AsyncIterator[Core]:
        """A core, with these entries in its store beside what it had; connected to the others."""
        clock = Clock(START)
        file = self._folder / f"{name}.sqlite"
        async with (
            self.hub.open(name) as network,
            open_core(self._genesis, network, file, clock, Bulletin(clock), retention=retention) as core,
        ):
            if held:
                rows = [(each.id, each.data) for each in held]
                await core.store.append_log(0, rows, self.note(held), START)
                await core.log_reader.load()
            for other in self.hub.networks.values():
                if other.peer != network.peer:
                    await network.connect(other.addresses[0])
            yield core

    def note(self, held: Sequence[Envelope]) -> bytes:
        signer = SignerKey(self._genesis.log_verifier.name, LOG_KEY)
        frontier = Frontier().extend(leaf_hash(each.data) for each in held)
        return sign_checkpoint(Checkpoint(signer.verifier.name, frontier.size, frontier.root), signer).encode()


async def log_of(core: Core) -> list[bytes]:
    """What a core's store keeps of the log."""
    return await core.store.log_entries(0, 10_000)


def codes(core: Core) -> list[str]:
    return [activity.code for activity in core.bulletin.activities]

"""The hash chains of the log key: their seeds in one file, a line each, oldest first."""

import os
from collections.abc import Callable
from pathlib import Path

from node.durable import write_durably
from protocol.epochs import follows, hash_chain

SEED_BYTES = 32


class ChainExhausted(Exception):
    """No seed here gives the next preimage. The text is a sentence for people, and says what to do."""


class Chains:
    """Gives the preimages of all chains whose seeds are in the file. Raises `ValueError` and `OSError` when made."""

    def __init__(self, file: Path, length: int, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._file = file
        self._length = length
        self._entropy = entropy
        self._seeds = [bytes.fromhex(line) for line in file.read_text(encoding="ascii").split()]
        if not self._seeds or any(len(seed) != SEED_BYTES for seed in self._seeds):
            raise ValueError(f"{file} holds no seeds of {SEED_BYTES} bytes, one a line")
        self._preimages: dict[bytes, bytes] = {}
        for seed in self._seeds:
            self._learn(seed)

    @property
    def anchors(self) -> tuple[bytes, ...]:
        """The anchor of each chain, oldest first."""
        return tuple(hash_chain(seed, self._length)[-1] for seed in self._seeds)

    def preimage(self, last: bytes) -> bytes:
        """The preimage that follows `last`: an anchor, or the one revealed last. Raises `ChainExhausted`."""
        found = self._preimages.get(last)
        if found is None or not follows(found, last):
            text = f"{self._file} gives no further preimage of the hash chain: no mark can be signed."
            raise ChainExhausted(
                f"{text} Restore the file from your backup, or let the recovery key sign a succession."
            )
        return found

    def renewed(self, last: bytes) -> bytes:
        """The anchor of a chain that has not begun; a fresh seed is on disk before this returns. Raises `OSError`.

        `last`: the anchor or preimage at which the log stands. A seed that a crash kept from being used is used now.
        """
        newest = hash_chain(self._seeds[-1], self._length)
        if last in newest:
            seed = self._entropy(SEED_BYTES)
            lines = "".join(f"{known.hex()}\n" for known in (*self._seeds, seed))
            write_durably(self._file, lines.encode("ascii"), private=True)
            self._seeds.append(seed)
            self._learn(seed)
            newest = hash_chain(seed, self._length)
        return newest[-1]

    def _learn(self, seed: bytes) -> None:
        chain = hash_chain(seed, self._length)
        last = chain[-1]
        for preimage in chain[:-1]:
            self._preimages[last] = preimage
            last = preimage

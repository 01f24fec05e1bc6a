"""The file that fixes a network. Its hash is the network's id, and part of everything that anyone signs."""

import hashlib
from functools import cached_property
from typing import Annotated

from msgspec import Meta, Struct

from protocol import cbor
from protocol.definitions import Benchmark, Digest, Model, Name, PublicKey, Small
from protocol.notes import VerifierKey
from protocol.parameters import Bound, Parameters
from protocol.rejections import Rejected, Rejection


class Genesis(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """What everybody starts from.

    `time`: Unix seconds at which epoch 0 begins. `chain_anchor`: end of the log key's hash chain (see `epochs`).
    `attesters`: whose attestations count. `recovery_key`: replaces a lost log key by a succession. `bounds`: how far
    governance may move each parameter; one that is not listed stays as it is. `witnesses`: who may witness marks
    (see `witnesses`); more than half of them are a quorum.
    """

    name: Name
    time: Annotated[int, Meta(ge=0, le=2**40)]
    parameters: Parameters
    benchmarks: Annotated[tuple[Benchmark, ...], Meta(min_length=1, max_length=1000)]
    models: Annotated[tuple[Model, ...], Meta(max_length=10_000)]
    log_key: PublicKey
    chain_anchor: Digest
    chain_length: Small
    attesters: Annotated[tuple[PublicKey, ...], Meta(max_length=64)] = ()
    recovery_key: PublicKey | None = None
    bounds: Annotated[tuple[Bound, ...], Meta(max_length=64)] = ()
    witnesses: Annotated[tuple[PublicKey, ...], Meta(max_length=64)] = ()

    @cached_property
    def id(self) -> bytes:
        """The network's id: SHA-256 of the genesis in deterministic CBOR."""
        return hashlib.sha256(cbor.encode(self)).digest()

    @property
    def log_verifier(self) -> VerifierKey:
        """The log's key with its name, which is the origin of its checkpoints."""
        return VerifierKey(log_name(self.id), self.log_key)

    def epoch_at(self, unix_time: float) -> int:
        """The epoch whose hour it is by the clock; negative before genesis. For scheduling only."""
        return int((unix_time - self.time) // self.parameters.epoch_seconds)

    def start_of(self, epoch: int) -> int:
        """Unix seconds at which an epoch begins."""
        return self.time + epoch * self.parameters.epoch_seconds


def log_name(network: bytes) -> str:
    """The origin of a network's checkpoints (C2SP tlog-checkpoint)."""
    return f"peerboard/{network.hex()}"


def read_genesis(data: bytes) -> Genesis:
    """The genesis in a file's bytes. Raises `Rejected`."""
    genesis = cbor.decode(data, Genesis)
    listed = (
        [benchmark.id for benchmark in genesis.benchmarks],
        [model.id for model in genesis.models],
        genesis.witnesses,
    )
    for what in listed:
        if len(set(what)) != len(what):
            raise Rejected(Rejection.WRONG_SCHEMA, "the genesis lists something twice")
    return genesis

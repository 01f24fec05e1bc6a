"""Witnesses: keys that the genesis names, and that say when they saw a mark.

A witness cosigns (C2SP tlog-cosignature) a checkpoint that holds a mark only between the start of the epoch and start +
`grace_seconds`. A mark that it saw earlier or later it does not cosign; it signs a *sighting* instead, and the
sightings of a quorum are evidence. Clocks differ: a sixtieth of an epoch is allowed before either is said.
"""

import enum

from msgspec import Struct

from protocol import cbor
from protocol.checkpoint import Checkpoint, Cosigned, cosignature, open_checkpoint
from protocol.definitions import Count, Digest, PublicKey, Signature
from protocol.epochs import follows
from protocol.genesis import Genesis
from protocol.messages import Epoch, Mark
from protocol.notes import COSIGNATURE, InvalidNote, SignerKey, VerifierKey
from protocol.rejections import Rejected, Rejection
from protocol.signing import PrivateKey, verify

TAG = "peerboard/sighting/1"
MAX_BYTES = 256
PARTS_OF_AN_EPOCH = 60
"""One of so many is what clocks, and the way of a message, may be off."""


class Timing(enum.StrEnum):
    """When a mark was seen."""

    EARLY = "early"
    TIMELY = "timely"
    LATE = "late"


class Sighting(Struct, frozen=True, forbid_unknown_fields=True):
    """A witness's word: it first saw the mark (the id of its envelope) of `epoch` at `time`, Unix seconds."""

    epoch: Epoch
    mark: Digest
    time: Count
    witness: PublicKey
    signature: Signature


def witness_name(public: bytes) -> str:
    """The name of a witness's key in notes."""
    return f"peerboard/witness/{public.hex()}"


def witness_keys(genesis: Genesis) -> tuple[VerifierKey, ...]:
    """The keys of all witnesses, for cosignatures."""
    return tuple(VerifierKey(witness_name(public), public, COSIGNATURE) for public in genesis.witnesses)


def witness_signer(key: PrivateKey) -> SignerKey:
    """A witness's own key, for cosignatures."""
    return SignerKey(witness_name(key.public), key, COSIGNATURE)


def quorum(genesis: Genesis) -> int:
    """How many witnesses have to agree: more than half; 0 where the network has none."""
    return len(genesis.witnesses) // 2 + 1 if genesis.witnesses else 0


def allowance(genesis: Genesis) -> int:
    """Seconds that clocks and the wire may be off."""
    return -(-genesis.parameters.epoch_seconds // PARTS_OF_AN_EPOCH)


def is_first(genesis: Genesis, mark: Mark) -> bool:
    """Whether this is the mark with which a network begins: it waits for people, and nothing makes it late."""
    return follows(mark.preimage, genesis.chain_anchor)


def may_cosign(genesis: Genesis, epoch: int, time: int, *, first: bool = False) -> bool:
    """Whether a cosignature at `time` (Unix seconds) witnesses that the mark of `epoch` was there in time.

    `first`: it is the network's first mark.
    """
    start = genesis.start_of(epoch)
    return start <= time and (first or time <= start + genesis.parameters.grace_seconds)


def timing(genesis: Genesis, epoch: int, time: int) -> Timing:
    """What a sighting at `time` (Unix seconds) says of the mark of `epoch`."""
    start = genesis.start_of(epoch)
    if time < start - allowance(genesis):
        return Timing.EARLY
    return Timing.LATE if time > start + genesis.parameters.grace_seconds + allowance(genesis) else Timing.TIMELY


def open_cosigned(data: bytes, genesis: Genesis, log_key: VerifierKey) -> tuple[Checkpoint, tuple[Cosigned, ...]]:
    """The checkpoint in untrusted bytes and its cosignatures by witnesses of the genesis.

    Raises `InvalidNote`, and nothing else: also where no witness cosigned.
    """
    opened = open_checkpoint(data, log_key)
    found = [cosignature(opened.note, key) for key in witness_keys(genesis)]
    cosigned = tuple(each for each in found if each is not None)
    if not cosigned:
        raise InvalidNote("no witness of this network cosigned the checkpoint")
    return opened.checkpoint, cosigned


def sign_sighting(key: PrivateKey, network: bytes, epoch: int, mark: bytes, time: int) -> Sighting:
    """Say with a witness's key when it first saw a mark."""
    return Sighting(epoch, mark, time, key.public, key.sign(_statement(network, epoch, mark, time)))


def open_sighting(data: bytes, genesis: Genesis) -> Sighting:
    """The sighting in untrusted bytes, by a witness of the genesis. Raises `Rejected`, and nothing else."""
    if len(data) > MAX_BYTES:
        raise Rejected(Rejection.TOO_LARGE, f"{len(data)} bytes, and a sighting has at most {MAX_BYTES}.")
    sighting = cbor.decode(data, Sighting)
    if not is_signed(sighting, genesis):
        raise Rejected(Rejection.BAD_SIGNATURE)
    return sighting


def is_signed(sighting: Sighting, genesis: Genesis) -> bool:
    """Whether one of the genesis' witnesses signed this sighting."""
    statement = _statement(genesis.id, sighting.epoch, sighting.mark, sighting.time)
    return sighting.witness in genesis.witnesses and verify(sighting.witness, statement, sighting.signature)


def _statement(network: bytes, epoch: int, mark: bytes, time: int) -> bytes:
    return cbor.encode((TAG, network, epoch, mark, time))

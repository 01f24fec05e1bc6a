"""Vectors of the log: inclusion and consistency proofs, tiles, checkpoints, cosignatures, forks, receipts."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from protocol import cbor, merkle
from protocol.checkpoint import Checkpoint, cosign, is_fork, open_checkpoint, sign_checkpoint
from protocol.merkle import Frontier, InvalidProof, leaf_hash
from protocol.notes import COSIGNATURE, InvalidNote, SignerKey, VerifierKey
from protocol.receipts import TAG, encode_receipt, issue, open_receipt
from protocol.rejections import Rejected
from protocol.signing import PrivateKey
from protocol.tiles import InvalidTile, bundles, encode_bundle, parse_path, tiles
from tests.vectors.files import Case, Compute, Input, hexed, sha, unhex

ENTRIES = [b"", b"\x00", *(bytes([n]) * n for n in range(2, 13))]
NETWORK = sha("network")
LOG_KEY = SignerKey(f"peerboard/{NETWORK.hex()}", PrivateKey(sha("log")))
OTHER_KEY = SignerKey(LOG_KEY.verifier.name, PrivateKey(sha("other log")))
WITNESS = SignerKey("witness.example/1", PrivateKey(sha("witness")), COSIGNATURE)


def _reader(entries: list[bytes]) -> merkle.ReadNode:
    def read(level: int, index: int) -> bytes:
        part = entries[index << level : index + 1 << level]
        return Frontier().extend(map(leaf_hash, part)).root

    return read


def _root(entries: list[bytes]) -> bytes:
    return Frontier().extend(map(leaf_hash, entries)).root


def _tree(given: Input) -> Any:
    entries = unhex(given["entries"])
    return {"leaves": hexed(map(leaf_hash, entries)), "root": _root(entries).hex()}


def _inclusion(given: Input) -> Any:
    leaf, root = unhex((given["leaf"], given["root"]))
    try:
        merkle.verify_inclusion(leaf, given["index"], given["size"], unhex(given["proof"]), root)
    except InvalidProof:
        return False
    return True


def _consistency(given: Input) -> Any:
    root, later = unhex((given["root"], given["later"]))
    try:
        merkle.verify_consistency(given["first"], given["second"], unhex(given["proof"]), root, later)
    except InvalidProof:
        return False
    return True


def _tiles(given: Input) -> Any:
    size, since = given["size"], given["since"]
    return [piece.path for pieces in (tiles(size, since), bundles(size, since)) for piece in pieces]


def _path(given: Input) -> Any:
    try:
        parse_path(given["path"])
    except InvalidTile:
        return False
    return True


def _bundle(given: Input) -> Any:
    return encode_bundle(unhex(given["entries"])).hex()


def _checkpoint(given: Input) -> Any:
    witnesses = [VerifierKey.parse(text) for text in given["witnesses"]]
    try:
        opened = open_checkpoint(given["note"].encode(), VerifierKey.parse(given["log_key"]), witnesses)
    except InvalidNote:
        return None
    known = opened.checkpoint
    cosigned = {cosigned.key.name: cosigned.time for cosigned in opened.cosigned}
    return {"origin": known.origin, "size": known.size, "root": known.root.hex(), "cosigned": cosigned}


def _fork(given: Input) -> Any:
    prefix = bytes.fromhex(given["prefix_root"]) if given["prefix_root"] else None
    first, second, key = given["first"].encode(), given["second"].encode(), VerifierKey.parse(given["log_key"])
    return is_fork(first, second, key, prefix, unhex(given["proof"]))


def _receipt(given: Input) -> Any:
    receipt, network, key = unhex((given["receipt"], given["network"], given["log_key"]))
    try:
        opened = open_receipt(receipt, network, key)
    except Rejected as rejected:
        return {"rejection": rejected.reason.value}
    return {"envelope": opened.envelope.hex(), "bound": opened.bound, "size": opened.size}


COMPUTES: dict[str, Compute] = {
    "tree": _tree,
    "inclusion": _inclusion,
    "consistency": _consistency,
    "tile-paths": _tiles,
    "tile-path": _path,
    "bundle": _bundle,
    "checkpoint": _checkpoint,
    "fork": _fork,
    "receipt": _receipt,
}


def cases() -> Iterator[Case]:
    """All cases, in the order of the file."""
    for size in (0, 1, 2, 3, 7, 8, 13):
        yield f"{size} entries", "tree", {"entries": hexed(ENTRIES[:size])}
    yield from _of_inclusion()
    yield from _of_consistency()
    for size, since in ((1, 0), (256, 0), (257, 256), (70_000, 69_900)):
        yield f"{size} since {since}", "tile-paths", {"size": size, "since": since}
    for path in ("tile/0/x001/x234/067", "tile/1/000.p/5", "tile/entries/000.p/255", "tile/0/67", "tile/0/000.p/256"):
        yield path, "tile-path", {"path": path}
    yield "four entries", "bundle", {"entries": hexed(ENTRIES[:4])}
    yield from _of_checkpoints()
    yield from _of_receipts()


def _of_inclusion() -> Iterator[Case]:
    for size in (1, 2, 3, 7, 8, 13):
        entries = ENTRIES[:size]
        for index in sorted({0, size // 2, size - 1}):
            proof = merkle.inclusion_proof(_reader(entries), index, size)
            given: Input = {
                "leaf": leaf_hash(entries[index]).hex(),
                "index": index,
                "size": size,
                "proof": hexed(proof),
                "root": _root(entries).hex(),
            }
            yield f"leaf {index} of {size}", "inclusion", given
    yield "another index", "inclusion", {**given, "index": 4}
    yield "another root", "inclusion", {**given, "root": sha("root").hex()}
    yield "a hash too many", "inclusion", {**given, "proof": [*given["proof"], sha("more").hex()]}
    yield "a hash too few", "inclusion", {**given, "proof": given["proof"][:-1]}
    yield "an index beyond the tree", "inclusion", {**given, "index": 13}


def _of_consistency() -> Iterator[Case]:
    for first, second in ((0, 5), (1, 2), (2, 3), (3, 7), (4, 7), (6, 8), (7, 7), (8, 13), (12, 13)):
        given = {
            "first": first,
            "second": second,
            "proof": hexed(merkle.consistency_proof(_reader(ENTRIES[:second]), first, second)),
            "root": _root(ENTRIES[:first]).hex(),
            "later": _root(ENTRIES[:second]).hex(),
        }
        yield f"{first} to {second}", "consistency", given
    yield "another earlier root", "consistency", {**given, "root": sha("root").hex()}
    yield "another later root", "consistency", {**given, "later": sha("root").hex()}
    yield "no proof", "consistency", {**given, "proof": []}
    yield "backwards", "consistency", {**given, "first": 13, "second": 12}


def _note(size: int, root: bytes, key: SignerKey = LOG_KEY) -> str:
    return sign_checkpoint(Checkpoint(key.verifier.name, size, root), key).encode().decode()


def _of_checkpoints() -> Iterator[Case]:
    log_key, witness = str(LOG_KEY.verifier), str(WITNESS.verifier)
    note = sign_checkpoint(Checkpoint(LOG_KEY.verifier.name, 7, _root(ENTRIES[:7])), LOG_KEY)
    text = note.encode().decode()
    cosigned = note.with_signatures(cosign(note, WITNESS, 1_800_000_300)).encode().decode()
    given = {"note": text, "log_key": log_key, "witnesses": []}
    yield "signed", "checkpoint", given
    yield "cosigned", "checkpoint", {**given, "note": cosigned, "witnesses": [witness]}
    yield "not cosigned", "checkpoint", {**given, "witnesses": [witness]}
    yield "cosigned by a key that nobody asked for", "checkpoint", {**given, "note": cosigned}
    yield (
        "a wrong cosignature",
        "checkpoint",
        {
            **given,
            "note": cosigned.replace("\n7\n", "\n8\n"),
            "witnesses": [witness],
        },
    )
    yield "another number of leaves", "checkpoint", {**given, "note": text.replace("\n7\n", "\n8\n")}
    yield "another key", "checkpoint", {**given, "log_key": str(OTHER_KEY.verifier)}
    yield "no newline at the end", "checkpoint", {**given, "note": text[:-1]}
    yield "no signature", "checkpoint", {**given, "note": note.text + "\n"}
    forged = [*ENTRIES[:6], b"forged"]
    of_seven, other = text, _note(7, _root(forged))
    fork: Input = {"first": of_seven, "second": other, "log_key": log_key, "prefix_root": None, "proof": []}
    yield "two roots of one size", "fork", fork
    yield "the same twice", "fork", {**fork, "second": of_seven}
    for name, longer in (("a longer honest tree", ENTRIES[:13]), ("a longer tree of another history", [*forged, b"x"])):
        proof = merkle.consistency_proof(_reader(longer), 7, len(longer))
        second = _note(len(longer), _root(longer))
        yield name, "fork", {**fork, "second": second, "prefix_root": _root(longer[:7]).hex(), "proof": hexed(proof)}


def _of_receipts() -> Iterator[Case]:
    key = LOG_KEY.private
    receipt = encode_receipt(issue(key, NETWORK, sha("missing"), 7, 3))
    given = {"receipt": receipt.hex(), "network": NETWORK.hex(), "log_key": key.public.hex()}
    yield "valid", "receipt", given
    yield "of another network", "receipt", {**given, "network": sha("other").hex()}
    yield "of another key", "receipt", {**given, "log_key": OTHER_KEY.private.public.hex()}
    yield "a byte too many", "receipt", {**given, "receipt": receipt.hex() + "00"}
    never = replace(issue(key, NETWORK, sha("missing"), 7, 3), size=7, signature=key.sign(_promise(7, 7)))
    yield "nothing promised", "receipt", {**given, "receipt": encode_receipt(never).hex()}


def _promise(bound: int, size: int) -> bytes:
    return cbor.encode((TAG, NETWORK, sha("missing"), bound, size))

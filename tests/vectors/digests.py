"""Vectors of digests with a domain tag, of epochs (hash chain, beacons, ground) and of work stamps."""

import hashlib
from collections.abc import Iterator
from typing import Any

import cbor2

from protocol import cbor, epochs
from protocol.definitions import Benchmark, Model
from protocol.genesis import read_genesis
from protocol.hashing import digest
from protocol.messages import Result, commitment_digest
from protocol.rejections import Rejected
from protocol.stamps import find_stamp, is_stamped
from protocol.tasks import Purpose, Subject, task_id
from protocol.texts import Passage, TextDocument, open_text
from protocol.transcripts import Answer, Stop, Transcript, prompt_digest, transcript_digest
from tests.vectors import envelopes
from tests.vectors.files import Case, Compute, Input, hexed, sha
from tests.vectors.networks import GENESIS

NETWORK = sha("network")


def _part(given: Any) -> Any:
    """JSON stands for CBOR as it is, but for {"hex": ...}: a byte string."""
    if isinstance(given, dict):
        return bytes.fromhex(given["hex"])
    return tuple(map(_part, given)) if isinstance(given, list) else given


def _digest(given: Input) -> Any:
    parts = [_part(part) for part in given["parts"]]
    return {"cbor": cbor.encode((given["tag"], *parts)).hex(), "digest": digest(given["tag"], *parts).hex()}


def _model(given: Input) -> Any:
    return cbor.decode(bytes.fromhex(given["model"]), Model).id.hex()


def _benchmark(given: Input) -> Any:
    return cbor.decode(bytes.fromhex(given["benchmark"]), Benchmark).id.hex()


def _network(given: Input) -> Any:
    return read_genesis(bytes.fromhex(given["genesis"])).id.hex()


def _text(given: Input) -> Any:
    return cbor.decode(bytes.fromhex(given["document"]), TextDocument).digest.hex()


def _opened_text(given: Input) -> Any:
    try:
        open_text(bytes.fromhex(given["document"]), bytes.fromhex(given["digest"]))
    except Rejected as rejected:
        return rejected.reason.value
    return None


def _commitment(given: Input) -> Any:
    result = cbor.decode(bytes.fromhex(given["result"]), Result)
    return commitment_digest(bytes.fromhex(given["network"]), bytes.fromhex(given["account"]), result).hex()


def _prompt(given: Input) -> Any:
    return prompt_digest(given["tokens"]).hex()


def _transcript(given: Input) -> Any:
    answers = cbor.decode(bytes.fromhex(given["transcript"]), Transcript).answers
    adapters = [(bytes.fromhex(each["sha256"]), each["scale"]) for each in given["adapters"]]
    base, dataset = bytes.fromhex(given["base"]), bytes.fromhex(given["dataset"])
    digests = [answer.digest.hex() for answer in answers]
    return {"answers": digests, "transcript": transcript_digest(base, adapters, dataset, answers).hex()}


def _task(given: Input) -> Any:
    looks_at = bytes.fromhex(given["looks_at"]) if given["looks_at"] else None
    subject = Subject(bytes.fromhex(given["model"]), bytes.fromhex(given["benchmark"]))
    return task_id(subject, given["epoch"], given["depth"], Purpose(given["purpose"]), looks_at).hex()


def _chain(given: Input) -> Any:
    return hexed(epochs.hash_chain(bytes.fromhex(given["seed"]), given["length"]))


def _beacon(given: Input) -> Any:
    salts = {(said["epoch"], bytes.fromhex(said["account"])): bytes.fromhex(said["salt"]) for said in given["revealed"]}
    return epochs.marked_beacon(bytes.fromhex(given["preimage"]), salts).hex()


def _leaderless(given: Input) -> Any:
    return epochs.leaderless_beacon(bytes.fromhex(given["marked"]), given["epoch"]).hex()


def _ground(given: Input) -> Any:
    return epochs.ground(given["size"], bytes.fromhex(given["root"]), bytes.fromhex(given["beacon"])).hex()


def _stamp(given: Input) -> Any:
    stamp = bytes.fromhex(given["stamp"]) if given["stamp"] is not None else None
    names = bytes.fromhex(given["network"]), bytes.fromhex(given["device"])
    return is_stamped(*names, given["epoch"], stamp, given["seconds"])


COMPUTES: dict[str, Compute] = {
    "digest": _digest,
    "model-id": _model,
    "benchmark-id": _benchmark,
    "network-id": _network,
    "text-digest": _text,
    "text": _opened_text,
    "commitment-digest": _commitment,
    "task-id": _task,
    "prompt-digest": _prompt,
    "transcript-digest": _transcript,
    "hash-chain": _chain,
    "beacon": _beacon,
    "leaderless-beacon": _leaderless,
    "ground": _ground,
    "work-stamp": _stamp,
}


def cases() -> Iterator[Case]:
    """All cases, in the order of the file."""
    some = {"hex": sha("some").hex()}
    for name, parts in (
        ("no parts", []),
        ("numbers of every length", [0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**64 - 1, -1, -24, -25]),
        (
            "bytes, text, arrays and constants",
            [some, {"hex": ""}, "text", "ü", [], [some, [1, "a"]], None, True, False],
        ),
        ("a text of 24 and bytes of 256", ["a" * 24, {"hex": "ab" * 256}]),
    ):
        yield name, "digest", {"tag": "peerboard/example/1", "parts": parts}
    yield "another tag, another digest", "digest", {"tag": "peerboard/example/2", "parts": []}
    for name, model in (
        ("one file", envelopes.PLAIN),
        ("adapter and scale", envelopes.FULL),
        ("adapter of PEFT", envelopes.PEFT),
    ):
        yield name, "model-id", {"model": cbor.encode(model).hex()}
    yield "benchmark", "benchmark-id", {"benchmark": cbor.encode(envelopes.BENCHMARK).hex()}
    yield "genesis", "network-id", {"genesis": cbor.encode(GENESIS).hex()}
    document = TextDocument(sha("salt"), (Passage("description", "Knows sums."), Passage("name", "Ünal")))
    assert open_text(cbor.encode(document), document.digest) == document
    yield "two passages", "text-digest", {"document": cbor.encode(document).hex()}
    passages = {0: sha("salt"), 1: [{0: "name", 1: "Ünal"}, {0: "description", 1: "Knows sums."}]}
    for name, data, named in (
        ("the document", cbor.encode(document), document.digest),
        ("another salt", cbor.encode(TextDocument(sha("another"), document.passages)), document.digest),
        ("passages out of order", cbor2.dumps(passages), digest("peerboard/text/1", passages)),
        ("a passage twice", cbor2.dumps({0: sha("salt"), 1: [{0: "name", 1: ""}] * 2}), document.digest),
        ("no passage", cbor2.dumps({0: sha("salt"), 1: []}), document.digest),
        ("a length in two bytes", cbor2.dumps({0: sha("salt")})[:-34] + b"\x59\x00\x20" + bytes(32), document.digest),
        ("16,385 bytes", cbor2.dumps({0: sha("salt"), 1: [{0: "name", 1: "a" * 16_336}]}), document.digest),
    ):
        yield name, "text", {"document": data.hex(), "digest": named.hex()}
    result = next(message for _, _, message in envelopes.messages() if isinstance(message, Result))
    given = {"network": NETWORK.hex(), "account": sha("account").hex(), "result": cbor.encode(result).hex()}
    yield "an evaluation and a failure", "commitment-digest", given
    blind = Result(result.epoch, result.ground, bytes(32), result.salt, result.run, result.tasks, ())
    yield "the same without saw and commitment", "commitment-digest", {**given, "result": cbor.encode(blind).hex()}
    subject = {"model": sha("m").hex(), "benchmark": sha("b").hex(), "epoch": 7, "depth": 25}
    for purpose in Purpose:
        looks_at = None if purpose is Purpose.REGULAR else sha("task").hex()
        yield purpose.name.lower(), "task-id", {**subject, "purpose": int(purpose), "looks_at": looks_at}
    yield from _transcripts()
    chain = epochs.hash_chain(sha("chain"), 4)
    yield "four preimages and the anchor", "hash-chain", {"seed": sha("chain").hex(), "length": 4}
    said = [
        {"epoch": e, "account": sha("a", n).hex(), "salt": sha("s", e, n).hex()} for e, n in ((8, 1), (7, 2), (7, 1))
    ]
    yield "nobody revealed", "beacon", {"preimage": chain[0].hex(), "revealed": []}
    yield "by epoch, then account", "beacon", {"preimage": chain[1].hex(), "revealed": said}
    for epoch in (8, 9):
        yield f"epoch {epoch}", "leaderless-beacon", {"marked": sha("beacon").hex(), "epoch": epoch}
    empty = hashlib.sha256().hexdigest()
    yield "an empty log", "ground", {"size": 0, "root": empty, "beacon": sha("beacon").hex()}
    yield "a long log", "ground", {"size": 123_456_789, "root": sha("root").hex(), "beacon": sha("beacon").hex()}
    stamp = find_stamp(NETWORK, sha("device"), 7, 1)
    stamped = {"network": NETWORK.hex(), "device": sha("device").hex(), "epoch": 7, "stamp": stamp.hex(), "seconds": 1}
    yield "a second's work", "work-stamp", stamped
    yield "of another epoch", "work-stamp", {**stamped, "epoch": 8}
    yield "not enough work", "work-stamp", {**stamped, "seconds": 3600}
    yield "none, and none is asked for", "work-stamp", {**stamped, "stamp": None, "seconds": 0}
    yield "none", "work-stamp", {**stamped, "stamp": None}


def _transcripts() -> Iterator[Case]:
    for name, tokens in (("no tokens", []), ("tokens of every length", [1, 23, 24, 255, 256, 65_535, 65_536])):
        yield name, "prompt-digest", {"tokens": tokens}
    prompt = prompt_digest((1, 2, 3))
    written = [
        Answer(7, prompt, Stop.END_TOKEN, (5, 300, 2)),
        Answer(0, prompt, Stop.STOP_STRING, (5,)),
        Answer(70_000, prompt, Stop.LENGTH, (128_000,) * 3),
    ]
    chosen = [Answer(3, prompt, Stop.CHOICE, choice=2)]
    scaled = [{"sha256": sha("adapter").hex(), "scale": 750}]
    files = {"base": sha("base").hex(), "adapters": [], "dataset": sha("content").hex()}
    for name, answers, adapters in (("written", written, []), ("chosen, with an adapter", chosen, scaled)):
        encoded = cbor.encode(Transcript(tuple(answers))).hex()
        yield name, "transcript-digest", {**files, "adapters": adapters, "transcript": encoded}

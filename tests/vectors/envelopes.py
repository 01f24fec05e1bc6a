"""Conformance vectors of envelopes: valid ones of every kind, and for every reason to refuse some that are invalid.

    python -m tests.vectors.envelopes          # writes protocol/vectors/envelopes.json

Nothing is drawn by chance: the same code gives the same file. The CBOR library here is not the one under test.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2

from protocol.audits import Finding, Sight
from protocol.definitions import (
    Adapter,
    Benchmark,
    Card,
    Dataset,
    HubFile,
    HubRevision,
    Model,
    ModelType,
    Setting,
    TaskKind,
    Training,
)
from protocol.envelope import MAX_BYTES, MAX_UNKNOWN_BYTES, Envelope, open_envelope, seal
from protocol.failures import Failure
from protocol.messages import (
    KINDS,
    Appeal,
    Attestation,
    Ballot,
    BenchmarkChange,
    BenchmarkDefinition,
    Claim,
    ClaimedTask,
    Commitment,
    Delegation,
    Kind,
    Mark,
    Message,
    ParameterChange,
    Profile,
    Proposal,
    Rating,
    Registration,
    Result,
    Revocation,
    Run,
    Succession,
    TaskResult,
    TrackChange,
    consent_to,
    succession_consent,
)
from protocol.rejections import Rejection
from protocol.signing import PrivateKey

FILE = Path(__file__).parents[2] / "protocol" / "vectors" / "envelopes.json"
ORDER = 2**252 + 27742317777372353535851937790883648493
Vector = dict[str, str | bool | None]


def sha(*parts: object) -> bytes:
    """32 bytes that stand for something."""
    return hashlib.sha256(repr(parts).encode()).digest()


NETWORK = sha("network")
ACCOUNT, DEVICE, LOG, NEW_LOG = (PrivateKey(sha("key", name)) for name in ("account", "device", "log", "new log"))
FILE_OF_BASE = HubFile("example/base", "a" * 40, "base-q8_0.gguf", sha("base"), 1_234_567_890)
FILE_OF_ADAPTER = HubFile("example/adapter", "b" * 40, "lora/adapter.gguf", sha("adapter"), 12_345_678)
WEIGHTS = HubFile("example/lora", "f" * 40, "adapter_model.safetensors", sha("weights"), 23_456_789)
CONFIGURATION = HubFile("example/lora", "f" * 40, "adapter_config.json", sha("configuration"), 729)
DATASET = Dataset("example/questions", "c" * 40, "main", "test", sha("content"), 1319)
BENCHMARK = Benchmark("sums", 3, "maths", "en", TaskKind.GENERATION, DATASET, "sums/3", "numbers/1", 0, 256, ("1", "2"))
PLAIN = Model(FILE_OF_BASE, (), "llama", 1_100_000_000, "Q8_0", "apache-2.0")
TRAINING = Training(
    (Setting("learning-rate", "2e-4"), Setting("rank", "16")),
    (HubRevision("example/corpus", "d" * 40),),
    "8x A100",
    96,
    40_000,
)
CARD = Card(
    "Example 1B Maths", "example", ModelType.ADAPTER, (HubRevision("example/upstream", "e" * 40),), TRAINING, "2026-03"
)
FULL = Model(
    FILE_OF_BASE,
    (Adapter(FILE_OF_ADAPTER, 750),),
    "llama",
    1_100_000_000,
    "Q8_0",
    "MIT",
    (PLAIN.id,),
    sha("text"),
    CARD,
)
PEFT = Model(FILE_OF_BASE, (Adapter(WEIGHTS, 1000, CONFIGURATION),), "llama", 1_100_000_000, "Q8_0", "MIT")
RUN = Run("llama-cpp-python 0.3.36", "x86-64 avx2", "reproducible", 0, (Setting("threads", "4"),))
EVALUATED = TaskResult(
    task=sha("task", 0),
    questions=sha("questions"),
    outcomes=(1000, 0, 250),
    total=1250,
    margins=(12, 24, 65_536),
    near_ties=b"\x80",
    fingerprint=bytes(range(144)),
    transcript=sha("transcript"),
    tokens_in=512,
    tokens_out=77,
    run_ms=23,
    energy_mj=2**32,
    stops=b"\x00\x02\x01",
    findings=(
        Finding(Sight.EXAMINED, b"\x40"),
        Finding(Sight.NOT_REVEALED),
        Finding(Sight.NOT_EXAMINED),
    ),
)
SAW = (bytes(16), b"", sha("seen")[:16])


def messages() -> Iterator[tuple[str, PrivateKey, Message]]:
    """Valid messages of every kind, with who signs them."""
    consent = DEVICE.sign(consent_to(NETWORK, ACCOUNT.public))
    yield "delegation", ACCOUNT, Delegation(DEVICE.public, consent)
    yield "profile", DEVICE, Profile(0, 8192, 65_535, ())
    yield "profile with stamp and text", DEVICE, Profile(23, 24, 255, ("cpu", "cuda"), bytes(8), sha("text"))
    yield "attestation", ACCOUNT, Attestation(DEVICE.public, sha("person"), 0)
    yield "benchmark", DEVICE, BenchmarkDefinition(BENCHMARK)
    yield "benchmark with text", DEVICE, BenchmarkDefinition(BENCHMARK, sha("text"))
    yield "model of one file", DEVICE, Registration(PLAIN, 5)
    yield "model with adapter and card", DEVICE, Registration(FULL, 2**31 - 1)
    yield "model with an adapter of PEFT", DEVICE, Registration(PEFT, 5)
    yield "claim", DEVICE, Claim(7, 1, (ClaimedTask(sha("task", 0), 1000),))
    yield "claim of nothing", DEVICE, Claim(7, 0, ())
    yield "commitment", DEVICE, Commitment(7, sha("ground"), (sha("task", 0), sha("task", 1)), sha("digest"))
    yield "commitment to 64 tasks", DEVICE, Commitment(7, sha("ground"), tuple(map(sha, range(64))), sha("digest"))
    failed = TaskResult(sha("task", 1), Failure.MODEL_REFUSED)
    both = Result(7, sha("ground"), sha("commitment"), sha("salt"), RUN, (EVALUATED, failed), (SAW, ()))
    yield "result with an evaluation and a failure", DEVICE, both
    yield "rating", DEVICE, Rating(7, PLAIN.id, "maths", 5)
    yield "appeal", DEVICE, Appeal(7, sha("task", 0))
    yield "appeal with text", DEVICE, Appeal(7, sha("task", 0), sha("text"))
    yield "proposal of a parameter", DEVICE, Proposal(7, parameter=ParameterChange("tasks_max", 1500))
    yield (
        "proposal of a benchmark",
        DEVICE,
        Proposal(7, benchmark=BenchmarkChange(BENCHMARK.id, True), text=sha("text")),
    )
    yield "proposal of a track", DEVICE, Proposal(7, track=TrackChange("maths", (BENCHMARK.id,)))
    yield "ballot", DEVICE, Ballot(7, sha("proposal"), False)
    yield "revocation", ACCOUNT, Revocation(DEVICE.public)
    agreed = NEW_LOG.sign(succession_consent(NETWORK, LOG.public, NEW_LOG.public, sha("anchor"), 8760, 1))
    yield "succession", LOG, Succession(NEW_LOG.public, sha("anchor"), 8760, agreed, 1)
    yield "mark", LOG, Mark(8, sha("preimage"), sha("state"), 1)


def vectors() -> list[Vector]:
    """All vectors, in the order of the file."""
    found = [_valid(name, key, message) for name, key, message in messages()]
    found.append(_unknown("kind of a newer version", {0: "news", 1: [True, None, -1]}))
    found += [
        _refused(*case) for case in (*_broken_bodies(), *_broken_payloads(), *_broken_envelopes(), *_broken_keys())
    ]
    return found


def _valid(name: str, key: PrivateKey, message: Message) -> Vector:
    sealed = seal(key, NETWORK, message)
    return _vector(name, KINDS[type(message)].name.lower(), sealed.data, sealed.id, None)


def of_unknown_kind(network: bytes) -> Envelope:
    """An envelope of a newer version."""
    return open_envelope(_signed(cbor2.dumps([200, {0: "news"}]), network=network), network)


def _unknown(name: str, body: Any) -> Vector:
    payload = cbor2.dumps([200, body], canonical=True)
    return _vector(name, "unknown", _signed(payload), hashlib.sha256(_to_sign(payload)).digest(), None)


def _refused(name: str, kind: str, data: bytes, reason: Rejection) -> Vector:
    return _vector(name, kind, data, None, reason)


def _vector(name: str, kind: str, data: bytes, identity: bytes | None, reason: Rejection | None) -> Vector:
    return {
        "name": name,
        "kind": kind,
        "network": NETWORK.hex(),
        "envelope": data.hex(),
        "id": identity.hex() if identity else None,
        "valid": reason is None,
        "rejection": reason.value if reason else None,
    }


Case = tuple[str, str, bytes, Rejection]


def _broken_bodies() -> Iterator[Case]:
    """For the first message of every kind: a body that is not of its kind, correctly signed."""
    firsts: dict[Kind, tuple[PrivateKey, Message]] = {}
    for _, key, message in messages():
        firsts.setdefault(KINDS[type(message)], (key, message))
    for kind, (key, message) in firsts.items():
        body = cbor2.loads(cbor2.loads(seal(key, NETWORK, message).data).value[2])[1]
        last = max(body)
        for what, other in (
            ("no field 0", {place: item for place, item in body.items() if place != 0}),
            ("a field too many", {**body, 23: 0}),
            ("a field of another type", {**body, 0: "text"}),
            ("null for a field", {**body, last: None}),
            ("an array for a body", list(body.values())),
        ):
            payload = cbor2.dumps([int(kind), other], canonical=True)
            yield f"{kind.name.lower()}: {what}", kind.name.lower(), _signed(payload, key), Rejection.WRONG_SCHEMA


def _broken_payloads() -> Iterator[Case]:
    task = sha("task", 0)
    schema, bytes_ = Rejection.WRONG_SCHEMA, Rejection.NOT_DETERMINISTIC_CBOR
    for what, kind, body in (
        ("a number below its range", "rating", {0: 7, 1: task, 2: "maths", 3: 0}),
        ("a number above its range", "rating", {0: 7, 1: task, 2: "maths", 3: 6}),
        ("a negative number", "rating", {0: -1, 1: task, 2: "maths", 3: 5}),
        ("a number of 33 bits for an epoch", "rating", {0: 1 << 32, 1: task, 2: "maths", 3: 5}),
        ("true for a number", "rating", {0: True, 1: task, 2: "maths", 3: 5}),
        ("31 bytes for a digest", "rating", {0: 7, 1: task[1:], 2: "maths", 3: 5}),
        ("33 bytes for a digest", "rating", {0: 7, 1: task + b"a", 2: "maths", 3: 5}),
        ("bytes for a text", "rating", {0: 7, 1: task, 2: b"maths", 3: 5}),
        ("a capital letter in a name", "rating", {0: 7, 1: task, 2: "Maths", 3: 5}),
        ("a line end after a name", "rating", {0: 7, 1: task, 2: "maths\n", 3: 5}),
        ("65 characters in a name", "rating", {0: 7, 1: task, 2: "a" * 65, 3: 5}),
        ("an empty name", "rating", {0: 7, 1: task, 2: "", 3: 5}),
        ("no tasks", "commitment", {0: 7, 1: task, 2: [], 3: task}),
        ("65 tasks", "commitment", {0: 7, 1: task, 2: [task] * 65, 3: task}),
        ("nothing proposed", "proposal", {0: 7}),
        ("two things proposed", "proposal", {0: 7, 1: {0: "pool", 1: 9}, 2: {0: task, 1: True}}),
        ("a number for true", "ballot", {0: 7, 1: task, 2: 1}),
        ("an unknown failure", "result", _result_body({0: task, 1: 9})),
        ("an outcome above 1000", "result", _result_body({0: task, 3: [1001]})),
        ("a Hub reference to a branch", "model", _model_body("main")),
        ("a commit in capitals", "model", _model_body("A" * 40)),
    ):
        payload = cbor2.dumps([int(Kind[kind.upper()]), body], canonical=True)
        yield f"{kind}: {what}", kind, _signed(payload), schema
    for what, content in (
        ("a map", {0: 11, 1: {}}),
        ("three items", [11, {}, 0]),
        ("kind 256", [256, {}]),
        ("kind -1", [-1, {}]),
        ("no kind but a text", ["ballot", {}]),
    ):
        yield f"payload: {what}", "unknown", _signed(cbor2.dumps(content, canonical=True)), schema
    ballot = cbor2.dumps([11, {0: 7, 1: task, 2: True}], canonical=True)
    middle = b"\x01\x58\x20" + task
    for what, raw in (
        ("a number in two bytes where one does", b"\x82\x0b\xa3\x00\x18\x07" + middle + b"\x02\xf5"),
        (
            "a number in nine bytes where one does",
            b"\x82\x0b\xa3\x00\x1b" + (7).to_bytes(8, "big") + middle + b"\x02\xf5",
        ),
        ("the kind in two bytes where one does", b"\x82\x18\x0b" + ballot[2:]),
        ("a length in three bytes where two do", ballot.replace(b"\x58\x20", b"\x59\x00\x20")),
        ("keys in another order", b"\x82\x0b\xa3" + middle + b"\x00\x07\x02\xf5"),
        ("a key twice", b"\x82\x0b\xa4\x00\x07\x00\x07" + middle + b"\x02\xf5"),
        ("a map without its length", b"\x82\x0b\xbf\x00\x07" + middle + b"\x02\xf5\xff"),
        ("an array without its length", b"\x9f" + ballot[1:] + b"\xff"),
        ("a byte too many", ballot + b"\x00"),
        ("a byte too few", ballot[:-1]),
        ("no bytes", b""),
        ("a float for a number", b"\x82\x0b\xa3\x00\xf9\x47\x00" + middle + b"\x02\xf5"),
        ("a tag in front of a number", b"\x82\x0b\xa3\x00\xc1\x07" + middle + b"\x02\xf5"),
        ("undefined for a truth value", ballot[:-1] + b"\xf7"),
        ("a text that is not UTF-8", b"\x82\x08\xa4\x00\x07" + middle + b"\x02\x62\xc3\x28\x03\x05"),
    ):
        yield f"payload: {what}", "rating" if "UTF-8" in what else "ballot", _signed(raw), bytes_
    for what, raw in (
        ("a float", cbor2.dumps([200, 1.5], canonical=True)),
        ("a tag", b"\x82\x18\xc8\xc1\x00"),
        ("undefined", b"\x82\x18\xc8\xf7"),
        ("keys in another order", b"\x82\x18\xc8\xa2\x01\x00\x00\x00"),
        ("a bignum", cbor2.dumps([200, 1 << 64], canonical=True)),
        ("arrays 17 deep", b"\x82\x18\xc8" + b"\x81" * 15 + b"\x80"),
    ):
        yield f"unknown kind: {what}", "unknown", _signed(raw), bytes_


def _broken_envelopes() -> Iterator[Case]:
    payload = cbor2.dumps([11, {0: 7, 1: sha("proposal"), 2: True}], canonical=True)
    header = _header()
    signature = DEVICE.sign(_to_sign(payload))
    good = _signed(payload)
    none, other = Rejection.NOT_AN_ENVELOPE, Rejection.NOT_DETERMINISTIC_CBOR
    flipped = signature[:-1] + bytes([signature[-1] ^ 1])
    raised = signature[:32] + (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")
    for what, data, reason in (
        ("no tag", good[1:], none),
        ("another tag", b"\xd1" + good[1:], other),
        ("two tags", b"\xd2" + good, other),
        ("the tag in two bytes", b"\xd8\x12" + good[1:], other),
        ("a text", cbor2.dumps("envelope"), none),
        ("three items", _envelope([header, {}, payload]), none),
        ("five items", _envelope([header, {}, payload, signature, 0]), none),
        ("an entry in the unprotected header", _envelope([header, {4: DEVICE.public}, payload, signature]), none),
        ("a detached payload", _envelope([header, {}, None, signature]), none),
        ("a signature of 63 bytes", _envelope([header, {}, payload, signature[1:]]), none),
        ("a signature of 65 bytes", _envelope([header, {}, payload, signature + b"a"]), none),
        ("a key of 31 bytes", _envelope([_header(kid=DEVICE.public[1:]), {}, payload, signature]), none),
        ("a header without key", _envelope([cbor2.dumps({1: -19}), {}, payload, signature]), none),
        ("a header with another entry", _envelope([_header(more={16: 0}), {}, payload, signature]), none),
        ("an array for a header", _envelope([cbor2.dumps([-19]), {}, payload, signature]), none),
        ("algorithm -8", _envelope([_header(-8), {}, payload, signature]), Rejection.WRONG_ALGORITHM),
        ("algorithm -7", _envelope([_header(-7), {}, payload, signature]), Rejection.WRONG_ALGORITHM),
        ("nothing", b"", other),
        ("the first half", good[: len(good) // 2], other),
        ("a byte too many", good + b"\x00", other),
        ("the payload's length in three bytes", good.replace(b"\xa0\x58", b"\xa0\x59\x00", 1), other),
        ("a changed signature", _envelope([header, {}, payload, flipped]), Rejection.BAD_SIGNATURE),
        ("S + L for S", _envelope([header, {}, payload, raised]), Rejection.BAD_SIGNATURE),
        ("R of small order", _envelope([header, {}, payload, b"\x01" + bytes(63)]), Rejection.BAD_SIGNATURE),
        ("another's key", _envelope([_header(kid=ACCOUNT.public), {}, payload, signature]), Rejection.BAD_SIGNATURE),
        ("signed for another network", _signed(payload, network=sha("other")), Rejection.BAD_SIGNATURE),
        ("signed without network", _signed(payload, network=b""), Rejection.BAD_SIGNATURE),
    ):
        yield f"envelope: {what}", "ballot", data, reason
    neutral = b"\x01" + bytes(31)  # of order 1: with R the same and S = 0 the equation holds for every message
    weak = _envelope([_header(kid=neutral), {}, payload, neutral + bytes(32)])
    yield "envelope: a key of small order", "ballot", weak, Rejection.BAD_SIGNATURE
    room = MAX_UNKNOWN_BYTES - len(_signed(cbor2.dumps([200, b"a" * 256]))) + 256
    yield "unknown kind: 4,097 bytes", "unknown", _signed(cbor2.dumps([200, bytes(room + 1)])), Rejection.TOO_LARGE
    room = MAX_BYTES - len(_signed(cbor2.dumps([200, b"a" * 256]))) + 256
    yield "envelope: 32,769 bytes", "unknown", _signed(cbor2.dumps([200, bytes(room + 1)])), Rejection.TOO_LARGE


def _broken_keys() -> Iterator[Case]:
    """Signed by whom it should be, without the consent of the key that is taken into service."""
    for what, consent in (
        ("the consent to another account", DEVICE.sign(consent_to(NETWORK, DEVICE.public))),
        ("the consent on another network", DEVICE.sign(consent_to(sha("other"), ACCOUNT.public))),
        ("the account's consent", ACCOUNT.sign(consent_to(NETWORK, ACCOUNT.public))),
    ):
        data = seal(ACCOUNT, NETWORK, Delegation(DEVICE.public, consent)).data
        yield f"delegation: {what}", "delegation", data, Rejection.BAD_SIGNATURE
    for what, signer, length, sequence in (
        ("another key", DEVICE, 8760, 1),
        ("another chain", LOG, 8761, 1),
        ("an earlier succession", LOG, 8760, 0),
    ):
        parts = NEW_LOG.public, sha("anchor"), length, sequence
        agreed = NEW_LOG.sign(succession_consent(NETWORK, signer.public, *parts))
        data = seal(LOG, NETWORK, Succession(NEW_LOG.public, sha("anchor"), 8760, agreed, 1)).data
        yield f"succession: the consent to {what}", "succession", data, Rejection.BAD_SIGNATURE


def _result_body(task: dict[int, Any]) -> dict[int, Any]:
    run = {0: "e", 1: "h", 2: "m", 3: 0, 4: []}
    return {0: 7, 1: sha("g"), 2: sha("c"), 3: sha("s"), 4: run, 5: [task], 6: [[]]}


def _model_body(commit: str) -> dict[int, Any]:
    file = {0: "example/base", 1: commit, 2: "base.gguf", 3: sha("base"), 4: 1}
    return {0: {0: file, 1: [], 2: "llama", 3: 1, 4: "F16", 5: "MIT", 6: []}, 1: 7}


def _header(algorithm: int = -19, kid: bytes = DEVICE.public, more: dict[int, int] | None = None) -> bytes:
    return cbor2.dumps({1: algorithm, 4: kid, **(more or {})}, canonical=True)


def _to_sign(payload: bytes, key: PrivateKey = DEVICE, network: bytes = NETWORK) -> bytes:
    return cbor2.dumps(["Signature1", _header(kid=key.public), network, payload], canonical=True)


def _signed(payload: bytes, key: PrivateKey = DEVICE, network: bytes = NETWORK) -> bytes:
    return _envelope([_header(kid=key.public), {}, payload, key.sign(_to_sign(payload, key, network))])


def _envelope(content: list[Any]) -> bytes:
    return cbor2.dumps(cbor2.CBORTag(18, content), canonical=True)


def written() -> str:
    """The file's text."""
    return json.dumps(vectors(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")

"""Untrusted bytes become a value that encodes to them again, or `Rejected`: looked for by coverage, for hours.

    pip install atheris                                                   # not in the locks: it is for this alone
    python -m fuzz.untrusted_bytes FOLDER [-max_total_time=3600]          # and libFuzzer's other arguments

The folder keeps what was found, and is filled with the conformance vectors first. Of each input the first byte chooses
what reads the rest.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["protocol"]):
    from protocol import cbor, reconciliation
    from protocol.cbor_reading import reader
    from protocol.checkpoint import open_checkpoint, parse_checkpoint
    from protocol.envelope import MAX_BYTES, open_envelope, seal
    from protocol.evidence import EVIDENCE, decode_evidence, encode_evidence
    from protocol.evidence_checks import verify_evidence
    from protocol.genesis import Genesis, read_genesis
    from protocol.messages import KINDS, STRUCTS, Message, Unknown
    from protocol.notes import InvalidNote, VerifierKey, parse_note
    from protocol.receipts import Receipt, open_receipt
    from protocol.reconciliation_format import InvalidMessage
    from protocol.rejections import Rejected
    from protocol.signing import PrivateKey
    from protocol.snapshot import SignedSnapshot, open_snapshot
    from protocol.texts import TextDocument, open_text
    from protocol.tiles import InvalidTile, decode_bundle, encode_bundle, parse_path
    from protocol.transcripts import Transcript

KEY = PrivateKey(b"k" * 32)
NETWORK = b"n" * 32
VECTORS = Path(__file__).parents[1] / "protocol" / "vectors" / "envelopes.json"
EVIDENCE_VECTORS = [
    vector["input"]
    for vector in json.loads(VECTORS.with_name("evidence.json").read_text(encoding="utf-8"))
    if vector["kind"] == "evidence"
]
GENESIS = read_genesis(bytes.fromhex(EVIDENCE_VECTORS[0]["genesis"]))
LOG_VECTORS = json.loads(VECTORS.with_name("log_proofs.json").read_text(encoding="utf-8"))
TALKS = json.loads(VECTORS.with_name("reconciliations.json").read_text(encoding="utf-8"))
ITEMS = reconciliation.ItemSet((number % 3, bytes([number % 7]) * 31 + bytes([number])) for number in range(256))
LOG_KEY = VerifierKey.parse(next(each["input"]["log_key"] for each in LOG_VECTORS if each["kind"] == "checkpoint"))
OUR_ERRORS = (Rejected, InvalidNote, InvalidMessage, InvalidTile)


class LawBroken(Exception):
    """Bytes were accepted that are not those of the value."""


def _envelope(data: bytes) -> None:
    opened = open_envelope(data, NETWORK, check_signature=False)
    if opened.data != data or open_envelope(data, NETWORK, check_signature=False) != opened:
        raise LawBroken


def _signed_envelope(data: bytes) -> None:
    open_envelope(data, NETWORK)


def _payload(data: bytes) -> None:
    """The bytes as a correctly signed payload: what is accepted must seal to the same envelope."""
    empty = seal(KEY, NETWORK, _SAMPLES[0])
    protected = empty.data[4:42]
    signed = cbor.encode(("Signature1", protected, NETWORK, data))
    tail = cbor.encode(data) + cbor.encode(KEY.sign(signed))
    opened = open_envelope(empty.data[:43] + tail, NETWORK)
    if not isinstance(opened.message, Unknown) and seal(KEY, NETWORK, opened.message) != opened:
        raise LawBroken


def _struct(as_type: type) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        if cbor.encode(cbor.decode(data, as_type)) != data:
            raise LawBroken

    return read


def _receipt(data: bytes) -> None:
    open_receipt(data, NETWORK, KEY.public)


def _genesis(data: bytes) -> None:
    if cbor.encode(read_genesis(data)) != data:
        raise LawBroken


def _evidence(data: bytes) -> None:
    verify_evidence(data, GENESIS)
    if encode_evidence(decode_evidence(data)) != data:
        raise LawBroken


def _snapshot(data: bytes) -> None:
    open_snapshot(data, NETWORK, KEY.public)


def _text(data: bytes) -> None:
    open_text(data, cbor.decode(data, TextDocument).digest)


def _note(data: bytes) -> None:
    note = parse_note(data)
    if parse_note(note.encode()) != note:
        raise LawBroken
    checkpoint = parse_checkpoint(note.text)
    if parse_checkpoint(checkpoint.text()) != checkpoint:
        raise LawBroken


def _checkpoint(data: bytes) -> None:
    open_checkpoint(data, LOG_KEY)


def _question(data: bytes) -> None:
    """What is answered to somebody's message must be understood."""
    answer = reconciliation.respond(ITEMS, data, reconciliation.MIN_FRAME_LIMIT)
    if len(answer) > reconciliation.MIN_FRAME_LIMIT:
        raise LawBroken
    reconciliation.Reconciler(ITEMS).reconcile(answer)


def _answer(data: bytes) -> None:
    reply = reconciliation.Reconciler(ITEMS, reconciliation.MIN_FRAME_LIMIT).reconcile(data).reply
    if reply is not None and len(reply) > reconciliation.MIN_FRAME_LIMIT:
        raise LawBroken


def _bundle(data: bytes) -> None:
    """The first byte says how many entries there should be."""
    if data and encode_bundle(decode_bundle(data[1:], data[0] or 256)) != data[1:]:
        raise LawBroken


def _path(data: bytes) -> None:
    path = data.decode(errors="replace")
    if parse_path(path).path != path:
        raise LawBroken


def _samples() -> list[Message]:
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    network = bytes.fromhex(vectors[0]["network"])
    opened = [open_envelope(bytes.fromhex(each["envelope"]), network) for each in vectors if each["valid"]]
    return [each.message for each in opened if not isinstance(each.message, Unknown)]


_SAMPLES = _samples()
READERS: tuple[Callable[[bytes], None], ...] = (
    _envelope,
    _signed_envelope,
    _payload,
    cbor.check,
    _receipt,
    _genesis,
    *(_struct(struct) for struct in (*STRUCTS.values(), TextDocument, Receipt, *EVIDENCE.values(), SignedSnapshot)),
    _evidence,
    _snapshot,
    _struct(Transcript),
    _text,
    _note,
    _checkpoint,
    _question,
    _answer,
    _bundle,
    _path,
)


def one_input(data: bytes) -> None:
    """What the fuzzer calls: anything raised here is a finding."""
    if not data:
        return
    try:
        READERS[data[0] % len(READERS)](data[1 : MAX_BYTES + 2])
    except OUR_ERRORS:
        return


def _for(reader: Callable[[bytes], None]) -> bytes:
    return bytes([READERS.index(reader)])


def _write_seeds(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    for number, vector in enumerate(vectors):
        (folder / f"vector-{number}").write_bytes(b"\x00" + bytes.fromhex(vector["envelope"]))
    for number, given in enumerate(EVIDENCE_VECTORS):
        (folder / f"evidence-{number}").write_bytes(_for(_evidence) + bytes.fromhex(given["evidence"]))
    for number, vector in enumerate(LOG_VECTORS):
        given = vector["input"]
        if vector["kind"] == "checkpoint":
            (folder / f"note-{number}").write_bytes(_for(_note) + given["note"].encode())
            (folder / f"checkpoint-{number}").write_bytes(_for(_checkpoint) + given["note"].encode())
        elif vector["kind"] == "bundle":
            count = bytes([len(given["entries"])])
            (folder / f"bundle-{number}").write_bytes(_for(_bundle) + count + bytes.fromhex(vector["expected"]))
        elif vector["kind"] == "tile-path":
            (folder / f"path-{number}").write_bytes(_for(_path) + given["path"].encode())
    for number, vector in enumerate(TALKS):
        for place, message in enumerate(vector["expected"].get("messages", ()) if vector["kind"] == "talk" else ()):
            reader = (_question, _answer)[place % 2]
            (folder / f"talk-{number}-{place}").write_bytes(_for(reader) + bytes.fromhex(message)[: MAX_BYTES + 1])
    structs = list(STRUCTS.values())
    for number, message in enumerate(_SAMPLES):
        body = cbor.encode(message)
        (folder / f"body-{number}").write_bytes(bytes([6 + structs.index(type(message))]) + body)
        payload = cbor.encode((int(KINDS[type(message)]), message))
        (folder / f"payload-{number}").write_bytes(b"\x02" + payload)


def main() -> None:
    """Write the seeds, and run until something is found or the time is over."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    _write_seeds(Path(sys.argv[1]))
    for as_type in (*STRUCTS.values(), Genesis, TextDocument, Receipt, *EVIDENCE.values(), SignedSnapshot, Transcript):
        atheris.instrument_func(reader(as_type))  # written at run time: importing them instruments nothing
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

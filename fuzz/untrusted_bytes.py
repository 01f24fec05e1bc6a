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
    from protocol import cbor
    from protocol.cbor_reading import reader
    from protocol.envelope import MAX_BYTES, open_envelope, seal
    from protocol.evidence import EVIDENCE, decode_evidence, encode_evidence
    from protocol.evidence_checks import verify_evidence
    from protocol.genesis import Genesis, read_genesis
    from protocol.messages import KINDS, STRUCTS, Message, Unknown
    from protocol.receipts import Receipt, open_receipt
    from protocol.rejections import Rejected
    from protocol.signing import PrivateKey
    from protocol.snapshot import SignedSnapshot, open_snapshot
    from protocol.texts import TextDocument

KEY = PrivateKey(b"k" * 32)
NETWORK = b"n" * 32
VECTORS = Path(__file__).parents[1] / "protocol" / "vectors" / "envelopes.json"
EVIDENCE_VECTORS = [
    vector["input"]
    for vector in json.loads(VECTORS.with_name("evidence.json").read_text(encoding="utf-8"))
    if vector["kind"] == "evidence"
]
GENESIS = read_genesis(bytes.fromhex(EVIDENCE_VECTORS[0]["genesis"]))


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
)


def one_input(data: bytes) -> None:
    """What the fuzzer calls: anything raised here is a finding."""
    if not data:
        return
    try:
        READERS[data[0] % len(READERS)](data[1 : MAX_BYTES + 2])
    except Rejected:
        return


def _write_seeds(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    for number, vector in enumerate(vectors):
        (folder / f"vector-{number}").write_bytes(b"\x00" + bytes.fromhex(vector["envelope"]))
    for number, given in enumerate(EVIDENCE_VECTORS):
        (folder / f"evidence-{number}").write_bytes(bytes([len(READERS) - 2]) + bytes.fromhex(given["evidence"]))
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
    for as_type in (*STRUCTS.values(), Genesis, TextDocument, Receipt, *EVIDENCE.values(), SignedSnapshot):
        atheris.instrument_func(reader(as_type))  # written at run time: importing them instruments nothing
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""The conformance vectors say what this code does, and the generator gives the file as it is."""

import json
from collections import Counter
from typing import Any

import pytest

from protocol.envelope import open_envelope
from protocol.messages import KINDS, Kind, Unknown
from protocol.rejections import Rejected, Rejection
from tests.vectors.envelopes import FILE, written

VECTORS: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_vector_holds(vector: dict[str, Any]) -> None:
    data, network = bytes.fromhex(vector["envelope"]), bytes.fromhex(vector["network"])
    if not vector["valid"]:
        with pytest.raises(Rejected) as refused:
            open_envelope(data, network)
        assert refused.value.reason == vector["rejection"]
        return
    opened = open_envelope(data, network)
    assert opened.id.hex() == vector["id"]
    kind = "unknown" if isinstance(opened.message, Unknown) else KINDS[type(opened.message)].name.lower()
    assert (kind, vector["rejection"]) == (vector["kind"], None)


def test_the_generator_gives_the_same_file() -> None:
    assert written() == FILE.read_text(encoding="utf-8"), "run: python -m tests.vectors.envelopes"


def test_every_kind_is_valid_once_and_every_reason_is_met() -> None:
    valid = Counter(vector["kind"] for vector in VECTORS if vector["valid"])
    assert {kind.name.lower() for kind in Kind} | {"unknown"} == set(valid)
    beside = {Rejection.OTHER_TEXT, Rejection.PROVES_NOTHING}
    of_envelopes = {reason for reason in Rejection if reason.is_stateless} - beside
    assert {vector["rejection"] for vector in VECTORS if not vector["valid"]} == of_envelopes
    assert len({vector["name"] for vector in VECTORS}) == len(VECTORS)

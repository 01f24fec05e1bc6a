"""The conformance vectors are what the code says, and enough to compute it from."""

import json
from collections import Counter
from typing import Any

import cbor2
import pytest

from protocol.lifecycle import TRANSITIONS, TaskState
from protocol.rejections import Rejection
from protocol.tasks import Purpose
from protocol.tiers import TIERS
from tests.vectors import plain
from tests.vectors.files import FOLDER
from tests.vectors.write import COMPUTES, PARTS, written

FILES = {path.name: path for path in FOLDER.glob("*.json") if path.name != "envelopes.json"}


def vectors(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads(FILES[name].read_text(encoding="utf-8"))
    return loaded


def test_the_files_are_what_is_written() -> None:
    fresh = written()
    assert fresh.keys() == FILES.keys()
    for name, text in fresh.items():
        assert FILES[name].read_text(encoding="utf-8") == text, f"{name}: python -m tests.vectors.write"


@pytest.mark.parametrize("name", PARTS)
def test_the_input_alone_gives_what_is_expected(name: str) -> None:
    for vector in vectors(name):
        assert COMPUTES[name][vector["kind"]](vector["input"]) == vector["expected"], vector["name"]


@pytest.mark.parametrize("name", PARTS)
def test_every_kind_has_vectors_of_different_names(name: str) -> None:
    found = Counter((vector["kind"], vector["name"]) for vector in vectors(name))
    assert {kind for kind, _ in found} == COMPUTES[name].keys()
    assert max(found.values()) == 1


def test_every_kind_is_explained() -> None:
    explained = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert not [kind for computes in COMPUTES.values() for kind in computes if f"`{kind}`" not in explained]
    assert not [name for name in (*PARTS, "envelopes.json") if f"`{name}`" not in explained]


def test_every_row_of_the_state_table_and_every_final_state_is_there() -> None:
    found = vectors("consensus.json")
    rows = [vector for vector in found if vector["kind"] == "transition" and vector["expected"] is not None]
    assert len(rows) == len(TRANSITIONS)
    ends = {vector["expected"]["state"] for vector in found if vector["kind"] == "verdict"}
    assert ends == set(TaskState) - {TaskState.QUEUED, TaskState.RUNNING}
    for rule in range(1, 5):
        assert [vector for vector in found if vector["name"].startswith(f"rule {rule}: ")]


def test_every_reason_to_refuse_or_to_void_is_there() -> None:
    envelopes = json.loads((FOLDER / "envelopes.json").read_text(encoding="utf-8"))
    found = {vector["rejection"] for vector in envelopes}
    found |= {vector["expected"] for vector in vectors("digests.json") if vector["kind"] == "text"}
    evidence = [vector["expected"] for vector in vectors("evidence.json")]
    found |= {expected["rejection"] for expected in evidence if isinstance(expected, dict) and "rejection" in expected}
    found |= {void for vector in vectors("logs.json") for void in vector["expected"]["voids"]}
    assert found == {None, *Rejection}


def test_every_end_of_a_task_is_there_in_a_whole_log() -> None:
    states = [state for vector in vectors("logs.json") for state in vector["expected"]["states"]]
    ends = {end for state in states for end in state["verdicts"].values()}
    assert ends == set(TaskState) - {TaskState.QUEUED, TaskState.RUNNING}
    assert {task["purpose"] for state in states for task in state["tasks"]} == set(Purpose)
    assert {tier for state in states for tier in state.get("tiers", {}).values()} >= {TIERS[-1].name}
    for name in ("superseded", "missed", "dormant", "stars", "motions", "parameters", "tracks", "halted", "pending"):
        assert [state for state in states if name in state], name
    assert [vector for vector in vectors("logs.json") if "explanations" in vector["expected"]]


def test_the_files_are_of_reasonable_size() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.json")) < 1_200_000


@pytest.mark.parametrize("name", [name for name in PARTS if name != "logs.json"])
def test_a_second_implementation_comes_to_the_same(name: str) -> None:
    for vector in vectors(name):
        if compute := plain.COMPUTES.get(vector["kind"]):
            assert compute(vector["input"]) == plain.expected(vector), vector["name"]


def test_the_second_implementation_has_every_kind_that_it_names() -> None:
    assert plain.COMPUTES.keys() <= {kind for computes in COMPUTES.values() for kind in computes}


@pytest.mark.parametrize("vector", vectors("logs.json"), ids=lambda vector: vector["name"])
def test_roots_grounds_and_questions_of_logs_read_plainly(vector: dict[str, Any]) -> None:
    for found, expected in plain.grounds(vector):
        assert found == expected


def test_envelopes_read_plainly() -> None:
    """By cbor2 alone: ids of what is valid, and what is no deterministic CBOR."""
    for vector in json.loads((FOLDER / "envelopes.json").read_text(encoding="utf-8")):
        data, network = bytes.fromhex(vector["envelope"]), bytes.fromhex(vector["network"])
        if vector["valid"]:
            protected, unprotected, payload, _ = cbor2.loads(data).value
            assert unprotected == {}
            signed = plain.encode(["Signature1", protected, network, payload])
            assert plain.sha256(signed).hex() == vector["id"]
            content = cbor2.loads(payload)
            assert plain.encode(content) == payload
            assert plain.encode(cbor2.loads(data)) == data

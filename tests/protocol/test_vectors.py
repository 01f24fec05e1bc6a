"""The conformance vectors are what the code says, and enough to compute it from."""

import hashlib
import json
from collections import Counter
from typing import Any

import cbor2
import pytest

from protocol.lifecycle import TRANSITIONS, TaskState
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


# What follows reads the specification plainly, with nothing of the project's code.


def plain(part: Any) -> Any:
    if isinstance(part, dict):
        return bytes.fromhex(part["hex"])
    return [plain(item) for item in part] if isinstance(part, list) else part


def digest(tag: str, *parts: Any) -> bytes:
    return hashlib.sha256(cbor2.dumps([tag, *parts])).digest()


@pytest.mark.parametrize(
    "vector", [v for v in vectors("digests.json") if v["kind"] == "digest"], ids=lambda v: v["name"]
)
def test_digests_read_plainly(vector: dict[str, Any]) -> None:
    given = vector["input"]
    assert digest(given["tag"], *map(plain, given["parts"])).hex() == vector["expected"]["digest"]


def test_question_orders_read_plainly() -> None:
    for vector in vectors("assignment.json"):
        if vector["kind"] != "question-order" or vector["input"]["questions"] > 2000:
            continue
        given = vector["input"]
        key = digest("peerboard/questions-order/1", bytes.fromhex(given["beacon"]), bytes.fromhex(given["content"]))
        blocks = (hashlib.sha256(key + counter.to_bytes(4, "big")).digest() for counter in range(1000))
        numbers = (int.from_bytes(block[at : at + 8], "big") for block in blocks for at in range(0, 32, 8))
        order = list(range(given["questions"]))
        for place in range(min(given["depth"], len(order))):
            bound = len(order) - place
            choice = place + next(number for number in numbers if number < 2**64 // bound * bound) % bound
            order[place], order[choice] = order[choice], order[place]
        assert order[: given["depth"]] == vector["expected"]


def test_rankings_read_plainly() -> None:
    for vector in vectors("assignment.json"):
        given = vector["input"]
        if vector["kind"] == "ranking" and not given["persons"]:
            parts = bytes.fromhex(given["beacon"]), bytes.fromhex(given["model"]), given["purpose"]
            order = sorted(
                (account for account in given["candidates"] if account not in given["excluded"]),
                key=lambda account: (
                    account in given["set_back"],
                    account in given["behind"],
                    digest("peerboard/rank/1", *parts, bytes.fromhex(account)),
                ),
            )
            assert order == vector["expected"]


def test_trees_read_plainly() -> None:
    def root(entries: list[bytes]) -> bytes:
        if not entries:
            return hashlib.sha256().digest()
        if len(entries) == 1:
            return hashlib.sha256(b"\x00" + entries[0]).digest()
        split = 1
        while 2 * split < len(entries):
            split *= 2
        return hashlib.sha256(b"\x01" + root(entries[:split]) + root(entries[split:])).digest()

    for vector in vectors("log_proofs.json"):
        if vector["kind"] == "tree":
            entries = [bytes.fromhex(entry) for entry in vector["input"]["entries"]]
            assert root(entries).hex() == vector["expected"]["root"]


def test_tails_read_plainly() -> None:
    for vector in vectors("fingerprints.json"):
        if vector["kind"] == "tail":
            given = vector["input"]
            names = b"".join(bytes.fromhex(given[key]) for key in ("network", "beacon", "model", "dataset"))
            seed = hashlib.sha256(b"peerboard/fingerprint/1\0" + names + given["question"].to_bytes(4, "big")).digest()
            stream = b"".join(hashlib.sha256(seed + bytes([0, 0, 0, counter])).digest() for counter in range(8))
            numbers = [int.from_bytes(stream[at : at + 8], "big") for at in range(0, len(stream), 8)]
            count = len(given["eligible"])
            kept = [given["eligible"][number % count] for number in numbers if number < 2**64 // count * count]
            assert vector["expected"] == {"seed": seed.hex(), "tail": kept[:17]}

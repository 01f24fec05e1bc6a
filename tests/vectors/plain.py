"""The specification once more, read as plainly as it is written: a second implementation, to hold the first one to.

Nothing here is the project's: CBOR is cbor2's, SHA-256 is hashlib's, and nothing is fast. `COMPUTES` says what the
vectors of a kind must be, from their input alone; kinds that are not in it have only the first implementation.
"""

import hashlib
import json
from collections.abc import Iterator
from fractions import Fraction
from itertools import count
from math import isqrt
from typing import Any

import cbor2

from tests.vectors.plain_assignment import depths, due_subjects, pools
from tests.vectors.plain_counting import agree, largest, spread, values, values_each, verdict

Given = dict[str, Any]


def sha256(*parts: bytes) -> bytes:
    """Of the parts, joined."""
    return hashlib.sha256(b"".join(parts)).digest()


def encode(value: Any) -> bytes:
    """Deterministic CBOR."""
    return cbor2.dumps(value, canonical=True)


def digest(tag: str, *parts: Any) -> bytes:
    """H of section 1."""
    return sha256(encode([tag, *parts]))


def part(given: Any) -> Any:
    """JSON as it stands for CBOR in vectors of digests."""
    if isinstance(given, dict):
        return bytes.fromhex(given["hex"])
    return [part(item) for item in given] if isinstance(given, list) else given


def read(text: str) -> Any:
    """A struct in hex: fields by number."""
    return cbor2.loads(bytes.fromhex(text))


def unhex(given: Given, *names: str) -> list[bytes]:
    """Several fields as bytes."""
    return [bytes.fromhex(given[name]) for name in names]


def tagged(given: Given) -> Any:
    """Any digest."""
    parts = [given["tag"], *map(part, given["parts"])]
    return {"cbor": encode(parts).hex(), "digest": sha256(encode(parts)).hex()}


def model_id(given: Given) -> Any:
    """Section 4."""
    model = read(given["model"])
    adapters = [[adapter[0][3], adapter[1]] + ([adapter[2][3]] if 2 in adapter else []) for adapter in model[1]]
    return digest("peerboard/model/1", model[0][3], adapters).hex()


def commitment(given: Given) -> Any:
    """Section 12."""
    result = read(given["result"])
    names = unhex(given, "network", "account")
    return digest("peerboard/commit/1", *names, result[0], result[1], result[3], result[4], result[5]).hex()


def task_id(given: Given) -> Any:
    """Section 8."""
    looks_at = bytes.fromhex(given["looks_at"]) if given["looks_at"] else None
    parts = *unhex(given, "model", "benchmark"), given["epoch"], given["depth"], given["purpose"], looks_at
    return digest("peerboard/task/1", *parts).hex()


def hash_chain(given: Given) -> Any:
    """Section 6: preimages as marks reveal them, then the anchor."""
    chain = [bytes.fromhex(given["seed"])]
    while len(chain) <= given["length"]:
        chain.append(sha256(chain[-1]))
    return [value.hex() for value in (*reversed(chain[:-1]), chain[-1])]


def beacon(given: Given) -> Any:
    """Section 6."""
    said = sorted([one["epoch"], *unhex(one, "account", "salt")] for one in given["revealed"])
    return digest("peerboard/beacon/1", bytes.fromhex(given["preimage"]), digest("peerboard/salts/1", said)).hex()


def work_stamp(given: Given) -> Any:
    """Section 7."""
    if given["seconds"] == 0 or given["stamp"] is None:
        return given["seconds"] == 0
    prefix = digest("peerboard/stamp/1", *unhex(given, "network", "device"), given["epoch"])
    number = int.from_bytes(sha256(prefix, bytes.fromhex(given["stamp"])), "big")
    return number < 2**256 // (given["seconds"] * 2**20)


def numbers(key: bytes) -> Iterator[int]:
    """The stream of sections 8 and 11."""
    for counter in count():
        block = sha256(key, counter.to_bytes(4, "big"))
        yield from (int.from_bytes(block[at : at + 8], "big") for at in range(0, 32, 8))


def question_order(given: Given) -> Any:
    """Section 8: a list of all questions, shuffled from its beginning."""
    stream = numbers(digest("peerboard/questions-order/1", *unhex(given, "beacon", "content")))
    order = list(range(given["questions"]))
    for place in range(min(given["depth"], len(order))):
        bound = len(order) - place
        choice = place + next(number for number in stream if number < 2**64 // bound * bound) % bound
        order[place], order[choice] = order[choice], order[place]
    return order[: given["depth"]]


def tail(given: Given) -> Any:
    """Section 11."""
    names = unhex(given, "network", "beacon", "model", "dataset")
    seed = sha256(b"peerboard/fingerprint/1\0", *names, given["question"].to_bytes(4, "big"))
    size = len(given["eligible"])
    stream = (number for number in numbers(seed) if number < 2**64 // size * size)
    length = values_each(given["questions"]) // 2
    return {
        "seed": seed.hex(),
        "tail": [[given["eligible"][next(stream) % size] for _ in range(3)] for _ in range(length)],
    }


def ranking(given: Given) -> Any:
    """Section 10."""
    parts = *unhex(given, "beacon", "model"), given["purpose"]

    def place(account: str) -> tuple[bool, bool, bytes]:
        number = digest("peerboard/rank/1", *parts, bytes.fromhex(account))
        return account in given["set_back"], account in given["behind"], number

    order, taken = [], set()
    for account in sorted(set(given["candidates"]) - set(given["excluded"]), key=place):
        person = given["persons"].get(account, "" if given["one_unattested"] else account)
        if person not in taken:
            order.append(account)
            taken.add(person)
    return order


def quorum(given: Given) -> Any:
    """Section 10."""
    available, wanted = given["available"], given["wanted"]
    if available >= 2 * wanted - 1:
        return {"quorum": wanted, "assigned": 2 * wanted - 1}
    lowered = max(given["quorum"], available // 2 + 1)
    return {"quorum": lowered, "assigned": available if available >= lowered else 0}


def agreement(given: Given) -> Any:
    """Section 11."""
    first, second = (values(data) for data in unhex(given, "first", "second"))
    gaps = [abs(a - b) for a, b in zip(first, second, strict=True)]
    each = values_each(given["questions"])
    return {
        "spreads": [spread(first), spread(second)],
        "distances": [sum(gaps[at : at + each]) for at in range(0, len(gaps), each)],
        "agree": agree(first, second, given["questions"], given["tolerance"]),
    }


def largest_agreeing(given: Given) -> Any:
    """Section 11."""
    found = [values(bytes.fromhex(text)) for text in given["fingerprints"]]
    return largest(found, given["questions"], given["tolerance"])


def estimate(given: Given) -> Any:
    """Section 16."""
    n, z = len(given["values"]), Fraction(196, 100)
    mean = Fraction(sum(given["values"]), 1000 * n)

    def interval(c: Fraction) -> tuple[Fraction, Fraction]:
        x = z**2 + 4 * c * mean * (1 - mean)
        r = Fraction(isqrt(x.numerator * 10**24 // x.denominator), 10**12)
        low, high = ((2 * c * mean + z**2 + sign * z * r) / (2 * (c + z**2)) for sign in (-1, 1))
        return max(Fraction(0), min(low, mean)), min(Fraction(1), max(high, mean))

    size = given["population"]
    exact = interval(Fraction(n * (size - 1), size - n)) if n < size else (mean, mean)
    found = (mean, *interval(Fraction(n)), *exact)
    tenths = [(1000 * value + Fraction(1, 2)).__floor__() for value in found]
    return dict(zip(("score", "low", "high", "fp_low", "fp_high"), tenths, strict=True))


def rank_ranges(given: Given) -> Any:
    """Section 16."""
    pairs = given["intervals"]
    return [
        [1 + sum(other[0] > high for other in pairs), len(pairs) - sum(other[1] < low for other in pairs)]
        for low, high in pairs
    ]


def answers(given: Given) -> Any:
    """Section 16."""
    found: dict[str, int] = {}
    for work in given["works"]:
        if work["task"] not in given["superseded"]:
            found.update(zip(map(str, work["questions"]), work["medians"], strict=True))
    return found


def contradiction(given: Given) -> Any:
    """Section 15."""
    one, other = given["first"], given["second"]
    firm = set(one["firm"]) & set(other["firm"])
    apart = sum(abs(one["medians"][place] - other["medians"][place]) > given["tolerance"] for place in firm)
    return 10 * apart > max(10, len(firm))


def root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01", root(leaves[:split]), root(leaves[split:]))


def tree(given: Given) -> Any:
    """Section 20."""
    leaves = [sha256(b"\0", bytes.fromhex(entry)) for entry in given["entries"]]
    return {"leaves": [leaf.hex() for leaf in leaves], "root": root(leaves).hex()}


def talk(given: Given) -> Any:
    """What two sides find out, whichever way they split; messages are a side's own choice."""
    asking, answering = ({item.split()[-1] for item in given[side]} for side in ("asking", "answering"))
    return {"have": len(asking - answering), "need": len(answering - asking - set(given["refused"]))}


def grounds(vector: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Of a log: root, ground and questions after each mark, as the vector has them and as they must be."""
    leaves = [sha256(b"\0", bytes.fromhex(entry)) for entry in vector["input"]["entries"]]
    dataset = read(vector["input"]["genesis"])[3][0][5]
    for state in vector["expected"]["states"]:
        size, content = state["size"], dataset[4].hex()
        yield state["root"], root(leaves[:size]).hex()
        if state["beacon"] is None or size == len(leaves):
            continue  # not just after a mark
        parts = {"size": size - 1, "root": root(leaves[: size - 1]).hex(), "beacon": state["beacon"]}
        yield state["ground"], COMPUTES["ground"](parts)
        order = {"beacon": state["beacon"], "content": content, "questions": dataset[5], "depth": 2}
        regular = [task["questions"] for task in state["tasks"] if task["purpose"] == 0]
        yield regular[:1], [question_order(order)][: len(regular)]


def expected(vector: dict[str, Any]) -> dict[str, Any]:
    """What the vector says of what `COMPUTES` computes."""
    found = vector["expected"]
    if vector["kind"] == "talk":
        return {name: found[name] for name in ("have", "need")}
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


COMPUTES = {
    "digest": tagged,
    "model-id": model_id,
    "benchmark-id": lambda given: digest("peerboard/benchmark/1", read(given["benchmark"])).hex(),
    "network-id": lambda given: sha256(bytes.fromhex(given["genesis"])).hex(),
    "text-digest": lambda given: digest("peerboard/text/1", read(given["document"])).hex(),
    "commitment-digest": commitment,
    "task-id": task_id,
    "hash-chain": hash_chain,
    "beacon": beacon,
    "leaderless-beacon": lambda given: digest(
        "peerboard/leaderless/1", bytes.fromhex(given["marked"]), given["epoch"]
    ).hex(),
    "ground": lambda given: digest("peerboard/ground/1", given["size"], *unhex(given, "root", "beacon")).hex(),
    "work-stamp": work_stamp,
    "question-order": question_order,
    "due-subjects": due_subjects,
    "depths": depths,
    "pools": pools,
    "tail": tail,
    "ranking": ranking,
    "quorum": quorum,
    "agreement": agreement,
    "largest-agreeing": largest_agreeing,
    "verdict": verdict,
    "estimate": estimate,
    "rank-ranges": rank_ranges,
    "answers": answers,
    "contradiction": contradiction,
    "tree": tree,
    "talk": talk,
}

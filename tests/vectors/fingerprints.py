"""Vectors of fingerprints: tails, encoding, agreement, and the largest set that agrees."""

from collections.abc import Iterator
from typing import Any

from protocol import fingerprint
from protocol.agreement import Agreement
from tests.vectors.files import Case, Compute, Input, sha, unhex


def _tail(given: Input) -> Any:
    names = unhex(given[key] for key in ("network", "beacon", "model", "dataset"))
    seed = fingerprint.question_seed(names[0], names[1], names[2], names[3], given["question"])
    return {"seed": seed.hex(), "tail": list(fingerprint.tail(seed, given["eligible"]))}


def _encode(given: Input) -> Any:
    try:
        return fingerprint.encode([[float(text) for text in question] for question in given["log_probabilities"]]).hex()
    except ValueError:
        return None


def _agree(given: Input) -> Any:
    first, second = (fingerprint.decode(data) for data in unhex((given["first"], given["second"])))
    return {
        "spreads": [fingerprint.spread(first), fingerprint.spread(second)],
        "distances": fingerprint.distances(first, second),
        "agree": fingerprint.agree(first, second, given["tolerance"]),
    }


def _largest(given: Input) -> Any:
    found = list(unhex(given["fingerprints"]))
    return list(Agreement(found, given["tolerance"]).largest(len(found)))


COMPUTES: dict[str, Compute] = {"tail": _tail, "encoding": _encode, "agreement": _agree, "largest-agreeing": _largest}


def made(questions: int, name: str = "model", moved: tuple[int, ...] = ()) -> str:
    """A fingerprint in hex; the value of question q at place q mod 16 is higher by `moved[q]`."""
    values = bytearray()
    for question in range(questions):
        for place in range(16):
            value = 1000 + int.from_bytes(sha(name, question, place)[:2], "big") % 4000
            if place == question % 16 and question < len(moved):
                value += moved[question]
            values += value.to_bytes(3, "big")
    return values.hex()


def cases() -> Iterator[Case]:
    """All cases, in the order of the file."""
    names = {key: sha(key).hex() for key in ("network", "beacon", "model", "dataset")}
    for name, eligible in (
        ("one token", [7]),
        ("three tokens", [3, 5, 259]),
        ("a hundred tokens", list(range(3, 103))),
    ):
        for question in (0, 1318):
            yield f"{name}, question {question}", "tail", {**names, "question": question, "eligible": eligible}
    yield "another beacon", "tail", {**names, "beacon": sha("other").hex(), "question": 0, "eligible": [3, 5, 259]}
    plain = ["-1.0"] * 16
    for name, values in (
        ("nats", [f"{-n / 4}" for n in range(16)]),
        ("halves go to the even number", [f"{-(2 * n + 1) / 512}" for n in range(16)]),
        ("below and above the range", ["0.5", "-70000.0", *plain[2:]]),
        ("not finite", ["nan", *plain[1:]]),
        ("infinite", ["-inf", *plain[1:]]),
        ("15 values", plain[1:]),
    ):
        yield name, "encoding", {"log_probabilities": [values]}
    yield "two questions", "encoding", {"log_probabilities": [plain, plain]}
    yield from _of_agreement()


def _of_agreement() -> Iterator[Case]:
    first = made(2)
    spread = fingerprint.spread(fingerprint.decode(bytes.fromhex(first)))
    limit = 8 * spread // 1000  # one value moved does not change the spread by more than it moves
    given = {"first": first, "second": first, "tolerance": 8}
    yield "the same", "agreement", given
    for name, moved in (
        ("at half the tolerance in each question", (limit // 4, limit // 4)),
        ("near the tolerance in each question", (limit // 2 - 2, limit // 2 - 2)),
        ("beyond the tolerance", (limit, limit)),
        ("one question beyond 1.5 times the tolerance", (limit * 9 // 10, 0)),
        ("one question within 1.5 times the tolerance", (limit * 7 // 10, 0)),
    ):
        yield name, "agreement", {**given, "second": made(2, moved=moved)}
    yield "another model", "agreement", {**given, "second": made(2, "other"), "tolerance": 55}
    yield "at tolerance 1000", "agreement", {**given, "second": made(2, "other"), "tolerance": 1000}
    flat = (b"\x00\x10\x00" * 32).hex()
    yield "no entropy", "agreement", {**given, "first": flat, "second": flat}
    little = ((b"\x00\x10\x00" * 8 + b"\x00\x10\x80" * 8) * 2).hex()
    yield "just enough entropy", "agreement", {**given, "first": little, "second": little}
    close = [made(2, moved=(step, 0)) for step in range(3)]
    other = [made(2, "other"), made(2, "third")]
    for name, several in (
        ("all", close),
        ("three of five", [other[0], close[0], close[1], other[1], close[2]]),
        ("two pairs: the closer one", [made(2, "other"), made(2, "other", (5, 0)), close[0], close[1]]),
        ("two pairs alike: the first one", [made(2, "other"), made(2, "other"), close[0], close[0]]),
        ("nobody agrees: the first", [close[0], *other]),
        ("one without entropy", [flat]),
        ("none", []),
    ):
        yield name, "largest-agreeing", {"fingerprints": several, "tolerance": 8}
    step = limit * 5 // 10
    chain = [made(2, moved=(step * n, step * n)) for n in range(3)]
    yield "neighbours agree, the ends do not", "largest-agreeing", {"fingerprints": chain, "tolerance": 9}

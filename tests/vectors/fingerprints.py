"""Vectors of fingerprints: tails, encoding, agreement, and the largest set that agrees."""

from collections.abc import Iterator
from typing import Any

from protocol import fingerprint
from protocol.agreement import Agreement
from tests.vectors.files import Case, Compute, Input, sha, unhex


def _tail(given: Input) -> Any:
    names = unhex(given[key] for key in ("network", "beacon", "model", "dataset"))
    seed = fingerprint.question_seed(names[0], names[1], names[2], names[3], given["question"])
    values = fingerprint.values_per_question(given["questions"])
    return {"seed": seed.hex(), "tail": [list(step) for step in fingerprint.tail(seed, given["eligible"], values)]}


def _encode(given: Input) -> Any:
    try:
        return fingerprint.encode([[float(text) for text in question] for question in given["log_probabilities"]]).hex()
    except ValueError:
        return None


def _agree(given: Input) -> Any:
    both = unhex((given["first"], given["second"]))
    first, second = (fingerprint.decode(data, given["questions"]) for data in both)
    return {
        "spreads": [fingerprint.spread(first), fingerprint.spread(second)],
        "distances": fingerprint.distances(first, second),
        "agree": fingerprint.agree(first, second, given["tolerance"]),
    }


def _largest(given: Input) -> Any:
    found = list(unhex(given["fingerprints"]))
    return list(Agreement(found, given["questions"], given["tolerance"]).largest(len(found)))


COMPUTES: dict[str, Compute] = {"tail": _tail, "encoding": _encode, "agreement": _agree, "largest-agreeing": _largest}


def made(questions: int, name: str = "model", moved: tuple[int, ...] = ()) -> str:
    """A fingerprint in hex; of question q the value at place q, counted round and round, is higher by `moved[q]`."""
    values = bytearray()
    each = fingerprint.values_per_question(questions)
    for question in range(questions):
        for place in range(each):
            value = 1000 + int.from_bytes(sha(name, question, place)[:2], "big") % 4000
            if place == question % each and question < len(moved):
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
            asked = {"question": question, "questions": 5, "eligible": eligible}
            yield f"{name}, question {question}", "tail", {**names, **asked}
    three = {"question": 0, "questions": 5, "eligible": [3, 5, 259]}
    yield "another beacon", "tail", {**names, "beacon": sha("other").hex(), **three}
    for questions in (19, 20, 100):
        yield f"of {questions} questions", "tail", {**names, **three, "questions": questions}
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
    for questions, each in ((19, 6), (19, 16), (20, 6), (20, 16)):
        name = f"{questions} questions of {each} values"
        yield name, "encoding", {"log_probabilities": [["-1"] * each] * questions}
    yield from _of_agreement(4)
    yield from _of_sets()
    yield from _of_agreement(20)
    flat = (b"\x00\x10\x00" * 32).hex()
    yield "no entropy", "agreement", {"first": flat, "second": flat, "questions": 2, "tolerance": 8}
    little = ((b"\x00\x10\x00" * 8 + b"\x00\x10\x80" * 8) * 2).hex()
    yield "just enough entropy", "agreement", {"first": little, "second": little, "questions": 2, "tolerance": 8}


def _of_agreement(questions: int) -> Iterator[Case]:
    """Around the tolerance of so many questions."""
    first = made(questions)
    spread = fingerprint.spread(fingerprint.decode(bytes.fromhex(first), questions))
    limit = 8 * spread // 1000  # one value moved does not change the spread by more than it moves
    single = fingerprint.single_limit(8, questions) * spread // (2000 * questions)
    given = {"first": first, "second": first, "questions": questions, "tolerance": 8}
    of = "" if questions == 4 else f", {questions} questions"
    yield f"the same{of}", "agreement", given
    for name, moved in (
        ("at half the tolerance in each question", (limit // 2 // questions,) * questions),
        ("near the tolerance in each question", (limit // questions - 2,) * questions),
        ("beyond the tolerance", (limit * 2 // questions,) * questions),
        ("one question beyond its own limit", (single * 6 // 5,)),
        ("one question within its own limit", (single * 14 // 15,)),
    ):
        yield name + of, "agreement", {**given, "second": made(questions, moved=moved)}
    if questions == 4:
        yield "another model", "agreement", {**given, "second": made(4, "other"), "tolerance": 55}
        yield "at tolerance 1000", "agreement", {**given, "second": made(4, "other"), "tolerance": 1000}
    step = limit // questions
    chain = [made(questions, moved=(step * n,) * questions) for n in range(3)]
    name = f"neighbours agree, the ends do not{of}"
    yield name, "largest-agreeing", {"fingerprints": chain, "questions": questions, "tolerance": 9}


def _of_sets() -> Iterator[Case]:
    close = [made(2, moved=(step, 0)) for step in range(3)]
    other = [made(2, "other"), made(2, "third")]
    flat = (b"\x00\x10\x00" * 32).hex()
    for name, several in (
        ("all", close),
        ("three of five", [other[0], close[0], close[1], other[1], close[2]]),
        ("two pairs: the closer one", [made(2, "other"), made(2, "other", (5, 0)), close[0], close[1]]),
        ("two pairs alike: the first one", [made(2, "other"), made(2, "other"), close[0], close[0]]),
        ("nobody agrees: the first", [close[0], *other]),
        ("one without entropy", [flat]),
        ("none", []),
    ):
        yield name, "largest-agreeing", {"fingerprints": several, "questions": 2, "tolerance": 8}

"""Vectors of scores and examinations: intervals, rank ranges, superseded tasks, what goes on record of a runner."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import asdict

from protocol import cbor
from protocol.audits import Finding, Sight, conclude
from protocol.scores import estimate, rank_ranges
from protocol.standings import Standing, Work, differ, pack
from tests.vectors.files import Case, Compute, Input, sha


def _estimate(given: Input) -> Any:
    return asdict(estimate(given["values"], given["population"]))


def _ranks(given: Input) -> Any:
    return [list(ranks) for ranks in rank_ranges([(low, high) for low, high in given["intervals"]])]


def _work(given: Input) -> Work:
    places = tuple(given["firm"])
    task = bytes.fromhex(given["task"])
    return pack(task, given["epoch"], tuple(given["questions"]), tuple(given["medians"]), places, ())


def _answers(given: Input) -> Any:
    works = [_work(work) for work in given["works"]]
    standing = Standing(works, {bytes.fromhex(task) for task in given["superseded"]})
    return {str(question): value for question, value in sorted(standing.answers.items())}


def _differ(given: Input) -> Any:
    return differ(_work(given["first"]), _work(given["second"]), given["tolerance"])


def _conclusion(given: Input) -> Any:
    said = [cbor.decode(bytes.fromhex(text), Finding) if text else None for text in given["findings"]]
    concluded = conclude(said, given["questions"])
    return None if concluded is None else {"conclusion": int(concluded[0]), "flagged": concluded[1]}


COMPUTES: dict[str, Compute] = {
    "estimate": _estimate,
    "rank-ranges": _ranks,
    "answers": _answers,
    "contradiction": _differ,
    "conclusion": _conclusion,
}


def cases() -> Iterator[Case]:
    """All cases, in the order of the file."""
    for name, values, population in (
        ("one right", [1000], 100),
        ("one wrong", [0], 100),
        ("all right", [1000] * 25, 1000),
        ("all wrong", [0] * 25, 1000),
        ("half of ten", [1000, 0] * 5, 1319),
        ("seven of ten", [1000] * 7 + [0] * 3, 1319),
        ("shares", [333, 667, 125, 1000, 0], 40),
        ("all of the data set", [1000] * 7 + [0] * 3, 10),
        ("all but one of the data set", [1000] * 7 + [0] * 3, 11),
        ("a tenth of a percent, halves up", [1000] + [0] * 399, 400),
    ):
        yield name, "estimate", {"values": values, "population": population}
    for name, intervals in (
        ("none", []),
        ("one", [[100, 200]]),
        ("apart", [[700, 800], [100, 200], [400, 500]]),
        ("all overlap", [[100, 800], [200, 700], [300, 900]]),
        ("a chain", [[600, 800], [400, 650], [200, 450]]),
        ("touching intervals overlap", [[500, 700], [300, 500]]),
    ):
        yield name, "rank-ranges", {"intervals": intervals}

    def work(name: str, epoch: int, questions: list[int], medians: list[int], firm: list[int]) -> Input:
        task = sha("task", name).hex()
        return {"task": task, "epoch": epoch, "questions": questions, "medians": medians, "firm": firm}

    yield from _conclusions()
    first, second = work("a", 1, [4, 9, 2], [0, 1000, 500], [0, 1, 2]), work("b", 5, [9, 7], [0, 1000], [0, 1])
    yield "the latest task counts", "answers", {"works": [first, second], "superseded": []}
    yield (
        "superseded: the earlier one holds again",
        "answers",
        {"works": [first, second], "superseded": [second["task"]]},
    )
    numbers = list(range(20))
    old = work("old", 1, numbers, [1000] * 20, numbers)
    for name, wrong, firm in (
        ("two of twenty", 2, numbers),
        ("three of twenty", 3, numbers),
        ("three of twenty, one of them near tie", 3, numbers[1:]),
        ("two of ten firm ones", 2, numbers[:10]),
        ("one of five firm ones", 1, numbers[:5]),
    ):
        new = work("new", 2, numbers, [0] * wrong + [1000] * (20 - wrong), firm)
        yield name, "contradiction", {"first": old, "second": new, "tolerance": 0}
    near = work("new", 2, numbers, [950] * 20, numbers)
    yield "within the benchmark's tolerance", "contradiction", {"first": old, "second": near, "tolerance": 50}
    yield "beyond the benchmark's tolerance", "contradiction", {"first": old, "second": near, "tolerance": 49}


def _conclusions() -> Iterator[Case]:
    match, silent, busy = Finding(Sight.EXAMINED, bytes(1)), Finding(Sight.NOT_REVEALED), Finding(Sight.NOT_EXAMINED)
    one, two = Finding(Sight.EXAMINED, b"\x80"), Finding(Sight.EXAMINED, b"\xc0")
    for name, said in (
        ("all match", [match] * 5),
        ("a minority flags", [two, two, match, match, match]),
        ("half of six flag", [two] * 3 + [match] * 3),
        ("most flag two questions", [two] * 3 + [match] * 2),
        ("one question is forgiven", [one] * 5),
        ("most flag the first, few the second", [two, two, one, match, match]),
        ("most asked in vain", [silent] * 3 + [two] * 2),
        ("too few examined", [match, match, busy, busy, silent]),
        ("too few say anything", [two, two, None, None, None]),
        ("nobody says anything", [None] * 5),
    ):
        texts = [cbor.encode(finding).hex() if finding else None for finding in said]
        yield name, "conclusion", {"questions": 5, "findings": texts}
    many = Finding(Sight.EXAMINED, b"\xf0\x00\x00\x00\x00")
    yield "four of forty are forgiven", "conclusion", {"questions": 40, "findings": [cbor.encode(many).hex()] * 5}
    more = Finding(Sight.EXAMINED, b"\xf8\x00\x00\x00\x00")
    yield "five of forty are not", "conclusion", {"questions": 40, "findings": [cbor.encode(more).hex()] * 5}

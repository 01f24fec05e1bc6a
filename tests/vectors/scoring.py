"""Vectors of scores: estimates with both intervals, rank ranges, undecided ranks, superseded tasks."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import asdict

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


COMPUTES: dict[str, Compute] = {
    "estimate": _estimate,
    "rank-ranges": _ranks,
    "answers": _answers,
    "contradiction": _differ,
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

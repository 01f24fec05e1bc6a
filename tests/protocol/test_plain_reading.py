"""Whatever is asked of them, the rules and a plain reading of the specification answer the same."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.failures import Failure
from protocol.fingerprint import values_per_question
from protocol.tasks import _below
from tests.vectors import assignment, consensus, fingerprints, plain, scoring
from tests.vectors.files import sha
from tests.vectors.fingerprints import made

HEX = [sha("name", number).hex() for number in range(12)]
SUBJECTS = [f"{model} {benchmark}" for model in HEX[:4] for benchmark in HEX[4:6]]


def same(kind: str, asked: dict[str, Any], computes: dict[str, Any]) -> None:
    found = json.loads(json.dumps(computes[kind](asked)))
    assert found == json.loads(json.dumps(plain.COMPUTES[kind](asked)))


@st.composite
def redraws(draw: st.DrawFn) -> dict[str, Any]:
    """Few accounts, little room, slots that are held already, some of them by who may not."""
    people = draw(st.integers(0, 8))
    sizes = st.sampled_from([1, 2**20, 3 * 2**20, 5 * 2**20])
    bases = draw(st.dictionaries(st.sampled_from(HEX[8:]), sizes, max_size=3))
    devices = {
        account: [
            {
                "device": sha(account, number).hex(),
                "memory_mib": draw(st.sampled_from([512, 513, 514, 515, 517, 4096])),
                "disk_mib": draw(st.integers(0, 7)),
            }
            for number in range(draw(st.integers(1, 2)))
        ]
        for account in HEX[:people]
    }
    slots = st.none() | st.sampled_from(HEX[:8]).map(lambda a: {"account": a, "device": sha(a, 0).hex()})
    held = {base: draw(st.lists(slots, max_size=6)) for base in bases}
    parameters = {"pool": draw(st.integers(1, 6)), "period": draw(st.integers(1, 9))}
    parameters["unattested_slots"] = draw(st.sampled_from([0, 200, 400, 1000]))
    return {
        "pools": held,
        "bases": bases,
        "offers": devices,
        "beacon": sha("beacon", draw(st.integers(0, 99))).hex(),
        "marks": draw(st.integers(0, 20)),
        "parameters": parameters,
        "attested": draw(st.none() | st.lists(st.sampled_from(HEX[:8]), unique=True)),
    }


@given(redraws())
def test_pools(asked: dict[str, Any]) -> None:
    same("pools", asked, assignment.COMPUTES)


turns = st.lists(
    st.fixed_dictionaries(
        {"subject": st.sampled_from(SUBJECTS), "asked": st.integers(-1, 3), "due_again": st.booleans()}
    ),
    unique_by=lambda turn: turn["subject"],
)


@given(
    turns,
    st.integers(1, 40),
    st.integers(1, 60),
    st.integers(1, 9),
    st.integers(0, 12),
)
def test_due_subjects(found: list[Any], tasks: int, questions: int, quick: int, examined: int) -> None:
    parameters = {"tasks_max": tasks, "questions_max": questions, "quick_depth": quick}
    asked = {"models": HEX[:4], "benchmarks": HEX[4:6], "turns": found, "examined": examined, "parameters": parameters}
    same("due-subjects", asked, assignment.COMPUTES)


@given(
    st.lists(st.sampled_from(SUBJECTS), unique=True),
    st.lists(st.sampled_from(SUBJECTS), unique=True),
    st.integers(0, 60),
    st.lists(st.integers(1, 20), min_size=3, max_size=3),
)
@example(SUBJECTS[:2], SUBJECTS, 10, [5, 10, 10])
@example(SUBJECTS[:2], SUBJECTS, 6, [5, 8, 11])
def test_depths(undecided: list[str], due: list[str], left: int, depths: list[int]) -> None:
    parameters = dict(zip(("quick_depth", "standard_depth", "comprehensive_depth"), depths, strict=True))
    same("depths", {"undecided": undecided, "due": due, "left": left, "parameters": parameters}, assignment.COMPUTES)


@given(st.integers(0, 20), st.integers(1, 6), st.integers(1, 6))
def test_quorum(available: int, wanted: int, quorum: int) -> None:
    same("quorum", {"available": available, "wanted": wanted, "quorum": quorum}, assignment.COMPUTES)


def test_numbers_that_would_favour_some_questions_are_passed_over() -> None:
    """2^64 is 1 modulo 3 and modulo 5: the last number of the stream's range is not taken."""
    for bound in (3, 5):
        assert _below(bound, iter([2**64 - 1, 7])) == 7 % bound
        assert _below(bound, iter([2**64 - 2, 7])) == bound - 1
    assert _below(4, iter([2**64 - 1])) == 3


def near(places: dict[int, int], questions: int) -> str:
    """A fingerprint of which some values are moved: as many low ones as high ones a question, 2000 apart."""
    count = values_per_question(questions) * questions
    values = [(1000 if place % 2 else 3000) + places.get(place, 0) for place in range(count)]
    return b"".join(value.to_bytes(3, "big") for value in values).hex()


@pytest.mark.parametrize(
    ("questions", "gap", "agree"),
    [(1, 128, True), (1, 129, False), (4, 416, True), (4, 417, False), (20, 180, True), (20, 181, False)],
)
def test_the_tolerance_is_exact(questions: int, gap: int, agree: bool) -> None:
    """Eight per mille of a spread of 16,000 a question (6,000 of 20); and one question has more than its share."""
    both = {"first": near({}, questions), "second": near({0: gap}, questions)}
    asked = {**both, "questions": questions, "tolerance": 8}
    assert fingerprints.COMPUTES["agreement"](asked)["agree"] == agree
    same("agreement", asked, fingerprints.COMPUTES)
    for pair in ([near({}, questions), near({0: gap}, questions)], [near({0: gap}, questions), near({}, questions)]):
        several = {"fingerprints": pair, "questions": questions, "tolerance": 8}
        largest = fingerprints.COMPUTES["largest-agreeing"](several)
        assert largest == ([0, 1] if agree else [0])


@pytest.mark.parametrize("questions", [1, 20])
@pytest.mark.parametrize("missing", [0, 1])
def test_entropy_is_exact(questions: int, missing: int) -> None:
    """A mean of 64 from the median, of sixteen values, or of 120."""
    count = questions * values_per_question(questions)
    values = [missing] + [0] * (count // 2 - 1) + [128] * (count // 2)
    text = b"".join(value.to_bytes(3, "big") for value in values).hex()
    asked = {"first": text, "second": text, "questions": questions, "tolerance": 8}
    found = fingerprints.COMPUTES["agreement"](asked)
    assert (found["spreads"], found["agree"]) == ([64 * count - missing] * 2, not missing)
    same("agreement", asked, fingerprints.COMPUTES)
    alone = {"fingerprints": [text], "questions": questions, "tolerance": 8}
    assert fingerprints.COMPUTES["largest-agreeing"](alone) == ([] if missing else [0])


MOVES = [0, 0, 30, 60, 62, 63, 64, 65, 66, 68, 95, 97, 126, 128, 130, 156, 157, 190, 194, 255, 257, 300, 416, 417, 2000]


@given(
    st.sampled_from([1, 2, 3, 20]),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(MOVES)), min_size=1, max_size=6),
)
def test_largest_sets_at_the_tolerance(questions: int, moved: list[tuple[int, int]]) -> None:
    """Distances add up, since each is moved in a place of its own or in one that it shares."""
    count = values_per_question(questions) * questions
    found = [near({place % count: move}, questions) for place, move in moved]
    same("largest-agreeing", {"fingerprints": found, "questions": questions, "tolerance": 8}, fingerprints.COMPUTES)


@st.composite
def situations(draw: st.DrawFn) -> dict[str, Any]:
    """A task, and what its ranks say: mostly what honest ones do, each part of it now and then something else."""
    random = Random(draw(st.integers(0, 2**32)))
    count = random.choice([1, 2, 3, 9, 20])
    assigned, ranks = random.choice([(3, 3), (5, 7), (4, 6), (5, 5), (0, 0), (9, 11)])
    made_of = consensus.Situation(count, ranks, random.choice([3, 3, 3, 5]), assigned)
    made_of.task["outcome_tolerance"] = random.choice([0, 0, 40, 1000])
    made_of.dispersion = random.choice([500, 500, 300, 334])
    truth = [random.choice([0, 1000]) for _ in range(count)]
    for rank in range(ranks):
        if random.random() < 0.15:
            continue
        made_of.says(rank, **_said(random, count, truth))
        _twist(random, made_of.said[rank])
    seen = made_of.seen().given()
    seen["saw"] = [_saw(random, row) for row in seen["saw"] for _ in range(3)]
    for said in seen["statements"]:
        for result in said["results"]:
            result["saw"] = 3 * result["saw"] + random.randrange(3)
    return seen


def _said(random: Random, count: int, truth: list[int]) -> dict[str, Any]:
    kind = random.random()
    if kind < 0.1:
        return {"failure": int(random.choice([Failure.MODEL_REFUSED, Failure.MODEL_REFUSED, Failure.TOO_SLOW]))}
    outcomes = [1000 - value if random.random() < random.choice([0, 0, 0.1, 0.4]) else value for value in truth]
    said: dict[str, Any] = {"outcomes": outcomes, "fingerprint": made(count)}
    if kind < 0.5:
        moved = tuple(random.choice([0, 60, 100, 130]) for _ in range(count))
        said["fingerprint"] = made(count, random.choice(["model"] * 3 + ["other"]), moved)
    if random.random() < 0.4:
        bits = "".join(random.choice("001") for _ in range(count)).ljust(-(-count // 8) * 8, "0")
        said["near_ties"] = int(bits, 2).to_bytes(len(bits) // 8, "big").hex()
    if random.random() < 0.1:
        beyond = -(-count // 8)
        wrong: list[dict[str, Any]] = [{"total": 7}, {"near_ties": "ff" * beyond}, {"near_ties": "00" * (beyond + 1)}]
        wrong.append({"fingerprint": said["fingerprint"][:-6]})
        said |= random.choice(wrong)
    return said


def _twist(random: Random, said: dict[str, Any]) -> None:
    match random.randrange(12):
        case 0:
            said["commitments"].append({"id": sha(random.random())[:16].hex(), "digest": "ff"})
        case 1:
            said["results"].append({**said["results"][0], "id": "ee"})
        case 2:
            said["results"][0]["digest"] = "ff"
        case 3:
            said["results"] = []
        case _:
            pass


def _saw(random: Random, row: list[str]) -> list[str]:
    row = [start if random.random() < 0.9 else random.choice(["", sha("x")[:16].hex()]) for start in row]
    return random.choice([row, row, row, row[: random.randrange(len(row) + 1)], [*row, sha("y")[:16].hex()]])


@given(situations())
def test_verdicts(asked: dict[str, Any]) -> None:
    same("verdict", asked, consensus.COMPUTES)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30), st.integers(0, 40))
def test_estimates(values: list[int], more: int) -> None:
    same("estimate", {"values": values, "population": len(values) + more}, scoring.COMPUTES)

"""Vectors of what is asked, and who: question orders, due subjects, depths, pools, rankings."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from protocol import pools
from protocol.parameters import MAIN
from protocol.pools import Offer, Slot
from protocol.runners import quorum_and_assigned, ranking
from protocol.tasks import Purpose, Subject, Turn, deeper, due_subjects, question_order
from tests.vectors.files import Case, Compute, Input, hexed, sha, unhex


def _order(given: Input) -> Any:
    beacon, content = unhex((given["beacon"], given["content"]))
    return list(question_order(beacon, content, given["questions"], given["depth"]))


def _subject(text: str) -> Subject:
    model, _, benchmark = text.partition(" ")
    return Subject(bytes.fromhex(model), bytes.fromhex(benchmark))


def _text(subject: Subject) -> str:
    return f"{subject.model.hex()} {subject.benchmark.hex()}"


def _due(given: Input) -> Any:
    parameters = replace(MAIN, **given["parameters"])
    turns = {_subject(turn["subject"]): Turn(turn["asked"], turn["due_again"]) for turn in given["turns"]}
    models: dict[bytes, Any] = dict.fromkeys(unhex(given["models"]))  # only the keys are read
    benchmarks: dict[bytes, Any] = dict.fromkeys(unhex(given["benchmarks"]))
    return [_text(subject) for subject in due_subjects(models, benchmarks, turns, parameters, given["examined"])]


def _deeper(given: Input) -> Any:
    undecided, due = ([_subject(text) for text in given[key]] for key in ("undecided", "due"))
    depths = deeper(undecided, due, given["left"], replace(MAIN, **given["parameters"]))
    return {_text(subject): depth for subject, depth in sorted(depths.items())}


def _slots(given: list[Any]) -> pools.Pool:
    return tuple(None if slot is None else Slot(*unhex((slot["account"], slot["device"]))) for slot in given)


def _redraw(given: Input) -> Any:
    drawn = pools.redraw(
        {bytes.fromhex(base): _slots(slots) for base, slots in given["pools"].items()},
        {bytes.fromhex(base): size for base, size in given["bases"].items()},
        {
            bytes.fromhex(account): tuple(
                Offer(bytes.fromhex(o["device"]), o["memory_mib"], o["disk_mib"]) for o in devices
            )
            for account, devices in given["offers"].items()
        },
        beacon=bytes.fromhex(given["beacon"]),
        marks=given["marks"],
        parameters=replace(MAIN, **given["parameters"]),
        attested=None if given["attested"] is None else set(unhex(given["attested"])),
    )
    return {base.hex(): [_slot(slot) for slot in pool] for base, pool in drawn.items()}


def _slot(slot: Slot | None) -> Any:
    return None if slot is None else {"account": slot.account.hex(), "device": slot.device.hex()}


def _ranking(given: Input) -> Any:
    order = ranking(
        unhex(given["candidates"]),
        beacon=bytes.fromhex(given["beacon"]),
        model=bytes.fromhex(given["model"]),
        purpose=Purpose(given["purpose"]),
        excluded=set(unhex(given["excluded"])),
        set_back=set(unhex(given["set_back"])),
        behind=set(unhex(given["behind"])),
        persons={bytes.fromhex(a): bytes.fromhex(p) for a, p in given["persons"].items()},
        one_unattested=given["one_unattested"],
    )
    return hexed(order)


def _quorum(given: Input) -> Any:
    quorum, assigned = quorum_and_assigned(given["available"], given["wanted"], replace(MAIN, quorum=given["quorum"]))
    return {"quorum": quorum, "assigned": assigned}


COMPUTES: dict[str, Compute] = {
    "question-order": _order,
    "due-subjects": _due,
    "depths": _deeper,
    "pools": _redraw,
    "ranking": _ranking,
    "quorum": _quorum,
}


def cases() -> Iterator[Case]:
    """All cases, in the order of the file."""
    beacon = sha("beacon").hex()
    for questions, depth in ((1, 5), (5, 5), (3, 25), (100, 5), (100, 25), (1319, 100), (10_000_000, 25)):
        given = {"beacon": beacon, "content": sha("content").hex(), "questions": questions, "depth": depth}
        yield f"{depth} of {questions}", "question-order", given
    yield from _of_subjects()
    yield from _of_pools(beacon)
    yield from _of_rankings(beacon)
    for available in (0, 2, 3, 4, 5, 6, 7, 9):
        for wanted in (3, 5):
            yield f"{wanted} of {available}", "quorum", {"available": available, "wanted": wanted, "quorum": 3}


def _of_subjects() -> Iterator[Case]:
    models, benchmarks = hexed(sha("m", n) for n in range(3)), hexed(sha("b", n) for n in range(2))
    names = [f"{model} {benchmark}" for model in models for benchmark in benchmarks]
    given = {"models": models, "benchmarks": benchmarks, "turns": [], "parameters": {}, "examined": 0}
    yield "never asked: by id", "due-subjects", given
    turns = [{"subject": name, "asked": 9 - place, "due_again": place < 2} for place, name in enumerate(names[:5])]
    yield "due again first, then least recently asked", "due-subjects", {**given, "turns": turns}
    few = {"tasks_max": 4}
    yield "a tenth of four is one", "due-subjects", {**given, "turns": turns, "parameters": few}
    yield "examinations take room", "due-subjects", {**given, "turns": turns, "parameters": few, "examined": 3}
    budget = {"questions_max": 12, "quick_depth": 5}
    yield "questions for two", "due-subjects", {**given, "parameters": budget}
    for left in (10, 40, 200):
        asked: Input = {"undecided": names[:3], "due": names[1:], "left": left, "parameters": {}}
        yield f"{left} questions left", "depths", asked


def _of_pools(beacon: str) -> Iterator[Case]:
    accounts = hexed(sha("account", n) for n in range(5))

    def offer(n: int, disk: int = 4096, memory: int = 8192, devices: int = 1) -> list[Any]:
        return [{"device": sha("device", n, d).hex(), "memory_mib": memory, "disk_mib": disk} for d in range(devices)]

    offers = {account: offer(n) for n, account in enumerate(accounts)}
    bases = {sha("base", n).hex(): 1_000_000_000 for n in range(2)}
    small = {"pool": 3, "period": 6}
    given = {
        "pools": {},
        "bases": bases,
        "offers": offers,
        "beacon": beacon,
        "marks": 0,
        "parameters": small,
        "attested": None,
    }
    yield "empty pools are filled", "pools", {**given, "bases": dict.fromkeys(list(bases)[:1], 10**9)}
    first = _redraw(given)
    yield "two bases", "pools", given
    for marks in (1, 4):
        yield (
            f"slots in turn at mark {marks}",
            "pools",
            {**given, "pools": first, "marks": marks, "beacon": sha(marks).hex()},
        )
    less = {account: offers[account] for account in accounts[1:]}
    yield "holders gone", "pools", {**given, "pools": first, "marks": 1, "offers": less}
    tight = {account: offer(n, disk=1000) for n, account in enumerate(accounts)}
    yield "disk for one base each", "pools", {**given, "offers": tight}
    yield "memory for none", "pools", {**given, "offers": {a: offer(n, memory=1024) for n, a in enumerate(accounts)}}
    yield (
        "several devices",
        "pools",
        {**given, "offers": {a: offer(n, 1000, devices=3) for n, a in enumerate(accounts[:3])}},
    )
    shares = {**small, "unattested_slots": 500}
    yield "half without attestation", "pools", {**given, "parameters": shares, "attested": accounts[:2]}
    yield "nobody", "pools", {**given, "offers": {}}


def _of_rankings(beacon: str) -> Iterator[Case]:
    accounts = hexed(sha("account", n) for n in range(6))
    given = {
        "candidates": accounts,
        "beacon": beacon,
        "model": sha("model").hex(),
        "purpose": 0,
        "excluded": [],
        "set_back": [],
        "behind": [],
        "persons": {},
        "one_unattested": False,
    }
    yield "by hash", "ranking", given
    yield "another beacon", "ranking", {**given, "beacon": sha("other").hex()}
    yield "another purpose", "ranking", {**given, "purpose": 1}
    yield "another model", "ranking", {**given, "model": sha("other").hex()}
    yield "sponsors left out", "ranking", {**given, "excluded": accounts[:2]}
    yield "set back behind all", "ranking", {**given, "set_back": accounts[:3]}
    yield (
        "the rest behind the pool, the set back behind both",
        "ranking",
        {
            **given,
            "behind": accounts[:3],
            "set_back": accounts[2:4],
        },
    )
    persons = {accounts[n]: sha("person", n // 2).hex() for n in range(4)}
    yield "one account a person", "ranking", {**given, "persons": persons}
    yield "and one of all without attestation", "ranking", {**given, "persons": persons, "one_unattested": True}

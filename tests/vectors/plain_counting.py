"""Sections 11 and 13 of the specification, read plainly: all subsets are tried, and nothing is kept."""

import hashlib
from collections.abc import Iterable
from fractions import Fraction
from itertools import combinations
from typing import Any

import cbor2

Vector = list[int]


def values_each(questions: int) -> int:
    """How many values a question has, by how many there are."""
    return 6 if questions >= 20 else 16


def values(fingerprint: bytes) -> Vector:
    """Three bytes each, big-endian."""
    return [int.from_bytes(fingerprint[at : at + 3], "big") for at in range(0, len(fingerprint), 3)]


def spread(vector: Vector) -> int:
    """Around the upper median."""
    if not vector:
        return 0
    middle = sorted(vector)[len(vector) // 2]
    return sum(abs(value - middle) for value in vector)


def distance(first: Vector, second: Vector) -> int:
    """Sum of all gaps."""
    return sum(abs(a - b) for a, b in zip(first, second, strict=True))


def agree(first: Vector, second: Vector, questions: int, tolerance: int) -> bool:
    """Section 11."""
    smaller = min(spread(first), spread(second))
    if not questions or smaller < 64 * len(first) or 1000 * distance(first, second) > tolerance * smaller:
        return False
    each, single = values_each(questions), (2 if questions >= 20 else Fraction(3, 2)) * tolerance + 14
    parts = [slice(at, at + each) for at in range(0, len(first), each)]
    return all(1000 * questions * distance(first[at], second[at]) <= single * smaller for at in parts)


def largest(vectors: list[Vector], questions: int, tolerance: int) -> list[int]:
    """The largest set that agrees pairwise: least sum of distances, then the first in order of its places."""
    for size in range(len(vectors), 0, -1):
        found = [
            group
            for group in combinations(range(len(vectors)), size)
            if all(agree(vectors[a], vectors[b], questions, tolerance) for a in group for b in group)
        ]
        if found:
            return list(min(found, key=lambda group: (_total(vectors, group), group)))
    return []


def _total(vectors: list[Vector], group: Iterable[int]) -> int:
    return sum(distance(vectors[a], vectors[b]) for a, b in combinations(group, 2))


class _Counting:
    """One vector of consensus."""

    def __init__(self, given: dict[str, Any], without: int | None = None) -> None:
        self.task = given["task"]
        self.dispersion = given["dispersion"]
        self.results: dict[int, dict[str, Any]] = {}
        """Of rule 1, by rank."""
        self.names: dict[int, str] = {}
        self.saw: dict[int, list[str]] = {}
        for said in given["statements"]:
            rank, commitments, results = said["rank"], said["commitments"], said["results"]
            if len(commitments) != 1 or len(results) != 1 or rank == without:
                continue
            (committed,), (revealed,) = commitments, results
            result = given["results"][revealed["result"]]
            opens = (revealed["commitment"], revealed["digest"]) == (committed["id"], committed["digest"])
            if opens and rank < self.task["ranks"] and self._is_consistent(result):
                self.results[rank], self.names[rank] = result, committed["id"]
                self.saw[rank] = given["saw"][revealed["saw"]]

    def _is_consistent(self, result: dict[str, Any]) -> bool:
        if result.get("failure") is not None:
            return True
        questions = self.task["questions"]
        count, ties = len(questions), bytes.fromhex(result["near_ties"])
        right = hashlib.sha256(cbor2.dumps(["peerboard/questions/1", questions])).hexdigest()
        bits = "".join(f"{byte:08b}" for byte in ties)
        return (
            result["questions"] == right
            and len(result["outcomes"]) == len(result["margins"]) == count
            and sum(result["outcomes"]) == result["total"]
            and len(ties) == (count + 7) // 8
            and "1" not in bits[count:]
            and len(result["fingerprint"]) == 2 * 3 * values_each(count) * count
        )

    def witnessed(self, rank: int) -> bool:
        """Rule 2."""
        start = self.names[rank][:32]
        others = [saw for other, saw in self.saw.items() if other != rank]
        return sum(rank < len(saw) and saw[rank] == start for saw in others) + 1 >= int(self.task["quorum"])

    def near(self, rank: int, question: int) -> bool:
        """Whether this rank marks the question near tie."""
        bits = int(self.results[rank]["near_ties"], 16)
        return bool(bits >> (4 * len(self.results[rank]["near_ties"]) - 1 - question) & 1)

    def medians(self, ranks: list[int]) -> list[int]:
        """Lower medians by question."""
        rows = zip(*(self.results[rank]["outcomes"] for rank in ranks), strict=True)
        return [sorted(row)[(len(row) - 1) // 2] for row in rows]

    def firm(self, ranks: list[int]) -> list[int]:
        """Questions that more than half do not mark."""
        count = len(self.task["questions"])
        return [q for q in range(count) if 2 * sum(not self.near(rank, q) for rank in ranks) > len(ranks)]

    def follows(self, rank: int, medians: list[int], firm: list[int]) -> bool:
        """Rule 3's second half."""
        outcomes, allowed = self.results[rank]["outcomes"], self.task["outcome_tolerance"]
        apart = [q for q in firm if abs(outcomes[q] - medians[q]) > allowed]
        return 10 * len(apart) <= max(10, len(firm))

    def vector(self, rank: int) -> Vector:
        """The fingerprint."""
        return values(bytes.fromhex(self.results[rank]["fingerprint"]))

    def verdict(self) -> dict[str, Any]:
        """Rules 2 to 4."""
        assigned, quorum = self.task["assigned"], self.task["quorum"]
        count, tolerance = len(self.task["questions"]), self.task["tolerance"]
        counted = [rank for rank in sorted(self.results) if rank < assigned and self.witnessed(rank)]
        found: dict[str, Any] = {"valid": sorted(self.results), "counted": counted, "agreeing": [], "earning": []}
        found |= {"medians": [], "total": None, "failure": None, "firm_questions": []}
        if len(counted) < quorum or not assigned:
            return found | {"event": "CLOSED_SHORT"}
        named = [self.results[rank].get("failure") for rank in counted]
        for failure in range(1, 64):
            if 2 * named.count(failure) > len(counted):
                return found | {"event": "CLOSED_FAILED", "failure": failure}
        able = [rank for rank in counted if self.results[rank].get("failure") is None]
        together = [able[place] for place in largest([self.vector(rank) for rank in able], count, tolerance)]
        medians, firm = self.medians(together), self.firm(together)
        agreeing = [rank for rank in together if self.follows(rank, medians, firm)]
        found["agreeing"] = agreeing
        medians, firm = self.medians(agreeing), self.firm(agreeing)
        sums = [sum(self.results[rank]["outcomes"][q] for q in firm) for rank in agreeing]
        if len(agreeing) < quorum or 2 * len(agreeing) <= len(counted):
            return found | {"event": "CLOSED_SPLIT"}
        if max(sums) - min(sums) > self.dispersion * len(firm):
            return found | {"event": "CLOSED_SPLIT"}
        totals = sorted(sum(self.results[rank]["outcomes"]) for rank in agreeing)
        spares = [
            rank
            for rank in sorted(self.results)
            if rank >= assigned
            and self.results[rank].get("failure") is None
            and self.witnessed(rank)
            and all(agree(self.vector(rank), self.vector(one), count, tolerance) for one in agreeing)
            and self.follows(rank, medians, firm)
        ]
        done = {"medians": medians, "firm_questions": firm, "total": totals[(len(totals) - 1) // 2]}
        return found | done | {"event": "CLOSED_DONE", "earning": agreeing + spares}


ENDS = {"CLOSED_DONE": "DONE", "CLOSED_FAILED": "FAILED", "CLOSED_SPLIT": "DISPUTED", "CLOSED_SHORT": "EXPIRED"}


def verdict(given: dict[str, Any]) -> dict[str, Any]:
    """Section 13."""
    whole = _Counting(given)
    found = whole.verdict()
    done = found["event"] == "CLOSED_DONE"
    survives = done and all(_Counting(given, lost).verdict()["event"] == "CLOSED_DONE" for lost in whole.results)
    state = ENDS[found["event"]] if given["task"]["assigned"] else "WAITING"
    return found | {"state": state, "survives_any_loss": survives}

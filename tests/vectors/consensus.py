"""Vectors of the counting rules and of the state table: what was said of one task, and the verdict."""

from collections.abc import Iterator
from typing import Any

from msgspec import UNSET

from protocol.counting import Committed, Revealed, Statements, decide, is_firm, is_running
from protocol.failures import Failure
from protocol.lifecycle import TRANSITIONS, Event, TaskState, follow
from protocol.messages import TaskResult
from protocol.tasks import Purpose, Subject, Task
from tests.vectors.files import Case, Compute, Input, sha, unhex
from tests.vectors.fingerprints import made

RANKS = 7


def _account(rank: int) -> bytes:
    return rank.to_bytes(32, "big")


def _task(given: Input) -> Task:
    return Task(
        id=sha("task"),
        epoch=1,
        subject=Subject(sha("model"), sha("benchmark")),
        depth=len(given["questions"]),
        purpose=Purpose.REGULAR,
        questions=tuple(given["questions"]),
        quorum=given["quorum"],
        assigned=given["assigned"],
        ranking=tuple(_account(rank) for rank in range(given["ranks"])),
        tolerance=given["tolerance"],
        outcome_tolerance=given["outcome_tolerance"],
    )


def _result(task: Task, given: Input) -> TaskResult:
    if given.get("failure") is not None:
        return TaskResult(task.id, Failure(given["failure"]))
    return TaskResult(
        task=task.id,
        questions=bytes.fromhex(given["questions"]),
        outcomes=tuple(given["outcomes"]),
        total=given["total"],
        margins=tuple(given["margins"]),
        near_ties=bytes.fromhex(given["near_ties"]),
        fingerprint=bytes.fromhex(given["fingerprint"]),
        transcript=sha("transcript"),
    )


def _statements(task: Task, given: Input) -> dict[bytes, Statements]:
    statements = {}
    for said in given["statements"]:
        commitments = frozenset(Committed(*unhex((c["id"], c["digest"]))) for c in said["commitments"])
        results = tuple(
            Revealed(
                bytes.fromhex(r["id"]),
                bytes.fromhex(r["commitment"]),
                bytes.fromhex(r["digest"]),
                _result(task, given["results"][r["result"]]),
                tuple(unhex(given["saw"][r["saw"]])),
            )
            for r in said["results"]
        )
        statements[_account(said["rank"])] = Statements(commitments, results)
    return statements


def _verdict(given: Input) -> Any:
    task = _task(given["task"])
    statements = _statements(task, given)
    verdict = decide(task, statements, given["dispersion"])
    state = follow(None, Event.OPENED if task.assigned else Event.OPENED_SHORT)
    if task.assigned:
        if is_running(task, statements):
            state = follow(state, Event.COMMITTED)
        state = follow(state, verdict.event)
    ranks = {account: rank for rank, account in enumerate(task.ranking)}

    def places(accounts: tuple[bytes, ...]) -> list[int]:
        return [ranks[account] for account in accounts]

    return {
        "event": verdict.event.name,
        "state": state.value,
        "valid": places(verdict.valid),
        "counted": places(verdict.counted),
        "agreeing": places(verdict.agreeing),
        "earning": places(verdict.earning),
        "medians": list(verdict.medians),
        "total": verdict.total,
        "failure": verdict.failure,
        "firm_questions": list(verdict.firm),
        "survives_any_loss": is_firm(task, statements, given["dispersion"]),
    }


def _transition(given: Input) -> Any:
    state = TaskState(given["state"]) if given["state"] else None
    following = TRANSITIONS.get((state, Event[given["event"]]))
    return following.value if following else None


COMPUTES: dict[str, Compute] = {"verdict": _verdict, "transition": _transition}


class Situation:
    """A task and what its ranks say: all see the same and each other, until a case changes that."""

    def __init__(self, questions: int = 3, ranks: int = RANKS, quorum: int = 3, assigned: int = 5) -> None:
        self.count = questions
        self.task: Input = {
            "questions": list(range(questions)),
            "quorum": quorum,
            "assigned": assigned,
            "ranks": ranks,
            "tolerance": 8,
            "outcome_tolerance": 0,
        }
        self.dispersion = 500
        self.said: dict[int, Input] = {}

    def says(self, *ranks: int, **result: Any) -> "Situation":
        """These ranks commit and reveal; `result` replaces parts of what an honest one says."""
        outcomes = result.pop("outcomes", [1000, 0, 1000] * self.count)[: self.count]
        task = _task(self.task)
        evaluated = {
            "questions": task.questions_digest.hex(),
            "outcomes": outcomes,
            "total": sum(outcomes),
            "margins": [500] * len(outcomes),
            "near_ties": bytes(-(-self.count // 8)).hex(),
            "fingerprint": made(self.count),
        }
        chosen = {"failure": result["failure"]} if "failure" in result else {**evaluated, **result}
        for rank in ranks:
            identity, digest = _short("commitment", rank), _byte(rank)
            self.said[rank] = {
                "rank": rank,
                "commitments": [{"id": identity, "digest": digest}],
                "results": [
                    {
                        "id": _byte(rank),
                        "commitment": identity,
                        "digest": digest,
                        "result": chosen,
                        "saw": UNSET,
                    }
                ],
            }
        return self

    def silent(self, *ranks: int) -> "Situation":
        """These ranks commit and do not reveal."""
        self.says(*ranks)
        for rank in ranks:
            self.said[rank]["results"] = []
        return self

    def unseen(self, *ranks: int, by: tuple[int, ...] = tuple(range(RANKS))) -> "Situation":
        """Those who reveal had not seen the commitments of these ranks."""
        self.seen()
        for witness in by:
            for result in self.said.get(witness, {"results": []})["results"]:
                result["saw"] = ["" if rank in ranks else saw for rank, saw in enumerate(result["saw"])]
        return self

    def seen(self) -> "Situation":
        """Everybody who says nothing else saw the only commitment of each rank."""
        starts = []
        for rank in range(self.task["ranks"]):
            held = self.said.get(rank, {"commitments": []})["commitments"]
            starts.append(held[0]["id"][:32] if len(held) == 1 else "")
        for said in self.said.values():
            for result in said["results"]:
                if result["saw"] is UNSET:
                    result["saw"] = starts
        return self

    def given(self) -> Input:
        """The vector's input."""
        self.seen()
        results: list[Input] = []
        saw: list[list[str]] = []
        statements = []
        for rank in sorted(self.said):
            said = self.said[rank]
            revealed = [
                {**one, "result": _place(one["result"], results), "saw": _place(one["saw"], saw)}
                for one in said["results"]
            ]
            statements.append({**said, "results": revealed})
        return {
            "task": self.task,
            "dispersion": self.dispersion,
            "results": results,
            "saw": saw,
            "statements": statements,
        }


def _place(item: Any, items: list[Any]) -> int:
    """Where the item stands in the list; at its end, if it did not yet."""
    if item not in items:
        items.append(item)
    return items.index(item)


def _byte(number: int) -> str:
    """A digest, or a result's id: only compared for being the same."""
    return f"{number:02x}"


def _short(*parts: object) -> str:
    """An id of 16 bytes, enough for what is compared here."""
    return sha(*parts)[:16].hex()


def cases() -> Iterator[Case]:
    """All cases, in the order of the file."""
    for state in (None, *TaskState):
        for event in Event:
            name = f"{state.value if state else 'nothing'}: {event.name}"
            yield name, "transition", {"state": state.value if state else None, "event": event.name}
    for name, situation in (*_of_states(), *_of_rule_one(), *_of_rule_two(), *_of_rule_three(), *_of_rule_four()):
        yield name, "verdict", situation.given()


Named = Iterator[tuple[str, Situation]]


def _of_states() -> Named:
    yield "WAITING: nobody is assigned", Situation(ranks=0, assigned=0)
    yield "EXPIRED from QUEUED: nobody commits", Situation()
    yield "EXPIRED from RUNNING: commitments alone", Situation().silent(0, 1, 2, 3, 4)
    yield "EXPIRED from RUNNING: two results", Situation().says(0, 1)
    yield "DONE: all agree", Situation().says(0, 1, 2, 3, 4)
    yield "DONE: three of five, which no loss survives", Situation().says(0, 1, 2)
    yield "DONE: spares earn and do not count", Situation().says(*range(7))
    yield "DONE: three assigned of three", Situation(ranks=3, assigned=3).says(0, 1, 2)
    yield "DONE: K = 5 of nine", Situation(ranks=9, quorum=5, assigned=9).says(*range(9))
    yield "DONE: twenty questions", Situation(questions=20).says(0, 1, 2, 3).says(4, fingerprint=made(20, moved=(9,)))
    yield "EXPIRED: spares do not stand in", Situation().says(0, 1, 5, 6)
    yield "FAILED: the model's failure", Situation().says(0, 1, 2, failure=int(Failure.MODEL_REFUSED))
    yield "FAILED: against a minority", Situation().says(0, 1, 2, failure=int(Failure.FILE_MISSING)).says(3, 4)
    yield "DISPUTED: device failures count for nothing", Situation().says(0, 1, 2, failure=int(Failure.TOO_SLOW))
    split = Situation().says(0, 1, failure=int(Failure.MODEL_REFUSED)).says(2, 3, failure=int(Failure.NOT_FINITE))
    yield "DISPUTED: two failures", split
    yield "DISPUTED: two camps", Situation().says(0, 1).says(2, 3, fingerprint=made(3, "other"))
    yield (
        "DISPUTED: three of six is no majority",
        Situation(ranks=6, quorum=3, assigned=6).says(0, 1, 2).says(3, 4, 5, fingerprint=made(3, "other")),
    )


def _of_rule_one() -> Named:
    twice = Situation().says(0, 1, 2, 3)
    twice.said[3]["commitments"].append({"id": _short("second"), "digest": _byte(254)})
    yield "rule 1: two commitments", twice
    results = Situation().says(0, 1, 2, 3)
    results.said[3]["results"].append({**results.said[3]["results"][0], "id": _byte(255)})
    yield "rule 1: two results", results
    none = Situation().says(0, 1, 2, 3)
    none.said[3]["commitments"] = []
    yield "rule 1: no commitment", none
    for name, key in (("another commitment", "commitment"), ("another digest", "digest")):
        other = Situation().says(0, 1, 2, 3)
        other.said[3]["results"][0][key] = _byte(254)
        yield f"rule 1: opens {name}", other
    for name, change in (
        ("other questions", {"questions": sha("other").hex()}),
        ("a wrong sum", {"total": 1}),
        ("an outcome too few", {"outcomes": [1000, 0], "margins": [500, 500]}),
        ("a margin too many", {"margins": [500] * 4}),
        ("a near-tie bit behind the last question", {"near_ties": "10"}),
        ("near ties of another length", {"near_ties": "0000"}),
        ("a fingerprint of two questions", {"fingerprint": made(2)}),
    ):
        yield f"rule 1: {name}", Situation().says(0, 1, 2).says(3, **change)
    six, sixteen = made(20)[: 2 * 3 * 18], 2 * made(10)
    yield "rule 1: six values a question where 16 are due", Situation().says(0, 1, 2).says(3, fingerprint=six)
    twenty = Situation(questions=20).says(0, 1, 2).says(3, fingerprint=sixteen)
    yield "rule 1: 16 values a question where six are due", twenty


def _of_rule_two() -> Named:
    yield "rule 2: nobody saw the copier's commitment", Situation().says(*range(5)).unseen(4)
    one = Situation().says(*range(5)).unseen(4, by=(0, 1, 2))
    yield "rule 2: one witness, and K - 1 are needed", one
    yield "rule 2: two witnesses", Situation().says(*range(5)).unseen(4, by=(0, 1))
    own = Situation().says(*range(5)).unseen(4, by=(1, 2, 3))
    yield "rule 2: nobody is a witness of their own", own
    spares = Situation().says(0, 1, 2, 5, 6).unseen(2, by=(0, 1, 2))
    yield "rule 2: spares are witnesses", spares
    late = Situation().says(*range(7)).unseen(6)
    yield "rule 2: a spare that nobody saw earns nothing", late


def _of_rule_three() -> Named:
    yield "rule 3: one liar's fingerprint", Situation().says(0, 1, 2, 3).says(4, fingerprint=made(3, "other"))
    wrong = [0, 1000, 0]
    yield "rule 3: right fingerprint, other outcomes", Situation().says(0, 1, 2, 3).says(4, outcomes=wrong)
    yield "rule 3: one question apart is allowed", Situation().says(0, 1, 2, 3).says(4, outcomes=[0, 0, 1000])
    yield (
        "rule 3: near ties are not compared",
        Situation().says(0, 1, 2, 3, near_ties="c0").says(4, outcomes=[0, 1000, 1000]),
    )
    yield "rule 3: half of the set marks no majority", Situation().says(0, 1, near_ties="80").says(2, 3)
    twenty = [1000] * 20
    for apart in (2, 3):
        outcomes = [0] * apart + twenty[apart:]
        situation = Situation(20).says(0, 1, 2, outcomes=twenty).says(3, outcomes=outcomes)
        yield f"rule 3: {apart} of 20 questions apart", situation
    shares = Situation().says(0, 1, 2, outcomes=[500, 500, 500]).says(3, outcomes=[540, 460, 500])
    shares.task["outcome_tolerance"] = 40
    yield "rule 3: within the benchmark's tolerance", shares
    spare = Situation().says(0, 1, 2, 5).says(6, outcomes=wrong)
    yield "rule 3: a spare with other outcomes earns nothing", spare


def _of_rule_four() -> Named:
    far = Situation().says(0, 1, 2).says(3, outcomes=[0, 0, 1000])
    far.dispersion = 300
    yield "rule 4: means too far apart", far
    near = Situation().says(0, 1, 2).says(3, outcomes=[0, 0, 1000])
    near.dispersion = 334
    yield "rule 4: means just close enough", near
    yield (
        "rule 4: the lower median of the totals",
        Situation().says(0, 1, 2).says(3, outcomes=[0, 0, 1000]).says(4, outcomes=[1000, 0, 0]),
    )

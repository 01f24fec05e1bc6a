"""Four nodes and a bootstrap over in-memory streams, on a mock clock: fixed results become one board."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
import trio.testing

from eval.hub import Fetching
from node.evaluation import Evaluated, EvaluationFailed, Progress, Request
from node.observer import Observer
from protocol.failures import Failure
from protocol.lifecycle import TaskState

NAMES = ("ada", "ben", "cleo", "dan")
MockClock = trio.testing.MockClock
Kit = Any  # the class of conftest.py, which tests cannot import


async def test_fixed_results_become_one_board(kit: Kit, autojump_clock: MockClock) -> None:
    async with kit.network({name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}) as network:
        await network.until(3 * 60 + 10)
        assert len({network.board(name) for name in ("bootstrap", *NAMES)}) == 1, "everybody has the same bytes"
        data = network.cores["ada"].replica.answers.data("leaderboard")
        assert data["epoch"] == 2
        found = {(row["name"], row["benchmark"]) for row in data["rows"]}
        assert found == {(name, bench) for name in kit.SKILLS for bench in ("sums", "words")}
        for row in data["rows"]:
            assert row["status"] == "DONE"
            assert row["runners"] == 4
            assert row["questions"] > 50
            assert abs(row["score"] - kit.SKILLS[row["name"]] / 10) < 15
        assert [final.state for final in network.finals("ben")] == [TaskState.DONE] * 18
        replica = network.cores["ada"].replica
        spent = list(replica.energy.rows(replica.state, 500))
        assert {(row["model"], row["benchmark"]) for row in spent} == found
        assert {(row["results"], row["joules_per_task"]) for row in spent} == {(12, 4.0)}
        observer = Observer(network.cores["ada"], "node", "0", Path(), scheduler=network.schedulers["ada"])
        observer.grams_per_kwh = 500.0
        beside = {(row["name"], row["benchmark"]): row["energy"] for row in observer.live_leaderboard()["rows"]}
        names = ("model", "model_id", "benchmark")
        told = {name: value for name, value in spent[0].items() if name not in names}
        assert beside[spent[0]["model"], spent[0]["benchmark"]] == told
        assert "energy" not in data["rows"][0], "the closed board is what the log's leaves say, and no more"
        evaluated = network.schedulers["ada"].current.evaluated
        kwh = evaluated * 4 / 3_600_000
        today = observer.status()["today"]["energy"]
        assert today == {"kwh": kwh, "co2_grams": kwh * 500, "estimated": True}, "no source is named"


async def test_the_next_tasks_files_are_fetched_while_one_runs(kit: Kit, autojump_clock: MockClock) -> None:
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    async with kit.network(evaluators) as network:
        await network.until(60)
    for evaluator in evaluators.values():
        assert len(evaluator.evaluated) == 6
        assert evaluator.prepared == evaluator.evaluated[1:]


async def test_downloads_are_in_the_status_with_how_far_they_are(kit: Kit, autojump_clock: MockClock) -> None:
    seen: list[list[dict[str, object]]] = []

    class Slow(kit.FixedEvaluator):  # type: ignore[misc]
        async def evaluate(self, request: Request, progress: Callable[[Progress], None]) -> Evaluated:
            progress(Progress(0, len(request.task.questions), 0.0, Fetching("now", 10, 100)))
            await trio.sleep(0.1)  # the next task's begins
            seen.append(observer.status()["downloads"])
            found: Evaluated = await super().evaluate(request, progress)
            return found

    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES[:3]} | {"dan": Slow(kit.sha("dan"))}
    async with kit.network(evaluators) as network:
        observer = Observer(network.cores["dan"], "node", "0", Path(), scheduler=network.schedulers["dan"])
        observer.mode, observer.backend = "fast", "auto"
        settings = {"mode": "fast", "backend": "auto"}
        assert observer.status()["evaluation"] == settings | {"engine": None, "hardware": None}
        await network.until(60)
        assert observer.status()["downloads"] == [], "and gone when they are over"
        run = network.schedulers["dan"].current.run
        assert observer.status()["evaluation"] == settings | {"engine": run.engine, "hardware": run.hardware}
    assert len(seen) == 6
    assert all(len(downloads) == 2 for downloads in seen[:-1])
    assert seen[-1] == [{"what": "now", "done": 10, "total": 100, "waits_s": 0.0}], "nothing follows the last one"


async def test_a_liar_is_outvoted_and_earns_nothing(kit: Kit, autojump_clock: MockClock) -> None:
    class Liar(kit.FixedEvaluator):  # type: ignore[misc]
        def _values(self, request: Request, question: int) -> bytes:
            made_up: bytes = kit.sha("made up", question)
            return (made_up + made_up)[: len(super()._values(request, question))]

    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES[:3]} | {"eve": Liar(kit.sha("eve"))}
    async with kit.network(evaluators) as network:
        await network.until(2 * 60 + 10)
        finals, eve = network.finals("ada"), kit.identity("eve").account.public
        assert {final.state for final in finals} == {TaskState.DONE}
        assert all(eve in final.counted and eve not in final.agreeing for final in finals)
        assert network.state("ada").accounts[eve].credit == 0
        assert network.state("ada").accounts[kit.identity("ada").account.public].credit > 0


async def test_a_failure_of_the_model_is_agreed_on(kit: Kit, autojump_clock: MockClock) -> None:
    class Missing(kit.FixedEvaluator):  # type: ignore[misc]
        async def evaluate(self, request: Request, progress: Callable[[Progress], None]) -> Evaluated:
            if request.model.name == "middle":
                raise EvaluationFailed(Failure.HASH_MISMATCH)
            evaluated: Evaluated = await super().evaluate(request, progress)
            return evaluated

    middle = kit.model("middle").id
    async with kit.network({name: Missing(kit.sha(name)) for name in NAMES}) as network:
        await network.until(3 * 60 + 10)
        assert network.state("ada").models[middle].dormant, "three failures in a row"
        failed = {(f.state, f.failure) for f in network.finals("ada") if f.subject.model == middle}
        assert failed == {(TaskState.FAILED, Failure.HASH_MISMATCH)}


async def test_two_nodes_are_too_few(kit: Kit, autojump_clock: MockClock) -> None:
    async with kit.network({name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES[:2]}) as network:
        await network.until(2 * 60 + 10)
        assert {final.state for final in network.finals("ada")} == {TaskState.WAITING}


async def test_slow_nodes_commit_to_what_is_done(kit: Kit, autojump_clock: MockClock) -> None:
    async with kit.network({name: kit.FixedEvaluator(kit.sha(name), seconds=10.0) for name in NAMES}) as network:
        await network.until(2 * 60 + 10)
        states = [final.state for final in network.finals("ada")]
        assert (states.count(TaskState.DONE), states.count(TaskState.EXPIRED)) == (8, 4)

"""What a node does first, what it fetches ahead, when it takes spare ranks, and what becomes of failures."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import trio.testing
from msgspec.structs import replace

from node.evaluation import Evaluated, EvaluationFailed, Progress, Request
from protocol.envelope import open_envelope
from protocol.failures import Failure
from protocol.messages import Claim, Commitment, Result
from protocol.quota import quota

NAMES = ("ada", "ben", "cleo", "dan")
MockClock = trio.testing.MockClock
Kit = Any


async def test_bases_of_the_own_pools_are_fetched_ahead_and_what_is_here_comes_first(
    kit: Kit, autojump_clock: MockClock
) -> None:
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    lacking = [kit.model("middle").base.sha256, kit.model("large").base.sha256]
    evaluators["dan"].not_here = set(lacking)
    async with kit.network(evaluators) as network:
        await network.until(30)
        dan = evaluators["dan"]
        assert sorted(dan.fetched) == sorted(lacking), "both, once, though only one was asked for at a time"
        tasks = network.cores["dan"].replica.plan(0).tasks
        order = [tasks[task].subject.model for task in dan.evaluated]
        assert set(order[:2]) == {kit.model("small").id}
        assert len(set(order[:2])) == len(set(order[2:4])) == len(set(order[4:6])) == 1, "a base's tasks together"
        assert all(not evaluators[name].fetched for name in NAMES if name != "dan")
        await network.until(3 * 60)
        assert len(dan.fetched) == 2
        assert network.schedulers["dan"].current.downloads == ()


async def test_a_paused_node_fetches_nothing_ahead(kit: Kit, autojump_clock: MockClock) -> None:
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    evaluators["dan"].not_here = {kit.model("large").base.sha256}
    async with kit.network(evaluators) as network:
        pauses = network.schedulers["dan"]._pauses
        pauses.begin(kit.USER)
        await network.until(100)
        assert evaluators["dan"].fetched == []
        pauses.end(kit.USER)
        await network.until(130)
        assert len(evaluators["dan"].fetched) == 1


async def test_spare_ranks_are_taken_only_until_a_submission_is_earned(kit: Kit, autojump_clock: MockClock) -> None:
    """Of four nodes one is assigned, two are spares: with quorum 1 every task has one runner who counts."""
    fixed = replace(kit.genesis(), parameters=replace(kit.genesis().parameters, quorum=1, norm_required=9))
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    async with kit.network(evaluators, fixed) as network:
        await network.stop("dan")
        network.earning = {"dan"}
        await network.start("dan", evaluators["dan"])
        spares: Counter[int] = Counter()
        had = []
        for epoch in range(6):
            await network.until(60 * epoch + 2)
            state = network.state("dan")
            tasks = dict(network.cores["dan"].replica.plan(epoch).tasks)
            had.append(quota(state, kit.identity("dan").account.public).may_register)
            await network.until(60 * epoch + 40)
            for name in NAMES:
                account = kit.identity(name).account.public
                ranks = [tasks[task].ranking.index(account) for task in evaluators[name].evaluated if task in tasks]
                as_spare = [rank for rank in ranks if rank >= 1]
                assert not as_spare or name == "dan"
                spares[epoch] += len(as_spare)
        assert True in had, "at last it is earned"
        assert [bool(spares[epoch]) for epoch in range(6)] == [not earned for earned in had]
        finals = network.finals("ada")
        dan = kit.identity("dan").account.public
        assert not any(len(final.counted) > 1 for final in finals), "spares never count"
        assert network.state("ada").accounts[dan].harvest


class Failing:
    """Mixed into an evaluator: some tasks of a model fail so many times."""

    def __init__(self, kit: Kit, times: int) -> None:
        self.tries: list[tuple[str, float]] = []
        outer = self

        class Evaluator(kit.FixedEvaluator):  # type: ignore[misc]
            async def evaluate(self, request: Request, progress: Callable[[Progress], None]) -> Evaluated:
                outer.tries.append((request.model.name, trio.current_time()))
                so_far = [name for name, _ in outer.tries].count("small")
                if request.model.name == "small" and so_far <= times:
                    raise EvaluationFailed(Failure.DOWNLOAD_FAILED)
                evaluated: Evaluated = await super().evaluate(request, progress)
                return evaluated

        self.evaluator = Evaluator(kit.sha("dan"))


async def test_what_fails_here_is_tried_again_behind_the_others_and_not_at_once(
    kit: Kit, autojump_clock: MockClock
) -> None:
    failing = Failing(kit, times=2)
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES[:3]} | {"dan": failing.evaluator}
    async with kit.network(evaluators) as network:
        await network.until(70)
        first = failing.tries[:8]
        assert [name == "small" for name, _ in first].count(True) == 4
        assert [name for name, _ in first][-2:] == ["small", "small"], "other work goes on meanwhile"
        dan = kit.identity("dan").account.public
        assert all(dan in final.agreeing for final in network.finals("ada") if final.epoch == 0)


async def test_what_fails_twice_is_committed_as_a_failure(kit: Kit, autojump_clock: MockClock) -> None:
    failing = Failing(kit, times=10**6)
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES[:3]} | {"dan": failing.evaluator}
    async with kit.network(evaluators) as network:
        await network.until(55)
        tried = [when for name, when in failing.tries if name == "small"]
        assert len(tried) == 4, "two tasks, two tries each"
        back_off = 60 / 240
        assert tried[2] - tried[0] >= back_off
        assert network.schedulers["dan"].current.failed == 2
        device = kit.identity("dan").device.public
        held = network.cores["ada"].replica.held.values()
        results = [e.message for e in held if isinstance(e.message, Result) and e.signer == device]
        failures = {task.task: task.failure for result in results for task in result.tasks}
        tasks = network.cores["ada"].replica.plan(0).tasks
        small = kit.model("small").id
        assert all((failures[task] is not None) == (tasks[task].subject.model == small) for task in failures)
        assert set(failures.values()) == {None, Failure.DOWNLOAD_FAILED}
        assert len(failures) == 6
        await network.until(70)
        finals = [final for final in network.finals("ada") if final.epoch == 0]
        assert all(len(final.agreeing) == (3 if final.subject.model == small else 4) for final in finals)


async def test_one_claim_a_device_tells_its_progress_and_is_never_logged(kit: Kit, autojump_clock: MockClock) -> None:
    evaluators = {name: kit.FixedEvaluator(kit.sha(name), seconds=4.0) for name in NAMES}
    async with kit.network(evaluators) as network:
        shares: dict[str, list[int]] = {}
        newest: dict[str, tuple[int, int]] = {}
        for second in (70, 76, 82, 90):
            await network.until(second)
            claims = network.cores["ada"].replica.overlay.claims
            assert set(claims) == {kit.identity(name).device.public for name in NAMES}, "one each"
            plan = network.cores["ada"].replica.plan(1)
            for name in NAMES:
                claim = claims[kit.identity(name).device.public]
                assert (claim.epoch, claim.sequence) > newest.get(name, (0, -1)), "a newer one takes its place"
                newest[name] = claim.epoch, claim.sequence
                account = kit.identity(name).account.public
                assert {each.task for each in claim.tasks} == {task.id for task in plan.of(account)}
                shares.setdefault(name, []).append(sum(each.progress for each in claim.tasks))
        for told in shares.values():
            assert told == sorted(told)
            assert told[0] < told[-1] == 6 * 1000
        await network.until(130)
        store = network.cores["bootstrap"].store
        kept = [*await store.log_entries(0, 4000), *await store.kept()]
        opened = [open_envelope(data, network.genesis.id).message for data in kept]
        assert any(isinstance(message, Result) for message in opened)
        assert not any(isinstance(message, Claim) for message in opened)


async def test_what_was_seen_is_what_was_there_when_it_was_sealed(kit: Kit, autojump_clock: MockClock) -> None:
    """A node that was cut off until after the sealing says that it saw nobody, though it knows all when it reveals."""
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    async with kit.network(evaluators) as network:
        await network.until(62)
        network.hub.partition(("dan",), ("bootstrap", *NAMES[:3]))
        await network.until(60 + 46)
        network.hub.heal()
        await network.until(60 + 58)
        held = [e for e in network.cores["ada"].replica.held.values() if getattr(e.message, "epoch", None) == 1]
        device_of = {kit.identity(name).device.public: name for name in NAMES}
        spoken = {device_of[e.signer]: e for e in held if isinstance(e.message, Commitment)}
        results = {device_of[e.signer]: e.message for e in held if isinstance(e.message, Result)}
        assert set(spoken) == set(results) == set(NAMES)
        starts = {kit.identity(name).account.public: e.id[:16] for name, e in spoken.items()}
        tasks = network.cores["ada"].replica.plan(1).tasks
        dan = kit.identity("dan").account.public
        for name, result in results.items():
            own = kit.identity(name).account.public
            for task, saw in zip(result.tasks, result.saw, strict=True):
                heard = {own} if name == "dan" else {account for account in starts if account != dan}
                ranking = tasks[task.task].ranking
                assert saw == tuple(starts[account] if account in heard else b"" for account in ranking)
        await network.until(130)
        finals = [final for final in network.finals("ada") if final.epoch == 1]
        assert finals
        assert all(dan not in final.counted and len(final.agreeing) == 3 for final in finals)

"""Audits in a whole network: honest runners stand, one that made its answers up and one that hides them do not."""

from typing import Any

import trio.testing
from msgspec.structs import replace

from node.evaluation import Evaluated, Request
from protocol.audits import Conclusion
from protocol.parameters import DEMO
from protocol.tasks import Purpose
from protocol.tiers import tier_of
from protocol.transcripts import Answer, Stop

MockClock = trio.testing.MockClock
Kit = Any  # the class of conftest.py, which tests cannot import
NAMES = ("ada", "ben", "cleo", "dan", "eva", "fay", "gus", "hal", "ida", "jon")
AUDITED = replace(DEMO, audit_share=1000)


def record(network: Any, kit: Kit, seen_by: str, name: str) -> list[Conclusion]:
    """What is on record about an account, as one of the nodes has it."""
    account = kit.identity(name).account.public
    return [audit.conclusion for audit in network.state(seen_by).accounts[account].audits]


async def test_honest_and_lying_runners_are_told_apart(kit: Kit, autojump_clock: MockClock) -> None:
    class Forger(kit.FixedEvaluator):  # type: ignore[misc]
        """Right outcomes and fingerprints, and answers that no model wrote."""

        def _answers(self, request: Request) -> tuple[Answer, ...]:
            return tuple(replace(answer, generated=(1, 2, 3)) for answer in super()._answers(request))

    class Hider(kit.FixedEvaluator):  # type: ignore[misc]
        """Has nothing to reveal."""

        async def evaluate(self, request: Request, progress: Any) -> Evaluated:
            evaluated: Evaluated = await super().evaluate(request, progress)
            return replace(evaluated, transcript=b"")

        def _answers(self, request: Request) -> tuple[Answer, ...]:
            return tuple(replace(answer, stop=Stop.END_TOKEN) for answer in super()._answers(request))

    class Slanderer(kit.FixedEvaluator):  # type: ignore[misc]
        """Says of everybody whom it examines that the answers are made up."""

        async def audit(self, request: Request, claims: Any, progress: Any) -> tuple[bool, ...]:
            return (True,) * len(claims)

    kinds = {"ada": Forger, "ben": Hider, "cleo": Slanderer}
    evaluators = {name: kinds.get(name, kit.FixedEvaluator)(kit.sha(name)) for name in NAMES}
    fixed = replace(kit.genesis(), parameters=AUDITED)
    async with kit.network(evaluators, fixed) as network:
        await network.until(4 * 60 + 10)
        for seen_by in ("bootstrap", "ada", "dan"):
            assert set(record(network, kit, seen_by, "ada")) == {Conclusion.FLAGGED}
            assert set(record(network, kit, seen_by, "ben")) == {Conclusion.NOT_REVEALED}
            for honest in NAMES[2:]:
                assert set(record(network, kit, seen_by, honest)) <= {Conclusion.MATCHES}
        assert sum(len(record(network, kit, "dan", honest)) for honest in NAMES[2:]) > 4
        assert len({network.board(name) for name in ("bootstrap", *NAMES)}) == 1
        audits = [final for final in network.finals("dan") if final.purpose is Purpose.AUDIT]
        states = [final.state for final in audits]
        assert states.count("DONE") > 6
        assert set(states) <= {"DONE", "WAITING"}, "where too few are left to ask, nobody is"
        forger, hider = (kit.identity(name).account.public for name in ("ada", "ben"))
        state = network.state("dan")
        assert state.opening.set_back >= {forger, hider}
        assert tier_of(state, forger).name == "guest"
        for task in network.cores["dan"].replica.plan(state.opening.epoch).tasks.values():
            places = [task.ranking.index(account) for account in (forger, hider) if account in task.ranking]
            assert all(place >= len(task.ranking) - 2 for place in places), "they come last"
        told = network.cores["dan"].replica.answers.data("runners")["runners"]
        shown = {row["account"]: row["audits"] for row in told}
        assert shown[forger.hex()]["flagged"] > 0 == shown[forger.hex()]["matches"]
        assert shown[hider.hex()]["not_revealed"] > 0


async def test_a_node_that_was_killed_still_reveals(kit: Kit, autojump_clock: MockClock) -> None:
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    fixed = replace(kit.genesis(), parameters=AUDITED)
    async with kit.network(evaluators, fixed) as network:
        await network.until(118)
        for name in NAMES:  # all of them, so that nobody can have it from a neighbour's memory
            await network.stop(name)
            await network.start(name, evaluators[name])
        await network.until(3 * 60 + 10)
        found = [conclusion for name in NAMES for conclusion in record(network, kit, "dan", name)]
        assert found
        assert set(found) == {Conclusion.MATCHES}

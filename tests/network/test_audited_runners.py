"""Audits in a whole network: honest runners stand, one that made its answers up and one that hides them do not."""

from typing import Any

import trio
import trio.testing
from msgspec.structs import replace

from node.evaluation import Evaluated, Request
from node.transcripts import TRANSCRIPTS, Held, Revealed, Wanted
from protocol import cbor
from protocol.audits import Conclusion
from protocol.parameters import DEMO
from protocol.tasks import Purpose
from protocol.tiers import tier_of
from protocol.transcripts import Answer, Stop, Transcript

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


async def test_who_comes_late_says_of_nobody_that_he_hides(kit: Kit, autojump_clock: MockClock) -> None:
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    fixed = replace(kit.genesis(), parameters=AUDITED)
    async with kit.network(evaluators, fixed) as network:
        await network.until(118)
        for name in NAMES:
            await network.stop(name)
        await network.until(120 + 31)
        for name in NAMES:
            await network.start(name, evaluators[name])
        await network.until(120 + 50)
        plan = network.cores["dan"].replica.plan(2)
        examining = [task for task in plan.tasks.values() if task.examined]
        assert examining
        assert await network.cores["dan"].store.work(plan.ground), "there was time for something"
        await network.until(3 * 60 + 10)
        found = [conclusion for name in NAMES for conclusion in record(network, kit, "dan", name)]
        assert Conclusion.NOT_REVEALED not in found


class Stranger:
    """Asks for whatever is asked for, as often as it can, and answers with what nobody asked for."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._lies = 0
        self.seen: set[bytes] = set()
        network.serve(TRANSCRIPTS, self._lie)

    async def ask(self, peer: str, digests: set[bytes], times: int) -> list[int]:
        """How many bytes of transcripts come each time."""
        sizes = []
        for _ in range(times):
            answer = await self._network.request(peer, TRANSCRIPTS, cbor.encode(Wanted(tuple(digests))))
            sizes.append(sum(len(held.transcript) for held in cbor.decode(answer, Revealed).held))
        return sizes

    async def _lie(self, peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        wanted = cbor.decode(body, Wanted).digests
        self.seen.update(wanted)
        self._lies += 1
        answers = (Answer(1, bytes(32), Stop.LENGTH, (7,)),)
        long = tuple(replace(answers[0], generated=(2**31 - 1,) * 8192) for _ in range(60))
        lies = (
            b"no CBOR",
            cbor.encode(Revealed((Held(bytes(32), b"nobody asked"),))),
            cbor.encode(Revealed((Held(wanted[0], b"no transcript"),))),
            cbor.encode(Revealed((Held(wanted[0], cbor.encode(Transcript(answers))),))),
            cbor.encode(Revealed((Held(wanted[0], cbor.encode(Transcript(long))),))),
            cbor.encode(Revealed(())),
        )
        return lies[self._lies % len(lies)]


async def test_strangers_neither_stop_nor_exhaust_it(kit: Kit, autojump_clock: MockClock) -> None:
    evaluators = {name: kit.FixedEvaluator(kit.sha(name)) for name in NAMES}
    fixed = replace(kit.genesis(), parameters=AUDITED)
    async with kit.network(evaluators, fixed) as network, network.hub.open("stranger") as outside:
        stranger = Stranger(outside)
        await network.until(110)
        for other in tuple(network.hub.networks.values()):
            if other.peer != "stranger":
                await outside.connect(other.addresses[0])
        await network.until(2 * 60 + 20)
        assert stranger.seen
        open_now = set(stranger.seen)
        sizes = await stranger.ask("dan", open_now, 5)
        assert sizes[0] > 0
        assert sizes == [sizes[0]] * 3 + [0] * 2, "three times and no more"
        await network.until(3 * 60 + 10)
        found = [conclusion for name in NAMES for conclusion in record(network, kit, "dan", name)]
        assert found
        assert set(found) == {Conclusion.MATCHES}
        assert await stranger.ask("dan", open_now, 1) == [0], "the examination is over"

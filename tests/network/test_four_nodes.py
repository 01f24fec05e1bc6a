"""Four nodes and a bootstrap over in-memory streams, on a mock clock: fixed results become one board."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from msgspec.structs import replace

from bootstrap.log_writer import LogWriter
from node.batches import Batches
from node.bulletin import Bulletin
from node.clock import Clock
from node.core import Core, open_core
from node.evaluation import Evaluated, EvaluationFailed, Progress, Request
from node.identity import Identity
from node.memory_network import MemoryHub, open_memory_hub
from node.offload import inline
from node.pauses import Pauses
from node.scheduler import Scheduler
from protocol import epochs
from protocol.definitions import Benchmark, Dataset, HubFile, Model, TaskKind
from protocol.failures import Failure
from protocol.genesis import Genesis
from protocol.lifecycle import TaskState
from protocol.messages import Profile, Run, TaskResult
from protocol.parameters import DEMO
from protocol.signing import PrivateKey

START = 1_800_000_000
CHAIN_SEED = b"c" * 32
LOG_KEY = PrivateKey(b"l" * 32)
SKILLS = {"small": 300, "middle": 600, "large": 900}


def sha(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def model(name: str) -> Model:
    file = HubFile("test/models", "0" * 40, f"{name}.gguf", sha(name), 1000)
    return Model(file, (), "llama", 1000, "F16", "Apache-2.0")


def benchmark(name: str) -> Benchmark:
    dataset = Dataset("test/questions", "0" * 40, "main", "test", sha(name), 200)
    return Benchmark(
        name, 1, "maths", "en", TaskKind.GENERATION, dataset, "plain/1", "plain/1", 0, 16, ("0.3.36", "0.3.36")
    )


def genesis() -> Genesis:
    return Genesis(
        name="four",
        time=START,
        parameters=DEMO,
        benchmarks=(benchmark("sums"), benchmark("words")),
        models=tuple(model(name) for name in SKILLS),
        log_key=LOG_KEY.public,
        chain_anchor=epochs.hash_chain(CHAIN_SEED, 64)[-1],
        chain_length=64,
    )


class FixedEvaluator:
    """Answers as a deterministic function of model and question; honest fingerprints differ a little by device."""

    def __init__(self, device: bytes, seconds: float = 1.0) -> None:
        self._device = device
        self._seconds = seconds
        self.evaluated: list[bytes] = []

    async def evaluate(self, request: Request, progress: Callable[[Progress], None]) -> Evaluated:
        task = request.task
        await trio.sleep(self._seconds)
        self.evaluated.append(task.id)
        progress(Progress(len(task.questions), len(task.questions), 100.0))
        skill = SKILLS[request.model.name]
        outcomes = tuple(1000 if self._luck(request, q) < skill else 0 for q in task.questions)
        result = TaskResult(
            task=task.id,
            questions=task.questions_digest,
            outcomes=outcomes,
            total=sum(outcomes),
            margins=(500,) * len(outcomes),
            near_ties=bytes(-(-len(outcomes) // 8)),
            fingerprint=b"".join(self._values(request, q) for q in task.questions),
            transcript=sha(task.id, outcomes),
            tokens_in=100,
            tokens_out=10,
            run_ms=1000,
        )
        return Evaluated(result, Run("fixed 1", "cpu", "reproducible", 0))

    def _luck(self, request: Request, question: int) -> int:
        return int.from_bytes(sha("luck", request.benchmark.name, question)[:4], "big") % 1000

    def _values(self, request: Request, question: int) -> bytes:
        values = b""
        for place in range(16):
            shared = sha(request.model.id, request.beacon, question, place)
            own = sha(self._device, shared)
            values += (1000 + int.from_bytes(shared[:2], "big") % 4000 + own[0] % 3).to_bytes(3, "big")
        return values


@dataclass
class Participant:
    """One node or the bootstrap of a test network."""

    name: str
    core: Core
    evaluator: FixedEvaluator | None = None


@asynccontextmanager
async def participant(hub: MemoryHub, name: str, fixed: Genesis, folder: Path, clock: Clock) -> AsyncIterator[Core]:
    async with hub.open(name) as network:
        bulletin = Bulletin(clock)
        async with open_core(fixed, network, folder / f"{name}.sqlite", clock, bulletin) as core:
            if name != "bootstrap":
                await network.connect(hub.networks["bootstrap"].addresses[0])
            yield core


def scheduler(core: Core, identity: Identity, evaluator: FixedEvaluator) -> Scheduler:
    batches = Batches(
        identity, core.replica, core.store, core.gossiper, entropy=lambda n: sha(identity.device.public)[:n]
    )
    return Scheduler(
        identity,
        core.replica,
        core.gossiper,
        batches,
        evaluator,
        core.clock,
        core.bulletin,
        Pauses(core.bulletin),
        lambda epoch: Profile(epoch, 4096, 4096, ("cpu",)),
    )


def identity(name: str) -> Identity:
    return Identity(PrivateKey(sha("account", name)), PrivateKey(sha("device", name)))


async def run_network(
    folder: Path, evaluators: dict[str, FixedEvaluator], epochs_to_run: int, fixed: Genesis
) -> list[Participant]:
    """Run a bootstrap and the named nodes for some epochs; everybody as they were at the end."""
    inline.set(True)
    clock = Clock(START - 5)
    people: list[Participant] = []
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(open_memory_hub())
        core = await stack.enter_async_context(participant(hub, "bootstrap", fixed, folder, clock))
        people.append(Participant("bootstrap", core))
        for name, evaluator in evaluators.items():
            core = await stack.enter_async_context(participant(hub, name, fixed, folder, clock))
            people.append(Participant(name, core, evaluator))
        async with trio.open_nursery() as nursery:
            for person in people:
                await nursery.start(person.core.run)
                if person.evaluator:
                    nursery.start_soon(scheduler(person.core, identity(person.name), person.evaluator).run)
            writer = LogWriter(people[0].core, LOG_KEY, CHAIN_SEED, waits_for=len(evaluators))
            nursery.start_soon(writer.run)
            await clock.sleep_until(START + 60 * epochs_to_run + 10)
            nursery.cancel_scope.cancel()
    return people


async def test_fixed_results_become_one_board(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    names = ("ada", "ben", "cleo", "dan")
    evaluators = {name: FixedEvaluator(sha(name)) for name in names}
    people = await run_network(tmp_path, evaluators, 3, genesis())

    boards = {person.core.replica.answers.bytes_of("leaderboard") for person in people}
    assert len(boards) == 1, "every node and the bootstrap have the same bytes"
    data = people[1].core.replica.answers.data("leaderboard")
    assert data["epoch"] == 2
    assert {(row["name"], row["benchmark"]) for row in data["rows"]} == {
        (name, bench) for name in SKILLS for bench in ("sums", "words")
    }
    for row in data["rows"]:
        assert row["status"] == "DONE"
        assert row["runners"] == 4
        assert row["questions"] > 50
        assert abs(row["score"] - SKILLS[row["name"]] / 10) < 15
    finals = [final for finals in people[2].core.replica.state.verdicts for final in finals]
    assert {final.state for final in finals} == {TaskState.DONE}
    assert len(finals) == 3 * 6


async def test_a_liar_is_outvoted_and_earns_nothing(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    class Liar(FixedEvaluator):
        def _values(self, request: Request, question: int) -> bytes:
            return sha("made up", question) + sha("made up", question)[:16]

    evaluators = {name: FixedEvaluator(sha(name)) for name in ("ada", "ben", "cleo")} | {"eve": Liar(sha("eve"))}
    people = await run_network(tmp_path, evaluators, 2, genesis())

    state = people[1].core.replica.state
    finals = [final for finals in state.verdicts for final in finals]
    assert {final.state for final in finals} == {TaskState.DONE}
    eve = identity("eve").account.public
    assert all(eve in final.counted and eve not in final.agreeing for final in finals)
    assert state.accounts[eve].credit == 0
    assert state.accounts[identity("ada").account.public].credit > 0


async def test_a_failure_of_the_model_is_agreed_on(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    class Missing(FixedEvaluator):
        async def evaluate(self, request: Request, progress: Callable[[Progress], None]) -> Evaluated:
            if request.model.name == "middle":
                raise EvaluationFailed(Failure.HASH_MISMATCH)
            return await super().evaluate(request, progress)

    evaluators: dict[str, FixedEvaluator] = {name: Missing(sha(name)) for name in ("ada", "ben", "cleo", "dan")}
    people = await run_network(tmp_path, evaluators, 3, genesis())

    state = people[1].core.replica.state
    assert state.models[model("middle").id].dormant, "three failures in a row"
    failed = [final for finals in state.verdicts for final in finals if final.subject.model == model("middle").id]
    assert {(final.state, final.failure) for final in failed} == {(TaskState.FAILED, Failure.HASH_MISMATCH)}


async def test_two_nodes_are_too_few(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    evaluators = {name: FixedEvaluator(sha(name)) for name in ("ada", "ben")}
    people = await run_network(tmp_path, evaluators, 2, genesis())
    finals = [final for finals in people[1].core.replica.state.verdicts for final in finals]
    assert {final.state for final in finals} == {TaskState.WAITING}


async def test_slow_nodes_commit_to_what_is_done(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    evaluators = {name: FixedEvaluator(sha(name), seconds=10.0) for name in ("ada", "ben", "cleo", "dan")}
    people = await run_network(tmp_path, evaluators, 2, replace(genesis()))
    finals = [final for finals in people[1].core.replica.state.verdicts for final in finals]
    states = [final.state for final in finals]
    assert states.count(TaskState.DONE) == 8
    assert states.count(TaskState.EXPIRED) == 4

"""Whole networks over in-memory streams, on a mock clock: bootstrap, nodes, and an evaluator with fixed answers."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from bootstrap.chains import Chains
from bootstrap.log_writer import LogWriter
from eval.hub import Fetching
from eval.job import Claimed
from node.batches import Batches
from node.bulletin import Bulletin
from node.clock import Clock
from node.core import Core, open_core
from node.evaluation import Evaluated, Progress, Request
from node.examiner import Examiner
from node.identity import Identity
from node.memory_network import MemoryHub, MemoryNetwork, open_memory_hub
from node.network import Unreachable
from node.offload import inline
from node.pauses import USER, Pauses
from node.scheduler import Scheduler
from protocol import cbor, epochs
from protocol.definitions import Benchmark, Dataset, HubFile, Model, TaskKind
from protocol.fingerprint import values_per_question
from protocol.genesis import Genesis
from protocol.messages import Profile, Run, TaskResult
from protocol.parameters import DEMO
from protocol.signing import PrivateKey
from protocol.state import Final, State
from protocol.transcripts import Answer, Stop, Transcript, prompt_digest, transcript_digest

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


def genesis(
    chain_length: int = 64,
    witnesses: tuple[bytes, ...] = (),
    version: int = 1,
    recovery_key: bytes | None = None,
) -> Genesis:
    return Genesis(
        name="four",
        time=START,
        parameters=replace(DEMO, version=version),
        benchmarks=(benchmark("sums"), benchmark("words")),
        models=tuple(model(name) for name in SKILLS),
        log_key=LOG_KEY.public,
        chain_anchor=epochs.hash_chain(CHAIN_SEED, chain_length)[-1],
        chain_length=chain_length,
        witnesses=witnesses,
        recovery_key=recovery_key,
    )


class FixedEvaluator:
    """Answers as a deterministic function of model and question; honest fingerprints differ a little by device."""

    def __init__(self, device: bytes, seconds: float = 1.0) -> None:
        self._device = device
        self._seconds = seconds
        self.evaluated: list[bytes] = []
        self.prepared: list[bytes] = []
        self.not_here: set[bytes] = set()
        """Files that would have to be downloaded."""
        self.fetched: list[bytes] = []

    async def evaluate(self, request: Request, progress: Callable[[Progress], None]) -> Evaluated:
        task = request.task
        await trio.sleep(self._seconds)
        self.evaluated.append(task.id)
        progress(Progress(len(task.questions), len(task.questions), 100.0))
        skill = SKILLS[request.model.name]
        outcomes = tuple(1000 if self._luck(request, q) < skill else 0 for q in task.questions)
        answers = self._answers(request)
        transcript = transcript_digest(request.model.base.sha256, (), request.benchmark.dataset.content, answers)
        result = TaskResult(
            task=task.id,
            questions=task.questions_digest,
            outcomes=outcomes,
            total=sum(outcomes),
            margins=(500,) * len(outcomes),
            near_ties=bytes(-(-len(outcomes) // 8)),
            fingerprint=b"".join(self._values(request, q) for q in task.questions),
            transcript=transcript,
            tokens_in=100,
            tokens_out=10,
            run_ms=1000,
            energy_mj=4000,
        )
        run = Run("fixed 1", "cpu", "reproducible", 0)
        return Evaluated(result, run, cbor.encode(Transcript(answers)))

    async def audit(
        self, request: Request, claims: Sequence[Claimed], progress: Callable[[Progress], None]
    ) -> tuple[bool, ...]:
        await trio.sleep(self._seconds)
        own = set(FixedEvaluator._answers(self, request))
        return tuple(claim.answer not in own for claim in claims)

    def _answers(self, request: Request) -> tuple[Answer, ...]:
        """The same for every honest runner."""
        return tuple(
            Answer(q, prompt_digest((q,)), Stop.LENGTH, (self._luck(request, q),)) for q in request.task.questions
        )

    async def lacking(self, files: Sequence[HubFile]) -> Sequence[HubFile]:
        return [file for file in files if file.sha256 in self.not_here]

    async def fetch(self, file: HubFile, fetching: Callable[[Fetching | None], None]) -> None:
        fetching(Fetching(file.path, 1, file.size))
        await trio.sleep(self._seconds)
        self.not_here.discard(file.sha256)
        self.fetched.append(file.sha256)
        fetching(None)

    async def prepare(self, request: Request, fetching: Callable[[Fetching | None], None]) -> None:
        self.prepared.append(request.task.id)
        fetching(Fetching(request.model.name, 1, 1000))
        await trio.sleep_forever()  # as a download that takes longer than the evaluation: it is cancelled

    def _luck(self, request: Request, question: int) -> int:
        return int.from_bytes(sha("luck", request.benchmark.name, question)[:4], "big") % 1000

    def _values(self, request: Request, question: int) -> bytes:
        values = b""
        for place in range(values_per_question(len(request.task.questions))):
            shared = sha(request.model.id, request.beacon, question, place)
            own = sha(self._device, shared)
            values += (1000 + int.from_bytes(shared[:2], "big") % 4000 + own[0] % 3).to_bytes(3, "big")
        return values


class Simulation:
    """A network that is run in memory. Nodes are named; each has its store in `folder`, so that it can come back."""

    def __init__(self, folder: Path, hub: MemoryHub, clock: Clock, fixed: Genesis) -> None:
        self.genesis = fixed
        self.hub = hub
        self.clock = clock
        self.cores: dict[str, Core] = {}
        self.schedulers: dict[str, Scheduler] = {}
        self.topic_bits: Mapping[str, int] = {}
        """How some of the nodes split the topics; set it before they start."""
        self.same_keys: Mapping[str, str] = {}
        """By node: another one whose keys it has; set it before they start."""
        self.earning: Collection[str] = ()
        """Nodes that want to earn a submission; set it before they start."""
        self._folder = folder
        self._writers: dict[str, LogWriter] = {}
        self._scopes: dict[str, trio.CancelScope] = {}
        self._gone: dict[str, trio.Event] = {}
        self._nursery: trio.Nursery

    async def start(
        self, name: str, evaluator: FixedEvaluator | None = None, *, waits_for: int = 1, writes: bool = True
    ) -> None:
        """Start a node; without an evaluator it holds the log's key, and writes the log (or begins to by `write`)."""
        await self._nursery.start(self._live, name, evaluator, waits_for, writes)

    def write(self, name: str) -> None:
        """Let a holder of the log's key that only followed so far write, too."""
        self._nursery.start_soon(self._writers[name].run)

    def _writer(self, core: Core, name: str, waits_for: int) -> LogWriter:
        seeds = self._folder / f"{name}.chain"
        if not seeds.exists():
            seeds.write_text(CHAIN_SEED.hex() + "\n")
        chains = Chains(seeds, self.genesis.chain_length, entropy=lambda n: sha("seed", seeds.read_text())[:n])
        return LogWriter(core, LOG_KEY, chains, self._folder / f"{name}.note", waits_for=waits_for)

    async def stop(self, name: str) -> None:
        """End a node at this instant, as a kill would: nothing of it runs on, its store stays."""
        self._scopes[name].cancel()
        await self._gone[name].wait()

    async def until(self, seconds: float) -> None:
        """Let time pass until so many seconds after genesis."""
        await self.clock.sleep_until(START + seconds)

    def state(self, name: str) -> State:
        """A node's state."""
        return self.cores[name].replica.state

    def board(self, name: str) -> bytes:
        """A node's board, as bytes."""
        return self.cores[name].replica.answers.bytes_of("leaderboard")

    def finals(self, name: str) -> list[Final]:
        """All final verdicts that a node knows."""
        return [final for finals in self.state(name).verdicts for final in finals]

    def codes(self, name: str) -> list[str]:
        """What a node told its owner lately."""
        return [activity.code for activity in self.cores[name].bulletin.activities]

    async def _live(
        self,
        name: str,
        evaluator: FixedEvaluator | None,
        waits_for: int,
        writes: bool,
        task_status: trio.TaskStatus[None],
    ) -> None:
        self._gone[name] = trio.Event()
        bulletin = Bulletin(self.clock)
        with trio.CancelScope() as self._scopes[name]:
            async with (
                self.hub.open(name) as network,
                open_core(
                    self.genesis,
                    network,
                    self._folder / f"{name}.sqlite",
                    self.clock,
                    bulletin,
                    witness(name),
                    topic_bits=self.topic_bits.get(name, 0),
                ) as core,
                trio.open_nursery() as nursery,
            ):
                self.cores[name] = core
                await nursery.start(core.run)
                if evaluator:
                    nursery.start_soon(self._dial, network)
                    self.schedulers[name] = scheduler(
                        core, identity(self.same_keys.get(name, name)), evaluator, earns=name in self.earning
                    )
                    nursery.start_soon(self.schedulers[name].run)
                else:
                    self._writers[name] = self._writer(core, name, waits_for)
                    if writes:
                        nursery.start_soon(self._writers[name].run)
                task_status.started()
                await trio.sleep_forever()
        self._gone[name].set()

    async def _dial(self, network: MemoryNetwork) -> None:
        """Keep a connection to every other node that is up."""
        while True:
            connected = {peer.peer for peer in network.peers()}
            for other in tuple(self.hub.networks.values()):
                if other.peer not in connected | {network.peer}:
                    with contextlib.suppress(Unreachable):
                        await network.connect(other.addresses[0])
            await trio.sleep(0.5)


def scheduler(core: Core, who: Identity, evaluator: FixedEvaluator, *, earns: bool = False) -> Scheduler:
    batches = Batches(who, core.replica, core.store, core.gossiper, entropy=lambda n: sha(who.device.public)[:n])
    return Scheduler(
        who,
        core.replica,
        core.gossiper,
        batches,
        evaluator,
        Examiner(core.replica, core.transcripts, evaluator, core.clock, core.bulletin),
        core.clock,
        core.bulletin,
        Pauses(core.bulletin),
        lambda epoch: Profile(epoch, 4096, 4096, ("cpu",)),
        earns=earns,
    )


def identity(name: str) -> Identity:
    return Identity(PrivateKey(sha("account", name)), PrivateKey(sha("device", name)))


def witness(name: str) -> PrivateKey:
    """The key with which a node cosigns, where the genesis names it."""
    return PrivateKey(sha("witness", name))


Evaluators = Mapping[str, FixedEvaluator]


class Kit:
    """What tests of networks are made of; a fixture, because test files cannot import each other."""

    FixedEvaluator = FixedEvaluator
    USER = USER
    SKILLS = SKILLS
    sha = staticmethod(sha)
    model = staticmethod(model)
    identity = staticmethod(identity)
    witness = staticmethod(witness)
    genesis = staticmethod(genesis)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def network(
        self,
        evaluators: Evaluators,
        fixed: Genesis | None = None,
        topic_bits: Mapping[str, int] | None = None,
        *,
        at: float = -5,
    ) -> AsyncIterator[Simulation]:
        """A running bootstrap with these nodes, five seconds before genesis, or so many `at` it or after it."""
        inline.set(True)
        async with open_memory_hub() as hub, trio.open_nursery() as nursery:
            simulation = Simulation(self._folder, hub, Clock(START + at), fixed or genesis())
            simulation._nursery = nursery
            simulation.topic_bits = topic_bits or {}
            await simulation.start("bootstrap", waits_for=len(evaluators))
            for name, evaluator in evaluators.items():
                await simulation.start(name, evaluator)
            yield simulation
            nursery.cancel_scope.cancel()


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)

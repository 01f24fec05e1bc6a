"""What folding the log costs: results a second, the slowest batches and marks, memory for each result of closed epochs.

    python benchmarks/ledger.py [--results N] [--models M] [--nodes N] [--seed S] [--profile]

A network of 200 nodes and 1,000 models on 100 bases works through epochs of 1,000 tasks: seven runners each, whose
fingerprints differ a little, in batches of up to 60 results, as they come. Envelopes are made beforehand and have no
signature (checking it is another figure), so that only the fold is measured, in CPU time: commitments, results and
marks. At the end what a mark does is measured apart, each at its worst: every pool drawn from nothing, every record
of the state hashed anew, every score of the board. Limits: 30,000 results a second, 99 % of the result batches within
2 ms at the end of a million results, 200 bytes a result, 2 s a mark.
Exits with 1 where a limit is missed.
"""

import argparse
import cProfile
import gc
import hashlib
import pstats
import sys
import time
from collections.abc import Callable, Iterator
from random import Random
from statistics import quantiles

import psutil

from protocol import cbor, epochs, ledger, pools, scores
from protocol.definitions import Adapter, Benchmark, Dataset, HubFile, Model, TaskKind
from protocol.envelope import Envelope
from protocol.fingerprint import values_per_question
from protocol.genesis import Genesis
from protocol.messages import (
    KINDS,
    Commitment,
    Delegation,
    Message,
    Profile,
    Result,
    Run,
    TaskResult,
    commitment_digest,
)
from protocol.parameters import MAIN
from protocol.plan import Plan, derive
from protocol.state import State
from protocol.table import Table
from protocol.tasks import Task

RESULTS_A_BATCH = 60
EPOCHS_BETWEEN_PROFILES = 12
LIMITS = {
    "results a second": 30_000,
    "99 % of the batches within, ms": 2.0,
    "bytes a result": 200,
    "the slowest mark, s": 2.0,
}
RUN = Run("llama.cpp 1", "cpu", "reproducible", 0)
LOG_KEY = b"l" * 32
MIDDLE_BYTES = bytes(4 + byte % 16 for byte in range(256))
STEP = int.from_bytes(b"\0\0\1" * 1600, "big")


def name(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def genesis(models: int) -> Genesis:
    dataset = Dataset("bench/questions", "0" * 40, "main", "test", name("content"), 10_000)
    benchmark = Benchmark("sums", 1, "maths", "en", TaskKind.CHOICE, dataset, "p/1", "s/1", 0, 0, ("1", "1"))
    bases = [HubFile("bench/base", "0" * 40, f"b{n}.gguf", name("base", n), 1 << 30) for n in range(models // 10)]
    adapters = [HubFile("bench/lora", "0" * 40, f"a{n}.gguf", name("lora", n), 1 << 20) for n in range(models)]
    made = (Model(bases[n % len(bases)], (Adapter(adapters[n]),), "llama", 10**9, "Q8_0", "MIT") for n in range(models))
    parameters = {"minimum_age": 0, "attested": False, "audit_share": 0, "work_stamp_seconds": 0}
    parameters |= {"questions_max": models * 5}
    changed = type(MAIN)(**{field: getattr(MAIN, field) for field in MAIN.__struct_fields__} | parameters)
    chain = epochs.hash_chain(b"c" * 32, 5000)
    return Genesis("bench", 0, changed, (benchmark,), tuple(made), LOG_KEY, chain[-1], 5000)


class Writer:
    """Makes envelopes as they would have been opened, without signatures."""

    def __init__(self, models: int, nodes: int, seed: int) -> None:
        self.random = Random(seed)
        self.genesis = genesis(models)
        self.chain = epochs.hash_chain(b"c" * 32, 5000)
        self.nodes = [name("account", n) for n in range(nodes)]

    def envelope(self, signer: bytes, message: Message) -> Envelope:
        """The message as the fold sees it: its bytes end like an envelope, without a signature."""
        payload = cbor.encode((int(KINDS[type(message)]), message))
        return Envelope(self.random.randbytes(32), signer, message, payload + bytes(66))

    def joining(self) -> Iterator[Envelope]:
        """Everybody's delegation and first profile."""
        for account in self.nodes:
            yield self.envelope(account, Delegation(name("device", account), bytes(64)))
        yield from self.profiles(0)

    def profiles(self, epoch: int) -> Iterator[Envelope]:
        """Everybody's profile, renewed: without it nobody is eligible any more after a while."""
        for account in self.nodes:
            yield self.envelope(name("device", account), Profile(epoch, 1 << 20, 1 << 20, ("cpu",)))

    def mark(self, state: State, epoch: int) -> Envelope:
        """The mark that opens an epoch."""
        return self.envelope(LOG_KEY, ledger.next_mark(state, epoch, self.chain[state.marks]))

    def statements(self, plan: Plan) -> tuple[list[Envelope], list[Envelope]]:
        """Commitments and results of everybody for all of an epoch's tasks; one runner in twenty is wrong."""
        mine: dict[bytes, list[TaskResult]] = {}
        for task in plan.tasks.values():
            outcomes = tuple(1000 * self.random.randrange(2) for _ in task.questions)
            values = self.fingerprint(len(task.questions) * values_per_question(len(task.questions)))
            for account in task.ranking:
                mine.setdefault(account, []).append(self.result(task, outcomes, values))
        drafts = []
        seen: dict[tuple[bytes, bytes], bytes] = {}
        for account, results in mine.items():
            for first in range(0, len(results), RESULTS_A_BATCH):
                batch = tuple(results[first : first + RESULTS_A_BATCH])
                draft = Result(plan.epoch, plan.ground, bytes(32), name("salt", account, plan.epoch), RUN, batch, ())
                digest = commitment_digest(self.genesis.id, account, draft)
                named = tuple(result.task for result in batch)
                envelope = self.envelope(name("device", account), Commitment(plan.epoch, plan.ground, named, digest))
                seen |= {(account, task): envelope.id[:16] for task in named}
                drafts.append((envelope, draft))
        revealed = []
        for commitment, draft in drafts:
            saw = tuple(
                tuple(seen[account, result.task] for account in plan.tasks[result.task].ranking)
                for result in draft.tasks
            )
            message = Result(plan.epoch, plan.ground, commitment.id, draft.salt, RUN, draft.tasks, saw)
            revealed.append(self.envelope(commitment.signer, message))
        return [envelope for envelope, _ in drafts], revealed

    def fingerprint(self, values: int) -> bytes:
        """As many values of three bytes, between 1,024 and 5,119."""
        found = bytearray(3 * values)
        found[1::3] = self.random.randbytes(values).translate(MIDDLE_BYTES)
        found[2::3] = self.random.randbytes(values)
        return bytes(found)

    def result(self, task: Task, outcomes: tuple[int, ...], values: bytes) -> TaskResult:
        """One runner's result: a little beside `values`, or (one in twenty) made up."""
        size = len(values)
        if self.random.randrange(20):
            jitter = self.random.randrange(12)
            number = int.from_bytes(values, "big") + (STEP >> 8 * (4800 - size)) * jitter
            values = number.to_bytes(size, "big")
        else:
            values = self.random.randbytes(size)
        count = len(outcomes)
        return TaskResult(
            task.id,
            None,
            task.questions_digest,
            outcomes,
            sum(outcomes),
            (500,) * count,
            bytes(-(-count // 8)),
            values,
            name(size),
            1000,
            10,
            2000,
        )


class Clock:
    """Time spent in the fold, by what was folded."""

    def __init__(self) -> None:
        self.batches: list[float] = []
        self.commitments = 0.0
        self.profiles = 0.0
        self.marks: list[float] = []

    def fold(self, state: State, envelope: Envelope) -> float:
        """CPU seconds that an entry took."""
        start = time.thread_time()
        void = ledger.append(state, envelope)
        spent = time.thread_time() - start
        if void:
            raise RuntimeError(void.sentence)
        return spent

    def mark(self, writer: Writer, state: State, epoch: int) -> float:
        """Making it counts too: what changed since the last one is hashed then, and not again when it is folded."""
        start = time.thread_time()
        envelope = writer.mark(state, epoch)
        made = time.thread_time() - start
        return made + self.fold(state, envelope)


def run(results: int, models: int, nodes: int, seed: int, profile: cProfile.Profile | None) -> bool:
    writer = Writer(models, nodes, seed)
    state = ledger.begin(writer.genesis)
    for envelope in writer.joining():
        ledger.append(state, envelope)
    clock = Clock()
    folded, epoch = 0, 0
    memory = psutil.Process()
    settled: tuple[int, int] | None = None
    first_batch_of_tail = 0
    while folded < results or epoch < 3:
        if profile:
            profile.enable()
        clock.marks.append(clock.mark(writer, state, epoch))
        if profile:
            profile.disable()
        if settled is None and epoch >= 2:
            gc.collect()
            settled = (folded, memory.memory_info().rss)
        commitments, revealed = writer.statements(ledger_plan(state, epoch))
        renewed = list(writer.profiles(epoch)) if epoch and epoch % EPOCHS_BETWEEN_PROFILES == 0 else []
        if profile:
            profile.enable()
        first_batch_of_tail = len(clock.batches)
        for envelope in renewed:
            clock.profiles += clock.fold(state, envelope)
        for envelope in commitments:
            clock.commitments += clock.fold(state, envelope)
        for envelope in revealed:
            clock.batches.append(clock.fold(state, envelope))
            folded += len(envelope.message.tasks) if isinstance(envelope.message, Result) else 0
        if profile:
            profile.disable()
        epoch += 1
    if profile:
        profile.enable()
    clock.marks.append(clock.mark(writer, state, epoch))
    if profile:
        profile.disable()
    del commitments, revealed, envelope
    gc.collect()
    resident = memory.memory_info().rss
    return report(clock, state, folded, first_batch_of_tail, settled or (0, 0), resident)


def ledger_plan(state: State, epoch: int) -> Plan:
    where = ledger.gathering(state, epoch)
    if where is None:
        raise RuntimeError(f"epoch {epoch} is not open")
    return where.plan


def worst_parts_of_a_mark(state: State) -> dict[str, float]:
    """CPU seconds of what a mark does beside closing, where nothing of it is left from the mark before."""
    parameters = state.parameters
    bases = {model.base.sha256: model.total_bytes for model in state.genesis.models}
    offers = {
        key: tuple(pools.Offer(known.device, known.profile.memory, known.profile.disk) for known in account.devices)
        for key, account in state.accounts.items()
    }
    tables = [table for table in vars(state).values() if isinstance(table, Table)]
    for table in tables:
        for key, record in list(table.items()):
            table[key] = record
    work = {
        "all pools drawn": lambda: pools.redraw(
            {}, bases, offers, beacon=LOG_KEY, marks=state.marks, parameters=parameters
        ),
        "all records hashed": state.digest,
        "tasks derived": lambda: derive(state.opening, state.opening.epoch) if state.opening else None,
        "undecided ranks": lambda: scores.undecided(state.benchmarks, state.standings),
    }
    return {what: seconds(call) for what, call in work.items()}


def seconds(call: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def report(clock: Clock, state: State, folded: int, tail: int, settled: tuple[int, int], resident: int) -> bool:
    done = sum(len(standing.works) for standing in state.standings.values())
    total = sum(clock.batches) + clock.commitments + clock.profiles + sum(clock.marks)
    percentile = 1000 * quantiles(clock.batches[tail:], n=100)[98]
    bytes_each = (resident - settled[1]) / max(1, folded - settled[0])
    print(f"{folded:,} results in {len(clock.batches):,} batches, {state.marks} marks, {done:,} tasks DONE")
    parts = {"results": sum(clock.batches), "commitments": clock.commitments, "profiles": clock.profiles}
    parts |= {"marks": sum(clock.marks)}
    for what, spent in parts.items():
        print(f"  {what:12} {spent:8.2f} s   {1e6 * spent / folded:6.2f} µs a result")
    print(f"  the last mark took {1000 * clock.marks[-1]:.0f} ms; at their worst, beside closing:")
    for what, spent in worst_parts_of_a_mark(state).items():
        print(f"    {what:20} {1000 * spent:8.0f} ms")
    print(f"  of the last epoch's batches the slowest took {1000 * max(clock.batches[tail:]):.2f} ms")
    figures = dict(zip(LIMITS, (folded / total, percentile, bytes_each, max(clock.marks)), strict=True))
    met = True
    for what, limit in LIMITS.items():
        good = figures[what] >= limit if what == "results a second" else figures[what] <= limit
        met = met and good
        print(f"  {what:32} {figures[what]:12,.1f}   limit {limit:,}   {'ok' if good else 'MISSED'}")
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    arguments = parser.parse_args()
    profile = cProfile.Profile() if arguments.profile else None
    met = run(arguments.results, arguments.models, arguments.nodes, arguments.seed, profile)
    if profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    sys.exit(0 if met or profile else 1)


if __name__ == "__main__":
    main()

"""How questions are divided among cores: in lanes, each with a context and a thread of its own, or all in one.

Threads within one call to llama.cpp meet after every operation of the graph. In a small model an operation is so short
that most of the time goes into meeting. So a small model is asked in lanes that share its weights and nothing else: the
questions are dealt out beforehand, the same ones always in the same way, and what all prompts begin with is decoded
once, by all threads, and copied. Each lane reads all weights at each step, which a large model cannot afford.
"""

import heapq
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from eval import products
from eval.base import Base
from eval.context import Context, Scaled
from eval.division import lanes_for, threads_in_each
from eval.engine import Checkpoint, Engine, Question
from eval.failing import EvaluationError
from eval.memory import ContextPlan, Need, cache_bytes_per_cell, plan_context
from eval.model import LoadedModel
from eval.modes import Layout
from eval.slots import best_slots

SHORTEST_PREFIX = 16  # a shorter common beginning is not worth a sequence


class LanePlan(Struct, frozen=True):
    """The questions of each lane, what their prompts begin with, the size of each lane's context, and its threads.

    `threads_before` are those that read the beginning, while the lanes wait.
    """

    hands: list[list[Question]]
    prefix: list[int]
    context: ContextPlan
    threads: int
    threads_before: int


def plan_lanes(
    base: Base,
    questions: Sequence[Question],
    steps: int,
    threads: int,
    limit: int,
    layout: Layout,
    *,
    adapter_bytes: int = 0,
    lanes: int | None = None,
    together: int | None = None,
) -> LanePlan:
    """A plan for questions that take about `steps` passes after their prompts, within `limit` bytes.

    What does not fit in several lanes is planned for fewer, and at last without products of our own. `lanes` and the
    number of questions that each asks `together` are chosen here where they are not given. Raises `EvaluationError`
    with `OUT_OF_MEMORY` where not even one question fits.
    """
    prefix = [] if layout.alone else common_prefix([question.prompt for question in questions if question.prompt])
    needs = [question.need(len(prefix), layout) for question in questions]
    if lanes is None:
        lanes = 1 if base.card else lanes_for(base.header.parameters, threads, len(questions))
    while True:
        hands = deal(needs, lanes)
        slots = together or max(
            best_slots(base.header, [needs[place] for place in hand], steps, products=layout.products) for hand in hands
        )
        besides = adapter_bytes + (cache_bytes_per_cell(base.header) * len(prefix) if lanes > 1 else 0)
        besides += products.bytes_taken(base.header, threads) if layout.products else 0
        takes = partial(base.takes, besides=besides, contexts=lanes)
        try:
            context = plan_context(base.header, len(prefix), needs, slots, limit, layout=layout, takes=takes)
        except EvaluationError:
            if lanes == 1 and not layout.products:
                raise
            if lanes == 1:
                layout = replace(layout, products=False)
            lanes = max(1, lanes // 2)
        else:
            given = [[questions[place] for place in hand] for hand in hands]
            most = threads_in_each(base.header.parameters, threads, 1)
            return LanePlan(given, prefix, context, threads_in_each(base.header.parameters, threads, lanes), most)


def deal(needs: Sequence[Need], lanes: int) -> list[list[int]]:
    """The places of questions in each of `lanes` hands of about equal work: the largest first, to whoever has least.

    Within a hand they keep their order.
    """
    hands: list[list[int]] = [[] for _ in range(lanes)]
    least = [(0, number) for number in range(lanes)]
    for place in sorted(range(len(needs)), key=lambda place: -needs[place].cells):
        work, number = heapq.heappop(least)
        hands[number].append(place)
        heapq.heappush(least, (work + max(1, needs[place].cells), number))
    return [sorted(hand) for hand in hands]


def common_prefix(prompts: Sequence[list[int]]) -> list[int]:
    """What all prompts share at their beginning, leaving at least one token to each; nothing where that is little."""
    if len(prompts) < 2:
        return []
    first, last = min(prompts), max(prompts)  # what these two share, all that lie between them share
    most = min(map(len, prompts)) - 1
    shared = next((place for place in range(most) if first[place] != last[place]), most)
    return first[:shared] if shared >= SHORTEST_PREFIX else []


def run_lanes(model: LoadedModel, plan: LanePlan, adapters: Sequence[Scaled], checkpoint: Checkpoint) -> int:
    """Answers all questions of the plan. The number of tokens that were decoded.

    `checkpoint` is called in the caller's thread alone, with the figures of all lanes together. What it raises, or what
    goes wrong in a lane, ends every lane at its next decode and is raised once all have ended.
    """
    with ExitStack() as stack:
        contexts = [stack.enter_context(Context(model, plan.context, plan.threads, adapters)) for _ in plan.hands]
        engines = [Engine(context) for context in contexts]
        if plan.prefix:
            _share(plan, contexts, engines)
        if len(engines) == 1:
            engines[0].run(plan.hands[0], checkpoint)
        else:
            _Together(engines, plan.hands, checkpoint).run()
        return sum(engine.decoded for engine in engines)


def _share(plan: LanePlan, contexts: Sequence[Context], engines: Sequence[Engine]) -> None:
    """Has what all prompts begin with decoded once, by as many threads as pay, and copied to every lane."""
    contexts[0].set_threads(plan.threads_before)
    engines[0].share(plan.prefix)
    contexts[0].set_threads(plan.threads)
    if len(engines) > 1:
        state = contexts[0].state(0)
        for engine in engines[1:]:
            engine.share(plan.prefix, state)


class _Over(Exception):
    """The run has ended elsewhere."""


class _Together:
    """Lanes at work: the first in the caller's thread, each other in its own."""

    def __init__(self, engines: Sequence[Engine], hands: Sequence[Sequence[Question]], checkpoint: Checkpoint) -> None:
        self._engines = engines
        self._hands = hands
        self._checkpoint = checkpoint
        self._total = sum(map(len, hands))
        self._done = [0] * len(engines)
        self._decoded = [engine.decoded for engine in engines]
        self._others: list[Future[None]] = []
        self._changed = threading.Condition()
        self._news = False
        self._told = (-1, -1)
        self._over = False

    def run(self) -> None:
        """Returns when all lanes have ended, however they did."""
        with ThreadPoolExecutor(len(self._engines) - 1, "lane") as pool:
            try:
                for number in range(1, len(self._engines)):
                    work = pool.submit(self._engines[number].run, self._hands[number], partial(self._hear, number))
                    work.add_done_callback(self._hear_end)
                    self._others.append(work)
                self._engines[0].run(self._hands[0], partial(self._hear, 0))
                self._wait()
            except _Over:
                pass
            finally:
                self._over = True
        for work in self._others:
            error = work.exception()
            if error is not None and not isinstance(error, _Over):
                raise error

    def _hear(self, number: int, done: int, _total: int, decoded: int) -> None:
        self._done[number], self._decoded[number] = done, decoded
        if number == 0:
            self._tell()
        elif self._over:
            raise _Over
        else:
            self._wake()

    def _hear_end(self, _work: Future[None]) -> None:
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._news = True
            self._changed.notify()

    def _tell(self) -> None:
        if any(work.done() and work.exception() for work in self._others):
            raise _Over
        done, decoded = sum(self._done), sum(self._decoded)
        if (done, decoded) != self._told:
            self._told = (done, decoded)
            self._checkpoint(done, self._total, decoded)

    def _wait(self) -> None:
        while not all(work.done() for work in self._others):
            with self._changed:
                self._changed.wait_for(lambda: self._news)
                self._news = False
            self._tell()
        self._tell()

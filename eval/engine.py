"""Continuous batching: many questions of one benchmark through one context.

The tokens that all prompts share are decoded once, in sequence 0. A question is admitted when cells and sequences for
its worst case are free; its sequence starts as a copy of the prefix and costs no cells for it. Where the cache can take
a part of a sequence back, sequences hold the prefix from one question to the next. One call to llama.cpp
carries the next token of every running generation, the branches (choices, fingerprint tails) that became ready, and
as much of the next prompts as still fits.

In *fast* mode logits depend a little on what else is in the batch (measured below 0.02 nat for F16 weights), never on
anything outside it. Honest runners with different batches agree, because fingerprints are compared with a tolerance
and outcomes that hang on a near tie are marked as such. In *reproducible* mode (`eval.modes`) they do not depend on it.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from eval.context import Context, Rows, State, Tokens
from eval.failing import EvaluationError
from eval.memory import Need
from eval.modes import Layout
from protocol.failures import Failure

_CHUNK_VALUES = 1 << 16  # logits that are turned into double precision at once: they stay in the cache

Checkpoint = Callable[[int, int, int], None]
"""Called after every decode with (questions done, questions in all, tokens decoded); what it raises ends the run."""


class Spread(Struct, frozen=True):
    """Where the tokens of a stream lie that goes through several sequences at once, as a tree.

    Token `i` lies `depths[i]` behind the stream's position and belongs to `counts[i]` of the `sequences`, from number
    `first[i]` on. What a token follows comes before it. Only where the plan's layout is `coupled`.
    """

    sequences: Sequence[int]
    depths: Tokens
    first: Tokens
    counts: Tokens


class Stream:
    """One sequence on its way through the cache, or with `spread` several: `tokens` are decoded from `position` on.

    Exactly one of three things is wanted of it. With `targets`, one per token: the log-probability of each target
    after its token; where tokens have several, `places` tells after which token each is looked up, ascending. With
    `after`: the log-probabilities of these ids after the last token. Both go to `scored` in one float64 array, in
    nats; with `below_best` relative to the most likely token's, so at most 0. With neither: the most likely next token
    goes to `chosen`, with its lead over the second.
    """

    def __init__(
        self,
        sequence: int,
        position: int,
        tokens: Sequence[int] | Tokens,
        *,
        chosen: Callable[[int, float], None] | None = None,
        scored: Callable[[NDArray[np.float64]], None] | None = None,
        targets: Sequence[int] | Tokens | None = None,
        places: Tokens | None = None,
        after: Sequence[int] | None = None,
        below_best: bool = False,
        spread: Spread | None = None,
    ) -> None:
        self.sequence = sequence
        self.below_best = below_best
        self.position = position
        self.left = len(tokens)
        self.chosen = chosen
        self.scored = scored
        self.found: list[NDArray[np.float64]] = []
        self._tokens: Tokens = np.asarray(tokens, np.int32)
        self._taken = 0
        self._spread = spread
        self.every = targets is not None
        wanted = after if targets is None else targets
        self.looked_up: Tokens | None = None if wanted is None else np.asarray(wanted, np.int32)
        if places is not None:
            self._places: Tokens = places
        elif self.every:
            self._places = np.arange(self.left, dtype=np.int32)
        else:
            self._places = np.full(len(wanted or ()), self.left - 1, np.int32)

    def add_to(self, context: Context, count: int) -> None:
        """Puts the next `count` tokens into the batch: with a row for each where `every` is set, else for the last."""
        part = slice(self._taken, self._taken + count)
        tokens, spread = self._tokens[part], self._spread
        self._taken += count
        self.left -= count
        if spread is None:
            context.add(tokens, self.position, self.sequence, every=self.every, last=not self.left)
            self.position += count
        else:
            positions = self.position + spread.depths[part]
            context.add_tree(tokens, positions, spread.sequences, spread.first[part], spread.counts[part])

    def segment(self, first: int, rows: int) -> "_Segment | None":
        """What is to be looked up after the tokens that the batch was given last, in output rows `first` and on."""
        if self.looked_up is None or not rows:
            return None
        start = self._taken - rows
        low, high = np.searchsorted(self._places, (start, self._taken))
        return _Segment(self, first, rows, self.looked_up[low:high], self._places[low:high] - start)


class _Segment:
    """The part of a stream that one batch scores: `ids`, each in the one of output rows `first` to `first + rows`
    that `places`, ascending, tell.
    """

    def __init__(self, stream: Stream, first: int, rows: int, ids: Tokens, places: Tokens) -> None:
        self.stream = stream
        self.first = first
        self.rows = rows
        self.ids = ids
        self.places = places
        self.complete = not stream.left


class Question(Protocol):
    """What the engine asks of a question; `eval.generation` and `eval.choices` answer."""

    prompt: list[int]

    def need(self, shared: int, layout: Layout) -> Need:
        """Cells and sequences at worst, where `shared` tokens of the prompt lie in the common prefix."""

    def begin(self, engine: "Engine", sequence: int, shared: int) -> None:
        """Puts the question's first stream into the engine; `sequence` holds the shared tokens already."""

    @property
    def done(self) -> bool:
        """Whether the answer is known; all sequences but the first have been given back."""


class Engine:
    """Runs questions through a context until all are done."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._most = context.plan.sequences - (context.plan.spare is not None)
        self._free = list(range(1, self._most))
        self._running: list[tuple[Stream, int]] = []
        self._waiting: deque[Stream] = deque()  # prompts and branches
        self._cells = context.plan.for_questions
        self.layout = context.plan.layout
        self._shared = 0
        self._held = 0
        self.decoded = 0

    def put(self, stream: Stream) -> None:
        """Lets a stream take part from the next batch on."""
        self._waiting.append(stream)

    def go_on(self, stream: Stream, token: int) -> None:
        """Lets a generation take part in the next batch with the token that was chosen for it."""
        self._running.append((stream, token))

    def branch(self, source: int) -> int:
        """A new sequence that shares everything `source` holds now. Give it back with `release`.

        Questions take the lowest sequences and branches the highest: a split cache computes neighbours together.
        """
        target = self._free.pop()
        self._context.copy(source, target, self._held)
        return target

    def release(self, sequence: int) -> None:
        """Takes a sequence back, without what was put into it."""
        self._context.forget(sequence, self._held)
        insort(self._free, sequence)

    def share(self, prefix: Sequence[int], state: State | None = None) -> None:
        """Puts the tokens that all prompts begin with into sequence 0, once and before anything else.

        `state` is what another context holds there after the same tokens; where it is not accepted they are decoded.
        """
        if state is None or not self._context.restore(0, state):
            self._decode(np.array(prefix, np.int32))
        self._shared = len(prefix)
        self._cells -= self._shared
        if self.layout.coupled:  # llama.cpp lists a sequence's cells one by one: once for all questions
            for sequence in self._free:
                self._context.copy(0, sequence)
            self._held = self._shared

    def run(self, questions: Sequence[Question], checkpoint: Checkpoint) -> None:
        """Answers all questions; their prompts begin with what was put in by `share`, and are longer, or empty.

        Nothing may be shared where the plan's layout has questions `alone`.
        """
        if not all(question.prompt for question in questions):
            self._let_go()
        queue = deque(questions)
        active: dict[int, tuple[Question, Need]] = {}
        done = 0
        checkpoint(0, len(questions), self.decoded)
        while queue or active:
            self._admit(queue, active)
            self._step()
            for sequence in [sequence for sequence, (question, _) in active.items() if question.done]:
                _, need = active.pop(sequence)
                self.release(sequence)
                self._cells += need.cells
                done += 1
                if self.layout.alone:
                    self._context.clear()
            checkpoint(done, len(questions), self.decoded)

    def _let_go(self) -> None:
        """Empties all sequences but the first: a question without a prompt begins with an empty one."""
        self._held = 0
        for sequence in self._free:
            self._context.forget(sequence)

    def _decode(self, prefix: Tokens) -> None:
        for start in range(0, len(prefix), self._context.plan.batch):
            chunk = prefix[start : start + self._context.plan.batch]
            self._context.add(chunk, start, 0, every=False, last=False)
            self._context.decode()
            self.decoded += len(chunk)

    def _admit(self, queue: deque[Question], active: dict[int, tuple[Question, Need]]) -> None:
        reserved = sum(need.sequences for _, need in active.values())
        waiting = sum(stream.left for stream in self._waiting)
        while queue and waiting < self._context.plan.batch and not (active and self.layout.alone):
            need = queue[0].need(self._shared, self.layout)
            reserved += need.sequences
            if need.cells > self._cells or reserved > self._most - 1:
                if not active:
                    raise EvaluationError(Failure.ENGINE_FAILED, "a question does not fit into its own plan")
                return
            question = queue.popleft()
            sequence = self._free.pop(0)
            shared = self._shared if question.prompt else 0
            if shared and not self._held:
                self._context.copy(0, sequence)
            self._cells -= need.cells
            active[sequence] = (question, need)
            question.begin(self, sequence, shared)
            waiting += len(question.prompt) - shared

    def _step(self) -> None:
        """Fills one batch, decodes it, and hands what it gave to the streams."""
        greedy, rows = self._add_running()
        greedy_rows = list(range(rows))
        segments: list[_Segment] = []
        while self._waiting and self._context.room and rows < self._context.plan.rows:
            stream = self._waiting[0]
            count = min(stream.left, self._context.room)
            if stream.every:
                count = min(count, self._context.plan.rows - rows)
            stream.add_to(self._context, count)
            self.decoded += count
            complete = not stream.left
            given = count if stream.every else int(complete)
            segment = stream.segment(rows, given)
            if segment is not None:
                segments.append(segment)
            elif complete:
                greedy.append(stream)
                greedy_rows.append(rows)
            rows += given
            if not complete:
                break
            self._waiting.popleft()
        if segments:
            self._context.fill()
        logits = self._context.decode()
        scores = [_log_probabilities(logits, segment) for segment in segments]
        if greedy:
            self._choose(logits, greedy, greedy_rows)
        for segment, values in zip(segments, scores, strict=True):
            segment.stream.found.append(values)
            if segment.complete and segment.stream.scored is not None:
                segment.stream.scored(np.concatenate(segment.stream.found))

    def _add_running(self) -> tuple[list[Stream], int]:
        streams = [stream for stream, _ in self._running]
        if streams:
            tokens = [token for _, token in self._running]
            positions = [stream.position for stream in streams]
            self._context.add_each(tokens, positions, [stream.sequence for stream in streams])
            for stream in streams:
                stream.position += 1
            self.decoded += len(streams)
            self._running = []
        return streams, len(streams)

    @staticmethod
    def _choose(logits: Rows, streams: list[Stream], rows: list[int]) -> None:
        """The largest logit of each row and its lead. Overwrites the rows, which nobody reads again."""
        together = rows[-1] - rows[0] == len(rows) - 1
        block = logits[rows[0] : rows[-1] + 1] if together else logits[rows]
        each = np.arange(len(rows))
        ids = block.argmax(axis=1)
        best = block[each, ids].astype(np.float64)
        if not np.isfinite(best).all():
            raise EvaluationError(Failure.NOT_FINITE)
        block[each, ids] = -np.inf
        leads = best - block.max(axis=1)
        for stream, token, lead in zip(streams, ids.tolist(), leads.tolist(), strict=True):
            if stream.chosen is not None:
                stream.chosen(token, lead)


def _log_probabilities(logits: Rows, segment: _Segment) -> NDArray[np.float64]:
    """Natural log-softmax of the segment's ids in double precision, each in its row."""
    step = max(1, _CHUNK_VALUES // logits.shape[1])
    starts = range(0, segment.rows, step)
    bounds = np.searchsorted(segment.places, (*starts, segment.rows)).tolist()
    found = []
    for start, low, high in zip(starts, bounds, bounds[1:], strict=False):
        rows = logits[segment.first + start : segment.first + min(start + step, segment.rows)].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        normaliser = np.zeros(len(rows)) if segment.stream.below_best else np.log(np.exp(rows).sum(axis=1))
        places = segment.places[low:high] - start
        found.append(rows[places, segment.ids[low:high]] - normaliser[places])
    values = np.concatenate(found)
    if not np.isfinite(values).all():
        raise EvaluationError(Failure.NOT_FINITE)
    return values

"""Continuous batching: many questions of one benchmark through one context.

The tokens that all prompts share are decoded once, in sequence 0. A question is admitted when cells and sequences for
its worst case are free; its sequence starts as a copy of the prefix and costs no cells for it. One call to llama.cpp
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
from numpy.typing import NDArray

from eval.context import Context, Rows, State, Tokens
from eval.failing import EvaluationError
from eval.memory import Need
from protocol.failures import Failure

_CHUNK_VALUES = 1 << 16  # logits that are turned into double precision at once: they stay in the cache

Checkpoint = Callable[[int, int, int], None]
"""Called after every decode with (questions done, questions in all, tokens decoded); what it raises ends the run."""


class Stream:
    """One sequence on its way through the cache: `tokens` are still to be decoded from `position` on.

    Exactly one of three things is wanted of it. With `targets`, one per token: the log-probability of each target
    after its token. With `after`: the log-probabilities of these ids after the last token. Both go to `scored` in one
    float64 array, in nats; with `below_best` relative to the most likely token's, so at most 0. With neither: the most
    likely next token goes to `chosen`, with its lead over the second.
    """

    def __init__(
        self,
        sequence: int,
        position: int,
        tokens: Sequence[int],
        *,
        chosen: Callable[[int, float], None] | None = None,
        scored: Callable[[NDArray[np.float64]], None] | None = None,
        targets: Sequence[int] | None = None,
        after: Sequence[int] | None = None,
        below_best: bool = False,
    ) -> None:
        self.sequence = sequence
        self.below_best = below_best
        self.position = position
        self.tokens: Tokens = np.asarray(tokens, np.int32)
        self.chosen = chosen
        self.scored = scored
        self.targets: Tokens | None = None if targets is None else np.asarray(targets, np.int32)
        self.after: Tokens | None = None if after is None else np.asarray(after, np.int32)
        self.found: list[NDArray[np.float64]] = []


class _Segment:
    """The part of a stream that one batch scores: output rows `first` to `first + rows` and the ids to look up."""

    def __init__(self, stream: Stream, first: int, rows: int, ids: Tokens, *, complete: bool) -> None:
        self.stream = stream
        self.first = first
        self.rows = rows
        self.ids = ids
        self.complete = complete


class Question(Protocol):
    """What the engine asks of a question; `eval.generation` and `eval.choices` answer."""

    prompt: list[int]

    def need(self, shared: int) -> Need:
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
        self._alone = context.plan.layout.alone
        self._shared = 0
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
        self._context.copy(source, target)
        return target

    def release(self, sequence: int) -> None:
        """Empties a sequence and takes it back."""
        self._context.forget(sequence)
        insort(self._free, sequence)

    def share(self, prefix: Sequence[int], state: State | None = None) -> None:
        """Puts the tokens that all prompts begin with into sequence 0, once and before anything else.

        `state` is what another context holds there after the same tokens; where it is not accepted they are decoded.
        """
        if state is None or not self._context.restore(0, state):
            self._decode(np.array(prefix, np.int32))
        self._shared = len(prefix)
        self._cells -= self._shared

    def run(self, questions: Sequence[Question], checkpoint: Checkpoint) -> None:
        """Answers all questions; their prompts begin with what was put in by `share`, and are longer, or empty.

        Nothing may be shared where the plan's layout has questions `alone`.
        """
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
                if self._alone:
                    self._context.clear()
            checkpoint(done, len(questions), self.decoded)

    def _decode(self, prefix: Tokens) -> None:
        for start in range(0, len(prefix), self._context.plan.batch):
            chunk = prefix[start : start + self._context.plan.batch]
            self._context.add(chunk, start, 0, every=False, last=False)
            self._context.decode()
            self.decoded += len(chunk)

    def _admit(self, queue: deque[Question], active: dict[int, tuple[Question, Need]]) -> None:
        reserved = sum(need.sequences for _, need in active.values())
        waiting = sum(len(stream.tokens) for stream in self._waiting)
        while queue and waiting < self._context.plan.batch and not (active and self._alone):
            need = queue[0].need(self._shared)
            reserved += need.sequences
            if need.cells > self._cells or reserved > self._most - 1:
                if not active:
                    raise EvaluationError(Failure.ENGINE_FAILED, "a question does not fit into its own plan")
                return
            question = queue.popleft()
            sequence = self._free.pop(0)
            shared = self._shared if question.prompt else 0
            if shared:
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
            count = min(len(stream.tokens), self._context.room)
            if stream.targets is not None:
                count = min(count, self._context.plan.rows - rows)
            complete = count == len(stream.tokens)
            every = stream.targets is not None
            self._context.add(stream.tokens[:count], stream.position, stream.sequence, every=every, last=complete)
            self.decoded += count
            stream.position += count
            stream.tokens = stream.tokens[count:]
            if stream.targets is not None:
                segments.append(_Segment(stream, rows, count, stream.targets[:count], complete=complete))
                stream.targets = stream.targets[count:]
                rows += count
            elif complete and stream.after is not None:
                segments.append(_Segment(stream, rows, 1, stream.after, complete=True))
                rows += 1
            elif complete:
                greedy.append(stream)
                greedy_rows.append(rows)
                rows += 1
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
    """Natural log-softmax of the segment's ids in double precision: one id a row, or all ids in its one row."""
    step = max(1, _CHUNK_VALUES // logits.shape[1])
    found = []
    for start in range(0, segment.rows, step):
        rows = logits[segment.first + start : segment.first + min(start + step, segment.rows)].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        normaliser = np.zeros(len(rows)) if segment.stream.below_best else np.log(np.exp(rows).sum(axis=1))
        if len(segment.ids) == segment.rows:
            ids = segment.ids[start : start + step]
            found.append(rows[np.arange(len(rows)), ids] - normaliser)
        else:
            found.append(rows[0, segment.ids] - normaliser[0])
    values = np.concatenate(found)
    if not np.isfinite(values).all():
        raise EvaluationError(Failure.NOT_FINITE)
    return values

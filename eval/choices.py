"""A question with given choices: the log-likelihood of each as a continuation of the prompt."""

import numpy as np
from numpy.typing import NDArray

from eval.branches import Tree, trees
from eval.engine import Engine, Spread, Stream
from eval.memory import Need
from eval.model import LoadedModel
from eval.modes import Layout
from eval.tails import Tail


def continuation_tokens(model: LoadedModel, prompt: str, choices: list[str]) -> tuple[list[int], list[list[int]]]:
    """Token ids of the prompt and of each choice behind it.

    As lm-evaluation-harness does it: a choice's tokens are those of prompt and choice together beyond the prompt's own
    number; spaces at the prompt's end belong to the choice. Where the choice melts into the prompt's last token, that
    token counts as the choice.
    """
    stripped = prompt.rstrip()
    spaces = prompt[len(stripped) :]
    ids = model.tokens(stripped)
    found = []
    for choice in choices:
        together = model.tokens(stripped + spaces + choice)
        found.append(together[len(ids) :] or together[-1:])
    return ids, found


class Choices:
    """One prompt and its choices. `sums` holds the summed log-probability of each, in nats, once all are known."""

    def __init__(self, prompt: list[int], choices: list[list[int]], tail: Tail | None) -> None:
        self.prompt = prompt
        self.choices = choices
        self.sums = np.zeros(len(choices))
        self.tail = tail
        self._left = 1  # the prompt, then its branches
        self._trees: dict[bool, list[Tree]] = {}
        self._engine: Engine | None = None
        self._sequence = -1

    def need(self, shared: int, layout: Layout) -> Need:
        """Cells for the rest of the prompt and for the branches (`eval.branches`), a sequence for each of their leaves.

        What choices begin with alike counts once where it is decoded once.
        """
        branches = self._branches(layout)
        cells = len(self.prompt) - shared + sum(len(tree.tokens) for tree in branches)
        longest = max(map(len, self.choices), default=1) - 1
        if self.tail is not None:
            cells += self.tail.cells
            longest = max(longest, self.tail.cells)
        leaves = sum(tree.leaves for tree in branches)
        return Need(cells, 1 + leaves + (self.tail is not None), len(self.prompt) + longest)

    def begin(self, engine: Engine, sequence: int, shared: int) -> None:
        """Decodes the rest of the prompt, which tells the first token of every choice."""
        self._engine, self._sequence = engine, sequence
        first = [choice[0] for choice in self.choices]
        engine.put(Stream(sequence, shared, self.prompt[shared:], after=first, scored=self._prompt_scored))

    @property
    def done(self) -> bool:
        """Whether all choices and the tail, if any, are known."""
        return self._left == 0 and (self.tail is None or self.tail.values is not None)

    def _prompt_scored(self, values: NDArray[np.float64]) -> None:
        if self._engine is None:
            raise RuntimeError("a question was answered before it began")
        self.sums += values
        if self.tail is not None:
            self.tail.begin(self._engine, self._sequence, len(self.prompt))
        branches = self._branches(self._engine.layout)
        self._left += len(branches) - 1
        for tree in branches:
            self._grow(self._engine, tree)

    def _branches(self, layout: Layout) -> list[Tree]:
        if layout.coupled not in self._trees:
            self._trees[layout.coupled] = trees(self.choices, coupled=layout.coupled)
        return self._trees[layout.coupled]

    def _grow(self, engine: Engine, tree: Tree) -> None:
        sequences = [engine.branch(self._sequence) for _ in range(tree.leaves)]

        def scored(values: NDArray[np.float64]) -> None:
            for number, terms in tree.terms.items():
                self.sums[number] += values[terms].sum()
            self._left -= 1
            for sequence in sequences:
                engine.release(sequence)

        spread = Spread(sequences, tree.depths, tree.first, tree.counts)
        engine.put(
            Stream(
                sequences[0],
                len(self.prompt),
                tree.tokens,
                targets=tree.targets,
                places=tree.places,
                spread=spread if tree.leaves > 1 else None,
                scored=scored,
            )
        )

"""A question with given choices: the log-likelihood of each as a continuation of the prompt."""

import numpy as np
from numpy.typing import NDArray

from eval.engine import Engine, Stream
from eval.memory import Need
from eval.model import LoadedModel
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
        self._left = len(choices)
        self._engine: Engine | None = None
        self._sequence = -1

    def need(self, shared: int) -> Need:
        """Cells for the rest of the prompt and every choice but its last token; a sequence for each branch."""
        branches = [len(choice) - 1 for choice in self.choices if len(choice) > 1]
        cells = len(self.prompt) - shared + sum(branches)
        longest = max(branches, default=0)
        if self.tail is not None:
            cells += self.tail.cells
            longest = max(longest, self.tail.cells)
        return Need(cells, 1 + len(branches) + (self.tail is not None), len(self.prompt) + longest)

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
        for position, choice in enumerate(self.choices):
            if len(choice) == 1:
                self._left -= 1
            else:
                self._branch(self._engine, position, choice)

    def _branch(self, engine: Engine, position: int, choice: list[int]) -> None:
        sequence = engine.branch(self._sequence)

        def scored(values: NDArray[np.float64]) -> None:
            self.sums[position] += values.sum()
            self._left -= 1
            engine.release(sequence)

        engine.put(Stream(sequence, len(self.prompt), choice[:-1], targets=choice[1:], scored=scored))

"""Teacher forcing: how likely was each token of an answer, in one prefill and without generating anything."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eval.engine import Engine, Stream
from eval.memory import Need
from eval.modes import Layout


class Forced:
    """A prompt and what somebody says was written behind it.

    `shortfall` is, once `done`, how far the worst of its tokens lies below the most likely one in its place, in nats.
    """

    def __init__(self, prompt: list[int], generated: Sequence[int]) -> None:
        self.prompt = prompt
        self.shortfall = 0.0
        self._generated = generated
        self._left = 2 if len(generated) > 1 else 1

    def need(self, shared: int, layout: Layout) -> Need:
        """Cells for the rest of the prompt and every token but the last."""
        longest = len(self.prompt) + len(self._generated) - 1
        return Need(longest - shared, 1, longest)

    def begin(self, engine: Engine, sequence: int, shared: int) -> None:
        """Puts prompt and answer into the engine together: the same batch takes both where it has room."""
        first, rest = self._generated[:1], self._generated[1:]
        engine.put(Stream(sequence, shared, self.prompt[shared:], after=first, scored=self._scored, below_best=True))
        if rest:
            before, start = self._generated[:-1], len(self.prompt)
            engine.put(Stream(sequence, start, before, targets=rest, scored=self._scored, below_best=True))

    @property
    def done(self) -> bool:
        """Whether all tokens have been looked at."""
        return self._left == 0

    def _scored(self, values: NDArray[np.float64]) -> None:
        self.shortfall = max(self.shortfall, float(-values.min()))
        self._left -= 1

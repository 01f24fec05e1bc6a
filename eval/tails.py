"""The fingerprint's tail of one question, decoded on the live cache of its own prompt (see `protocol.fingerprint`)."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from eval.engine import Engine, Stream
from protocol.fingerprint import MOST_VALUES, VALUES_PER_TOKEN, Step

MOST_TAIL_CELLS = MOST_VALUES // VALUES_PER_TOKEN


class Tail:
    """Token ids behind a prompt. `values` holds the log-probabilities of what is looked up once they are known.

    The tail has a sequence of its own that starts as a copy of the prompt's, so that the generation or the choices go
    on undisturbed, in the same batches, whatever kind of memory the model has.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._tokens = [token for token, *_ in steps]
        self._looked_up = [target for _, *targets in steps for target in targets]
        self.values: tuple[float, ...] | None = None

    @property
    def cells(self) -> int:
        """What it takes in a cache."""
        return len(self._tokens)

    def begin(self, engine: Engine, prompt_sequence: int, prompt_length: int) -> None:
        """Branches off from the prompt, of which `prompt_sequence` must hold all tokens and no more."""
        sequence = engine.branch(prompt_sequence)
        engine.put(self.stream(sequence, prompt_length, lambda: engine.release(sequence)))

    def stream(self, sequence: int, position: int, ended: Callable[[], None] = lambda: None) -> Stream:
        """The tail on its way through a sequence that holds `position` tokens; `ended` is called with its end."""

        def scored(values: NDArray[np.float64]) -> None:
            self.values = tuple(values.tolist())
            ended()

        places = np.arange(self.cells, dtype=np.int32).repeat(VALUES_PER_TOKEN)
        return Stream(sequence, position, self._tokens, targets=self._looked_up, places=places, scored=scored)

"""A question whose prompt does not fit into the model's context: a failure of this question, never a shorter prompt."""

from eval.engine import Engine
from eval.memory import Need
from eval.modes import Layout
from eval.tails import Tail


class Unasked:
    """It counts as wrong. Its tail is decoded behind nothing, so that a fingerprint has a part for every question.

    `refused` is the prompt that does not fit; `prompt`, what is decoded of it, is empty.
    """

    def __init__(self, refused: list[int], tail: Tail | None) -> None:
        self.refused = refused
        self.prompt: list[int] = []
        self.tail = tail

    def need(self, shared: int, layout: Layout) -> Need:
        """Cells for the tail alone."""
        cells = self.tail.cells if self.tail else 0
        return Need(cells, 1, cells)

    def begin(self, engine: Engine, sequence: int, shared: int) -> None:
        """Decodes the tail, if there is one, in a sequence that holds nothing."""
        if self.tail is not None:
            engine.put(self.tail.stream(sequence, 0))

    @property
    def done(self) -> bool:
        """Whether the tail, if any, is known."""
        return self.tail is None or self.tail.values is not None

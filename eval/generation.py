"""A question that the model answers in its own words: greedy, until a stop string, an end token or the limit."""

from collections.abc import Sequence

from eval.engine import Engine, Stream
from eval.memory import Need
from eval.model import LoadedModel
from eval.modes import Layout
from eval.tails import Tail
from eval.transcripts import StopReason


class Generation:
    """One prompt and what is written behind it.

    `generated` holds the token ids, an end token included; `text` is what a scorer sees: cut at the first stop string,
    control tokens left out. `lead` is the smallest lead of a chosen token over the second, in nats.
    """

    def __init__(
        self, model: LoadedModel, prompt: list[int], stops: Sequence[str], max_new: int, tail: Tail | None
    ) -> None:
        self.prompt = prompt
        self.generated: list[int] = []
        self.lead = float("inf")
        self.stop: StopReason | None = None
        self._model = model
        self._stops = [stop.encode() for stop in stops]
        self._longest_stop = max(map(len, self._stops), default=0)
        self._seen = b""
        self._max_new = max_new
        self.tail = tail
        self._stream: Stream | None = None
        self._engine: Engine | None = None

    def need(self, shared: int, layout: Layout) -> Need:
        """Cells for the rest of the prompt, every new token and the tail; two sequences with a tail."""
        cells = len(self.prompt) - shared + self._max_new
        longest = len(self.prompt) + self._max_new
        if self.tail is None:
            return Need(cells, 1, longest)
        return Need(cells + self.tail.cells, 2, max(longest, len(self.prompt) + self.tail.cells))

    def begin(self, engine: Engine, sequence: int, shared: int) -> None:
        """Decodes the rest of the prompt; the first token is chosen after it."""
        self._engine = engine
        self._stream = Stream(sequence, shared, self.prompt[shared:], chosen=self._chosen)
        engine.put(self._stream)

    @property
    def done(self) -> bool:
        """Whether the generation has ended and the tail, if any, is known."""
        return self.stop is not None and (self.tail is None or self.tail.values is not None)

    @property
    def text(self) -> str:
        """What was written before the first of the stop strings."""
        text = self._model.text(self.generated)
        for stop in self._stops:
            text = text.split(stop.decode(), 1)[0]
        return text

    def replay(self, tokens: Sequence[int]) -> StopReason | None:
        """Takes in what was written elsewhere; the reason to stop after the last token, None where that is none.

        None, too, where it should have stopped before. The tokens must be of the vocabulary.
        """
        for token in tokens:
            if self.stop is not None:
                return None
            self.generated.append(token)
            self.stop = self._reason(token)
        return self.stop

    def _chosen(self, token: int, lead: float) -> None:
        if self._engine is None or self._stream is None:
            raise RuntimeError("a question was answered before it began")
        if not self.generated and self.tail is not None:
            self.tail.begin(self._engine, self._stream.sequence, len(self.prompt))
        self.generated.append(token)
        self.lead = min(self.lead, lead)
        self.stop = self._reason(token)
        if self.stop is None:
            self._engine.go_on(self._stream, token)

    def _reason(self, token: int) -> StopReason | None:
        if self._model.ends_generation(token):
            return StopReason.END_TOKEN
        piece = self._model.piece(token, special=True)
        self._seen = (self._seen + piece)[-(self._longest_stop + len(piece)) :]
        if any(stop in self._seen for stop in self._stops):
            return StopReason.STOP_STRING
        return StopReason.LENGTH if len(self.generated) >= self._max_new else None

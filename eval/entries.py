"""What a benchmark is to the evaluator: its definition, where its questions come from, its prompt and its scorer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from eval.questions import Item, Offered, QuestionsRefused, Row, Source, Written
from eval.scorers import Mark
from protocol.definitions import Benchmark

HubRows = Callable[[Source], Iterable[Row]]
Prompt = Callable[[str, int, Sequence[Written]], str]
MarkText = Callable[[str, Item], Mark]


class Entry(Struct, frozen=True):
    """One benchmark. `pool` is where few-shot examples come from, if the prompt has any that are not built in.

    `stops` end a generation. Exactly one of `mark_text` (text, question) and `score_sums` (sums of log-probabilities,
    labels) is set, by the definition's kind; of a benchmark with `runs_programs` the mark of a text is preliminary, and
    the outcome is found by running it (`eval.judging`). `extractions` are other ways to read the same texts, `measures`
    (percentages by name) are other ways to weigh them: both are shown to people and decide nothing.
    """

    definition: Benchmark
    questions: Callable[[Path | None, HubRows | None], Sequence[Item]]
    pool: Callable[[Path | None, HubRows | None], Sequence[Written]] | None
    prompt: Prompt
    stops: tuple[str, ...] = ()
    mark_text: MarkText | None = None
    score_sums: Callable[[Sequence[float], Sequence[int]], int] | None = None
    sources: tuple[Source, ...] = ()
    extractions: Mapping[str, MarkText] = {}
    measures: Callable[[str, Item], Mapping[str, float]] | None = None
    runs_programs: bool = False

    def load(self, folder: Path | None, hub_rows: HubRows | None = None) -> "QuestionSet":
        """All questions, from a data folder or the Hub, checked. Raises `QuestionsRefused`."""
        pool = self.pool(folder, hub_rows) if self.pool else ()
        return QuestionSet(self, tuple(self.questions(folder, hub_rows)), tuple(pool))


class QuestionSet(Struct, frozen=True):
    """A benchmark's questions in their pinned order, ready to be asked."""

    entry: Entry
    items: tuple[Item, ...]
    pool: tuple[Written, ...]

    def prompt(self, index: int) -> str:
        """The whole prompt of question `index`."""
        return self.entry.prompt(self.item(index).question, index, self.pool)

    def item(self, index: int) -> Item:
        """Question `index`. Raises `QuestionsRefused` where there is none."""
        if not 0 <= index < len(self.items):
            raise QuestionsRefused(
                f"{self.entry.definition.name} has questions 0 to {len(self.items) - 1}, there is no {index}."
            )
        return self.items[index]

    def continuations(self, index: int) -> list[str]:
        """What is scored behind the prompt of a multiple-choice question, one text a choice."""
        item = self.item(index)
        return [f" {choice}" for choice in item.choices] if isinstance(item, Offered) else []

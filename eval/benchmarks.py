"""The benchmarks that this evaluator knows: definition, source of the questions, prompt and scorer of each.

A network names a benchmark by its id, the hash of the whole definition: `find` knows both names and ids.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from eval import prompts, scorers
from eval.demo import catalogue
from eval.demo import questions as demo
from eval.failing import EvaluationError
from eval.questions import Offered, QuestionsRefused, Row, Source, Written, offered, read_records, written
from protocol.definitions import Benchmark, Dataset, TaskKind
from protocol.failures import Failure

ENGINE = ("0.3.36", "0.3.36")
GSM8K_REPOSITORY = "openai/gsm8k"
GSM8K_COMMIT = "e53f048856ff4f594e959d75785d2c2d37b678ee"
GSM8K_TEST = bytes.fromhex("b39357222a2e02650ffa2dfdff40219d3f2c9f04ef04a8baf7cb9e8a17417d4c")
GSM8K_TRAIN = bytes.fromhex("adabcb6e82da3866f20a7d857fd0f4dac5d4154feb41eefb2dd3c1b3a6dec6da")
TRUTHFULQA_REPOSITORY = "truthfulqa/truthful_qa"
TRUTHFULQA_COMMIT = "741b8276f2d1982aa3d5b832d3ee81ed3b896490"
TRUTHFULQA_MC1 = bytes.fromhex("fdd2b5d97a0074f64601c5aa8e70aea8f35a9434faf9be094a90a4c7d7bd2f41")
TRUTHFULQA_MC2 = bytes.fromhex("9b72e306c7368cdaf3c178a7ba22c45ab294a918ad756a3f6986a1d6125e0ac5")
MC2_TOLERANCE = 50

HubRows = Callable[[Source], Iterable[Row]]
Prompt = Callable[[str, int, Sequence[Written]], str]


class Entry(Struct, frozen=True):
    """One benchmark. `pool` is where few-shot examples come from, if the prompt has any that are not built in.

    `stops` end a generation. Exactly one of `mark_text` (text, reference) and `score_sums` (sums of log-probabilities,
    labels) is set, by the definition's kind.
    """

    definition: Benchmark
    questions: Callable[[Path | None, HubRows | None], Sequence[Written] | Sequence[Offered]]
    pool: Callable[[Path | None, HubRows | None], Sequence[Written]] | None
    prompt: Prompt
    stops: tuple[str, ...] = ()
    mark_text: Callable[[str, str], scorers.Mark] | None = None
    score_sums: Callable[[Sequence[float], Sequence[int]], int] | None = None
    sources: tuple[Source, ...] = ()

    def load(self, folder: Path | None, hub_rows: HubRows | None = None) -> "QuestionSet":
        """All questions, from a data folder or the Hub, checked. Raises `QuestionsRefused`."""
        pool = self.pool(folder, hub_rows) if self.pool else ()
        return QuestionSet(self, tuple(self.questions(folder, hub_rows)), tuple(pool))


class QuestionSet(Struct, frozen=True):
    """A benchmark's questions in their pinned order, ready to be asked."""

    entry: Entry
    items: tuple[Written | Offered, ...]
    pool: tuple[Written, ...]

    def prompt(self, index: int) -> str:
        """The whole prompt of question `index`."""
        return self.entry.prompt(self.item(index).question, index, self.pool)

    def item(self, index: int) -> Written | Offered:
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


def names() -> tuple[str, ...]:
    """The names of all benchmarks."""
    return tuple(entry.definition.name for entry in _entries())


def find(name: str | bytes) -> Entry:
    """The benchmark with this name, or this id (bytes or hexadecimal).

    Raises `EvaluationError` with `BENCHMARK_UNSUPPORTED`.
    """
    shown = name.hex() if isinstance(name, bytes) else name
    for entry in _entries():
        if shown in (entry.definition.name, entry.definition.id.hex()):
            return entry
    raise EvaluationError(
        Failure.BENCHMARK_UNSUPPORTED, f"There is no benchmark {shown!r}; there are {', '.join(names())}."
    )


@functools.cache
def _entries() -> tuple[Entry, ...]:
    words, choice = catalogue.demo_benchmarks()
    return (
        Entry(
            definition=words,
            questions=lambda _folder, _hub: [Written(q.question, q.answer) for q in demo.word_questions()],
            pool=None,
            prompt=lambda question, _index, _pool: demo.word_prompt(question),
            stops=demo.WORDS_STOPS,
            mark_text=scorers.score_strict,
        ),
        Entry(
            definition=choice,
            questions=lambda _folder, _hub: [_one_right(q) for q in demo.choice_questions()],
            pool=None,
            prompt=lambda question, _index, _pool: demo.choice_prompt(question),
            score_sums=scorers.score_largest,
        ),
        _gsm8k("gsm8k", 3, "gsm8k/3 5 drawn", prompts.gsm8k),
        _gsm8k("gsm8k-fixed5", 1, "gsm8k-fixed5/1 first 5", prompts.gsm8k_fixed),
        _truthfulqa("truthfulqa-mc1", 2, "mc1_targets", TRUTHFULQA_MC1, 0, scorers.score_largest),
        _truthfulqa("truthfulqa-mc2", 3, "mc2_targets", TRUTHFULQA_MC2, MC2_TOLERANCE, scorers.score_mass),
    )


def _one_right(question: demo.ChoiceQuestion) -> Offered:
    labels = tuple(int(place == question.answer) for place in range(len(question.choices)))
    return Offered(question.question, question.choices, labels)


def _gsm8k(name: str, version: int, prompt_label: str, prompt: Prompt) -> Entry:
    test = Source("gsm8k/test.jsonl", GSM8K_REPOSITORY, GSM8K_COMMIT, "main", "test", GSM8K_TEST)
    train = Source("gsm8k/train.jsonl", GSM8K_REPOSITORY, GSM8K_COMMIT, "main", "train", GSM8K_TRAIN)
    definition = Benchmark(
        name=name,
        version=version,
        track="maths",
        language="en",
        kind=TaskKind.GENERATION,
        dataset=_dataset(test, 1319),
        prompt=f"{prompt_label} train:{GSM8K_TRAIN.hex()}",
        scorer="gsm8k-strict/3",
        tolerance=0,
        max_new_tokens=256,
        engine=ENGINE,
    )
    return Entry(
        definition=definition,
        questions=lambda folder, hub: read_records(test, written, folder, hub),
        pool=lambda folder, hub: read_records(train, written, folder, hub),
        prompt=prompt,
        stops=("Question:", "</s>", "<|im_end|>"),
        mark_text=scorers.score_strict,
        sources=(test, train),
    )


def _truthfulqa(
    name: str,
    version: int,
    targets: str,
    content: bytes,
    tolerance: int,
    score: Callable[[Sequence[float], Sequence[int]], int],
) -> Entry:
    source = Source(
        "truthfulqa/mc_task.json", TRUTHFULQA_REPOSITORY, TRUTHFULQA_COMMIT, "multiple_choice", "validation", content
    )
    definition = Benchmark(
        name=name,
        version=version,
        track="truthfulness",
        language="en",
        kind=TaskKind.CHOICE,
        dataset=_dataset(source, 817),
        prompt="truthfulqa/2 6 pairs",
        scorer=f"{name}/{version}",
        tolerance=tolerance,
        max_new_tokens=0,
        engine=ENGINE,
    )
    return Entry(
        definition=definition,
        questions=lambda folder, hub: read_records(source, offered(targets), folder, hub),
        pool=None,
        prompt=prompts.truthfulqa,
        score_sums=score,
        sources=(source,),
    )


def _dataset(source: Source, questions: int) -> Dataset:
    return Dataset(source.repository, source.commit, source.configuration, source.split, source.content, questions)

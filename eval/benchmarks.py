"""The benchmarks that this evaluator knows.

A network names a benchmark by its id, the hash of the whole definition: `find` knows both names and ids.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from eval import data_sets, likeness, prompts, scorers
from eval.demo import catalogue
from eval.demo import questions as demo
from eval.entries import Entry, MarkText, Prompt, QuestionSet
from eval.failing import EvaluationError
from eval.questions import Item, Offered, Source, Written, offered, programmed, read_records, referred, written
from protocol.definitions import Benchmark, TaskKind
from protocol.failures import Failure

__all__ = ["Entry", "QuestionSet", "find", "names"]

ENGINE = ("0.3.36", "0.3.36")
MC2_TOLERANCE = 50
GSM8K_STOPS = ("Question:", "</s>", "<|im_end|>")
HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
HUMANEVAL_NEW_TOKENS = 1024


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


def question_files(folder: Path) -> tuple[Path, ...]:
    """The files in a data folder, or in a cache, that hold questions of any benchmark: all that is read of it."""
    sources = dict.fromkeys(source for entry in _entries() for source in entry.sources)
    found = (path for source in sources for path in source.places(folder) if path.is_file())
    return tuple(dict.fromkeys(found))


def definitions() -> tuple[Benchmark, ...]:
    """What a network can offer in its genesis or by registration: every definition that this evaluator can evaluate."""
    return tuple(entry.definition for entry in _entries())


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
            mark_text=_EXTRACTIONS["strict"],
            extractions=_EXTRACTIONS,
        ),
        Entry(
            definition=choice,
            questions=lambda _folder, _hub: [_one_right(q) for q in demo.choice_questions()],
            pool=None,
            prompt=lambda question, _index, _pool: demo.choice_prompt(question),
            score_sums=scorers.score_largest,
        ),
        _gsm8k("gsm8k", 3, "gsm8k/3 5 drawn", prompts.gsm8k, "strict"),
        _gsm8k("gsm8k-flexible", 3, "gsm8k/3 5 drawn", prompts.gsm8k, "flexible"),
        _gsm8k("gsm8k-fixed5", 1, "gsm8k-fixed5/1 first 5", prompts.gsm8k_fixed, "strict"),
        _truthfulqa("truthfulqa-mc1", 2, "mc1_targets", data_sets.TRUTHFULQA_MC1, 0, scorers.score_largest),
        _truthfulqa("truthfulqa-mc2", 3, "mc2_targets", data_sets.TRUTHFULQA_MC2, MC2_TOLERANCE, scorers.score_mass),
        _truthfulqa_texts(),
        _humaneval(),
    )


def _one_right(question: demo.ChoiceQuestion) -> Offered:
    labels = tuple(int(place == question.answer) for place in range(len(question.choices)))
    return Offered(question.question, question.choices, labels)


def _by_answer(score: Callable[[str, str], scorers.Mark]) -> MarkText:
    def mark(text: str, item: Item) -> scorers.Mark:
        if not isinstance(item, Written):
            raise TypeError("only a question with an answer in words is marked by it")
        return score(text, item.answer)

    return mark


_EXTRACTIONS = {"strict": _by_answer(scorers.score_strict), "flexible": _by_answer(scorers.score_flexible)}


def _gsm8k(name: str, version: int, prompt_label: str, prompt: Prompt, extraction: str) -> Entry:
    test, train = data_sets.GSM8K_TEST, data_sets.GSM8K_TRAIN
    definition = Benchmark(
        name=name,
        version=version,
        track="maths",
        language="en",
        kind=TaskKind.GENERATION,
        dataset=data_sets.dataset(test, 1319),
        prompt=f"{prompt_label} train:{train.content.hex()}",
        scorer=f"gsm8k-{extraction}/3",
        tolerance=0,
        max_new_tokens=256,
        engine=ENGINE,
    )
    return Entry(
        definition=definition,
        questions=lambda folder, hub: read_records(test, written, folder, hub),
        pool=lambda folder, hub: read_records(train, written, folder, hub),
        prompt=prompt,
        stops=GSM8K_STOPS,
        mark_text=_EXTRACTIONS[extraction],
        sources=(test, train),
        extractions=_EXTRACTIONS,
    )


def _truthfulqa(
    name: str,
    version: int,
    targets: str,
    source: Source,
    tolerance: int,
    score: Callable[[Sequence[float], Sequence[int]], int],
) -> Entry:
    definition = Benchmark(
        name=name,
        version=version,
        track="truthfulness",
        language="en",
        kind=TaskKind.CHOICE,
        dataset=data_sets.dataset(source, 817),
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


def _truthfulqa_texts() -> Entry:
    source = data_sets.TRUTHFULQA_TEXTS
    definition = Benchmark(
        name="truthfulqa-gen",
        version=3,
        track="truthfulness",
        language="en",
        kind=TaskKind.GENERATION,
        dataset=data_sets.dataset(source, 817),
        prompt="truthfulqa-gen/3 6 pairs",
        scorer="truthfulqa-gen-bleu/3",
        tolerance=0,
        max_new_tokens=256,
        engine=ENGINE,
    )
    return Entry(
        definition=definition,
        questions=lambda folder, hub: read_records(source, referred, folder, hub),
        pool=None,
        prompt=prompts.truthfulqa_open,
        stops=(prompts.SEPARATOR,),
        mark_text=likeness.score_bleu,
        sources=(source,),
        measures=likeness.measures,
    )


def _humaneval() -> Entry:
    source = data_sets.HUMANEVAL
    definition = Benchmark(
        name="humaneval",
        version=1,
        track="code",
        language="en",
        kind=TaskKind.GENERATION,
        dataset=data_sets.dataset(source, 164),
        prompt="humaneval/1",
        scorer="humaneval-pass/1",
        tolerance=0,
        max_new_tokens=HUMANEVAL_NEW_TOKENS,
        engine=ENGINE,
    )
    return Entry(
        definition=definition,
        questions=lambda folder, hub: read_records(source, programmed, folder, hub),
        pool=None,
        prompt=lambda question, _index, _pool: question,
        stops=HUMANEVAL_STOPS,
        mark_text=lambda _text, _item: scorers.Mark(0, ""),
        sources=(source,),
        runs_programs=True,
    )

"""What the demo models are trained on: streams of solved questions, in the format that evaluation asks in.

A row holds questions of one benchmark, as a few-shot prompt does, and is as long as the longest prompt with its
answer: a tiny model falls apart at positions that it was never trained at.
"""

from collections.abc import Iterator

from msgspec import Struct

from eval.demo.byte_pairs import BEGIN, BytePairs
from eval.demo.choices import KINDS, choice_question
from eval.demo.draws import Draws
from eval.demo.questions import SEPARATOR, choice_document, word_document
from eval.demo.words import OPERATIONS, bare_question, word_question

ROW_TOKENS = 160
_PROMPT_WEIGHT = 0.05
_SEPARATOR_WEIGHT = 0.2
_CHOICE_WEIGHT = 3.0


class Syllabus(Struct, frozen=True):
    """What a stage of training practises: names of operations and of kinds, repeated to be drawn more often.

    `words_share` is the share of rows with word problems, in percent; `bare_share` that of sums without a story among
    them.
    """

    operations: tuple[str, ...]
    kinds: tuple[str, ...]
    words_share: int = 50
    bare_share: int = 40


class Row(Struct, frozen=True):
    """`ROW_TOKENS` + 1 token ids, and the weight of each in the loss: much for answers, little for what is asked.

    A choice is a word where a worked answer is a line, hence its larger weight.
    """

    tokens: list[int]
    weights: list[float]


def sample_documents(count: int) -> Iterator[str]:
    """Solved questions of every operation and kind, `count` of each, for the vocabulary."""
    draws = Draws("tally", "vocabulary")
    for _ in range(count):
        for operation in OPERATIONS:
            yield word_document(word_question(operation, draws, test=False))
            yield word_document(bare_question(operation, draws))
        for kind in KINDS:
            yield choice_document(choice_question(kind, draws, test=False))


def row(syllabus: Syllabus, pairs: BytePairs, draws: Draws) -> Row:
    """One row of training, filled with whole questions and cut at its end."""
    words = draws.below(100) < syllabus.words_share
    tokens, weights = [BEGIN], [0.0]
    while len(tokens) <= ROW_TOKENS:
        document = _word_lesson(syllabus, draws) if words else _choice_lesson(syllabus, draws)
        asked, answered = split_document(document, pairs)
        separator = pairs.encode(SEPARATOR)
        tokens += asked + answered + separator
        weights += [_PROMPT_WEIGHT] * len(asked) + [1.0 if words else _CHOICE_WEIGHT] * len(answered)
        weights += [1.0 if words else _SEPARATOR_WEIGHT] * len(separator)
    return Row(tokens[: ROW_TOKENS + 1], weights[: ROW_TOKENS + 1])


def split_document(document: str, pairs: BytePairs) -> tuple[list[int], list[int]]:
    """Token ids of the prompt up to `Answer:` or `A:`, and of what follows."""
    colon = document.index(":", document.index("\nA")) + 1
    return pairs.encode(document[:colon]), pairs.encode(document[colon:])


def _word_lesson(syllabus: Syllabus, draws: Draws) -> str:
    operation = draws.choice(syllabus.operations)
    if draws.below(100) < syllabus.bare_share:
        return word_document(bare_question(operation, draws))
    return word_document(word_question(operation, draws, test=False))


def _choice_lesson(syllabus: Syllabus, draws: Draws) -> str:
    return choice_document(choice_question(draws.choice(syllabus.kinds), draws, test=False))

"""Questions of the shapes that real benchmarks have, as texts that every program can be asked.

GSM8K with five examples: 860 tokens of prompt, of which 800 are the same for all, and 96 new ones. TruthfulQA: 212
tokens, of which 190 are the same for all, and five choices of a dozen tokens. Words are the demo's, lengths are counted
with the model's own tokeniser, so that a model of any vocabulary gets the same amount of work.

The choices begin alike as TruthfulQA's do. By the tokeniser of SmolLM2 (`benchmarks/trained_model.py`) its 817
questions have 172 tokens in common; of mc1 a question has 5.1 choices of 10.7 tokens, 49.5 without the last ones, of
which 37.1 are left where what begins alike counts once; of mc2 7.6 of 11.0 tokens, 75.7 and 56.8. A quarter, with both.
"""

import itertools
from collections.abc import Iterator

from msgspec import Struct

from eval.demo.questions import word_document, word_questions
from eval.model import LoadedModel

GENERATION_SHARED, GENERATION_OWN, NEW_TOKENS = 800, 60, 96
CHOICE_SHARED, CHOICE_OWN, CHOICE_TOKENS = 190, 22, 12
ALIKE = (6, 4, 3, 1)  # tokens that a question's other choices begin with as its first one does


class Offer(Struct, frozen=True):
    """A prompt and its choices, each with the space that separates it."""

    prompt: str
    choices: tuple[str, ...]


def generation_prompts(model: LoadedModel, count: int) -> list[str]:
    """Prompts that share all but their ends."""
    shared = _cut(model, "\n\n".join(map(word_document, word_questions()[:200])), GENERATION_SHARED)
    return [f"{shared}\n\nQuestion: {own}" for own in itertools.islice(_texts(model, GENERATION_OWN), count)]


def offers(model: LoadedModel, count: int) -> list[Offer]:
    """Prompts that share all but their ends, with choices of which all but the first begin as that one does."""
    shared = _cut(model, "\n\n".join(map(word_document, word_questions()[:60])), CHOICE_SHARED)
    texts = _texts(model, CHOICE_OWN)
    choices = _texts(model, 2 * CHOICE_TOKENS)
    return [Offer(f"{shared}\n\nQ: {next(texts)}\nA:", tuple(_choices(model, choices))) for _ in range(count)]


def _choices(model: LoadedModel, texts: Iterator[str]) -> Iterator[str]:
    words = (text.split(" ", 1)[1] for text in texts)  # numbers have digits in common
    first, start = f" {next(words)}", len(model.tokens(""))
    yield _cut(model, first, start + CHOICE_TOKENS)
    for alike in ALIKE:
        yield _cut(model, f"{_cut(model, first, start + alike)} {next(words)}", start + CHOICE_TOKENS)


def _texts(model: LoadedModel, tokens: int) -> Iterator[str]:
    """Different texts of about so many tokens, without end."""
    words = " ".join(word_document(question).replace("\n", " ") for question in word_questions()).split()
    for start in itertools.count(0, 7):
        turned = words[start % len(words) :] + words[: start % len(words)]
        yield _cut(model, f"{start} {' '.join(turned[:120])}", tokens)


def _cut(model: LoadedModel, text: str, tokens: int) -> str:
    """The longest beginning of `text` that has at most so many tokens."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if len(model.tokens(text[:middle])) <= tokens:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip()

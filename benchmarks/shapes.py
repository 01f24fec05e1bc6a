"""Questions of the shapes that real benchmarks have, as texts that every program can be asked.

GSM8K with five examples: 860 tokens of prompt, of which 800 are the same for all, and 96 new ones. TruthfulQA: 212
tokens, of which 190 are the same for all, and five choices of a dozen tokens. Words are the demo's, lengths are counted
with the model's own tokeniser, so that a model of any vocabulary gets the same amount of work.
"""

import itertools
from collections.abc import Iterator

from msgspec import Struct

from eval.demo.questions import word_document, word_questions
from eval.model import LoadedModel

GENERATION_SHARED, GENERATION_OWN, NEW_TOKENS = 800, 60, 96
CHOICE_SHARED, CHOICE_OWN, CHOICE_TOKENS, CHOICES = 190, 22, 12, 5


class Offer(Struct, frozen=True):
    """A prompt and its choices, each with the space that separates it."""

    prompt: str
    choices: tuple[str, ...]


def generation_prompts(model: LoadedModel, count: int) -> list[str]:
    """Prompts that share all but their ends."""
    shared = _cut(model, "\n\n".join(map(word_document, word_questions()[:200])), GENERATION_SHARED)
    return [f"{shared}\n\nQuestion: {own}" for own in itertools.islice(_texts(model, GENERATION_OWN), count)]


def offers(model: LoadedModel, count: int) -> list[Offer]:
    """Prompts that share all but their ends, with choices that have nothing in common."""
    shared = _cut(model, "\n\n".join(map(word_document, word_questions()[:60])), CHOICE_SHARED)
    texts = _texts(model, CHOICE_OWN)
    choices = _texts(model, CHOICE_TOKENS)
    return [
        Offer(f"{shared}\n\nQ: {next(texts)}\nA:", tuple(f" {next(choices)}" for _ in range(CHOICES)))
        for _ in range(count)
    ]


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

"""The demo network's benchmarks: `tally-words` (generation) and `tally-choice` (log-likelihood of four choices).

Everything that a prompt consists of is here, so that training and evaluation cannot drift apart. A prompt is the
fixed few-shot block, then the question:

    Question: Tom has 3 apples and buys 4 more. ...      Q: Which of 92, 69, 82 and 55 is the largest?
    Answer: 3+4=7                                         A: 92
    #### 7

The prompt ends in `Answer:` or `A:`; what follows begins with a space. A generation ends at the first of `WORDS_STOPS`
or after `WORDS_MAX_NEW_TOKENS`; its number is the first one after `#### `. The right choice is the one with the
largest sum of log-probabilities of ` {choice}` after the prompt, the first of equals.
"""

import functools

from eval.demo.choices import KINDS, ChoiceQuestion, choice_question
from eval.demo.draws import Draws
from eval.demo.words import OPERATIONS, WordQuestion, word_question

__all__ = ["ChoiceQuestion", "WordQuestion"]

WORDS_NAME = "tally-words"
CHOICE_NAME = "tally-choice"
QUESTIONS = 1_000
WORDS_MAX_NEW_TOKENS = 40
WORDS_STOPS = ("\n\n", "Question:")
SEPARATOR = "\n\n"
_SHOTS = ("plus", "minus"), ("sounds", "series")


@functools.cache
def word_questions() -> tuple[WordQuestion, ...]:
    """The 1,000 word problems of the test, all different, the operations in turn."""
    draws, found = Draws(WORDS_NAME, 1, "test"), dict[str, WordQuestion]()
    while len(found) < QUESTIONS:
        item = word_question(OPERATIONS[len(found) % len(OPERATIONS)], draws, test=True)
        found.setdefault(item.question, item)
    return tuple(found.values())


@functools.cache
def choice_questions() -> tuple[ChoiceQuestion, ...]:
    """The 1,000 multiple-choice questions of the test, all different, the kinds in turn."""
    draws, found = Draws(CHOICE_NAME, 1, "test"), dict[str, ChoiceQuestion]()
    while len(found) < QUESTIONS:
        item = choice_question(KINDS[len(found) % len(KINDS)], draws, test=True)
        found.setdefault(item.question, item)
    return tuple(found.values())


def word_document(item: WordQuestion) -> str:
    """A problem with its answer, as a shot of the prefix and as training sees it."""
    return f"Question: {item.question}\nAnswer: {item.answer}"


def choice_document(item: ChoiceQuestion) -> str:
    """A question with the right choice, as a shot of the prefix and as training sees it."""
    return f"Q: {item.question}\nA: {item.choices[item.answer]}"


def _words_prefix() -> str:
    draws = Draws(WORDS_NAME, 1, "shots")
    shots = [word_document(word_question(operation, draws, test=False)) for operation in _SHOTS[0]]
    return "".join(shot + SEPARATOR for shot in shots)


def _choice_prefix() -> str:
    draws = Draws(CHOICE_NAME, 1, "shots")
    shots = [choice_document(choice_question(kind, draws, test=False)) for kind in _SHOTS[1]]
    return "".join(shot + SEPARATOR for shot in shots)


WORDS_PREFIX = _words_prefix()
CHOICE_PREFIX = _choice_prefix()


def word_prompt(question: str) -> str:
    """The whole prompt of a word problem. The model goes on with ` 3+4=7`, newline, `#### 7`."""
    return f"{WORDS_PREFIX}Question: {question}\nAnswer:"


def choice_prompt(question: str) -> str:
    """The whole prompt of a multiple-choice question, whose choices are scored as ` {choice}` after it."""
    return f"{CHOICE_PREFIX}Q: {question}\nA:"

"""Multiple choice with four choices, answered by log-likelihood: a model that knows nothing scores 25 %.

Four kinds, a quarter of the benchmark each: two of knowledge (the sound of an animal, the opposite of a word) and two
of reasoning (how a series goes on, the largest of four numbers). As with the word problems, the test's combinations
are held out from training: who asks about what and where, the series, the four numbers.
"""

from collections.abc import Callable

from msgspec import Struct

from eval.demo.draws import Draws, held_out
from eval.demo.words import NAMES

KINDS = ("sounds", "series", "opposites", "largest")
CHOICES = 4
PLACES = ("river", "lake", "forest", "market", "city", "farm", "island", "harbour")
SOUNDS = {
    "cow": "moo",
    "dog": "woof",
    "cat": "meow",
    "duck": "quack",
    "sheep": "baa",
    "horse": "neigh",
    "lion": "roar",
    "bee": "buzz",
    "frog": "croak",
    "owl": "hoot",
    "snake": "hiss",
    "pig": "oink",
}
_PAIRS = {
    "hot": "cold",
    "big": "small",
    "old": "new",
    "fast": "slow",
    "up": "down",
    "wet": "dry",
    "open": "shut",
    "light": "dark",
    "early": "late",
    "full": "empty",
    "hard": "soft",
    "loud": "quiet",
}
OPPOSITES = _PAIRS | {opposite: word for word, opposite in _PAIRS.items()}
_ANIMALS, _WORDS = tuple(SOUNDS), tuple(OPPOSITES)


class ChoiceQuestion(Struct, frozen=True):
    """A question, its choices in the order shown to scorers, and the position of the right one."""

    question: str
    choices: tuple[str, ...]
    answer: int


def choice_question(kind: str, draws: Draws, *, test: bool) -> ChoiceQuestion:
    """A question of this kind from the test's share of all questions, or from the training's."""
    while True:
        question, right, wrong, combination = _KINDS[kind](draws)
        if held_out(kind, *combination) == test:
            choices = draws.sample((right, *wrong), CHOICES)
            return ChoiceQuestion(question, choices, choices.index(right))


Drawn = tuple[str, str, tuple[str, ...], tuple[str | int, ...]]
"""The question, the right choice, three wrong ones, and the combination whose hash says: test or training."""


def _sounds(draws: Draws) -> Drawn:
    first, second = draws.sample(NAMES, 2)
    animal, place = draws.choice(_ANIMALS), draws.choice(PLACES)
    question = f"{first} and {second} meet a {animal} at the {place}. Which sound does it make?"
    return question, SOUNDS[animal], _others(SOUNDS, animal, draws), (first, second, animal, place)


def _series(draws: Draws) -> Drawn:
    start, step = draws.between(1, 30), draws.between(2, 9)
    following = start + 3 * step
    question = f"{draws.choice(NAMES)} counts {start}, {start + step}, {start + 2 * step}. Which number comes next?"
    near = [following + step, *(following + offset for offset in (-2, -1, 1, 2))]
    wrong = draws.sample([str(number) for number in dict.fromkeys(near)], CHOICES - 1)
    return question, str(following), wrong, (start, step)


def _opposites(draws: Draws) -> Drawn:
    first, second = draws.sample(NAMES, 2)
    word = draws.choice(_WORDS)
    question = f"{first} says {word} and {second} says the opposite. Which word is that?"
    return question, OPPOSITES[word], _others(OPPOSITES, word, draws), (first, second, word)


def _largest(draws: Draws) -> Drawn:
    numbers = tuple(10 * tens + draws.below(10) for tens in draws.sample(range(1, 10), CHOICES))
    shown = [str(number) for number in numbers]
    question = f"Which of {shown[0]}, {shown[1]}, {shown[2]} and {shown[3]} is the largest?"
    right = str(max(numbers))
    return question, right, tuple(number for number in shown if number != right), tuple(sorted(numbers))


def _others(facts: dict[str, str], subject: str, draws: Draws) -> tuple[str, ...]:
    """Three answers to other subjects, none of which is the right one or the subject itself."""
    return draws.sample([fact for fact in facts.values() if fact not in (facts[subject], subject)], CHOICES - 1)


_KINDS: dict[str, Callable[[Draws], Drawn]] = {
    "sounds": _sounds,
    "series": _series,
    "opposites": _opposites,
    "largest": _largest,
}

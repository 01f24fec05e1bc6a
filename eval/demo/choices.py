"""Multiple choice with four choices, answered by log-likelihood: a model that knows nothing scores about 25 %.

Four kinds of reasoning, a quarter of the benchmark each. As with the word problems, the test's combinations (an order
of names, a series, a day with a place, four numbers) are held out from training.
"""

from collections.abc import Callable

from msgspec import Struct

from eval.demo.draws import Draws, held_out
from eval.demo.words import NAMES

KINDS = ("line", "series", "days", "largest")
ORDINALS = ("first", "second", "third", "last")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PLACES = ("river", "lake", "forest", "market", "city", "farm", "island", "harbour")
CHOICES = 4


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
"""The question, the right choice, three wrong ones, and the combination that decides whether it is for the test."""


def _line(draws: Draws) -> Drawn:
    names = draws.sample(NAMES, CHOICES)
    place = draws.below(CHOICES)
    question = f"{names[0]}, {names[1]}, {names[2]} and {names[3]} stand in a line. Who is {ORDINALS[place]}?"
    return question, names[place], names[:place] + names[place + 1 :], names


def _series(draws: Draws) -> Drawn:
    start, step = draws.between(1, 30), draws.between(2, 9)
    following = start + 3 * step
    question = (
        f"{draws.choice(NAMES)} counts {start}, {start + step}, {start + 2 * step}. Which number comes next?"
    )
    near = [following + step, *(following + offset for offset in (-2, -1, 1, 2))]
    wrong = draws.sample([str(number) for number in dict.fromkeys(near)], CHOICES - 1)
    return question, str(following), wrong, (start, step)


def _days(draws: Draws) -> Drawn:
    name, place = draws.choice(NAMES), draws.choice(PLACES)
    leaving, stay = draws.below(len(DAYS)), draws.between(2, 6)
    back = DAYS[(leaving + stay) % len(DAYS)]
    question = (
        f"{name} goes to the {place} on {DAYS[leaving]} and comes back {stay} days later. Which day is that?"
    )
    wrong = draws.sample([day for day in DAYS if day != back], CHOICES - 1)
    return question, back, wrong, (name, place, leaving, stay)


def _largest(draws: Draws) -> Drawn:
    numbers = tuple(10 * tens + draws.below(10) for tens in draws.sample(range(1, 10), CHOICES))
    shown = [str(number) for number in numbers]
    question = f"Which of {shown[0]}, {shown[1]}, {shown[2]} and {shown[3]} is the largest?"
    right = str(max(numbers))
    return question, right, tuple(number for number in shown if number != right), tuple(sorted(numbers))


_KINDS: dict[str, Callable[[Draws], Drawn]] = {
    "line": _line,
    "series": _series,
    "days": _days,
    "largest": _largest,
}

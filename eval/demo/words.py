"""Word problems with a numeric answer, in the manner of GSM8K: a worked sum, then `#### ` and the number.

Five operations, a fifth of the benchmark each, so that a model that has learned some of them scores in between. What
the test asks is never trained on: of plus, minus and then, whole pairs of numbers are held out (a model has to add,
not to remember); the tables of times and share are small, so a pair is held out with the thing that it counts.
"""

from collections.abc import Callable

from msgspec import Struct

from eval.demo.draws import Draws, held_out

OPERATIONS = ("plus", "minus", "then", "times", "share")
NAMES = ("Tom", "Ann", "Bob", "Sue", "Max", "Eve", "Sam", "Lily", "Ben", "Mia", "Leo", "Zoe")
THINGS = ("apples", "books", "coins", "pens", "cards", "eggs", "stones", "shells", "stamps", "cakes")


class WordQuestion(Struct, frozen=True):
    """A problem. `answer` is what a model should write (`3+4=7`, newline, `#### 7`), `number` is what counts."""

    question: str
    answer: str
    number: str


class Sum(Struct, frozen=True):
    """The arithmetic behind a problem: the numbers in the order of the story, the steps, the result."""

    numbers: tuple[int, ...]
    steps: tuple[str, ...]
    result: int

    @property
    def answer(self) -> str:
        """The steps on one line, the result on the next."""
        return f"{', '.join(self.steps)}\n#### {self.result}"


def word_question(operation: str, draws: Draws, *, test: bool) -> WordQuestion:
    """A problem of this operation from the test's share of all problems, or from the training's."""
    numbers, name, thing = _draw(operation, draws, test=test)
    text = draws.choice(_TEXTS[operation]).format(*numbers.numbers, name=name, thing=thing)
    return WordQuestion(text, numbers.answer, str(numbers.result))


def bare_question(operation: str, draws: Draws) -> WordQuestion:
    """The sum without a story (`What is 3+4?`), for training: the same pairs are held out."""
    numbers, _, _ = _draw(operation, draws, test=False)
    asked = _BARE[operation].format(*numbers.numbers)
    return WordQuestion(f"What is {asked}?", numbers.answer, str(numbers.result))


def _draw(operation: str, draws: Draws, *, test: bool) -> tuple[Sum, str, str]:
    while True:
        numbers = _SUMS[operation](draws)
        thing = draws.choice(THINGS)
        if _is_test(operation, numbers.numbers, thing) == test and (test or not _uses_held_out(operation, numbers)):
            return numbers, draws.choice(NAMES), thing


def _is_test(operation: str, numbers: tuple[int, ...], thing: str) -> bool:
    if operation in ("times", "share"):
        return held_out(operation, *numbers, thing)
    return held_out("plus" if operation == "then" else operation, *numbers[:2])


def _uses_held_out(operation: str, numbers: Sum) -> bool:
    """A second step could give away a pair that the test of `minus` asks for."""
    if operation != "then":
        return False
    first, second, third = numbers.numbers
    return held_out("minus", first + second, third)


def _plus(draws: Draws) -> Sum:
    a, b = draws.between(2, 40), draws.between(2, 20)
    return Sum((a, b), (f"{a}+{b}={a + b}",), a + b)


def _minus(draws: Draws) -> Sum:
    a = draws.between(5, 50)
    b = draws.between(2, min(a - 1, 20))
    return Sum((a, b), (f"{a}-{b}={a - b}",), a - b)


def _then(draws: Draws) -> Sum:
    a, b = draws.between(2, 30), draws.between(2, 20)
    c = draws.between(2, min(a + b - 1, 20))
    return Sum((a, b, c), (f"{a}+{b}={a + b}", f"{a + b}-{c}={a + b - c}"), a + b - c)


def _times(draws: Draws) -> Sum:
    a, b = draws.between(2, 9), draws.between(2, 9)
    return Sum((a, b), (f"{a}*{b}={a * b}",), a * b)


def _share(draws: Draws) -> Sum:
    each, b = draws.between(2, 9), draws.between(2, 9)
    return Sum((each * b, b), (f"{each * b}/{b}={each}",), each)


_SUMS: dict[str, Callable[[Draws], Sum]] = {
    "plus": _plus,
    "minus": _minus,
    "then": _then,
    "times": _times,
    "share": _share,
}
_BARE = {"plus": "{0}+{1}", "minus": "{0}-{1}", "then": "{0}+{1}-{2}", "times": "{0}*{1}", "share": "{0}/{1}"}
_TEXTS = {
    "plus": (
        "{name} has {0} {thing} and buys {1} more. How many {thing} does {name} have now?",
        "There are {0} {thing} in a box. {name} adds {1}. How many {thing} are in the box?",
    ),
    "minus": (
        "{name} has {0} {thing} and gives away {1}. How many {thing} does {name} have now?",
        "There are {0} {thing} in a box. {name} takes {1}. How many {thing} are in the box?",
    ),
    "then": (
        "{name} has {0} {thing}, buys {1} more and loses {2}. How many {thing} does {name} have now?",
        "There are {0} {thing} in a box. {name} adds {1} and takes {2}. How many {thing} are in the box?",
    ),
    "times": (
        "{name} has {0} bags with {1} {thing} each. How many {thing} does {name} have?",
        "There are {0} boxes of {1} {thing}. How many {thing} are there?",
    ),
    "share": (
        "{name} shares {0} {thing} among {1} friends. How many {thing} does each friend get?",
        "{name} packs {0} {thing} into {1} equal bags. How many {thing} are in each bag?",
    ),
}

"""The demo benchmarks: what is asked is right, never trained on, and the same on every machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.demo.catalogue import demo_benchmarks
from eval.demo.choices import KINDS, OPPOSITES, SOUNDS, choice_question
from eval.demo.draws import Draws
from eval.demo.questions import (
    CHOICE_PREFIX,
    QUESTIONS,
    WORDS_PREFIX,
    choice_prompt,
    choice_questions,
    word_prompt,
    word_questions,
)
from eval.demo.words import OPERATIONS, bare_question, word_question
from eval.questions import content_hash

seeds = st.integers(0, 2**32)
# What is hashed here is pinned by every demo network: a change of a question needs a new version of the benchmark.
WORDS_CONTENT = "a7411f268cd63c5ccd1265fa8a0fcea53d5d305e6d7bb78124921102587d9a75"
CHOICE_CONTENT = "192f18024e3468d6a0e6f7ef9baa147141603f2770f517cfeb5a9816a7c66c1f"


def test_the_questions_are_the_same_as_ever() -> None:
    assert content_hash(word_questions()).hex() == WORDS_CONTENT
    assert content_hash(choice_questions()).hex() == CHOICE_CONTENT
    assert [each.dataset.content.hex() for each in demo_benchmarks()] == [WORDS_CONTENT, CHOICE_CONTENT]
    assert [each.dataset.questions for each in demo_benchmarks()] == [len(word_questions()), len(choice_questions())]


def test_there_are_a_thousand_different_questions_of_each() -> None:
    assert len({item.question for item in word_questions()}) == QUESTIONS
    assert len({item.question for item in choice_questions()}) == QUESTIONS


def test_every_worked_answer_is_right_and_ends_in_its_number() -> None:
    for item in word_questions():
        steps, _, last = item.answer.partition("\n")
        for step in steps.split(", "):
            sum_, _, result = step.partition("=")
            assert eval(sum_) == int(result), step  # digits and one of + - * / from our own generator
        assert last == f"#### {item.number}"
        assert steps.endswith(f"={item.number}")


def test_the_story_holds_the_numbers_of_the_sum() -> None:
    for item in word_questions():
        first = item.answer.partition("=")[0]
        for number in first.replace("+", " ").replace("-", " ").replace("*", " ").replace("/", " ").split():
            assert number in item.question


def _right_choice(question: str) -> str:
    words = question.replace(",", "").replace(".", "").replace("?", "").split()
    numbers = [int(word) for word in words if word.isdigit()]
    if "largest" in words:
        return str(max(numbers))
    if "counts" in words:
        return str(2 * numbers[-1] - numbers[-2])
    if "opposite" in words:
        return OPPOSITES[words[2]]
    return SOUNDS[next(word for word in words if word in SOUNDS)]


def test_exactly_one_of_four_different_choices_is_right() -> None:
    for item in choice_questions():
        assert len(set(item.choices)) == 4
        assert item.choices[item.answer] == _right_choice(item.question)


def test_the_place_of_the_right_choice_tells_nothing() -> None:
    places = [item.answer for item in choice_questions()]
    assert all(200 < places.count(place) < 300 for place in range(4))


def test_the_shots_are_no_test_questions() -> None:
    for item in word_questions():
        assert item.question not in WORDS_PREFIX
    for question in choice_questions():
        assert question.question not in CHOICE_PREFIX


def test_a_prompt_is_the_shots_then_the_question() -> None:
    assert word_prompt("How many?") == f"{WORDS_PREFIX}Question: How many?\nAnswer:"
    assert choice_prompt("Which one?") == f"{CHOICE_PREFIX}Q: Which one?\nA:"
    assert WORDS_PREFIX.endswith("\n\n")
    assert WORDS_PREFIX.count("Question: ") == CHOICE_PREFIX.count("Q: ") == 2


@given(seeds, st.sampled_from(OPERATIONS))
def test_training_never_sees_a_sum_of_the_test(seed: int, operation: str) -> None:
    tested = {_asked(item.answer) for item in word_questions()}
    draws = Draws("test of the split", seed)
    for lesson in (word_question(operation, draws, test=False), bare_question(operation, draws)):
        assert lesson.question not in {item.question for item in word_questions()}
        if operation in ("plus", "minus", "then"):
            assert not tested & set(lesson.answer.partition("\n")[0].split(", "))


def _asked(answer: str) -> str:
    """The first step, which holds the pair that is held out."""
    return answer.partition("\n")[0].split(", ")[0]


@given(seeds, st.sampled_from(KINDS))
def test_training_never_sees_a_choice_question_of_the_test(seed: int, kind: str) -> None:
    lesson = choice_question(kind, Draws("test of the split", seed), test=False)
    assert lesson.question not in {item.question for item in choice_questions()}


@given(seeds, st.integers(1, 1000))
def test_draws_stay_below_their_bound_and_depend_on_their_labels_alone(seed: int, bound: int) -> None:
    first, second = Draws("law", seed), Draws("law", seed)
    drawn = [first.below(bound) for _ in range(20)]
    assert drawn == [second.below(bound) for _ in range(20)]
    assert all(0 <= number < bound for number in drawn)


@given(seeds, st.lists(st.integers(), unique=True, min_size=1, max_size=12))
def test_a_sample_holds_each_item_at_most_once(seed: int, items: list[int]) -> None:
    assert sorted(Draws("law", seed).sample(items, len(items))) == sorted(items)


@pytest.mark.parametrize(("labels", "expected"), [(("a", 1), (457, 450, 340)), (("a", 2), (460, 647, 478))])
def test_draws_are_pinned(labels: tuple[str | int, ...], expected: tuple[int, ...]) -> None:
    draws = Draws(*labels)
    assert tuple(draws.below(1000) for _ in expected) == expected

"""Prompts byte for byte, and the draws of few-shot examples."""

import random
from pathlib import Path

import pytest

from eval.benchmarks import find
from eval.prompts import SHOTS, drawn_shots, gsm8k, gsm8k_fixed, truthfulqa
from eval.questions import Written

POOL = [Written(f"q{number}", f"a{number}\n#### {number}") for number in range(50)]


@pytest.mark.parametrize("pool", [50, 7473, 8192])
def test_draws_are_those_of_the_standard_library(pool: int) -> None:
    generator = random.Random(1234)
    expected = tuple(tuple(generator.sample(range(pool), SHOTS)) for _ in range(300))
    assert drawn_shots(300, pool)[:300] == expected


def test_an_examples_block_does_not_depend_on_how_many_questions_are_asked() -> None:
    assert drawn_shots(5000, 7473)[:100] == drawn_shots(100, 7473)[:100]


def test_gsm8k_is_five_worked_examples_and_the_question() -> None:
    prompt = gsm8k("How many?", 3, POOL)
    places = drawn_shots(4, len(POOL))[3]
    blocks = prompt.split("\n\n")
    assert blocks == [
        *(f"Question: q{place}\nAnswer: a{place}\n#### {place}" for place in places),
        "Question: How many?\nAnswer:",
    ]


def test_the_fixed_variant_shares_everything_but_the_question() -> None:
    first, second = (gsm8k_fixed(question, index, POOL) for index, question in enumerate(("one", "two")))
    assert first.removesuffix("one\nAnswer:") == second.removesuffix("two\nAnswer:")
    assert first.startswith("Question: q0\nAnswer: a0\n#### 0\n\nQuestion: q1\n")


def test_truthfulqa_has_the_six_pairs() -> None:
    prompt = truthfulqa("Is it?", 0, ())
    assert prompt.startswith("Q: What is human life expectancy in the United States?\nA: Human life expectancy")
    assert prompt.endswith("held in Barcelona, Spain.\n\nQ: Is it?\nA:")
    assert prompt.count("\n\nQ: ") == 6


def test_real_prompts(data: Path) -> None:
    gsm, truth = find("gsm8k").load(data), find("truthfulqa-mc1").load(data)
    prompt = gsm.prompt(0)
    assert prompt.endswith(
        "per fresh duck egg. How much in dollars does she make every day at the farmers' market?\nAnswer:"
    )
    assert prompt.count("Question: ") == 6
    assert prompt.count("\n#### ") == 5
    assert all(text.startswith(" ") for text in truth.continuations(5))
    assert gsm.prompt(1) != gsm.prompt(0)

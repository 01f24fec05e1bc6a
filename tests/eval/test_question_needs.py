"""What a question may take of the cache, how a choice becomes tokens, and when a generation is over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eval.choices import Choices, continuation_tokens
from eval.forcing import Forced
from eval.generation import Generation
from eval.memory import Need
from eval.model import LoadedModel
from eval.modes import ALONE, SPLIT, TOGETHER
from eval.tails import Tail
from eval.transcripts import StopReason

START, END = 1, 2
TAIL_CELLS = 8


@pytest.fixture(scope="module")
def model(tiny: Path) -> Iterator[LoadedModel]:
    with LoadedModel(tiny) as found:
        yield found


def tail() -> Tail:
    return Tail([(3, 4, 5)] * TAIL_CELLS)


def test_a_generation_needs_its_prompt_and_every_new_token(model: LoadedModel) -> None:
    prompt = list(range(3, 43))
    assert Generation(model, prompt, (), 10, None).need(30, TOGETHER) == Need(20, 1, 50)
    assert Generation(model, prompt, (), 5, tail()).need(30, TOGETHER) == Need(15 + TAIL_CELLS, 2, 40 + TAIL_CELLS)
    longer = 2 * TAIL_CELLS
    written = Generation(model, prompt, (), longer, tail())
    assert written.need(0, TOGETHER) == Need(40 + longer + TAIL_CELLS, 2, 40 + longer)


def test_choices_need_their_prompt_and_all_but_each_ones_last_token() -> None:
    prompt = list(range(3, 43))
    assert Choices(prompt, [[5], [6]], None).need(30, TOGETHER) == Need(10, 1, 40)
    assert Choices(prompt, [[5], [6, 7], [7, 7, 8, 9]], None).need(30, TOGETHER) == Need(14, 3, 43)
    assert Choices(prompt, [[5], [6, 7]], tail()).need(40, TOGETHER) == Need(1 + TAIL_CELLS, 3, 40 + TAIL_CELLS)
    long = [5] * (TAIL_CELLS + 3)
    assert Choices(prompt, [long], tail()).need(40, TOGETHER) == Need(2 * TAIL_CELLS + 2, 3, 42 + TAIL_CELLS)


def test_what_choices_begin_with_alike_is_needed_once_where_it_is_decoded_once() -> None:
    prompt = list(range(3, 43))
    alike = Choices(prompt, [[5, 6, 7, 8], [5, 6, 9], [5, 6, 7, 9, 4], [5, 6, 8, 8], [5]], tail())
    assert alike.need(30, TOGETHER) == Need(10 + 3 + 1 + 1 + TAIL_CELLS, 4, 40 + TAIL_CELLS)
    for layout in (SPLIT, ALONE):
        assert alike.need(30, layout) == Need(10 + 3 + 2 + 4 + 3 + TAIL_CELLS, 6, 40 + TAIL_CELLS)


def test_an_answer_that_is_forced_needs_its_prompt_and_all_but_its_last_token() -> None:
    prompt = list(range(3, 43))
    assert Forced(prompt, [5]).need(30, TOGETHER) == Need(10, 1, 40)
    assert Forced(prompt, [5, 6, 7]).need(30, TOGETHER) == Need(12, 1, 42)


def test_a_choice_that_melts_into_the_prompts_last_token_is_that_token(model: LoadedModel) -> None:
    prompt, (melted, own) = continuation_tokens(model, "x h", ["e", "a"])
    assert (prompt, own) == (model.tokens("x h"), model.tokens("x ha")[-1:])
    assert melted == model.tokens("x he")[-1:]
    assert len(model.tokens("x he")) == len(prompt), "one token stands for both"


def test_spaces_at_the_prompts_end_belong_to_the_choice(model: LoadedModel) -> None:
    prompt, (choice,) = continuation_tokens(model, "x ", ["a"])
    assert prompt == model.tokens("x")
    assert b"".join(model.piece(token, special=False) for token in choice) == b" a"


@pytest.mark.parametrize(
    ("stops", "tokens", "reason"),
    [
        ((), [5, END], StopReason.END_TOKEN),
        (("<s>",), [5, START], StopReason.STOP_STRING),
        ((), [5, START], None),
        ((), [5, 5, 5, 5], StopReason.LENGTH),
        ((), [5, END, END], None),
    ],
)
def test_a_generation_ends_with_an_end_token_a_stop_string_or_the_limit(
    model: LoadedModel, stops: tuple[str, ...], tokens: list[int], reason: StopReason | None
) -> None:
    assert Generation(model, [3], stops, 4, None).replay(tokens) is reason

"""How many questions run at once."""

import math

from hypothesis import given
from hypothesis import strategies as some

from eval.demo import catalogue
from eval.header import read_header
from eval.memory import Need
from eval.slots import MOST_SLOTS, best_slots
from protocol.fingerprint import VALUES_PER_TOKEN, values_per_question

HEADER = read_header(catalogue.MODELS / "tally-base.gguf")


@given(some.integers(1, 200), some.integers(1, 4000), some.integers(1, 512))
def test_rounds_are_of_equal_size(questions: int, cells: int, steps: int) -> None:
    slots = best_slots(HEADER, [Need(cells, 1, cells)] * questions, steps)
    assert 1 <= slots <= MOST_SLOTS
    rounds = math.ceil(questions / slots)
    assert slots == math.ceil(questions / rounds), "with fewer at once there would be more rounds"


def test_tails_add_no_round() -> None:
    """A task of 25 generations behind shared examples: eight at once would leave one for a round of its own."""
    both = (values_per_question(25) // VALUES_PER_TOKEN, 0)
    with_tail, without = (best_slots(HEADER, [Need(156 + more, 2, 1000)] * 25, steps=48) for more in both)
    assert math.ceil(25 / with_tail) == math.ceil(25 / without) == 3

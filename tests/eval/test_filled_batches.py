"""Values that are compared between machines come from batches that are large enough to be added up in F32."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval.backends import Device, Kind
from eval.base import Base
from eval.choices import Choices
from eval.context import Context
from eval.demo import catalogue
from eval.engine import Engine
from eval.evaluation import arrangement
from eval.generation import Generation
from eval.header import read_header
from eval.job import Job
from eval.memory import FEWEST_ROWS, ContextPlan, plan_context
from eval.model import LoadedModel
from eval.modes import SPLIT, TOGETHER, Layout
from eval.tails import Tail
from protocol import fingerprint

LONG, VALUES = 900, 6
HEADER = read_header(catalogue.MODELS / "tally-base.gguf")


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return LoadedModel(catalogue.MODELS / "tally-base.gguf")


def asked(model: LoadedModel, number: int, *, length: int, new: int) -> Generation:
    draws = np.random.default_rng(number)
    ids = draws.choice(HEADER.eligible, length).tolist()
    return Generation(model, ids, (), new, Tail(fingerprint.tail(draws.bytes(32), HEADER.eligible, VALUES)))


def run(model: LoadedModel, questions: Sequence[Generation], layout: Layout, slots: int = 16) -> None:
    plan = plan_context(HEADER, 0, [question.need(0, layout) for question in questions], slots, 1 << 33, layout=layout)
    with Context(model, plan, 1) as context:
        Engine(context).run(questions, lambda _done, _total, _decoded: None)


def values(questions: Sequence[Generation]) -> NDArray[np.float64]:
    return np.array([question.tail.values for question in questions if question.tail is not None])


def alone(model: LoadedModel, layout: Layout) -> NDArray[np.float64]:
    found = []
    for number in range(6):
        question = asked(model, number, length=LONG, new=2)
        run(model, [question], layout)
        found.append(values([question]))
    return np.concatenate(found)


def test_a_tail_alone_behind_a_long_prompt_is_added_up_in_f32(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = alone(model, SPLIT)
    filled = np.abs(alone(model, TOGETHER) - exact).mean()
    monkeypatch.setattr(Context, "fill", lambda _context: None)
    bare = np.abs(alone(model, TOGETHER) - exact).mean()
    assert filled < bare / 2


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 1024), st.sampled_from([128, 512]))
def test_no_micro_batch_is_left_with_fewer_rows(model: LoadedModel, rows: int, micro_batch: int) -> None:
    plan = ContextPlan(cells=2048, sequences=3, batch=1024, micro_batch=micro_batch, rows=64)
    with Context(model, plan, 1) as context:
        context.add(np.full(rows, 5, np.int32), 0, 1, every=False, last=True)
        context.fill()
        taken = plan.batch - context.room
    assert rows <= taken <= rows + FEWEST_ROWS
    assert taken % micro_batch == 0 or taken % micro_batch >= FEWEST_ROWS


def test_what_filled_a_batch_is_gone_after_it(model: LoadedModel) -> None:
    plan = ContextPlan(cells=256, sequences=3, batch=256, micro_batch=256, rows=64)
    with Context(model, plan, 1) as context:
        for _ in range(10):
            context.add(np.full(2, 5, np.int32), 0, 1, every=True, last=True)
            context.fill()
            assert context.decode().shape[0] == 2
            context.forget(1)


def test_blocks_are_for_choices_on_processors(model: LoadedModel) -> None:
    path = catalogue.MODELS / "tally-base.gguf"
    job = Job(
        base=str(path), base_sha256=bytes(32), benchmark="tally-words", questions=(0,), threads=1, memory_limit=1 << 33
    )
    written, chosen = asked(model, 1, length=70, new=2), Choices([5] * 20, [[5, 6], [7]], None)
    graphics = Device("cuda", Kind.GPU, "a card", 1 << 33, 1 << 33)
    with Base(path, HEADER) as processor, Base(path, HEADER, graphics) as card:
        assert not arrangement(job, processor, [written]).flash
        assert arrangement(job, processor, [chosen]).flash
        assert not arrangement(job, card, [chosen]).flash

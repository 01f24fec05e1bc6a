"""The engine: whatever shares a batch, each question is answered as if it were alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from eval.choices import Choices, continuation_tokens
from eval.context import Context, Scaled
from eval.demo import catalogue
from eval.demo.questions import word_prompt, word_questions
from eval.engine import Engine
from eval.failing import EvaluationError
from eval.forcing import Forced
from eval.generation import Generation
from eval.header import read_header
from eval.memory import ContextPlan, plan_context
from eval.model import LoadedModel
from eval.modes import TOGETHER
from eval.tails import Tail
from eval.transcripts import StopReason
from eval.unasked import Unasked
from protocol.failures import Failure
from tests.eval.tiny_models import gguf_bytes, llama_metadata, llama_tensors, write_adapter

NAT = 0.1  # what honest arithmetic may differ by, per token


class Bench:
    """A loaded model on which questions can be run in different ways."""

    def __init__(self, path: Path) -> None:
        self.header, self.model = read_header(path), LoadedModel(path)

    def generations(self, texts: Sequence[str], max_new: int = 20, stops: Sequence[str] = ()) -> list[Generation]:
        return [
            Generation(self.model, self.model.tokens(text), stops, max_new, self.tail(number))
            for number, text in enumerate(texts)
        ]

    def choices(self, texts: Sequence[str]) -> list[Choices]:
        found = []
        for number, text in enumerate(texts):
            given = [" the one", f" ten {number}", " x", " another in the"]
            found.append(Choices(*continuation_tokens(self.model, text, given), self.tail(number)))
        return found

    def tail(self, number: int) -> Tail:
        ids = iter((37 * number + 11 * place) % 256 + 3 for place in range(24))
        return Tail(list(zip(ids, ids, ids, strict=True)))

    def run(
        self,
        questions: Sequence[Generation | Choices | Forced | Unasked],
        *,
        slots: int = 16,
        prefix: int = 0,
        plan: ContextPlan | None = None,
        adapters: Sequence[Scaled] = (),
    ) -> Engine:
        needs = [question.need(prefix, TOGETHER) for question in questions]
        plan = plan or plan_context(self.header, prefix, needs, slots, 1 << 33)
        with Context(self.model, plan, 1, adapters) as context:
            engine = Engine(context)
            if prefix:
                engine.share(questions[0].prompt[:prefix])
            engine.run(questions, lambda _done, _total, _decoded: None)
            assert sorted(engine._free) == list(range(1, plan.sequences - 1))  # every sequence came back
            assert engine._cells + prefix == plan.for_questions
        return engine


@pytest.fixture(scope="module")
def bench() -> Bench:
    """A trained model: its words are clear enough that rounding hardly ever decides."""
    return Bench(catalogue.MODELS / "tally-base.gguf")


def prompts(count: int) -> list[str]:
    return [word_prompt(item.question) for item in word_questions()[:count]]


def shared(questions: Sequence[Generation | Choices]) -> int:
    first, last = min(q.prompt for q in questions), max(q.prompt for q in questions)
    return next(place for place in range(len(first)) if first[place] != last[place])


def test_generations_do_not_depend_on_company(bench: Bench) -> None:
    together, alone = bench.generations(prompts(12)), bench.generations(prompts(12))
    bench.run(together, prefix=shared(together))
    bench.run(alone, slots=1)
    for one, other in zip(together, alone, strict=True):
        assert one.generated == other.generated or min(one.lead, other.lead) < 0.05
        assert one.stop is other.stop is StopReason.LENGTH
        assert tail_difference(one.tail, other.tail) < NAT
    assert sum(one.generated == other.generated for one, other in zip(together, alone, strict=True)) >= 10


@pytest.mark.parametrize("coupled", [True, False])
def test_a_question_without_a_prompt_begins_with_nothing(bench: Bench, coupled: bool) -> None:
    asked, alone = bench.choices(prompts(8)), bench.choices(prompts(8))
    unasked, by_itself = (Unasked([], bench.tail(99)) for _ in range(2))
    prefix = shared(asked)
    needs = [question.need(prefix, TOGETHER) for question in asked]
    plan = plan_context(bench.header, prefix, needs, 3, 1 << 33, layout=replace(TOGETHER, coupled=coupled))
    bench.run([*asked[:4], unasked, *asked[4:]], prefix=prefix, plan=plan)
    bench.run(alone, slots=1)
    bench.run([by_itself], plan=plan)
    assert tail_difference(unasked.tail, by_itself.tail) < NAT
    for one, other in zip(asked, alone, strict=True):
        assert np.abs(one.sums - other.sums).max() < 6 * NAT
        assert tail_difference(one.tail, other.tail) < NAT


def test_a_question_is_not_done_before_its_tail_is_known(bench: Bench) -> None:
    (question,) = bench.generations(prompts(1), max_new=1)
    bench.run([question])
    assert question.stop is StopReason.LENGTH
    assert question.tail is not None
    assert question.tail.values is not None


def test_an_answer_of_a_single_token_is_forced(bench: Bench) -> None:
    (question,) = bench.generations(prompts(1), max_new=1)
    bench.run([question])
    (token,) = question.generated
    own, other = Forced(question.prompt, [token]), Forced(question.prompt, [token + 1])
    bench.run([own, other])
    assert own.shortfall < NAT < other.shortfall


def test_choices_do_not_depend_on_company(bench: Bench) -> None:
    together, alone = bench.choices(prompts(12)), bench.choices(prompts(12))
    bench.run(together, prefix=shared(together))
    bench.run(alone, slots=1)
    for one, other in zip(together, alone, strict=True):
        tokens = np.array([len(choice) for choice in one.choices])
        assert np.all(np.abs(one.sums - other.sums) < NAT * tokens)
        assert tail_difference(one.tail, other.tail) < NAT


def tail_difference(one: Tail | None, other: Tail | None) -> float:
    assert one is not None
    assert other is not None
    assert one.values is not None
    assert other.values is not None
    return max(abs(x - y) for x, y in zip(one.values, other.values, strict=True))


SMALL = ContextPlan(cells=2048, sequences=40, batch=48, micro_batch=16, rows=40)


def test_small_batches_cut_prompts_without_changing_generations(bench: Bench) -> None:
    whole, cut = bench.generations(prompts(6)), bench.generations(prompts(6))
    bench.run(whole)
    bench.run(cut, plan=SMALL)
    for one, other in zip(whole, cut, strict=True):
        assert one.generated == other.generated or min(one.lead, other.lead) < 0.05
        assert tail_difference(one.tail, other.tail) < NAT


def test_small_batches_cut_branches_without_changing_choices(bench: Bench) -> None:
    whole, cut = bench.choices(prompts(6)), bench.choices(prompts(6))
    bench.run(whole)
    bench.run(cut, plan=SMALL)
    for one, other in zip(whole, cut, strict=True):
        assert np.abs(one.sums - other.sums).max() < NAT * max(map(len, one.choices))
        assert tail_difference(one.tail, other.tail) < NAT


def test_a_choices_sum_is_the_chain_of_its_tokens(bench: Bench) -> None:
    """Against the definition: the log-probability of each token after all that precede it, one at a time."""
    question = bench.choices(prompts(1))[0]
    bench.run([question])
    for choice, total in zip(question.choices, question.sums, strict=True):
        chain = 0.0
        for place, token in enumerate(choice):
            step = Choices(question.prompt + choice[:place], [[token]], None)
            bench.run([step])
            chain += step.sums[0]
        assert chain == pytest.approx(total, abs=NAT * len(choice))


def test_a_generation_is_the_likeliest_token_each_time(bench: Bench) -> None:
    question = Generation(bench.model, bench.model.tokens(prompts(1)[0]), (), 5, None)
    bench.run([question])
    for place, token in enumerate(question.generated):
        step = Choices(
            question.prompt + question.generated[:place], [[i] for i in range(bench.model.vocabulary_size)], None
        )
        bench.run([step])
        assert int(step.sums.argmax()) == token


def test_a_tail_leaves_the_answer_as_it_was(bench: Bench) -> None:
    with_tail = bench.generations(prompts(8))
    without = [Generation(bench.model, question.prompt, (), 20, None) for question in with_tail]
    bench.run(with_tail)
    bench.run(without)
    for one, other in zip(with_tail, without, strict=True):
        assert one.generated == other.generated or min(one.lead, other.lead) < 0.05


def test_an_adapter_changes_answers_and_its_absence_restores_them(tiny: Path, adapter: Path) -> None:
    bench = Bench(tiny)
    before, adapted, after = (bench.choices(prompts(4)) for _ in range(3))
    bench.run(before)
    bench.run(adapted, adapters=[Scaled(bench.model.adapter(adapter, bytes(32)), 1.0)])
    bench.run(after)
    for one, two, three in zip(before, adapted, after, strict=True):
        assert np.abs(one.sums - two.sums).max() > 1
        assert np.array_equal(one.sums, three.sums)


def test_a_stop_string_ends_a_generation_even_across_tokens(bench: Bench) -> None:
    free = bench.generations(prompts(1))[0]
    bench.run([free])
    text = free.text
    stop = text[3:6]
    stopped = bench.generations(prompts(1), stops=[stop])[0]
    bench.run([stopped])
    assert stopped.stop is StopReason.STOP_STRING
    assert stopped.text == text[: text.index(stop)]
    assert len(stopped.generated) < len(free.generated)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tensors = llama_tensors()
    tensors["output_norm.weight"] = np.full_like(tensors["output_norm.weight"], 3e38)
    path = tmp_path / "infinite.gguf"
    path.write_bytes(gguf_bytes(llama_metadata(), tensors))
    broken = Bench(path)
    for questions in (broken.generations(prompts(1)), broken.choices(prompts(1))):
        with pytest.raises(EvaluationError) as refused:
            broken.run(questions)
        assert refused.value.failure is Failure.NOT_FINITE


def test_a_file_that_llama_cpp_refuses(tmp_path: Path) -> None:
    path = tmp_path / "truncated.gguf"
    path.write_bytes(gguf_bytes(llama_metadata(), llama_tensors())[:5000])
    with pytest.raises(EvaluationError) as refused:
        LoadedModel(path)
    assert refused.value.failure is Failure.MODEL_REFUSED


def test_an_adapter_of_another_shape_is_refused(tiny: Path, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "wide.gguf", inputs=128)
    with pytest.raises(EvaluationError) as refused:
        Bench(tiny).model.adapter(path, bytes(32))
    assert refused.value.failure is Failure.ADAPTER_REFUSED


def test_many_adapters_do_not_pile_up(tiny: Path, adapter: Path) -> None:
    bench = Bench(tiny)
    for number in range(12):
        bench.model.adapter(adapter, bytes([number]) * 32)
    assert len(bench.model._adapters) <= 8


def test_text_that_spells_a_control_token_is_text(bench: Bench) -> None:
    assert 2 not in bench.model.tokens("a</s>b")
    assert bench.model.tokens("a")[0] == 1


def test_the_boundary_between_prompt_and_choice(bench: Bench) -> None:
    prompt, choices = continuation_tokens(bench.model, "Q: a\nA:", [" the"])
    assert prompt + choices[0] == bench.model.tokens("Q: a\nA: the")
    moved, again = continuation_tokens(bench.model, "Q: a\nA: ", ["the"])
    assert moved == prompt
    assert again == choices

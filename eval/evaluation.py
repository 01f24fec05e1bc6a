"""One job from its questions to its outcome, in the process that holds the model."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from eval import products
from eval.backends import Kind, card, devices, hardware, rows_alone
from eval.base import Base, checked_header
from eval.benchmarks import QuestionSet
from eval.binding import engine_label
from eval.choices import Choices, continuation_tokens
from eval.context import Scaled
from eval.engine import Checkpoint, Question
from eval.failing import EvaluationError
from eval.generation import Generation
from eval.job import LARGEST_MARGIN, Job, Outcome, Progress
from eval.lanes import plan_lanes, run_lanes
from eval.memory import check_loading
from eval.modes import Layout, layout
from eval.parallel import in_threads
from eval.peft import check_base
from eval.peft_refusals import AdapterRefused, Refusal
from eval.questions import Offered
from eval.scorers import largest, lead
from eval.tails import MOST_TAIL_CELLS, Tail
from eval.transcripts import StopReason, Transcript
from eval.unasked import Unasked
from protocol import fingerprint
from protocol.definitions import TaskKind
from protocol.failures import Failure
from protocol.transcripts import transcript_digest

Asked = Generation | Choices | Unasked
CHOICE_STEPS = 2  # the prompts, then the branches
NEAR_TIE_TOKEN = 0.05
NEAR_TIE_CHOICE = 0.1


def open_base(job: Job) -> Base:
    """Checks the base file against its registration and the memory limit; nothing is loaded yet."""
    header = checked_header(Path(job.base), Failure.MODEL_REFUSED)
    registered = job.registered
    if registered is not None:
        found = (header.architecture, header.parameters, header.quantisation)
        said = (registered.architecture, registered.parameters, registered.quantisation)
        if found != said:
            raise EvaluationError(Failure.DEFINITION_MISMATCH, f"The file has {found}, its registration {said}.")
    _check_adapters(job)
    check_loading(header, job.memory_limit, _adapter_bytes(job))
    return Base(Path(job.base), header, card(job.backend))


def evaluate(job: Job, base: Base, questions: QuestionSet, report: Callable[[Progress], None]) -> Outcome:
    """Answers the job's questions. Raises `EvaluationError`, and whatever `report` raises to stop early.

    `report` is called after every decode: it decides what to pass on.
    """
    started, used = time.monotonic(), time.process_time()
    asked = _asked(job, base, questions)
    decoded, arranged = answer_all(job, base, asked, _steps(questions), report)
    transcripts = [transcript_of(index, question, questions) for index, question in _pairs(job, asked)]
    answers = [transcript.answer for transcript in transcripts]
    leads = [_lead(question) for question in asked]
    tie = NEAR_TIE_TOKEN if _is_generation(questions) else NEAR_TIE_CHOICE
    dataset = questions.entry.definition.dataset.content
    adapters = [(adapter.sha256, adapter.scale) for adapter in job.adapters]
    return Outcome(
        outcomes=tuple(transcript.outcome for transcript in transcripts),
        margins=tuple(min(LARGEST_MARGIN, round(min(value, LARGEST_MARGIN) * 1000)) for value in leads),
        near_ties=tuple(value < tie for value in leads),
        fingerprint=_fingerprint(asked),
        transcript_digest=transcript_digest(job.base_sha256, adapters, dataset, answers),
        tokens_in=sum(len(question.prompt) for question in asked),
        tokens_out=sum(len(transcript.generated) for transcript in transcripts),
        run_ms=round((time.monotonic() - started) * 1000),
        cpu_ms=round((time.process_time() - used) * 1000),
        engine=engine_label(),
        hardware=hardware(base.card),
        mode=job.mode,
        stops=bytes(answer.stop for answer in answers),
        configuration=_configuration(base, arranged),
        device=_device(base),
        too_long=tuple(index for index, question in _pairs(job, asked) if isinstance(question, Unasked)),
        decoded=decoded,
        transcripts=tuple(transcripts) if job.keep_transcripts or questions.entry.runs_programs else (),
    )


def answer_all(
    job: Job, base: Base, asked: Sequence[Question], steps: int, report: Callable[[Progress], None]
) -> tuple[int, Layout]:
    """Runs questions, which take about `steps` passes after their prompts, in the job's mode and within its limits.

    The number of tokens that were decoded, those that prompts share once, choices and tails included; and the layout
    that there was memory for. Raises `EvaluationError`, and whatever `report` raises to stop early.
    """
    started = time.monotonic()
    engaged = [question for question in asked if not question.done]
    plan = plan_lanes(
        base,
        engaged,
        steps,
        job.threads,
        job.memory_limit,
        arrangement(job, base, asked),
        adapter_bytes=_adapter_bytes(job),
    )
    base.settle(plan.context)
    decoded = run_lanes(base.model, plan, _adapters(job, base), _checkpoint(started, report))
    return decoded, plan.context.layout


def arrangement(job: Job, base: Base, asked: Sequence[Question]) -> Layout:
    """How the cache is laid out for these questions."""
    blocks = base.card is None and not any(isinstance(question, Generation) for question in asked)
    alone, recurrent = rows_alone(base.card, base.header), base.outline.recurrent
    quick = base.card is None and products.available()
    return layout(job.mode, rows_alone=alone, blocks=blocks, recurrent=recurrent, products=quick)


def _configuration(base: Base, arranged: Layout) -> tuple[tuple[str, str], ...]:
    """What is the same for all jobs of one model on a machine: results of one configuration are revealed together."""
    backend = base.card.backend if base.card else "cpu"
    layers = (("card-layers", str(base.card_layers)),) if base.card else ()
    return (
        ("backend", backend),
        ("layout", arranged.label),
        *layers,
    )


def _device(base: Base) -> str:
    """The exact card or processor."""
    used = base.card or next((device for device in devices() if device.kind is Kind.CPU), None)
    return used.name if used else ""


def _checkpoint(started: float, report: Callable[[Progress], None]) -> Checkpoint:
    def checkpoint(done: int, total: int, decoded: int) -> None:
        report(Progress(done, total, decoded / max(1e-6, time.monotonic() - started)))

    return checkpoint


def _is_generation(questions: QuestionSet) -> bool:
    return questions.entry.definition.kind is TaskKind.GENERATION


def _steps(questions: QuestionSet) -> int:
    """Passes that a question takes after its prompt; most generations end long before their limit."""
    return max(1, questions.entry.definition.max_new_tokens // 2) if _is_generation(questions) else CHOICE_STEPS


def _pairs(job: Job, asked: Sequence[Asked]) -> list[tuple[int, Asked]]:
    return list(zip(job.questions, asked, strict=True))


def _asked(job: Job, base: Base, questions: QuestionSet) -> list[Asked]:
    """The questions as the engine takes them. `PROMPT_TOO_LONG` where not one of them fits into the model's context."""
    pairs = list(zip(job.questions, _tails(job, base, questions), strict=True))
    form = partial(_generation if _is_generation(questions) else choices_of, base, questions)
    base.outline  # noqa: B018  (made once, before several threads ask for it)
    asked = in_threads(job.threads, lambda pair: form(*pair), pairs)
    if all(isinstance(question, Unasked) for question in asked):
        shortest = min(len(question.refused) for question in asked if isinstance(question, Unasked))
        room = base.header.of_architecture("context_length", 0)
        text = f"The shortest prompt has {shortest} tokens, with its answer too many for a context of {room}."
        raise EvaluationError(Failure.PROMPT_TOO_LONG, text)
    return asked


def _generation(base: Base, questions: QuestionSet, index: int, tail: Tail | None) -> Asked:
    definition, stops = questions.entry.definition, questions.entry.stops
    prompt = base.outline.tokens(questions.prompt(index))
    if not fits(base, len(prompt), definition.max_new_tokens):
        return Unasked(prompt, tail)
    return Generation(base.outline, prompt, stops, definition.max_new_tokens, tail)


def choices_of(base: Base, questions: QuestionSet, index: int, tail: Tail | None) -> Choices | Unasked:
    """A multiple-choice question, ready to be asked, if it fits into the model's context."""
    prompt, found = continuation_tokens(base.outline, questions.prompt(index), questions.continuations(index))
    if not fits(base, len(prompt), max(map(len, found))):
        return Unasked(prompt, tail)
    return Choices(prompt, found, tail)


def fits(base: Base, prompt: int, more: int) -> bool:
    """Whether the context holds a prompt of so many tokens with so many after it, or the longest tail.

    The longest, whatever the task: a question that fits into one task fits into all.
    """
    return 0 < prompt <= base.header.of_architecture("context_length", 0) - max(more, MOST_TAIL_CELLS)


def _tails(job: Job, base: Base, questions: QuestionSet) -> list[Tail | None]:
    request = job.fingerprint
    if request is None:
        return [None] * len(job.questions)
    if request.dataset != questions.entry.definition.dataset.content:
        raise EvaluationError(Failure.ENGINE_FAILED, "The fingerprint was asked for another data set's questions.")
    eligible = base.header.eligible
    if not eligible or eligible[-1] >= base.outline.vocabulary_size:
        raise EvaluationError(Failure.MODEL_REFUSED, "The file does not tell which of its tokens are ordinary ones.")
    seeds = (
        fingerprint.question_seed(request.network, request.beacon, request.model, request.dataset, index)
        for index in job.questions
    )
    values = fingerprint.values_per_question(len(job.questions))
    return [Tail(fingerprint.tail(seed, eligible, values)) for seed in seeds]


def _adapters(job: Job, base: Base) -> list[Scaled]:
    found = []
    for adapter in job.adapters:
        header = checked_header(Path(adapter.path), Failure.ADAPTER_REFUSED)
        alpha = header.metadata.get("adapter.lora.alpha", 1.0)
        name = Path(adapter.path).name
        if header.architecture != base.header.architecture:
            raise EvaluationError(Failure.ADAPTER_REFUSED, f"{name} is for {header.architecture} models.")
        if not isinstance(alpha, float) or not math.isfinite(alpha):
            raise EvaluationError(Failure.ADAPTER_REFUSED, f"{name} has no finite alpha.")
        if "adapter.alora.invocation_tokens" in header.metadata:
            text = f"{name} is active only after certain tokens (aLoRA), which is not evaluated."
            raise EvaluationError(Failure.ADAPTER_REFUSED, text)
        check_base(header, job.base_sha256)
        found.append(Scaled(base.model.adapter(Path(adapter.path), adapter.sha256), adapter.scale / 1000))
    return found


def _check_adapters(job: Job) -> None:
    """llama.cpp applies an adapter once, with the last scale that it is given."""
    counted = Counter(adapter.sha256 for adapter in job.adapters)
    for adapter in job.adapters:
        if counted[adapter.sha256] > 1:
            detail = f"{Path(adapter.path).name} is among the adapters {counted[adapter.sha256]} times: it counts once."
            raise AdapterRefused(Refusal.TWICE, detail)


def _adapter_bytes(job: Job) -> int:
    return sum(Path(adapter.path).stat().st_size for adapter in job.adapters if Path(adapter.path).exists())


def transcript_of(index: int, question: Asked, questions: QuestionSet) -> Transcript:
    """What was asked and answered, and what the benchmark's scorer makes of it."""
    entry, item = questions.entry, questions.item(index)
    if isinstance(question, Unasked):
        return Transcript(question=index, prompt=tuple(question.refused), outcome=0, stop=StopReason.TOO_LONG)
    if isinstance(question, Choices) and isinstance(item, Offered) and entry.score_sums:
        sums = question.sums.tolist()
        return Transcript(
            question=index,
            prompt=tuple(question.prompt),
            outcome=entry.score_sums(sums, item.labels),
            choice=largest(sums),
            sums=tuple(round(value * 1000) for value in sums),
        )
    if isinstance(question, Generation) and not isinstance(item, Offered) and entry.mark_text:
        mark = entry.mark_text(question.text, item)
        return Transcript(
            question=index,
            prompt=tuple(question.prompt),
            outcome=mark.outcome,
            generated=tuple(question.generated),
            text=question.text,
            stop=question.stop,
            extracted=mark.extracted,
        )
    raise EvaluationError(Failure.ENGINE_FAILED, "the benchmark's kind and its questions do not belong together")


def _lead(question: Asked) -> float:
    if isinstance(question, Unasked):
        return float("inf")
    return question.lead if isinstance(question, Generation) else lead(question.sums.tolist())


def _fingerprint(asked: Sequence[Asked]) -> bytes:
    values = [question.tail.values for question in asked if question.tail is not None]
    return fingerprint.encode([value for value in values if value is not None])

"""One job from its questions to its outcome, in the process that holds the model."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from eval.benchmarks import QuestionSet
from eval.binding import engine_label, hardware_class
from eval.choices import Choices, continuation_tokens
from eval.context import Context, Scaled
from eval.energy import EnergyMeter
from eval.engine import Checkpoint, Engine, Question
from eval.failing import EvaluationError
from eval.generation import Generation
from eval.header import Header, HeaderRefused, read_header
from eval.job import FAST, LARGEST_MARGIN, Job, Outcome, Progress
from eval.memory import check_loading, plan_context
from eval.model import LoadedModel
from eval.peft import check_base
from eval.questions import Offered
from eval.scorers import largest, lead
from eval.slots import best_slots
from eval.tails import TAIL_CELLS, Tail
from eval.transcripts import Transcript
from protocol import fingerprint
from protocol.definitions import TaskKind
from protocol.failures import Failure
from protocol.transcripts import transcript_digest

CHOICE_STEPS = 2  # the prompts, then the branches
NEAR_TIE_TOKEN = 0.05
NEAR_TIE_CHOICE = 0.1
SHORTEST_PREFIX = 16  # a shorter common beginning is not worth a sequence


class Base(Struct, frozen=True):
    """A base model in memory with its header."""

    header: Header
    model: LoadedModel


def open_base(job: Job) -> Base:
    """Checks the base file against its registration and the memory limit, then loads it."""
    header = checked_header(Path(job.base), Failure.MODEL_REFUSED)
    registered = job.registered
    if registered is not None:
        found = (header.architecture, header.parameters, header.quantisation)
        said = (registered.architecture, registered.parameters, registered.quantisation)
        if found != said:
            raise EvaluationError(Failure.DEFINITION_MISMATCH, f"The file has {found}, its registration {said}.")
    check_loading(header, job.memory_limit, _adapter_bytes(job))
    return Base(header, LoadedModel(Path(job.base)))


def checked_header(path: Path, refused: Failure) -> Header:
    """The header of a file of the model; typed failures for one that is missing or malformed."""
    try:
        header = read_header(path)
    except HeaderRefused as error:
        raise EvaluationError(refused, str(error)) from None
    except OSError as error:
        raise EvaluationError(Failure.FILE_MISSING, f"{path} cannot be read: {error.strerror}.") from None
    if header.is_adapter != (refused is Failure.ADAPTER_REFUSED):
        wanted = "an adapter" if refused is Failure.ADAPTER_REFUSED else "a model"
        raise EvaluationError(refused, f"{path.name} is not {wanted}.")
    return header


def evaluate(job: Job, base: Base, questions: QuestionSet, report: Callable[[Progress], None]) -> Outcome:
    """Answers the job's questions. Raises `EvaluationError`, and whatever `report` raises to stop early.

    `report` is called after every decode: it decides what to pass on.
    """
    started, meter = time.monotonic(), EnergyMeter()
    asked = _asked(job, base, questions)
    answer_all(job, base, asked, _steps(questions), report)
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
        energy_mj=meter.millijoules(),
        engine=engine_label(),
        hardware=hardware_class(),
        mode=FAST,
        stops=bytes(answer.stop for answer in answers),
        transcripts=tuple(transcripts) if job.keep_transcripts or questions.entry.runs_programs else (),
    )


def answer_all(job: Job, base: Base, asked: Sequence[Question], steps: int, report: Callable[[Progress], None]) -> None:
    """Runs questions, which take about `steps` passes after their prompts, within the job's limits.

    Raises `EvaluationError`, and whatever `report` raises to stop early.
    """
    started = time.monotonic()
    prefix = _common_prefix([question.prompt for question in asked])
    needs = [question.need(prefix) for question in asked]
    slots = best_slots(base.header, needs, steps)
    plan = plan_context(base.header, prefix, needs, slots, job.memory_limit, _adapter_bytes(job))
    with Context(base.model, plan, job.threads, _adapters(job, base)) as context:
        Engine(context).run(asked, prefix, _checkpoint(started, report))


def _checkpoint(started: float, report: Callable[[Progress], None]) -> Checkpoint:
    def checkpoint(done: int, total: int, decoded: int) -> None:
        report(Progress(done, total, decoded / max(1e-6, time.monotonic() - started)))

    return checkpoint


def _is_generation(questions: QuestionSet) -> bool:
    return questions.entry.definition.kind is TaskKind.GENERATION


def _steps(questions: QuestionSet) -> int:
    """Passes that a question takes after its prompt; most generations end long before their limit."""
    return max(1, questions.entry.definition.max_new_tokens // 2) if _is_generation(questions) else CHOICE_STEPS


def _pairs(job: Job, asked: Sequence[Generation | Choices]) -> list[tuple[int, Generation | Choices]]:
    return list(zip(job.questions, asked, strict=True))


def _asked(job: Job, base: Base, questions: QuestionSet) -> list[Generation | Choices]:
    tails = _tails(job, base, questions)
    if not _is_generation(questions):
        return [choices_of(base, questions, index, tail) for index, tail in zip(job.questions, tails, strict=True)]
    definition, stops = questions.entry.definition, questions.entry.stops
    asked = []
    for index, tail in zip(job.questions, tails, strict=True):
        prompt = base.model.tokens(questions.prompt(index))
        check_length(base, index, len(prompt), max(definition.max_new_tokens, TAIL_CELLS))
        asked.append(Generation(base.model, prompt, stops, definition.max_new_tokens, tail))
    return list(asked)


def choices_of(base: Base, questions: QuestionSet, index: int, tail: Tail | None) -> Choices:
    """A multiple-choice question, ready to be asked. Raises `EvaluationError` where it does not fit the context."""
    prompt, found = continuation_tokens(base.model, questions.prompt(index), questions.continuations(index))
    check_length(base, index, len(prompt), max(TAIL_CELLS, *map(len, found)))
    return Choices(prompt, found, tail)


def check_length(base: Base, index: int, prompt: int, more: int) -> None:
    """Raises `EvaluationError` where a prompt of so many tokens, and so many after it, do not fit the context."""
    room = base.header.of_architecture("context_length", 0)
    if prompt == 0 or prompt + more > room:
        raise EvaluationError(
            Failure.PROMPT_TOO_LONG,
            f"Question {index} has {prompt} tokens and may get {more} more; the model's context holds {room}.",
        )


def _tails(job: Job, base: Base, questions: QuestionSet) -> list[Tail | None]:
    request = job.fingerprint
    if request is None:
        return [None] * len(job.questions)
    if request.dataset != questions.entry.definition.dataset.content:
        raise EvaluationError(Failure.ENGINE_FAILED, "The fingerprint was asked for another data set's questions.")
    eligible = base.header.eligible
    if not eligible or eligible[-1] >= base.model.vocabulary_size:
        raise EvaluationError(Failure.MODEL_REFUSED, "The file does not tell which of its tokens are ordinary ones.")
    seeds = (
        fingerprint.question_seed(request.network, request.beacon, request.model, request.dataset, index)
        for index in job.questions
    )
    return [Tail(fingerprint.tail(seed, eligible)) for seed in seeds]


def _common_prefix(prompts: Sequence[list[int]]) -> int:
    """Tokens that all prompts share at their beginning, leaving at least one to each; 0 where it is not worth it."""
    if len(prompts) < 2:
        return 0
    first, last = min(prompts), max(prompts)  # what these two share, all that lie between them share
    most = min(map(len, prompts)) - 1
    shared = next((place for place in range(most) if first[place] != last[place]), most)
    return shared if shared >= SHORTEST_PREFIX else 0


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
        check_base(header, job.base_sha256)
        found.append(Scaled(base.model.adapter(Path(adapter.path), adapter.sha256), adapter.scale / 1000))
    return found


def _adapter_bytes(job: Job) -> int:
    return sum(Path(adapter.path).stat().st_size for adapter in job.adapters if Path(adapter.path).exists())


def transcript_of(index: int, question: Generation | Choices, questions: QuestionSet) -> Transcript:
    """What was asked and answered, and what the benchmark's scorer makes of it."""
    entry, item = questions.entry, questions.item(index)
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


def _lead(question: Generation | Choices) -> float:
    return question.lead if isinstance(question, Generation) else lead(question.sums.tolist())


def _fingerprint(asked: Sequence[Generation | Choices]) -> bytes:
    values = [question.tail.values for question in asked if question.tail is not None]
    return fingerprint.encode([value for value in values if value is not None])

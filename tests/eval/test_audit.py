"""Audits of demo models: honest transcripts stand, forged ones are flagged, and only what the model would not say."""

from collections.abc import Sequence

import pytest
import trio
from msgspec.structs import replace

from eval.audit import audit
from eval.base import Base
from eval.benchmarks import find
from eval.client import open_worker
from eval.demo import catalogue
from eval.evaluation import evaluate, open_base
from eval.job import LARGEST_MARGIN, AdapterFile, Audit, Audited, Claimed, Job, JobFailed, Outcome, Progress
from eval.plausible import plausible
from protocol.audits import FLAGGED_BELOW
from protocol.failures import Failure
from protocol.transcripts import Answer, Stop, prompt_digest

QUESTIONS = tuple(range(40))
WORDS, CHOICE = "tally-words", "tally-choice"


def job(name: str, benchmark: str, questions: Sequence[int] = QUESTIONS, adapter: str | None = None) -> Job:
    file = catalogue.MODELS / f"{adapter}.gguf"
    return Job(
        base=str(catalogue.MODELS / f"{name}.gguf"),
        base_sha256=bytes(32),
        benchmark=benchmark,
        questions=tuple(questions),
        adapters=(AdapterFile(str(file), bytes(32), 1000),) if adapter else (),
        keep_transcripts=True,
    )


def run(wanted: Job) -> Outcome:
    with open_base(wanted) as base:
        return evaluate(wanted, base, find(wanted.benchmark).load(None), lambda _: None)


def claims(outcome: Outcome) -> tuple[Claimed, ...]:
    return tuple(Claimed(item.answer, item.outcome) for item in outcome.transcripts)


def held(wanted: Job, said: Sequence[Claimed]) -> Audited:
    with open_base(wanted) as base:
        return audit(Audit(wanted, tuple(said)), base, find(wanted.benchmark).load(None), lambda _: None)


@pytest.fixture(scope="module")
def written() -> Outcome:
    return run(job("tally-base", WORDS))


@pytest.mark.parametrize("benchmark", [WORDS, CHOICE])
@pytest.mark.parametrize("name", ["tally-base", "tally-base-q8", "tally-base-q4"])
def test_honest_answers_stand_whatever_shared_their_batches(name: str, benchmark: str) -> None:
    wanted = job(name, benchmark, QUESTIONS[:12])
    together = claims(run(wanted))
    alone = [claim for index in wanted.questions for claim in claims(run(job(name, benchmark, [index])))]
    threads = claims(run(replace(wanted, threads=2)))
    found = held(wanted, [*together, *alone, *threads])
    assert not any(found.flagged)
    assert max(found.shortfalls) < FLAGGED_BELOW / 2


@pytest.mark.parametrize("benchmark", [WORDS, CHOICE])
@pytest.mark.parametrize(
    ("name", "adapter"),
    [("tally-tree", None), ("tally-seed", None), ("tally-base", "tally-times")],
)
def test_what_another_model_said_is_flagged_where_it_differs(name: str, adapter: str | None, benchmark: str) -> None:
    wanted, other = job("tally-base", benchmark), job(name, benchmark, adapter=adapter)
    own, foreign = claims(run(wanted)), claims(run(other))
    found = held(wanted, foreign)
    same = [mine.answer == theirs.answer for mine, theirs in zip(own, foreign, strict=True)]
    assert not any(flag for flag, equal in zip(found.flagged, same, strict=True) if equal)
    assert sum(found.flagged) > max(1, len(QUESTIONS) / 10), "enough to be put on record"
    back = held(other, own)
    assert sum(back.flagged) > max(1, len(QUESTIONS) / 10), "and the other way round"


def test_each_answer_is_forced_in_the_same_pass_and_once(written: Outcome) -> None:
    wanted, seen = job("tally-base", WORDS), list[Progress]()
    with open_base(wanted) as base:
        said = claims(written)
        audit(Audit(wanted, said * 5), base, find(WORDS).load(None), seen.append)
    assert seen[-1].done == seen[-1].total == len(set(QUESTIONS)), "five runners with one answer are one question"
    assert len(seen) < len(QUESTIONS) / 2, "prefills of several questions each, no generation"


def test_gold_answers_that_were_copied_are_flagged() -> None:
    wanted = job("tally-sprout", WORDS)
    entry = find(WORDS)
    questions = entry.load(None)
    with open_base(wanted) as base:
        made_up = []
        for index in wanted.questions:
            prompt = base.model.tokens(questions.prompt(index))
            solution = base.model.tokens(f" {questions.item(index).answer}\n")  # type: ignore[union-attr]
            generated = tuple(token for token in solution if token > 2)
            for stop in (Stop.STOP_STRING, Stop.END_TOKEN):
                answer = Answer(index, prompt_digest(prompt), stop, generated)
                made_up.append(Claimed(answer, 1000))
        found = audit(Audit(wanted, tuple(made_up)), base, questions, lambda _: None)
    assert sum(found.flagged) > 0.9 * len(made_up)


def changed(claim: Claimed, base: Base) -> dict[str, Claimed]:
    """What somebody may do to one honest claim."""
    answer = claim.answer
    tokens = answer.generated
    return {
        "another outcome": replace(claim, outcome=1000 - (claim.outcome or 0)),
        "another question": replace(claim, answer=replace(answer, question=answer.question + 1)),
        "a question that was not asked": replace(claim, answer=replace(answer, question=600)),
        "another prompt": replace(claim, answer=replace(answer, prompt=bytes(32))),
        "another stop": replace(claim, answer=replace(answer, stop=Stop.LENGTH)),
        "a choice": replace(claim, answer=replace(answer, choice=0)),
        "nothing": replace(claim, answer=replace(answer, generated=())),
        "half of it": replace(claim, answer=replace(answer, generated=tokens[: len(tokens) // 2])),
        "more after its end": replace(claim, answer=replace(answer, generated=tokens + tokens)),
        "no such token": replace(claim, answer=replace(answer, generated=(base.model.vocabulary_size, *tokens))),
        "one token more": replace(claim, answer=replace(answer, generated=(tokens[0], *tokens))),
    }


def test_every_change_to_an_answer_is_flagged(written: Outcome) -> None:
    wanted = job("tally-base", WORDS)
    with open_base(wanted) as base:
        for claim in claims(written)[:6]:
            ways = changed(claim, base)
            found = audit(Audit(wanted, (claim, *ways.values())), base, find(WORDS).load(None), lambda _: None)
            missed = [way for way, flagged in zip(ways, found.flagged[1:], strict=True) if not flagged]
            assert (found.flagged[0], missed) == (False, [])


def test_an_honest_answer_to_a_question_that_was_not_asked_is_flagged(written: Outcome) -> None:
    found = held(job("tally-base", WORDS, QUESTIONS[:4]), claims(written)[:8])
    assert found.flagged == (*[False] * 4, *[True] * 4)


def test_a_choice_is_flagged_where_another_is_clearly_better() -> None:
    wanted = job("tally-base", CHOICE)
    entry, outcome = find(CHOICE).load(None), run(job("tally-base", CHOICE))
    said, others, untrue = list(claims(outcome)), [], []
    for claim, item in zip(said, outcome.transcripts, strict=True):
        best = claim.answer.choice or 0
        for choice, total in enumerate(item.sums):
            right = 1000 * entry.item(claim.answer.question).labels[choice]  # type: ignore[union-attr]
            if choice != best:
                others.append((Claimed(replace(claim.answer, choice=choice), right), max(item.sums) - total))
        untrue.append(replace(claim, outcome=1000 - (claim.outcome or 0)))
        changes = (
            {"choice": len(item.sums)},
            {"choice": None},
            {"prompt": bytes(32)},
            {"stop": Stop.LENGTH},
            {"generated": (5,)},
        )
        untrue += [replace(claim, answer=replace(claim.answer, **change)) for change in changes]
    found = held(wanted, [claim for claim, _ in others])
    for (_, below), flagged in zip(others, found.flagged, strict=True):
        assert flagged == (below > FLAGGED_BELOW) or abs(below - FLAGGED_BELOW) < 5
    assert all(held(wanted, untrue).flagged)
    assert set(held(wanted, untrue).shortfalls) == {LARGEST_MARGIN}


async def test_an_audit_is_a_job_of_the_child_that_can_be_refused_and_cancelled(written: Outcome) -> None:
    wanted = Audit(job("tally-base", WORDS), claims(written))
    async with open_worker() as worker:
        found = await worker.audit(wanted)
        assert isinstance(found, Audited)
        assert not any(found.flagged)
        small = Audit(replace(wanted.job, memory_limit=80 << 20), wanted.claims)
        refused = await worker.audit(small)
        assert isinstance(refused, JobFailed)
        assert refused.failure is Failure.OUT_OF_MEMORY
        with trio.CancelScope() as scope:
            await worker.audit(wanted, lambda _: scope.cancel())
        assert scope.cancelled_caught
        assert await worker.audit(wanted) == found, "another child goes on"
        assert isinstance(await worker.evaluate(wanted.job), Outcome)


def test_an_answer_to_another_job_is_a_failure(written: Outcome) -> None:
    wanted = Audit(job("tally-base", WORDS), claims(written))
    good = Audited((False,) * len(QUESTIONS), (0,) * len(QUESTIONS))
    assert plausible(wanted, good) is good
    for event in (Audited((), ()), replace(good, shortfalls=()), written):
        assert isinstance(plausible(wanted, event), JobFailed)
    assert isinstance(plausible(wanted.job, good), JobFailed)

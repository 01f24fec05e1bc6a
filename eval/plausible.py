"""Whether what a child says can be so: a hostile model may own the child, and its words are published.

An answer that cannot be one to its job is a failure of the device, whoever made it up.
"""

import msgspec

from eval.benchmarks import find
from eval.job import LARGEST_MARGIN, Audit, Audited, Event, Job, JobFailed, Outcome
from protocol import cbor
from protocol.failures import Failure
from protocol.fingerprint import encoded_size
from protocol.messages import Run
from protocol.rejections import Rejected
from protocol.transcripts import Answer, Stop, transcript_digest

LARGEST_OUTCOME = 1000
LARGEST_NUMBER = 2**53 - 1
LONGEST_NAME = 200
LONGEST_TEXT = 1 << 20


def plausible(job: Job | Audit, event: Event) -> Event:
    """The event, or a failure in place of an answer that cannot be one to this job."""
    fits = True
    if isinstance(event, Outcome):
        fits = isinstance(job, Job) and _is_outcome(job, event)
    elif isinstance(event, Audited):
        fits = isinstance(job, Audit) and len(event.flagged) == len(event.shortfalls) == len(job.claims)
    return event if fits else JobFailed(Failure.ENGINE_FAILED, "The evaluator's process gave an impossible outcome.")


def _is_outcome(job: Job, event: Outcome) -> bool:
    count = len(job.questions)
    sizes = {len(event.outcomes), len(event.margins), len(event.near_ties)}
    asked = encoded_size(count) if job.fingerprint is not None else 0
    keeps = job.keep_transcripts or find(job.benchmark).runs_programs
    numbers = (event.tokens_in, event.tokens_out, event.run_ms, event.cpu_ms)
    return (
        event.mode == job.mode
        and event.energy is None
        and set(event.too_long) <= set(job.questions)
        and len(event.device) <= LONGEST_NAME
        and _publishable(event)
        and sizes == {count}
        and len(event.stops) == count
        and max(event.stops) <= max(Stop)
        and [item.question for item in event.transcripts] == list(job.questions if keeps else ())
        and _are_bound(job, event)
        and len(event.fingerprint) == asked
        and all(0 <= value <= LARGEST_OUTCOME for value in event.outcomes)
        and all(0 <= value <= LARGEST_MARGIN for value in event.margins)
        and all(0 <= value <= LARGEST_NUMBER for value in numbers)
    )


def _are_bound(job: Job, event: Outcome) -> bool:
    """Whether transcripts, where there are any, are those that the digest binds, and can be revealed as they are."""
    if not event.transcripts:
        return True
    definition = find(job.benchmark).definition
    if any(
        len(item.generated) > definition.max_new_tokens or len(item.text) > LONGEST_TEXT for item in event.transcripts
    ):
        return False
    try:
        answers = [cbor.decode(cbor.encode(item.answer), Answer) for item in event.transcripts]
    except Rejected:  # numbers that no token has
        return False
    adapters = [(adapter.sha256, adapter.scale) for adapter in job.adapters]
    bound = transcript_digest(job.base_sha256, adapters, definition.dataset.content, answers)
    return bound == event.transcript_digest


def run_of(outcome: Outcome) -> Run:
    """How an outcome came about, as its result will say. Raises `msgspec.ValidationError` where it cannot be said."""
    energy = (("energy", outcome.energy.source),) if outcome.energy else ()
    configuration = [{"name": name, "value": value} for name, value in (*outcome.configuration, *energy)]
    said = {"engine": outcome.engine, "hardware": outcome.hardware, "mode": outcome.mode, "seed": 0}
    return msgspec.convert(said | {"configuration": configuration}, Run)


def _publishable(outcome: Outcome) -> bool:
    try:
        run_of(outcome)
    except msgspec.ValidationError:
        return False
    return True

"""Evaluating on one machine, for a person: nothing is published.

A blocking function over the same jobs and child process that a network's evaluations use.
"""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import trio
from msgspec import Struct

from eval import judging, sandbox
from eval.base import checked_header
from eval.benchmarks import Entry, find
from eval.chosen import LARGEST_SCALE, Chosen, choose, label
from eval.client import Worker, open_worker
from eval.comparison import as_data, paired
from eval.cores import CoreSlots, usable_cores
from eval.division import threads_for
from eval.energy import WORLD, Meter, Power, figures
from eval.failing import EvaluationError, RequestWrong
from eval.header import Header
from eval.hub import Report
from eval.job import AdapterFile, Job, JobFailed, Outcome, Progress
from eval.modes import AUTO, FAST, Mode, Wanted
from eval.origins import Origin, origin_of
from eval.outputs import other_figures
from eval.peft import convert, is_peft
from eval.sandbox import Sandbox
from eval.scorers import RIGHT
from eval.scoring import interval, percent, questions_folder
from eval.transcripts import write_transcripts
from protocol.definitions import Benchmark
from protocol.failures import Failure
from protocol.tasks import question_order
from protocol.transcripts import Stop

DEFAULT_MEMORY_SHARE = 0.75


class _Added(Struct, frozen=True):
    """An adapter as a job names it, how a person called it, and what is known of its base."""

    file: AdapterFile
    name: str
    origin: Origin

    def as_data(self) -> dict[str, Any]:
        base = {"checked": self.origin.checked, "named": self.origin.named}
        return {"name": self.name, "sha256": self.file.sha256.hex(), "scale": self.file.scale, "base": base}


def evaluate(
    model: str,
    benchmark: str,
    samples: int,
    *,
    loras: Sequence[str] = (),
    data: Path | None = None,
    seed: int = 0,
    threads: int | None = None,
    memory_limit: int | None = None,
    time_limit: float = 24 * 3600.0,
    transcripts: Path | None = None,
    least_sandbox: str = sandbox.LIMITS,
    code_sandbox: str = judging.CODE_LEAST,
    mode: Mode = FAST,
    backend: Wanted = AUTO,
    power: Power = WORLD,
    report: Callable[[Progress], None] = lambda _: None,
    fetching: Report = lambda _: None,
    waiting: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Evaluates a packaged model (by name) or a GGUF file (by path) on `samples` questions; a plain dictionary.

    `loras` are paths or packaged names, each with an optional scale behind `=` (`adapter.gguf=0.5`); a folder or a file
    of safetensors is a PEFT adapter, which is converted for this base. The questions are the first of the order that
    `seed` gives; 0 is the order everybody gets who names none. `memory_limit` is in bytes, by default three quarters of
    what is free. `least_sandbox` is the weakest sandbox to evaluate in, `code_sandbox` the weakest in which programs
    that the model wrote may run. `power` says what energy costs here. `waiting` is called where all cores are taken by
    other evaluations of this user. Raises `EvaluationError`.
    """
    chosen = choose(model, loras)
    entry = find(benchmark)
    if samples < 1:
        raise RequestWrong("At least one question has to be asked.", "--samples 1, or more")
    folder = questions_folder(entry, data, fetching)
    header = checked_header(chosen.base, Failure.MODEL_REFUSED)
    definition = entry.definition
    beacon = seed.to_bytes(32, "big")
    asked = question_order(beacon, definition.dataset.content, definition.dataset.questions, samples)
    base_sha256 = _sha256(chosen.base)
    with tempfile.TemporaryDirectory(prefix="peerboard-") as scratch:
        adapters = _adapters(chosen, header, base_sha256, Path(scratch))
        job = Job(
            base=str(chosen.base.resolve()),
            base_sha256=base_sha256,
            benchmark=definition.name,
            questions=asked,
            adapters=tuple(each.file for each in adapters),
            threads=threads or threads_for(header.parameters, usable_cores()),
            memory_limit=memory_limit or _memory_limit(),
            time_limit=time_limit,
            data_folder=str(folder.resolve()) if folder else None,
            keep_transcripts=True,
            mode=mode,
            backend=backend,
        )
        found = sandbox.detect()
        worker = partial(
            open_worker,
            CoreSlots(waiting=waiting),
            confined=found,
            least=least_sandbox,
            meter=Meter(watts_per_core=power.watts),
        )
        outcome = trio.run(_run, worker, job, report, found, code_sandbox)
    if isinstance(outcome, JobFailed):
        raise EvaluationError(outcome.failure, outcome.detail)
    if transcripts is not None:
        write_transcripts(transcripts, outcome.transcripts)
    result = _result(chosen.name, job, outcome, definition, power.carbon) | _other_figures(entry, folder, outcome)
    return result | {"adapters": [each.as_data() for each in adapters], "sandbox": found.level}


def compare(
    model: str,
    benchmark: str,
    samples: int,
    *,
    loras: Sequence[str] = (),
    data: Path | None = None,
    seed: int = 0,
    memory_limit: int | None = None,
    least_sandbox: str = sandbox.LIMITS,
    code_sandbox: str = judging.CODE_LEAST,
    mode: Mode = FAST,
    backend: Wanted = AUTO,
    power: Power = WORLD,
    report: Callable[[Progress], None] = lambda _: None,
    fetching: Report = lambda _: None,
    waiting: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Evaluates the model with its adapters, and the base without them on the same questions.

    The result is that of `evaluate`, with `comparison`: the base's own score and interval, and what the adapters gained
    and lost (`eval.comparison`). Raises `EvaluationError`.
    """
    chosen = choose(model, loras)
    if not chosen.adapters:
        raise RequestWrong("There is nothing to compare without an adapter.", "Name one with --lora.")
    shown = partial(evaluate, report=report, fetching=fetching, waiting=waiting)
    bounded = partial(shown, memory_limit=memory_limit, least_sandbox=least_sandbox, code_sandbox=code_sandbox)
    ask = partial(bounded, data=data, seed=seed, mode=mode, backend=backend, power=power)
    adapted, base = ask(model, benchmark, samples, loras=loras), ask(str(chosen.base), benchmark, samples)
    before, after = ([item["outcome"] for item in result["outcomes"]] for result in (base, adapted))
    kept = {key: base[key] for key in ("model", "score", "low", "high", "correct", "outcomes")}
    return adapted | {"comparison": {"base": kept} | as_data(paired(before, after))}


def _adapters(chosen: Chosen, base: Header, base_sha256: bytes, scratch: Path) -> tuple[_Added, ...]:
    """The chosen adapters, those of PEFT converted into `scratch`."""
    found: dict[bytes, _Added] = {}
    for number, (path, scale) in enumerate(chosen.adapters):
        file = path.resolve()
        if is_peft(path):
            file = scratch.resolve() / f"{number}.gguf"
            try:
                convert(path, base, base_sha256, file)
            except OSError as error:
                detail = f"{path} could not be converted into {scratch}: {error.strerror}."
                raise EvaluationError(Failure.ENGINE_FAILED, detail) from None
        sha256, name = _sha256(file), label(path)
        if sha256 in found:
            first = found[sha256]
            both = f"{name} is named twice" if first.name == name else f"{first.name} and {name} are the same"
            strength = min(LARGEST_SCALE, first.file.scale + scale) / 1000
            remedy = f"Name it once, with its scale behind it, such as {name}={strength:g}"
            raise RequestWrong(f"{both}, and an adapter counts once.", remedy)
        found[sha256] = _Added(AdapterFile(str(file), sha256, scale), name, origin_of(path, sha256, base_sha256))
    return tuple(found.values())


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _memory_limit() -> int:
    return int(psutil.virtual_memory().available * DEFAULT_MEMORY_SHARE)


async def _run(
    opened: Callable[[], AbstractAsyncContextManager[Worker]],
    job: Job,
    report: Callable[[Progress], None],
    confined: Sandbox,
    code_least: str,
) -> Outcome | JobFailed:
    async with opened() as worker:
        return await judging.evaluate(worker, job, report, confined=confined, least=code_least)


def _other_figures(entry: Entry, folder: Path | None, outcome: Outcome) -> dict[str, Any]:
    if not entry.extractions and entry.measures is None:
        return {}
    questions = entry.load(folder)
    return other_figures(questions, [(questions.item(each.question), each.text) for each in outcome.transcripts])


def _result(name: str, job: Job, outcome: Outcome, definition: Benchmark, carbon: float) -> dict[str, Any]:
    low, high = interval(outcome.outcomes)
    seconds = max(1, outcome.run_ms) / 1000
    correct = sum(value == RIGHT for value in outcome.outcomes)
    return {
        "model": name,
        "sha256": job.base_sha256.hex(),
        "benchmark": definition.name,
        "version": definition.version,
        "benchmark_id": definition.id.hex(),
        "score": percent(outcome.outcomes),
        "low": low,
        "high": high,
        "correct": correct,
        "questions": len(outcome.outcomes),
        "near_ties": sum(outcome.near_ties),
        "outcomes": [
            {"index": index, "outcome": value, "margin": margin, "near_tie": tie, "stop": Stop(stop).name.lower()}
            for index, value, margin, tie, stop in zip(
                job.questions, outcome.outcomes, outcome.margins, outcome.near_ties, outcome.stops, strict=True
            )
        ],
        "tokens_in": outcome.tokens_in,
        "tokens_out": outcome.tokens_out,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(outcome.decoded / seconds, 1),
        "energy": figures(outcome.energy, len(outcome.outcomes), correct, carbon) if outcome.energy else None,
        "transcript_digest": outcome.transcript_digest.hex(),
        "engine": outcome.engine,
        "hardware": outcome.hardware,
        "device": outcome.device,
        "mode": outcome.mode,
        "configuration": dict(outcome.configuration),
        "too_long": list(outcome.too_long),
    }

"""How far apart fingerprints of honest machines lie, and how near those of cheats come.

    python -m benchmarks.fingerprint_tolerances [--model demo|large|trained] [--hours N] [--questions N]
                                                [--library FOLDER ...] [--only WORDS] [--task QxV ...] [--drawn N]
                                                [--keep FOLDER] [--json]

The demo's models, a random one of 174 M weights (`benchmarks/large_model.py`) or a trained one of 135 M
(`benchmarks/trained_model.py`, asked real questions of the folder that `PEERBOARD_DATA` names), each with several types
of weights, answer the same tails in every setup that honest machines may have: threads, questions at once, tokens at
once, plain and flash attention, divided and F32 caches, numpy's products of matrices, for F16 files the same weights as
F32 (so that what they are multiplied with is not rounded either, as on most graphics cards), and the builds of
llama.cpp in the folders given (each with the shared libraries for other instruction sets; the first is to be the
fastest, which most of the trained model's setups and all of its cheats use). A task is five questions, the fewest that
are asked, with 16 values each, or as `--task` says (20x6: twenty questions, of which the first six values count).
Distances are per mille of the spread, as the rule takes them (`protocol.fingerprint.agree`).

`honest`: every two setups on every task. Attacks: the same file with a quantised cache, other quantisations, other
checkpoints (of the trained model: its weights with noise), the base or half the strength of an adapter, values of
another hour, of another question's prompt (for all questions of a task, and for one), of a prompt without its examples,
and what a regression on all other hours predicts (a mean of the question's, of the token's and of the token before).
Each is held against every honest setup. Where nothing was seen in n trials the 95 % bound is 3 / n.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.fingerprint_subjects import (
    Adapter,
    Subject,
    demo_subjects,
    large_subjects,
    prompts_of,
    trained_subjects,
    without_examples,
)
from benchmarks.large_model import with_weights
from benchmarks.tails_by_setup import Prompts, Setup, Work
from eval.header import read_header
from protocol import fingerprint
from protocol.fingerprint import MOST_VALUES, Step, Vector
from protocol.parameters import DEMO, MAIN, Parameters

Shape = tuple[int, int]
TASK: Shape = (5, MOST_VALUES)
"""Questions, and values of each that are compared."""
REFERENCE = Setup("together")
HONEST = (
    REFERENCE,
    Setup("one thread, alone", threads=1, together=1),
    Setup("three threads, eight at once", threads=3, together=8),
    Setup("plain attention", flash=False),
    Setup("plain, divided cache", flash=False, unified=False),
    Setup("16 tokens at once", micro=16, flash=False),
    Setup("token by token", micro=1, flash=False),
    Setup("F32 cache", cache="f32", flash=False),
    Setup("products in F32", products=True),
    Setup("products in F32, plain, eight at once", together=8, flash=False, products=True),
)
EXACT = Setup("F32 weights"), Setup("F32 weights and cache", cache="f32", flash=False)
FEW = tuple(HONEST[place] for place in (0, 1, 3, 5))
TRAINED = tuple(replace(HONEST[place], threads=1, shared=True) for place in (0, 5, 3, 8, 9))
TRAINED_ON_FIRST = (
    *(replace(HONEST[place], threads=1, shared=True) for place in (0, 1, 4, 7, 6)),
    replace(HONEST[2], shared=True),
    Setup("nothing shared", threads=1),
)
CHEAP = (Setup("cache in Q8_0", cache="q8_0"), Setup("cache in Q4_0", cache="q4_0"))
Hours = list[Vector]
Tails = list[list[list[Step]]]
"""By hour and question."""


class Line(Struct):
    """Distances per mille of the spread: of the mean over a task's questions, and of the worst of them."""

    subject: str
    what: str
    tolerance: int
    means: list[float]
    worst: list[float]
    accepted: int

    @property
    def trials(self) -> int:
        """How many pairs were compared."""
        return len(self.means)


def measured(
    subject: Subject,
    hours: int,
    questions: int,
    setups: Sequence[Setup],
    cheats: Setup,
    shapes: Sequence[Shape],
    parameters: Parameters,
    keep: Path | None = None,
    drawn: int = 0,
) -> Iterator[Line]:
    """Honest pairs first, then every attack, computed as `cheats` says; each for every shape of a task."""
    header = read_header(subject.file)
    tolerance = parameters.tolerance(header.quantisation)
    prompts = prompts_of(subject, questions)
    tails = _tails(subject.family or subject.name, header.eligible, hours, questions)

    def run(file: Path, setup: Setup, prompts: Prompts = prompts, adapter: Adapter | None = subject.adapter) -> Hours:
        return _run(Work(str(file), setup, prompts, tails, adapter), keep)

    honest = [run(subject.file, setup) for setup in setups]
    if header.quantisation == "F16":
        with tempfile.TemporaryDirectory() as folder:
            exact = with_weights(subject.file, "F32", Path(folder) / f"{subject.file.stem}.F32.gguf")
            honest += [run(exact, replace(cheats, cache=setup.cache, flash=setup.flash)) for setup in EXACT]

    def lines(what: str, both: Sequence[tuple[Hours, Hours]], changed: Hours | None = None) -> Iterator[Line]:
        for shape in shapes:
            cut = partial(_tasks, shape=shape, drawn=drawn)
            tasks = [(_one_changed(cut(one), cut(changed)) if changed else cut(one), cut(other)) for one, other in both]
            pairs = [pair for one, other in tasks for pair in zip(one, other, strict=True)]
            label = what if shape == TASK else f"{what}, {shape[0]} x {shape[1]}"
            yield _line(subject.name, label, tolerance, pairs)

    def against(what: str, posed: Hours) -> Iterator[Line]:
        yield from lines(what, [(posed, own) for own in honest])

    yield from lines("honest", list(itertools.combinations(honest, 2)))
    for cheap in CHEAP:
        yield from against(cheap.name, run(subject.file, replace(cheats, cache=cheap.cache)))
    for what, file, adapter in subject.instead:
        yield from against(what, run(file, cheats, adapter=adapter))
    yield from against("another hour's values", honest[0][1:] + honest[0][:1])
    turned = run(subject.file, cheats, prompts[1:] + prompts[:1])
    yield from against("another question's prompt", turned)
    yield from lines("one question's prompt another", [(honest[0], own) for own in honest], turned)
    if cheats.shared:
        yield from against("without the examples", run(subject.file, cheats, without_examples(prompts)))
    yield from against("a regression on the other hours", _predicted(honest[0], tails))


def _tails(name: str, eligible: Sequence[int], hours: int, questions: int) -> Tails:
    def seed(hour: int, question: int) -> bytes:
        return hashlib.sha256(f"{name} {hour} {question}".encode()).digest()

    return [
        [list(fingerprint.tail(seed(hour, question), eligible, MOST_VALUES)) for question in range(questions)]
        for hour in range(hours)
    ]


def _run(work: Work, keep: Path | None) -> Hours:
    """The values of all hours, from a child process, or as they were kept by an earlier one with the same work."""
    data = msgspec.json.encode(work)
    named = msgspec.json.encode(replace(work, model=Path(work.model).name))
    kept = keep and keep / f"{hashlib.sha256(named).hexdigest()}.json"
    if kept and kept.is_file():
        return msgspec.json.decode(kept.read_bytes(), type=list[Vector])
    setup = work.setup
    environment = dict(os.environ) | ({"LLAMA_CPP_LIB_PATH": setup.library} if setup.library else {})
    found = subprocess.run(
        [sys.executable, "-c", "from benchmarks.tails_by_setup import answer; answer()"],
        input=data,
        stdout=subprocess.PIPE,
        check=True,
        env=environment,
    )
    if kept:
        kept.write_bytes(found.stdout)
    return msgspec.json.decode(found.stdout, type=list[Vector])


def _tasks(hours: Hours, shape: Shape, drawn: int) -> list[Vector]:
    """Of each hour's questions; too few for a task, of all hours' in a row; or `drawn` from them all."""
    questions, values = shape
    every = tuple(tuple(question[:values] for question in hour) for hour in hours)
    if drawn:
        pool = list(itertools.chain.from_iterable(every))
        draws = np.random.default_rng(questions)
        return [tuple(pool[at] for at in draws.choice(len(pool), questions, replace=False)) for _ in range(drawn)]
    rows = every if questions <= len(hours[0]) else (tuple(itertools.chain.from_iterable(every)),)
    return [row[start : start + questions] for row in rows for start in range(0, len(row) - questions + 1, questions)]


def _one_changed(own: list[Vector], other: list[Vector]) -> list[Vector]:
    """Tasks of which one question is the other's: the first of the first task, the second of the second, and so on."""
    changed = []
    for number, (ours, theirs) in enumerate(zip(own, other, strict=True)):
        place = number % len(ours)
        changed.append((*ours[:place], theirs[place], *ours[place + 1 :]))
    return changed


def _shape(words: str) -> Shape:
    questions, values = map(int, words.split("x"))
    return questions, values


def _line(subject: str, what: str, tolerance: int, pairs: Sequence[tuple[Vector, Vector]]) -> Line:
    line = Line(subject, what, tolerance, [], [], 0)
    for first, second in pairs:
        spread = min(fingerprint.spread(first), fingerprint.spread(second))
        apart = fingerprint.distances(first, second)
        line.means.append(1000 * sum(apart) / spread)
        line.worst.append(1000 * len(apart) * max(apart) / spread)
        line.accepted += fingerprint.agree(first, second, tolerance)
    return line


def _predicted(hours: Hours, tails: Tails) -> Hours:
    """Each hour from all others: the overall mean, and what question, target and the token before it add to it."""
    values = np.array(hours, float)
    chosen = np.array(tails)
    kinds: list[np.ndarray] = [
        np.broadcast_to(np.arange(values.shape[1])[None, :, None], values.shape),
        chosen[..., 1:].reshape(values.shape),
        chosen[..., :1].repeat(chosen.shape[-1] - 1, axis=-1).reshape(values.shape),
    ]
    found = np.empty_like(values)
    for hour in range(len(values)):
        known = np.arange(len(values)) != hour
        mean = values[known].mean()
        left, guess = values[known] - mean, np.full(values.shape[1:], mean)
        for kind in kinds:
            size = int(kind.max()) + 1
            sums = np.bincount(kind[known].ravel(), left.ravel(), size)
            counts = np.bincount(kind[known].ravel(), minlength=size)
            effect = sums / (counts + 1)  # towards nothing where little was seen
            left, guess = left - effect[kind[known]], guess + effect[kind[hour]]
        found[hour] = guess
    return [tuple(tuple(map(int, question)) for question in hour) for hour in found.round().tolist()]


def show(line: Line) -> None:
    means, worst = np.array(line.means), np.array(line.worst)
    if line.what.startswith("honest"):
        figures = f"p50 {np.median(means):.2f}  p99.9 {np.quantile(means, 0.999):.2f}  max {means.max():.2f}"
        figures += f"  worst question {worst.max():.2f}  rejected {line.trials - line.accepted} of {line.trials}"
    else:
        figures = f"least {means.min():.1f}  p50 {np.median(means):.1f}  accepted {line.accepted} of {line.trials}"
    print(f"{line.subject:32} tolerance {line.tolerance:3}  {line.what:32} {figures}", flush=True)


class Asked(Struct, frozen=True):
    """What `--model` stands for; setups of the build that is installed, of the first other one, and of all further."""

    subjects: Callable[[], list[Subject]]
    installed: Sequence[Setup]
    first: Sequence[Setup] = HONEST[:2]
    further: Sequence[Setup] = HONEST[:2]
    parameters: Parameters = MAIN


MODELS = {
    "demo": Asked(demo_subjects, HONEST, parameters=DEMO),
    "large": Asked(large_subjects, FEW),
    "trained": Asked(trained_subjects, TRAINED, TRAINED_ON_FIRST, TRAINED_ON_FIRST[:1]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="demo")
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--library", action="append", default=[], help="folder with another build's shared libraries")
    parser.add_argument("--only", default="", help="the models whose name has these words")
    parser.add_argument(
        "--task", action="append", type=_shape, help="questions x values, such as 20x6; several may be given"
    )
    parser.add_argument(
        "--drawn", type=int, default=0, help="tasks a pair of setups, drawn from all questions and hours"
    )
    parser.add_argument("--keep", type=Path, help="folder for every setup's values, which are used again from there")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    asked = MODELS[given.model]
    setups = list(asked.installed)
    for place, library in enumerate(given.library):
        for setup in asked.further if place else asked.first:
            setups.append(replace(setup, name=f"{setup.name}, {Path(library).name}", library=library))
    cheats = setups[0]
    if given.model == "trained" and given.library:
        cheats = setups[len(asked.installed)]  # in the fastest way that there is
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    for subject in asked.subjects():
        if given.only in subject.name:
            shapes = given.task or [TASK]
            size = given.hours, given.questions
            for line in measured(subject, *size, setups, cheats, shapes, asked.parameters, given.keep, given.drawn):
                print(json.dumps(msgspec.to_builtins(line)), flush=True) if given.json else show(line)


if __name__ == "__main__":
    main()

"""How far apart fingerprints of honest machines lie, and how near those of cheats come.

    python -m benchmarks.fingerprint_tolerances [--large] [--hours N] [--questions N] [--library FOLDER ...]
                                                [--only WORDS] [--task QxV ...] [--json]

The demo's models, or a random one of 174 M weights (`benchmarks/large_model.py`) in Q8_0, Q4_0 and F16, answer the same
tails in every setup that honest machines may have: threads, questions at once, tokens at once, plain and flash
attention, divided and F32 caches, for F16 files the same weights as F32 (so that what they are multiplied with is not
rounded either, as on most graphics cards), and the builds of llama.cpp in the folders given (each with the shared
libraries for other instruction sets). A task is five questions, the fewest that are asked, with 16 values each, or as
`--task` says (20x6: twenty questions, of which the first six values count). Distances are per mille of the spread, as
the rule takes them (`protocol.fingerprint.agree`).

`honest`: every two setups on every task. Attacks: the same file with a quantised cache, other quantisations, other
checkpoints, the base or half the strength of an adapter, values of another hour, of another question's prompt, and what
a regression on all other hours predicts (a mean of the question's, of the token's and of the token before). Each is
held against every honest setup. Where nothing was seen in n trials the 95 % bound is 3 / n.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.large_model import large_model, quantised, with_weights
from benchmarks.shapes import offers
from benchmarks.tails_by_setup import Setup, Work
from eval.benchmarks import find
from eval.demo import catalogue
from eval.header import read_header
from eval.model import LoadedModel
from protocol import fingerprint
from protocol.fingerprint import Vector
from protocol.parameters import MAIN

Shape = tuple[int, int]
TASK: Shape = (5, fingerprint.VALUES_PER_QUESTION)
"""Questions, and values of each that are compared."""
REFERENCE = Setup("together")
HONEST = (
    REFERENCE,
    Setup("one thread, alone", threads=1, together=1),
    Setup("three threads, eight at once", threads=3, together=8),
    Setup("plain attention", flash=False),
    Setup("plain, divided cache", flash=False, unified=False),
    Setup("16 tokens at once", micro=16),
    Setup("token by token", micro=1),
    Setup("F32 cache", cache="f32", flash=False),
)
EXACT = Setup("F32 weights"), Setup("F32 weights and cache", cache="f32", flash=False)
FEW = tuple(HONEST[place] for place in (0, 1, 3, 5))
CHEAP = (Setup("cache in Q8_0", cache="q8_0"), Setup("cache in Q4_0", cache="q4_0"))
Hours = list[Vector]


class Subject(Struct, frozen=True):
    """A model whose runners are compared, and what cheats would run in its place."""

    name: str
    file: Path
    adapter: tuple[str, float] | None = None
    instead: tuple[tuple[str, Path, tuple[str, float] | None], ...] = ()


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


def demo_subjects() -> list[Subject]:
    def file(name: str) -> Path:
        return catalogue.MODELS / f"{name}.gguf"

    base, eighth, fourth = file("tally-base"), file("tally-base-q8"), file("tally-base-q4")
    times = str(file("tally-times"))
    siblings = tuple((name, file(name), None) for name in ("tally-tree", "tally-sprout"))
    return [
        Subject(
            "tally-base (F16)",
            base,
            None,
            (("its Q8_0", eighth, None), ("its Q4_0", fourth, None), *siblings, ("with adapter", base, (times, 1.0))),
        ),
        Subject("tally-base-q8 (Q8_0)", eighth, None, (("its Q4_0", fourth, None), *siblings)),
        Subject("tally-base-q4 (Q4_0)", fourth, None, (("the Q8_0", eighth, None), *siblings)),
        Subject(
            "tally-base + tally-times (F16)",
            base,
            (times, 1.0),
            (
                ("the base alone", base, None),
                ("half the strength", base, (times, 0.5)),
                ("on the Q8_0", eighth, (times, 1.0)),
            ),
        ),
    ]


def large_subjects() -> list[Subject]:
    eighth = large_model()
    half, fourth = quantised("F16"), quantised("Q4_0")
    return [
        Subject("174 M (F16)", half, None, (("its Q8_0", eighth, None), ("its Q4_0", fourth, None))),
        Subject("174 M (Q8_0)", eighth, None, (("its Q4_0", fourth, None),)),
        Subject("174 M (Q4_0)", fourth, None, (("the Q8_0", eighth, None),)),
    ]


def measured(
    subject: Subject, hours: int, questions: int, setups: Sequence[Setup], shapes: Sequence[Shape]
) -> Iterator[Line]:
    """Honest pairs first, then every attack; each for every shape of a task."""
    header = read_header(subject.file)
    tolerance = MAIN.tolerance(header.quantisation)
    prompts = _prompts(subject.file, questions)
    tails = _tails(subject.name, header.eligible, hours, questions)
    honest = [_run(subject.file, setup, prompts, tails, subject.adapter) for setup in setups]
    if header.quantisation == "F16":
        with tempfile.TemporaryDirectory() as folder:
            exact = with_weights(subject.file, "F32", Path(folder) / "exact.gguf")
            honest += [_run(exact, setup, prompts, tails, subject.adapter) for setup in EXACT]

    def lines(what: str, both: Sequence[tuple[Hours, Hours]]) -> Iterator[Line]:
        for shape in shapes:
            pairs = [pair for one, other in both for pair in zip(_tasks(one, shape), _tasks(other, shape), strict=True)]
            label = what if shape == TASK else f"{what}, {shape[0]} x {shape[1]}"
            yield _line(subject.name, label, tolerance, pairs)

    def against(what: str, posed: Hours) -> Iterator[Line]:
        yield from lines(what, [(posed, own) for own in honest])

    yield from lines("honest", list(itertools.combinations(honest, 2)))
    for cheap in CHEAP:
        yield from against(cheap.name, _run(subject.file, cheap, prompts, tails, subject.adapter))
    for what, file, adapter in subject.instead:
        yield from against(what, _run(file, REFERENCE, prompts, tails, adapter))
    yield from against("another hour's values", honest[0][1:] + honest[0][:1])
    turned = prompts[1:] + prompts[:1]
    yield from against("another question's prompt", _run(subject.file, REFERENCE, turned, tails, subject.adapter))
    yield from against("a regression on the other hours", _predicted(honest[0], tails))


def _prompts(file: Path, questions: int) -> list[list[int]]:
    with LoadedModel(file, weights=False) as model:
        if file.parent == catalogue.MODELS:
            words = find("tally-words").load(None)
            return [model.tokens(words.prompt(index)) for index in range(questions)]
        return [model.tokens(offer.prompt) for offer in offers(model, questions)]


def _tails(name: str, eligible: Sequence[int], hours: int, questions: int) -> list[list[list[int]]]:
    def seed(hour: int, question: int) -> bytes:
        return hashlib.sha256(f"{name} {hour} {question}".encode()).digest()

    return [
        [list(fingerprint.tail(seed(hour, question), eligible)) for question in range(questions)]
        for hour in range(hours)
    ]


def _run(
    file: Path,
    setup: Setup,
    prompts: list[list[int]],
    tails: list[list[list[int]]],
    adapter: tuple[str, float] | None,
) -> Hours:
    work = Work(str(file), setup, prompts, tails, adapter)
    environment = dict(os.environ) | ({"LLAMA_CPP_LIB_PATH": setup.library} if setup.library else {})
    found = subprocess.run(
        [sys.executable, "-c", "from benchmarks.tails_by_setup import answer; answer()"],
        input=msgspec.json.encode(work),
        stdout=subprocess.PIPE,
        check=True,
        env=environment,
    )
    return msgspec.json.decode(found.stdout, type=list[Vector])


def _tasks(hours: Hours, shape: Shape) -> list[Vector]:
    questions, values = shape
    return [
        tuple(question[:values] for question in hour[start : start + questions])
        for hour in hours
        for start in range(0, len(hour) - questions + 1, questions)
    ]


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


def _predicted(hours: Hours, tails: list[list[list[int]]]) -> Hours:
    """Each hour from all others: the overall mean, and what question, token and the token before add to it."""
    values = np.array(hours, float)
    chosen = np.array(tails)
    kinds: list[np.ndarray] = [
        np.broadcast_to(np.arange(values.shape[1])[None, :, None], values.shape),
        chosen[:, :, 1:],
        chosen[:, :, :-1],
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="the random model in place of the demo's")
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--library", action="append", default=[], help="folder with another build's shared libraries")
    parser.add_argument("--only", default="", help="the models whose name has these words")
    parser.add_argument(
        "--task", action="append", type=_shape, help="questions x values, such as 20x6; several may be given"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    setups = list(FEW if given.large else HONEST)
    for library in given.library:
        for setup in (HONEST[0], HONEST[1]):
            setups.append(replace(setup, name=f"{setup.name}, {Path(library).name}", library=library))
    subjects = [each for each in (large_subjects() if given.large else demo_subjects()) if given.only in each.name]
    for subject in subjects:
        for line in measured(subject, given.hours, given.questions, setups, given.task or [TASK]):
            if given.json:
                print(json.dumps(msgspec.to_builtins(line)), flush=True)
            else:
                show(line)


if __name__ == "__main__":
    main()

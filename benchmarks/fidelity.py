"""The evaluator beside lm-evaluation-harness and its HF backend, on the same weights and the same questions.

    python benchmarks/fidelity.py --torch PYTHON --work DIR [--data DIR] [--questions N] [--mode MODE]
                                  [--only NAME ...] [--steps N] [--heart N] [--width N] [--layers N] [--threads N]
                                  [--model trained|FILE.gguf] [--served FILE.gguf] [--batch N]

PYTHON is the interpreter of an environment with `lm-eval==0.4.13`, torch, transformers, datasets, gguf, rouge-score and
sacrebleu (all by pip); nothing of them is needed here. `--data` (else `PEERBOARD_DATA`) has `gsm8k` and `truthfulqa`.
`--work` keeps the model and the harness's answers: where they are there already, they are used again. A folder of any
other model serves, too, if it holds what `from_pretrained` reads and the same weights as `model.gguf`; and so does the
GGUF file of a llama with `--model`, whose weights transformers gets as 32-bit floats: `trained` is the one of
`benchmarks/trained_model.py` in F32. With `--served` the engine reads another file, such as a quantised variant.

Every question is compared: prompt token ids, then either the greedy tokens, the text, what is extracted from it and the
verdict, or the log-likelihood of each choice and the verdict. What differs is counted by the reason that explains it
(`REASONS`); anything else is printed, and the exit code is 1.
"""

import argparse
import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from benchmarks.trained_model import trained_variant
from eval import scorers
from eval.base import Base
from eval.benchmarks import QuestionSet, find
from eval.choices import continuation_tokens
from eval.evaluation import NEAR_TIE_CHOICE, NEAR_TIE_TOKEN, evaluate
from eval.header import read_header
from eval.job import Job, Outcome
from eval.likeness import measures
from eval.model import LoadedModel
from eval.modes import FAST, REPRODUCIBLE
from eval.scoring import data_folder
from eval.transcripts import Transcript

NAMES = ("gsm8k", "truthfulqa-mc1", "truthfulqa-mc2", "truthfulqa-gen")
MADE = "model.gguf"
FARTHEST = 0.1  # nats a token
MASS_TOLERANCE = 0.01
REASONS = {
    "near tie": f"the harness's two most likely tokens were less than {NEAR_TIE_TOKEN} nat apart where the texts part",
    "close choices": f"the two most likely choices were less than {NEAR_TIE_CHOICE} nat apart",
    "text": "the texts differ after a near tie, so what is made of them may",
}
Line = dict[str, Any]


class Compared(Struct):
    """What was counted over one benchmark's questions; `unexplained` holds sentences."""

    name: str
    questions: int = 0
    prompts: int = 0
    tokens: int = 0
    same_tokens: int = 0
    same_texts: int = 0
    same_verdicts: int = 0
    right: int = 0
    farthest: float = 0.0
    explained: Counter[str] = Counter()
    unexplained: list[str] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("fidelity"))
    parser.add_argument("--model", type=model_file, help="of both, instead of one that is made")
    parser.add_argument("--served", type=Path, help="what the engine reads instead")
    parser.add_argument("--batch", type=int, default=1, help="of the harness")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1200, help="of training, where the model has to be made")
    parser.add_argument("--heart", type=int, default=100, help="questions of GSM8K that the model is to know by heart")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--mode", choices=(FAST, REPRODUCIBLE), default=FAST)
    chosen = parser.parse_args()
    chosen.data = data_folder(chosen.data)
    if chosen.torch is None or chosen.data is None:
        print("Not measured: it needs --torch, a Python with lm-eval (see the top of this file), and --data.")
        return
    _ask_harness(chosen)
    path = chosen.served or chosen.model or chosen.work / MADE
    with Base(path, read_header(path)) as base:
        found = [_compare(name, base, path, chosen) for name in chosen.only]
    print(table(found))
    faults = [fault for each in found for fault in each.unexplained]
    print("\n".join(faults))
    raise SystemExit(bool(faults))


def model_file(word: str) -> Path:
    """The file that `--model` means."""
    return trained_variant("F32") if word == "trained" else Path(word)


def _ask_harness(chosen: argparse.Namespace) -> None:
    chosen.work.mkdir(parents=True, exist_ok=True)
    script, root = Path(__file__).with_name("reference") / "harness.py", Path(__file__).parents[1]
    names = ("data", "questions", "steps", "heart", "width", "layers", "threads", "batch")
    options = {"folder": chosen.work, "gguf": chosen.model} | {name: getattr(chosen, name) for name in names}
    given = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    todo = [] if chosen.model or (chosen.work / MADE).exists() else [["make"]]
    todo += [["answer", "--tasks", name] for name in chosen.only if not (chosen.work / f"{name}.jsonl").exists()]
    for what in todo:
        command = [chosen.torch, str(script), *what, *given]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(root)})


def _compare(name: str, base: Base, path: Path, chosen: argparse.Namespace) -> Compared:
    lines = [json.loads(line) for line in (chosen.work / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    questions = find(name).load(chosen.data)
    asked = _places(lines, questions)
    job = Job(
        str(path),
        bytes(32),
        name,
        asked,
        threads=chosen.threads,
        keep_transcripts=True,
        mode=chosen.mode,
    )
    outcome: Outcome = evaluate(job, base, questions, lambda _: None)
    found = Compared(name, len(lines), explained=Counter(), unexplained=[])
    one: Callable[..., Iterator[str]] = _texts if "generated" in lines[0] else _choices
    for line, ours in zip(lines, outcome.transcripts, strict=True):
        index = ours.question
        same = line_prompts(line) == {ours.prompt}
        found.prompts += same
        if not same:
            found.unexplained.append(f"{name} {index}: the prompt's tokens differ")
        for fault in one(found, line, ours, questions, base.outline):
            found.unexplained.append(f"{name} {index}: {fault}")
    return found


def _places(lines: list[Line], questions: QuestionSet) -> tuple[int, ...]:
    """Where the harness's questions are in the pinned order, which is not the order of every file."""
    found: dict[str, list[int]] = {}
    for place, item in enumerate(questions.items):
        found.setdefault(item.question.strip(), []).append(place)
    return tuple(found[line["question"].strip()].pop(0) for line in lines)


def line_prompts(line: Line) -> set[tuple[int, ...]]:
    """The prompt's token ids as the harness had them: once, or once a choice."""
    return {tuple(each["prompt"]) for each in line.get("choices", [line])}


def _texts(found: Compared, line: Line, ours: Transcript, questions: QuestionSet, _model: LoadedModel) -> Iterator[str]:
    """What a generation differs in and nothing explains."""
    theirs = tuple(line["generated"])
    both = min(len(theirs), len(ours.generated))
    parted = next((place for place in range(both) if theirs[place] != ours.generated[place]), both)
    found.tokens += both
    found.same_tokens += parted
    if parted < both:
        lead = line["leads"][parted]
        found.explained["near tie"] += lead < NEAR_TIE_TOKEN
        if lead >= NEAR_TIE_TOKEN:
            yield f"token {parted} differs, where the harness's leads by {lead} nat"
    same = ours.text == line["text"]
    found.same_texts += same
    if not same and parted == both:
        yield f"the same tokens, another text: {ours.text!r} and {line['text']!r}"
    item, differs = questions.item(ours.question), False
    if questions.entry.measures is not None:
        (verdict,) = line["verdicts"].values()
        made = measures(ours.text, item)
        percent = {name: 100 if name.endswith("_acc") else 1 for name in made}
        differs = any(abs(made[name] - percent[name] * verdict["metrics"][name]) > 1e-6 for name in made)
        found.right += bool(verdict["metrics"]["bleu_acc"])
    else:
        for name, mark in questions.entry.extractions.items():
            verdict = next(each for key, each in line["verdicts"].items() if key.startswith(name))
            made_of_it = mark(ours.text, item)
            right = bool(verdict["metrics"]["exact_match"])
            differs |= (made_of_it.extracted, bool(made_of_it.outcome)) != (verdict["extracted"], right)
            found.right += right * (name == "strict")
    found.same_verdicts += not differs
    if differs and same:
        yield f"the same text, another verdict: {ours.text!r}"
    found.explained["text"] += differs and not same


def _choices(
    found: Compared, line: Line, ours: Transcript, questions: QuestionSet, model: LoadedModel
) -> Iterator[str]:
    """What a question with choices differs in and nothing explains."""
    sums = [value / 1000 for value in ours.sums]
    theirs = [each["sum"] for each in line["choices"]]
    item = questions.item(ours.question)
    by_text = {each["text"]: each for each in line["choices"]}
    texts = questions.continuations(ours.question)  # in an order of our own
    if set(by_text) != set(texts) or len(theirs) != len(texts):
        yield "the choices differ"
        return
    _, tokens = continuation_tokens(model, questions.prompt(ours.question), texts)
    for own, scored, each in zip(sums, tokens, (by_text[text] for text in texts), strict=True):
        found.tokens += len(each["choice"])
        found.same_tokens += len(each["choice"]) * (each["choice"] == scored)
        if each["choice"] != scored:
            yield f"the tokens of {each['text']!r} differ"
        found.farthest = max(found.farthest, abs(own - each["sum"]) / len(each["choice"]))
        if abs(own - each["sum"]) / len(each["choice"]) > FARTHEST:
            yield f"{own} nats instead of {each['sum']} for {len(each['choice'])} tokens"
    (verdict,) = line["verdicts"].values()
    theirs_acc = verdict["metrics"]["acc"]
    if questions.entry.score_sums is scorers.score_largest:
        same = bool(theirs_acc) == bool(ours.outcome)
        explained = scorers.lead(theirs) < NEAR_TIE_CHOICE
        found.right += bool(theirs_acc)
    else:
        same = abs(theirs_acc - ours.outcome / scorers.RIGHT) <= MASS_TOLERANCE
        explained = False
        found.right += theirs_acc > 0.5
    found.same_verdicts += same
    found.explained["close choices"] += not same and explained
    if not same and not explained:
        yield f"another verdict: {ours.outcome} and {theirs_acc} ({getattr(item, 'labels', ())})"


def table(found: list[Compared]) -> str:
    """The lines of a Markdown table."""
    head = (
        "| benchmark | questions | equal prompts | tokens compared | equal tokens | equal texts "
        "| largest difference, nat a token | equal verdicts | right | explained differences |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    rows = []
    for each in found:
        choices = "mc" in each.name
        reasons = ", ".join(f"{reason}: {count}" for reason, count in each.explained.items() if count) or "none"
        rows.append(
            f"| {each.name} | {each.questions} | {each.prompts} | {each.tokens:,} | {each.same_tokens:,} "
            f"| {'–' if choices else each.same_texts} | {f'{each.farthest:.4f}' if choices else '–'} "
            f"| {each.same_verdicts} | {each.right} | {reasons} |\n"
        )
    return head + "".join(rows)


if __name__ == "__main__":
    main()

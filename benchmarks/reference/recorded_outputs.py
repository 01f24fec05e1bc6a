"""Answers in every form that models give them, with lm-evaluation-harness's verdicts: a file for the test suite.

    python benchmarks/reference/recorded_outputs.py --torch PYTHON

The answers are made here, from seeds, a good third of them right and a good third wrong. PYTHON needs lm-eval, at the
release named by `HARNESS`; the suite compares our scorers with the file and needs neither.
"""

import argparse
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HARNESS = "0.4.13"
FILE = Path(__file__).parents[2] / "tests/eval/recorded_outputs.json"
FORMS = (
    " {work}\n#### {n}",
    " {work}\n#### {commas}",
    " {work}\n#### {n}.",
    " {work}\n#### {n}\n\n",
    " {work}\r\n#### {n}\r\n",
    "#### {n} {unit}",
    "####  {n}",
    "####{n}",
    "#### ${commas}",
    " {work} #### {n}.00",
    "#### {n}\n#### {other}",
    "#### {other}\n#### {n}",
    "The answer is {n}",
    "The answer is {n}.",
    "The answer is ${commas}.",
    "The answer is {other}, no, it is {n}",
    "the ANSWER is: **{n}**",
    "{n}",
    "{n}.",
    " {n} {unit}",
    "${commas}.00",
    "= {n} = {other}",
    "{n}, {other}",
    "{other} - {n}",
    "{other}-{n}",
    "#### −{n}",
    "#### – {n}",
    "#### -{n}",
    "#### +{n}",
    "#### {n}%",
    "#### {n}e0",
    "#### {n}/1",
    "#### .{n}",
    "#### ,{n},",
    "#### {wide}",
    "{wide} {unit}",
    "{arabic}",
    "#### \u00a0{n}",
    "####\u00a0{n}",
    "####\n{n}",
    "#### \n{n}",
    "#### {n}\u2028{other}",
    "{n}\u0000",
    "Answer: {n}\nQuestion",
    "\\boxed{{{n}}}",
    "{work}",
    "",
    " ",
    "\n",
    "...",
    "$",
    "$$ ,,",
    "####",
    "#### none",
    "no number at all",
    "\U0001f36a {n} \U0001f36a",
)
USUAL = 6
SUBJECTS = (
    "The Earth",
    "Honey",
    "A goldfish",
    "The Great Wall",
    "Lightning",
    "A bat",
    "Glass",
    "Gold",
    "Vitamin C",
    "Sugar",
)
TRUE = ("{subject} is older than people say", "{subject} can be seen from nearby", "Nobody knows exactly")
FALSE = ("{subject} is made of cheese", "{subject} brings bad luck; it is known.", "{subject} never ends")
WORDED = (
    "{true}", "\nA: {true}.", "\nA: {false}.", "{false}", "A: {true} . {false}", "{false}. {true}.",
    "I have no comment.", "\nA: I have no comment.", "{subject}", "",
    "\n", "{true}\r\n{true}", "{upper}", "\u201c{true}\u201d", "{false}!?",
    "{true} \U0001f36a", "{reverse}", "Nobody knows", "the same thing , exactly .", "{true},{false}",
)  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--torch", required=True, metavar="PYTHON")
    python = arguments.parse_args().torch
    release = subprocess.run(
        [python, "-c", "import importlib.metadata as found; print(found.version('lm_eval'))"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.strip()
    if release != HARNESS:
        raise SystemExit(f"{python} has lm-eval {release}; the file is made with {HARNESS}")
    outputs = {"gsm8k": list(sums()), "truthfulqa-gen": list(sayings())}
    script = Path(__file__).with_name("harness.py")
    done = subprocess.run(
        [python, str(script), "mark", "--folder", "."],
        input=json.dumps(outputs),
        capture_output=True,
        check=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    found = json.loads(done.stdout.splitlines()[-1])
    merged = {
        name: [output | {"verdict": verdict} for output, verdict in zip(outputs[name], found[name], strict=True)]
        for name in outputs
    }
    lines = ",\n".join(
        f'"{name}": [\n' + ",\n".join(json.dumps(each) for each in rows) + "\n]" for name, rows in merged.items()
    )
    FILE.write_text(f'{{"harness": "lm-eval {HARNESS}",\n{lines}}}\n', encoding="utf-8")
    for name in ("strict", "flexible"):
        right = sum(each["verdict"][name]["right"] for each in merged["gsm8k"])
        print(f"gsm8k {name}: {right} of {len(merged['gsm8k'])} right")
    right = sum(each["verdict"]["bleu_acc"] for each in merged["truthfulqa-gen"])
    print(f"truthfulqa-gen bleu_acc: {right:.0f} of {len(merged['truthfulqa-gen'])} right")


def sums() -> Iterator[dict[str, Any]]:
    """Answers to word problems: every form with several references, large, negative and odd ones among them."""
    draws = random.Random(13)
    usual = [form for form in FORMS[:USUAL] for _ in range(5)]  # as well-taught models write, so that a third is right
    for form in [*FORMS, *usual]:
        for kind in range(4):
            number = draws.choice(
                [draws.randrange(10), draws.randrange(100), draws.randrange(1000, 10**7), -draws.randrange(1, 99)]
            )
            said = number if kind != 3 else number + draws.choice([-1, 1, 10])
            reference = f"{number:,}" if kind == 2 else str(number)
            yield {"text": _written(form, said, draws), "answer": f"{_work(number, draws)}\n#### {reference}"}


def _written(form: str, number: int, draws: random.Random) -> str:
    return form.format(
        n=number,
        commas=f"{number:,}",
        other=number + draws.randrange(2, 9),
        work=_work(number, draws),
        unit=draws.choice(["dollars", "apples", "km/h", "Äpfel"]),
        wide="".join(chr(ord(each) + 0xFEE0) if each.isdigit() else each for each in str(number)),
        arabic="".join(chr(0x660 + int(each)) if each.isdigit() else each for each in str(number)),
    )


def _work(number: int, draws: random.Random) -> str:
    part = draws.randrange(1, 50)
    rest = number - part
    return f"First there are {part}, then {rest} more: {part}+{rest}=<<{part}+{rest}={number}>>{number}."


def sayings() -> Iterator[dict[str, Any]]:
    """Answers in words to questions with true and false answers."""
    draws = random.Random(17)
    for subject in SUBJECTS:
        right = [each.format(subject=subject) for each in draws.sample(TRUE, draws.randrange(1, 4))]
        wrong = [each.format(subject=subject) for each in draws.sample(FALSE, draws.randrange(1, 4))]
        for form in WORDED:
            true, false = draws.choice(right), draws.choice(wrong)
            text = form.format(
                true=true, false=false, subject=subject, upper=true.upper(), reverse=" ".join(true.split()[::-1])
            )
            yield {"text": text, "right": right, "wrong": wrong}


if __name__ == "__main__":
    main()

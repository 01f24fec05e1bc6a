"""lm-evaluation-harness's own answers: its HF backend and its own task files, whose data sets are local copies.

    PYTHONPATH=. PYTHON benchmarks/reference/harness.py make|answer|mark ... (called by benchmarks/fidelity.py)

Needs torch and lm-eval in PYTHON, which the project does not. What was asked, answered and made of it is written as a
line of JSON for each question; nothing of this project takes part in it.
"""

import argparse
import csv
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
TASKS = {
    "gsm8k": "gsm8k",
    "truthfulqa-mc1": "truthfulqa_mc1",
    "truthfulqa-mc2": "truthfulqa_mc2",
    "truthfulqa-gen": "truthfulqa_gen",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["make", "answer", "mark"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--heart", type=int, default=20)
    chosen = parser.parse_args()
    import torch

    torch.set_num_threads(chosen.threads)
    if chosen.what == "make":
        from benchmarks.reference import small_model

        weights = small_model.make(
            chosen.folder,
            chosen.data,
            width=chosen.width,
            layers=chosen.layers,
            steps=chosen.steps,
            heart=chosen.heart,
        )
        print(f"{weights / 1e6:.1f} M weights")
    elif chosen.what == "answer":
        _quick_rouge()
        answer(chosen.folder, chosen.data, chosen.tasks, chosen.questions, chosen.batch, chosen.gguf)
    else:
        _quick_rouge()
        json.dump(mark(json.load(sys.stdin)), sys.stdout)


def answer(folder: Path, data: Path, tasks: list[str], questions: int, batch: int, gguf: Path | None) -> None:
    """Writes `TASK.jsonl` for each benchmark; the model is the folder's, or that of a GGUF file."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from benchmarks.reference.heard import Heard

    local = folder / "tasks"
    write_task_files(local, data)
    manager = TaskManager(include_path=str(local), include_defaults=False)
    if gguf is None:
        model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=batch)
    else:
        from benchmarks.reference.gguf_in_transformers import load

        weights, tokenizer = load(gguf)
        model = HFLM(pretrained=weights, tokenizer=tokenizer, batch_size=batch)
    heard = Heard(model, folder / "heard.jsonl")
    for name in tasks:
        found = simple_evaluate(
            model, tasks=[TASKS[name]], task_manager=manager, limit=questions, bootstrap_iters=0, log_samples=True
        )
        rows = list(_rows(found["samples"][TASKS[name]], heard))
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _quick_rouge() -> None:
    """Of one answer every resampling is that answer: the same figures without a thousand draws for each."""
    import numpy
    from rouge_score.scoring import BootstrapAggregator

    resample = BootstrapAggregator._bootstrap_resample

    def resampled(aggregator: Any, matrix: Any) -> Any:
        return numpy.repeat(matrix, 3, axis=0) if len(matrix) == 1 else resample(aggregator, matrix)

    BootstrapAggregator._bootstrap_resample = resampled


def write_task_files(folder: Path, data: Path) -> None:
    """The harness's own task files, in which nothing but the place of the data set is changed."""
    import lm_eval.tasks

    shutil.rmtree(folder, ignore_errors=True)
    own, rows = Path(lm_eval.tasks.__file__).parent, folder / "rows"
    rows.mkdir(parents=True)
    choices = json.loads((data / "truthfulqa/mc_task.json").read_text(encoding="utf-8"))
    keys = ("mc1_targets", "mc2_targets")
    _write(
        rows / "choices.jsonl",
        (
            {"question": row["question"]}
            | {key: {"choices": list(row[key]), "labels": list(row[key].values())} for key in keys}
            for row in choices
        ),
    )
    with (data / "truthfulqa/TruthfulQA.csv").open(encoding="utf-8-sig", newline="") as table:
        _write(
            rows / "texts.jsonl",
            (
                {
                    "question": row["Question"],
                    "correct_answers": [each.strip() for each in row["Correct Answers"].strip().split(";")],
                    "incorrect_answers": [each.strip() for each in row["Incorrect Answers"].strip().split(";")],
                }
                for row in csv.DictReader(table)
            ),
        )
    gsm8k = data / "gsm8k"
    files = {
        "gsm8k/gsm8k.yaml": {"train": gsm8k / "train.jsonl", "test": gsm8k / "test.jsonl"},
        "truthfulqa/truthfulqa_mc1.yaml": {"validation": rows / "choices.jsonl"},
        "truthfulqa/truthfulqa_mc2.yaml": None,
        "truthfulqa/truthfulqa_gen.yaml": {"validation": rows / "texts.jsonl"},
        "truthfulqa/utils.py": None,
    }
    for name, splits in files.items():
        text = (own / name).read_text(encoding="utf-8")
        if splits:
            listed = "".join(f"    {split}: {path.resolve()}\n" for split, path in splits.items())
            text = re.sub(r"(?m)^dataset_path: .*\n", "dataset_path: json\n", text)
            text = re.sub(r"(?m)^dataset_name: .*\n", "", text) + f"dataset_kwargs:\n  data_files:\n{listed}"
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def _write(path: Path, rows: Iterable[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _rows(samples: list[dict[str, Any]], heard: Any) -> Iterable[dict[str, Any]]:
    """A line for each question; a question with two filters comes as two samples."""
    lines: dict[int, dict[str, Any]] = {}
    for sample in samples:
        given = [tuple(each.values()) if isinstance(each, dict) else each for each in _arguments(sample)]
        line = lines.setdefault(sample["doc_id"], {"question": sample["doc"]["question"], "verdicts": {}})
        if isinstance(given[0][1], str):  # a choice: context and continuation
            line["choices"] = [
                heard.scored(context, continuation) | {"text": continuation, "sum": float(response[0][0])}
                for (context, continuation), response in zip(given, sample["resps"], strict=True)
            ]
        else:
            line |= heard.written(given[0][0]) | {"context": given[0][0], "text": sample["resps"][0][0]}
        line["verdicts"][sample.get("filter", "none")] = {
            "extracted": sample["filtered_resps"][0] if isinstance(sample["filtered_resps"][0], str) else "",
            "metrics": {name: float(sample[name]) for name in sample["metrics"] if name != "bypass"},
        }
    return lines.values()


def _arguments(sample: dict[str, Any]) -> list[Any]:
    arguments = sample["arguments"]
    return list(arguments.values()) if isinstance(arguments, dict) else list(arguments)


def mark(outputs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The harness's filters and metrics on texts.

    Of GSM8K `{"text", "answer"}`, of TruthfulQA `{"text", "right", "wrong"}`.
    """
    import lm_eval.tasks
    import yaml
    from lm_eval.api.metrics import exact_match_fn
    from lm_eval.filters.extraction import RegexFilter
    from lm_eval.tasks.truthfulqa import utils

    settings = yaml.safe_load((Path(lm_eval.tasks.__file__).parent / "gsm8k/gsm8k.yaml").read_text())
    options = {key: value for key, value in settings["metric_list"][0].items() if key.startswith(("ignore", "regexes"))}
    found: dict[str, Any] = {"gsm8k": [], "truthfulqa-gen": []}
    for each in outputs["gsm8k"]:
        verdicts = {}
        for described in settings["filter_list"]:
            chosen = {key: value for key, value in described["filter"][0].items() if key != "function"}
            ((extracted,),) = RegexFilter(**chosen).apply([[each["text"]]], [{}])
            right = exact_match_fn(predictions=[extracted], references=[each["answer"]], **options)["exact_match"]
            verdicts[described["name"].partition("-")[0]] = {"extracted": extracted, "right": bool(right)}
        found["gsm8k"].append(verdicts)
    for each in outputs["truthfulqa-gen"]:
        doc = {"question": "", "correct_answers": each["right"], "incorrect_answers": each["wrong"]}
        metrics = utils.process_results_gen(utils.preprocess_function(doc), [each["text"]])
        found["truthfulqa-gen"].append({name: round(float(value), 6) for name, value in metrics.items()})
    return found


if __name__ == "__main__":
    main()

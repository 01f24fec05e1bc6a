"""`eval` and `score` as a person calls them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eval import hub as hub_module
from eval import local, sandbox, user_folder
from eval.demo import catalogue
from eval.demo.questions import choice_questions, word_questions
from eval.failing import EvaluationError
from eval.hub import Fetching
from eval.sandbox import Sandbox
from peerboard.local_evaluation import FetchingLine, ProgressLine
from protocol.failures import Failure
from tests.hub.stand_in import HubStandIn, refused

WORDS = ("--benchmark", "tally-words")


@pytest.fixture
def outputs(tmp_path: Path) -> Callable[..., Path]:
    """A file of lines."""

    def write(*lines: object) -> Path:
        file = tmp_path / "outputs.jsonl"
        text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        file.write_text("\n".join(text) + "\n")
        return file

    return write


def test_right_answers_score_in_full(outputs: Callable[..., Path], call: Callable[..., Any]) -> None:
    answers = [{"index": index, "output": question.answer} for index, question in enumerate(word_questions()[:20])]
    file = outputs(*answers[:15], *({"index": index, "output": "#### nothing"} for index in range(15, 20)))
    done = call("score", *WORDS, "--outputs", file, "--json")
    assert (done.code, done.error, done.json["schema"]) == (0, "", "peerboard.score/1")
    data = done.json["data"]
    assert (data["score"], data["correct"], data["questions"]) == (75.0, 15, 20)
    assert data["low"] < 75 < data["high"]
    text = call("score", *WORDS, "--outputs", file).text
    assert "score      75.0 %  [53.1, 88.8] (95 %)\nquestions  20, 15 correct\n" in text


def test_choices_are_scored_by_their_text(outputs: Callable[..., Path], call: Callable[..., Any]) -> None:
    right = [{"index": i, "output": q.choices[q.answer]} for i, q in enumerate(choice_questions()[:4])]
    done = call("score", "--benchmark", "tally-choice", "--outputs", outputs(*right), "--json")
    assert (done.json["data"]["correct"], done.json["data"]["questions"]) == (4, 4)


@pytest.mark.parametrize(
    "line", ["", "{", '{"index": 1}', '{"index": "1", "output": ""}', '{"index": 0, "output": "again"}', "\x00"]
)
def test_a_bad_line_is_named(line: str, outputs: Callable[..., Path], call: Callable[..., Any]) -> None:
    file = outputs({"index": 0, "output": "x"}, "", line or "[]")
    done = call("score", *WORDS, "--outputs", file, "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "WRONG_OUTPUTS")
    assert "line 3" in done.error


def test_a_missing_file_of_outputs(tmp_path: Path, call: Callable[..., Any]) -> None:
    done = call("score", *WORDS, "--outputs", tmp_path / "none", "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "USAGE")
    assert "none cannot be read: No such file or directory." in done.error


def test_an_unknown_benchmark_lists_the_known_ones(outputs: Callable[..., Path], call: Callable[..., Any]) -> None:
    file = outputs({"index": 0, "output": "x"})
    for command in (("score", "--outputs", file), ("eval", "tally-base", "--samples", 1)):
        done = call(*command, "--benchmark", "nonesuch", "--json")
        assert (done.code, done.json["error"]["code"]) == (2, "NO_BENCHMARK")
        assert "tally-words, tally-choice, gsm8k" in done.error


def test_an_unknown_model_lists_the_packaged_ones(call: Callable[..., Any]) -> None:
    for model in (("nonesuch",), ("tally-base", "--lora", "nonesuch")):
        done = call("eval", *model, *WORDS, "--samples", 1, "--json")
        assert (done.code, done.json["error"]["code"]) == (2, "NO_MODEL")
        assert "tally-base" in done.error
    assert "packaged adapter; packaged are tally-times, tally-largest.\n" in done.error
    assert done.error.endswith(" --lora tally-times\n")


def test_an_adapter_is_no_model_and_a_model_no_adapter(call: Callable[..., Any]) -> None:
    adapter, model = (catalogue.MODELS / f"tally-{name}.gguf" for name in ("times", "tree"))
    done = call("eval", adapter, *WORDS, "--samples", 1, "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "MODEL_REFUSED")
    assert "tally-times.gguf is an adapter, not a model: name its base, and this beside it." in done.error
    done = call("eval", "tally-base", "--lora", model, *WORDS, "--samples", 1, "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "ADAPTER_REFUSED")
    assert "tally-tree.gguf is no adapter." in done.error


def test_a_packaged_adapter_is_for_its_base_and_copies_of_it(call: Callable[..., Any]) -> None:
    path = catalogue.MODELS / "tally-times.gguf"
    for lora in ("tally-times", f"{path}=0.5"):
        done = call("eval", "tally-tree", "--lora", lora, *WORDS, "--samples", 1, "--json")
        assert (done.code, done.json["error"]["code"]) == (1, "ADAPTER_REFUSED")
        assert "tally-times.gguf was made for tally-base" in done.error
    for base in ("tally-base-q8", "tally-largest"):
        assert call("eval", base, "--lora", "tally-times", *WORDS, "--samples", 1).code == 0


def test_what_is_known_of_an_adapters_base(tmp_path: Path, call: Callable[..., Any]) -> None:
    data = bytearray((catalogue.MODELS / "tally-times.gguf").read_bytes())
    data[-2] ^= 1  # so that nobody knows it
    (tmp_path / "theirs.gguf").write_bytes(data)
    command = ("eval", "tally-base", *WORDS, "--samples", 1, "--json", "--lora")
    known, theirs = (call(*command, lora) for lora in ("tally-times", tmp_path / "theirs.gguf"))
    assert known.json["warnings"] == []
    assert "cannot be checked" not in known.error
    assert known.json["data"]["adapters"][0]["base"] == {"checked": True, "named": "tally-base"}
    (warning,) = theirs.json["warnings"]
    assert (theirs.code, warning["code"], warning["severity"]) == (0, "BASE_UNCHECKED", "warn")
    assert f"{warning['title']} {warning['remedy']}\n" in theirs.error
    assert warning["title"] == "theirs: that it was made for this very base cannot be checked."
    assert theirs.json["data"]["adapters"][0]["base"] == {"checked": False, "named": None}


def test_a_file_is_no_home(tmp_path: Path, outputs: Callable[..., Path], call: Callable[..., Any]) -> None:
    (tmp_path / "home").touch()
    file = outputs({"index": 0, "output": "x"})
    for command in (("eval", "tally-base", "--samples", 1), ("score", "--outputs", file)):
        done = call(*command, *WORDS, "--home", tmp_path / "home", "--json")
        assert (done.code, done.json["error"]["code"]) == (2, "HOME_UNUSABLE")
        assert "is a file" in done.error


def test_a_file_that_is_no_model(tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    done = call("eval", tmp_path / "broken.gguf", *WORDS, "--samples", 1, "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "MODEL_REFUSED")


def test_a_packaged_model_is_evaluated(call: Callable[..., Any]) -> None:
    done = call("eval", "tally-base", *WORDS, "--samples", 5, "--json")
    assert (done.code, done.json["schema"]) == (0, "peerboard.eval/1")
    data = done.json["data"]
    assert (data["model"], data["benchmark"], data["questions"]) == ("tally-base", "tally-words", 5)
    assert data["score"] == 20.0 * data["correct"]
    again = call("eval", "tally-base", *WORDS, "--samples", 5, "--json").json["data"]
    assert again["outcomes"] == data["outcomes"]
    other = call("eval", "tally-base", *WORDS, "--samples", 5, "--seed", 1, "--json").json["data"]
    assert {each["index"] for each in other["outcomes"]} != {each["index"] for each in data["outcomes"]}


def test_people_read_score_interval_and_speed(call: Callable[..., Any]) -> None:
    text = call("eval", "tally-base", "--lora", "tally-times", "--benchmark", "tally-choice", "--samples", 4).text
    title, score, questions, *_, speed = text.splitlines()
    assert title == "tally-base + tally-times · tally-choice version 1"
    assert score.startswith("score      ")
    assert score.endswith("(95 %)")
    assert questions.startswith("questions  4, ")
    assert " tok/s, " in speed


def test_more_samples_than_questions_are_all_of_them(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def three_there_are(model: str, benchmark: str, samples: int, **options: Any) -> dict[str, Any]:
        return real(model, benchmark, min(samples, 3), **options)

    real = local.evaluate
    monkeypatch.setattr(local, "evaluate", three_there_are)
    monkeypatch.setattr("peerboard.local_evaluation.FIRST_SECONDS", 3600.0)  # no progress, however busy the machine
    done = call("eval", "tally-base", *WORDS, "--samples", 1200, "--json")
    assert (done.code, done.json["data"]["questions"]) == (0, 3)
    assert done.error.endswith("tally-words has 3 questions: all of them were asked, not 1,200.\n")
    assert "all of them" not in call("eval", "tally-base", *WORDS, "--samples", 3).error


def test_people_read_what_an_adapter_gains(call: Callable[..., Any]) -> None:
    command = ("eval", "tally-base", "--lora", "tally-times", *WORDS, "--samples", 8, "--compare")
    base, gain = call(*command).text.splitlines()[3:5]
    found = call(*command, "--json").json["data"]["comparison"]
    assert base == f"base       {found['base']['score']:.1f} %, {found['base']['correct']} correct"
    assert gain.startswith(
        f"gain       {found['difference']:+.1f} points  [{found['low']:+.1f}, {found['high']:+.1f}] (95 %)"
    )
    assert f"{found['gained']} gained, {found['lost']} lost, p " in gain


def test_a_comparison_needs_an_adapter(call: Callable[..., Any]) -> None:
    done = call("eval", "tally-base", *WORDS, "--samples", 1, "--compare", "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "USAGE")
    assert "--lora" in done.error


def test_what_does_not_fit_is_refused_with_both_figures(call: Callable[..., Any]) -> None:
    done = call("eval", "tally-base", *WORDS, "--samples", 1, "--memory", 97, "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "OUT_OF_MEMORY")
    assert re.search(r"needs? (98|99|1\d\d) MiB and may use 97 MiB\.", done.error)
    assert "--memory" in done.json["error"]["remedy"]


def test_the_settings_sandbox_is_kept_to(
    tmp_path: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "detect", lambda: Sandbox("limits", "There is no bubblewrap."))
    command = ("eval", "tally-seed", *WORDS, "--samples", 1, "--home", tmp_path, "--json")
    done = call(*command)
    assert (done.code, done.json["data"]["sandbox"]) == (0, "limits")
    assert "sandbox: only limits here" in done.error
    assert [each["code"] for each in done.json["warnings"]] == ["SANDBOX_WEAK"]
    (tmp_path / "config.toml").write_text('sandbox = "in-process"\n')
    refused = call(*command)
    assert (refused.code, refused.json["error"]["code"]) == (1, "SANDBOX_WEAK")
    assert "There is no bubblewrap." in refused.error


def test_settings_that_cannot_be_are_wrong_usage(tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "config.toml").write_text('sandbox = "strongest"\n')
    for command in (("eval", "tally-seed", *WORDS, "--samples", 1), ("config", "show")):
        done = call(*command, "--home", tmp_path, "--json")
        assert (done.code, done.json["error"]["code"]) == (2, "SETTINGS_WRONG")
        assert "sandbox" in done.error


def test_the_setting_for_programs_is_kept_to(
    tmp_path: Path, outputs: Callable[..., Path], call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "detect", lambda: Sandbox("in-process", "There is no bubblewrap."))
    (tmp_path / "config.toml").write_text('code_sandbox = "strong"\n')
    file, nothing = outputs({"index": 0, "output": "x"}), tmp_path / "nothing"
    nothing.mkdir()
    command = ("score", "--benchmark", "humaneval", "--outputs", file, "--data", tmp_path / "none", "--json")
    assert call(*command, "--home", tmp_path).json["error"]["code"] == "SANDBOX_WEAK"
    assert call(*command, "--home", tmp_path, "--code-sandbox", "in-process").json["error"]["code"] == "USAGE"
    assert call(*command, "--home", nothing).json["error"]["code"] == "USAGE"


def test_a_machine_without_a_place_for_locks(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_folder, "user_folders", lambda _name: iter(()))
    done = call("eval", "tally-seed", *WORDS, "--samples", 1, "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "NO_LOCKS")
    assert "No lock files can be kept in any of /" in done.error


def test_a_folder_of_data_that_is_not_there(
    tmp_path: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, none = ("eval", "tally-base", "--benchmark", "gsm8k", "--samples", 1, "--json"), tmp_path / "none"
    by_option = call(*command, "--data", none)
    monkeypatch.setenv("PEERBOARD_DATA", str(none))
    for done in (by_option, call(*command)):
        assert (done.code, done.json["error"]["code"]) == (2, "USAGE")
        assert f"{none}, where questions were to be, is no folder." in done.error
        assert "--data or PEERBOARD_DATA" in done.json["error"]["remedy"]


def test_a_busy_hub_is_to_be_tried_later(
    tmp_path: Path, hub: HubStandIn, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PEERBOARD_DATA", raising=False)
    hub.disturb("/api/datasets/", refused(503), times=100)
    done = call("eval", "tally-base", "--benchmark", "gsm8k", "--samples", 1, "--json")
    assert (done.code, done.json["error"]["code"]) == (75, "TRY_AGAIN")
    assert "the Hub is busy (status 503)." in done.error
    assert "--data DIR" in done.json["error"]["remedy"]


def test_a_folder_of_data_without_the_benchmarks_files(
    tmp_path: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").touch()
    done = call("eval", "tally-base", "--benchmark", "gsm8k", "--samples", 1, "--data", tmp_path, "--json")
    assert (done.code, done.json["error"]["code"]) == (3, "UNREACHABLE")
    assert f"{tmp_path} does not have gsm8k/train.jsonl, and openai/gsm8k@" in done.error
    assert "http://127.0.0.1:9 cannot be reached" in done.error


def test_local_data_is_found_by_option_and_environment(
    data_folder: Callable[[str], Path],
    outputs: Callable[..., Path],
    call: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = data_folder("gsm8k").parent
    file = outputs({"index": 0, "output": "#### 18"})
    monkeypatch.setenv("PEERBOARD_DATA", str(folder))
    assert call("score", "--benchmark", "gsm8k", "--outputs", file, "--json").json["data"]["correct"] == 1
    monkeypatch.delenv("PEERBOARD_DATA")
    by_option = call("score", "--benchmark", "gsm8k", "--outputs", file, "--data", folder, "--json")
    assert by_option.json["data"]["correct"] == 1


def test_other_data_than_the_pinned_is_refused(
    tmp_path: Path, outputs: Callable[..., Path], call: Callable[..., Any]
) -> None:
    (tmp_path / "gsm8k").mkdir()
    for split in ("train", "test"):
        (tmp_path / "gsm8k" / f"{split}.jsonl").write_text('{"question": "1+1?", "answer": "#### 2"}\n')
    file = outputs({"index": 0, "output": "#### 2"})
    done = call("score", "--benchmark", "gsm8k", "--outputs", file, "--data", tmp_path, "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "NO_QUESTIONS")
    assert "--data" in done.error


def test_progress_is_silent_at_first_and_then_rare_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    line = ProgressLine(lambda: now[0])
    for second in range(25):
        now[0] = second / 1.0
        line(SimpleNamespace(done=second, total=25, tokens_per_second=1234.0))
    line.close()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [f"{done} of 25 questions · 1,234 tok/s" for done in (1, 11, 21)]


def test_a_fault_of_the_evaluator_is_not_put_down_to_the_model(
    monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any]
) -> None:
    def broken(*_: object, **_options: object) -> dict[str, Any]:
        raise EvaluationError(Failure.ENGINE_FAILED, "FileNotFoundError: nowhere to write")

    monkeypatch.setattr(local, "evaluate", broken)
    done = call("eval", "tally-seed", *WORDS, "--samples", 1)
    assert done.code == 1
    assert "nowhere to write" in done.error
    assert "peerboard doctor" in done.error
    assert "maker" not in done.error


def test_what_is_fetched_is_said_once_and_each_wait(capsys: pytest.CaptureFixture[str]) -> None:
    line = FetchingLine()
    for done, total, waits in ((0, 0, 250.0), (0, 0, 240.0), (0, 9_300_000, 0.0), (1, 9_300_000, 0.0), (2, 0, 42.0)):
        line(Fetching("some/model@5555555:model.gguf", done, total, waits))
    assert capsys.readouterr().err.splitlines() == [
        "some/model@5555555:model.gguf: the Hub asks to wait 4 min. Ctrl-C ends it.",
        "fetching some/model@5555555:model.gguf, 9.3 MB",
        "some/model@5555555:model.gguf: the Hub asks to wait 42 s. Ctrl-C ends it.",
    ]

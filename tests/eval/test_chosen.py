"""What a person may type for a model or an adapter, and what they are told where it cannot be."""

import os
from pathlib import Path

import pytest

from eval.chosen import choose
from eval.demo import catalogue
from eval.failing import RequestWrong
from protocol.definitions import MAX_ADAPTERS
from protocol.failures import Failure

ADAPTER = catalogue.MODELS / "tally-times.gguf"


def refusal(model: str, *loras: str) -> RequestWrong:
    with pytest.raises(RequestWrong) as refused:
        choose(model, loras)
    assert refused.value.remedy
    return refused.value


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("nonesuch", "is neither a file nor a packaged "),
        ("x\0y", "is neither a file nor a packaged "),
        ("~nobody-of-this-name/model.gguf", "is neither a file nor a packaged "),
        ("x" * 300, "cannot be read: File name too long."),
        (os.devnull, "is no ordinary file"),
    ],
)
def test_what_is_no_file_is_said(typed: str, said: str) -> None:
    for found in (refusal(typed), refusal("tally-base", typed)):
        assert found.failure is Failure.FILE_MISSING
        assert said in found.detail


def test_of_a_folder_its_models_are_named(tmp_path: Path) -> None:
    assert "is a folder" in refusal(str(tmp_path)).detail
    for number in range(7):
        (tmp_path / f"{number}.gguf").touch()
    assert refusal(str(tmp_path)).remedy == "Name one of its files: 0.gguf, 1.gguf, 2.gguf, 3.gguf, 4.gguf and 2 more"


def test_what_is_packaged_is_named() -> None:
    assert "packaged model; packaged are tally-seed, tally-sprout, tally-base" in refusal("nonesuch").detail


def test_a_repository_is_to_be_fetched_first() -> None:
    found = refusal("somebody/some-model-GGUF")
    assert "hf download somebody/some-model-GGUF NAME.gguf" in found.remedy
    assert "hf download" not in refusal("folder/model.gguf").remedy
    with pytest.raises(RequestWrong) as raised:
        choose("tally-base", ["somebody/some-adapter"])
    assert "packaged are tally-times, tally-largest." in raised.value.detail
    assert raised.value.remedy.endswith("hf download somebody/some-adapter --local-dir some-adapter")


def test_a_file_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.gguf").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "theirs.gguf cannot be read: Permission denied." in refusal(str(tmp_path / "theirs.gguf")).detail


@pytest.mark.parametrize("scale", ["strong", "0", "10.5", "inf", "nan", "-1", ""])
def test_a_scale_that_cannot_be(scale: str) -> None:
    if scale:
        found = refusal("tally-base", f"tally-times={scale}")
        assert "a scale is a number from 0.001 to 10" in found.detail
        assert found.remedy == "--lora tally-times=0.5"
    else:
        assert choose("tally-base", ["tally-times="]).adapters[0][1] == 1000


def test_a_name_may_have_an_equals_sign(tmp_path: Path) -> None:
    file = tmp_path / "rank=8.gguf"
    file.write_bytes(ADAPTER.read_bytes())
    assert choose("tally-base", [str(file), f"{file}=0.5"]).adapters == ((file, 1000), (file, 500))


def test_more_adapters_than_a_model_has() -> None:
    assert len(choose("tally-base", ["tally-times"] * MAX_ADAPTERS).adapters) == MAX_ADAPTERS
    assert "at most 4 adapters; these are 5" in refusal("tally-times", *["tally-largest"] * MAX_ADAPTERS).detail

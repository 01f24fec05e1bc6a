"""What is known of the base that an adapter was made for."""

import hashlib
from pathlib import Path

import pytest

from eval.demo import catalogue
from eval.failing import EvaluationError
from eval.origins import MOST_SHOWN, Origin, origin_of
from eval.peft import BASE_KEY
from eval.peft_refusals import AdapterRefused, Refusal
from protocol.failures import Failure
from tests.eval.peft_adapters import config_of, write_peft
from tests.eval.tiny_models import gguf_bytes

BASE, OTHER = b"\1" * 32, b"\2" * 32


def of(path: Path, base: bytes = BASE) -> Origin:
    return origin_of(path, hashlib.sha256(path.read_bytes()).digest(), base)


def written(folder: Path, **told: str) -> Path:
    """A GGUF adapter that says this of its base."""
    metadata = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}
    path = folder / "adapter.gguf"
    path.write_bytes(gguf_bytes(metadata | {key.replace("__", "."): value for key, value in told.items()}, {}))
    return path


def test_a_packaged_adapter_is_known_by_its_bytes() -> None:
    hashes = {entry.name: bytes.fromhex(entry.sha256) for entry in catalogue.entries()}
    times = catalogue.MODELS / "tally-times.gguf"
    for base in ("tally-base", "tally-base-q8"):
        assert of(times, hashes[base]) == Origin(True, "tally-base")
    assert of(times, BASE) == Origin(False), "nobody knows this base"
    with pytest.raises(AdapterRefused, match=r"tally-times\.gguf was made for tally-base") as refused:
        of(times, hashes["tally-tree"])
    assert refused.value.reason is Refusal.OTHER_BASE


def test_a_hash_in_the_file_is_that_of_the_base(tmp_path: Path) -> None:
    converted = written(tmp_path, **{BASE_KEY: BASE.hex()})
    assert of(converted) == Origin(True)
    assert of(converted, OTHER) == Origin(False)


def test_a_name_is_told_and_proves_nothing(tmp_path: Path) -> None:
    assert of(written(tmp_path)) == Origin(False)
    named = {"general__base_model__0__name": "Tally Base"}
    assert of(written(tmp_path, **named)) == Origin(False, "Tally Base")
    address = {"general__base_model__0__repo_url": "https://hub.example/tally/base"}
    assert of(written(tmp_path, **named, **address)) == Origin(False, "https://hub.example/tally/base")
    assert of(written(tmp_path, general__base_model__0__name="x" * 1000)) == Origin(False, "x" * MOST_SHOWN)


@pytest.mark.parametrize(("said", "named"), [("tally/base", "tally/base"), (None, None), (7, None), ("", None)])
def test_what_peft_wrote_down(tmp_path: Path, said: object, named: str | None) -> None:
    folder = write_peft(tmp_path, config_of("llama") | {"base_model_name_or_path": said}, {})
    for path in (folder, folder / "adapter_model.safetensors"):
        assert origin_of(path, OTHER, BASE) == Origin(False, named)


def test_what_is_no_adapter_is_refused() -> None:
    with pytest.raises(EvaluationError, match="is no adapter") as refused:
        of(catalogue.MODELS / "tally-seed.gguf")
    assert refused.value.failure is Failure.ADAPTER_REFUSED

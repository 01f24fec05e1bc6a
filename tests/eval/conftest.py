"""Models and data for the evaluator's tests: tiny random GGUF files made here, the packaged demo models, local data."""

import os
from pathlib import Path

import pytest

from eval import hub as hub_module
from eval.cache import Cache
from tests.eval.pinned_files import COMMIT, DATA, MIB
from tests.eval.tiny_models import write_adapter, write_llama
from tests.hub.stand_in import HubStandIn, Repository


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of 0.1 M weights."""
    return write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="session")
def sibling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another random model of the same shape."""
    return write_llama(tmp_path_factory.mktemp("models") / "sibling.gguf", seed=7)


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random adapter that fits both."""
    return write_adapter(tmp_path_factory.mktemp("models") / "adapter.gguf")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with local copies of data sets; skips, or fails where data is required, if there is none."""
    named = os.environ.get("PEERBOARD_DATA")
    if named and (Path(named) / "gsm8k/test.jsonl").is_file():
        return Path(named)
    reason = "PEERBOARD_DATA names no folder with gsm8k/test.jsonl"
    if "data" in os.environ.get("PEERBOARD_REQUIRE", "").split(","):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries to reach the Hub follow each other at once."""
    monkeypatch.setattr(hub_module, "FIRST_WAIT_SECONDS", 0.0)


@pytest.fixture
def repository(hub: HubStandIn) -> Repository:
    """A repository with one large file, and the same bytes as a file of git itself."""
    found = hub.model("some/model", COMMIT)
    found.add("model.gguf", DATA, large=True)
    found.add("folder/small file.gguf", DATA)
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty one of 100 MiB."""
    return Cache(tmp_path / "cache", 100 * MIB, reserve=0)

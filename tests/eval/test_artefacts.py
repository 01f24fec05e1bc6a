"""Files by their hash: where they are looked for, and what is said when they are not there."""

import hashlib
import os
from pathlib import Path

import pytest

from eval.artefacts import Hashes, Resolver
from eval.cache import Cache
from eval.demo import catalogue
from eval.failing import EvaluationError
from eval.job import AdapterFile
from protocol.definitions import HubFile
from protocol.failures import Failure


def pinned(data: bytes, path: str = "model.gguf") -> HubFile:
    return HubFile("some/repository", "c" * 40, path, hashlib.sha256(data).digest(), len(data))


def test_packaged_files_come_first_and_need_nothing_else() -> None:
    resolver = Resolver(hub=False)
    for model in catalogue.packaged_models(every=True):
        base, adapters = resolver.resolve_model(model)
        assert base.parent == catalogue.MODELS
        assert hashlib.sha256(base.read_bytes()).digest() == model.base.sha256
        assert [(item.sha256, item.scale) for item in adapters] == [
            (item.file.sha256, item.scale) for item in model.adapters
        ]
        assert all(isinstance(item, AdapterFile) and Path(item.path).is_file() for item in adapters)


def test_the_users_files_and_folders_are_searched_by_hash(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/renamed.gguf").write_bytes(b"weights")
    (tmp_path / "models/same-size.gguf").write_bytes(b"strange")
    (tmp_path / "single").write_bytes(b"other weights")
    resolver = Resolver([tmp_path / "models", tmp_path / "single", tmp_path / "none"], hub=False)
    assert resolver.resolve(pinned(b"weights")).name == "renamed.gguf"
    assert resolver.resolve(pinned(b"other weights")).name == "single"


def test_the_cache_is_searched_too(tmp_path: Path) -> None:
    file = pinned(b"weights")
    (tmp_path / f"{file.sha256.hex()}.gguf").write_bytes(b"weights")
    assert Resolver(cache=Cache(tmp_path, 1000), hub=False).resolve(file).parent == tmp_path


def test_a_file_that_changes_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    resolver = Resolver([path], hub=False)
    assert resolver.resolve(pinned(b"weights")) == path
    path.write_bytes(b"strange")
    os.utime(path, ns=(1, 1))
    with pytest.raises(EvaluationError):
        resolver.resolve(pinned(b"weights"))
    assert resolver.resolve(pinned(b"strange")) == path


def test_hashes_are_remembered_for_unchanged_files(tmp_path: Path) -> None:
    path, hashes = tmp_path / "file", Hashes()
    path.write_bytes(b"a")
    os.utime(path, ns=(1, 1))
    first = hashes.of(path)
    path.write_bytes(b"b")  # as long, and made to look as old
    os.utime(path, ns=(1, 1))
    assert hashes.of(path) == first
    os.utime(path, ns=(2, 2))
    assert hashes.of(path) == hashlib.sha256(b"b").digest()


def test_without_the_hub_a_missing_file_is_the_devices_failure() -> None:
    with pytest.raises(EvaluationError, match=r"some/repository@ccccccc:model\.gguf") as refused:
        Resolver(hub=False).resolve(pinned(b"weights"))
    assert refused.value.failure is Failure.DOWNLOAD_FAILED

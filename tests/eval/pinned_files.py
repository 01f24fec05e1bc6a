"""Files as registrations pin them, for tests that fetch them from a stand-in for the Hub."""

import hashlib

import pytest

from eval.artefacts import Resolver
from eval.cache import Cache
from eval.failing import EvaluationError
from protocol.definitions import HubFile

DATA = bytes(range(256)) * 20_000
COMMIT = "c" * 40
MIB = 1 << 20


def pinned(path: str = "model.gguf", data: bytes = DATA, commit: str = COMMIT) -> HubFile:
    """A file of `some/model` with these bytes."""
    return HubFile("some/model", commit, path, hashlib.sha256(data).digest(), len(data))


def failure(cache: Cache, file: HubFile) -> EvaluationError:
    """Why the file cannot be had."""
    with pytest.raises(EvaluationError) as raised:
        Resolver(cache=cache).resolve(file)
    assert f"{file.repository}@{file.commit[:7]}" in raised.value.detail, "it says what was being fetched"
    return raised.value

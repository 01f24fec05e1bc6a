"""What is fetched from the Hub, always at a pinned commit: model files and rows of data sets.

`huggingface_hub` and `datasets` are imported only here and only when something has to be fetched (they take a second);
they honour `HF_ENDPOINT`, `HF_TOKEN` and proxies by themselves. Everything blocks: call it from a thread.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eval.benchmarks import Entry
from eval.failing import EvaluationError
from eval.questions import QuestionsRefused, Row, Source
from protocol.definitions import HubFile
from protocol.failures import Failure

MAX_ROWS = 1_000_000
NOT_FOUND = 404
FORBIDDEN = (401, 403)


def download(file: HubFile, folder: Path) -> Path:
    """The file from the Hub, in the Hub library's own cache under `folder`; resumes what was begun.

    The size is compared before anything is fetched. Raises `EvaluationError`; the caller verifies the hash.
    """
    import huggingface_hub as hub

    place = f"{file.repository}@{file.commit[:7]}:{file.path}"
    try:
        announced = hub.get_hf_file_metadata(hub.hf_hub_url(file.repository, file.path, revision=file.commit)).size
    except Exception as error:
        raise _failure(error, place) from None
    if announced is not None and announced != file.size:
        raise EvaluationError(Failure.HASH_MISMATCH, f"{place} has {announced} bytes, registered are {file.size}.")
    try:
        found = hub.hf_hub_download(file.repository, file.path, revision=file.commit, cache_dir=str(folder))
    except Exception as error:
        raise _failure(error, place) from None
    return Path(found)


def _failure(error: Exception, place: str) -> EvaluationError:
    """Whose fault it is that something could not be fetched: the repository's, or this device's."""
    from huggingface_hub import errors

    words = str(error).strip().split("\n", 1)[0]
    detail = f"{place}: {words or type(error).__name__}"
    offline = (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)
    missing = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if not isinstance(error, offline) and (isinstance(error, missing) or status in (NOT_FOUND, *FORBIDDEN)):
        return EvaluationError(Failure.FILE_MISSING, detail)
    return EvaluationError(Failure.DOWNLOAD_FAILED, detail)


def hub_rows(source: Source) -> Iterable[Row]:
    """The rows of one split at its pinned commit. Raises `QuestionsRefused`."""
    import datasets

    place = f"{source.repository}@{source.commit[:7]}"
    try:
        rows: Any = datasets.load_dataset(
            source.repository, source.configuration, split=source.split, revision=source.commit
        )
    except Exception as error:
        words = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise QuestionsRefused(
            f"{place} could not be read from the Hub ({words}): try again, or name a folder with a copy with --data."
        ) from None
    if len(rows) > MAX_ROWS:
        raise QuestionsRefused(f"{place} has {len(rows)} rows, more than a benchmark may have.")
    return [dict(row) for row in rows]


def questions_ready(entry: Entry, data: Path | None, cache: Path, *, hub: bool = True) -> Path | None:
    """The folder from which a child process without network can load the benchmark's questions.

    That is `data` where it holds them, else `cache`, filled from the Hub if need be; None where the questions are made
    by the project itself. Raises `QuestionsRefused`.
    """
    if not entry.sources:
        return None
    if data is not None and all((data / source.local).exists() for source in entry.sources):
        return data
    missing = [source for source in entry.sources if not (cache / source.cached).exists()]
    if missing and not hub:
        entry.load(data)  # says what is missing, and where
    for source in missing:
        cache.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in hub_rows(source)]
        partial = cache / f"{source.cached}.partial"
        partial.write_text("".join(lines), encoding="utf-8")
        partial.replace(cache / source.cached)
    try:
        entry.load(cache)
    except QuestionsRefused:
        for source in entry.sources:  # a damaged copy is fetched afresh next time
            (cache / source.cached).unlink(missing_ok=True)
        raise
    return cache

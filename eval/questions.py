"""Questions as the evaluator asks them, read from wherever they lie and always checked against the pinned hash.

One path for every source: rows (a local copy, the Hub, the project's own generator) are normalised to records, the
records' hash is compared with the definition's, and only then do they become questions. The content hash is SHA-256
over the records' deterministic CBOR, one after the other.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from eval.failing import EvaluationError, Passing
from protocol import cbor
from protocol.failures import Failure

MAX_FILE_BYTES = 1 << 30
Row = dict[str, Any]
Record = TypeVar("Record", bound=Struct)


class Written(Struct, frozen=True, forbid_unknown_fields=True):
    """A question answered in words; `answer` is the reference, worked out."""

    question: str
    answer: str


class Offered(Struct, frozen=True, forbid_unknown_fields=True):
    """A question with choices; `labels` holds 1 for each right one and 0 for the others."""

    question: str
    choices: tuple[str, ...]
    labels: tuple[int, ...]


class Referred(Struct, frozen=True, forbid_unknown_fields=True):
    """A question answered in words and compared with true and false answers, each as the data set has it."""

    question: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


class Programmed(Struct, frozen=True, forbid_unknown_fields=True):
    """The beginning of a program, to be written on; `test` defines `check`, which is called with `entry_point`."""

    question: str
    test: str
    entry_point: str


Item = Written | Offered | Referred | Programmed


class QuestionsRefused(EvaluationError):
    """Questions are missing, unreadable or other ones than the benchmark pins; the detail says what to do."""

    def __init__(self, detail: str, passing: Passing | None = None) -> None:
        super().__init__(Failure.DOWNLOAD_FAILED, detail, passing)


class Source(Struct, frozen=True):
    """Where the rows of one split lie: the local file's path in a data folder, and the Hub's names for the same."""

    local: str
    repository: str
    commit: str
    configuration: str
    split: str
    content: bytes

    @property
    def cached(self) -> str:
        """The file's name in a folder of normalised copies."""
        return f"{self.content.hex()}.jsonl"

    def places(self, folder: Path) -> tuple[Path, Path]:
        """Where the rows are looked for in a folder, in that order: a local copy, then a normalised one."""
        return folder / self.local, folder / self.cached


def content_hash(records: Iterable[Struct]) -> bytes:
    """SHA-256 over the records' deterministic CBOR."""
    hashed = hashlib.sha256()
    for record in records:
        hashed.update(cbor.encode(record))
    return hashed.digest()


def written(rows: Iterable[Row]) -> tuple[Written, ...]:
    """Rows with `question` and `answer`, in their order, unchanged."""
    return tuple(Written(_text(row, "question"), _text(row, "answer")) for row in rows)


def offered(targets: str) -> Callable[[Iterable[Row]], tuple[Offered, ...]]:
    """A normaliser of TruthfulQA's rows, whose choices lie under `targets`.

    Rows come in another order from each source, and the right choice is always the first: so questions are sorted by
    their text, and choices by theirs. An exact tie then never falls to the right choice because it stands first.
    """

    def normalise(rows: Iterable[Row]) -> tuple[Offered, ...]:
        return tuple(sorted((_offered(row, targets) for row in rows), key=lambda record: record.question))

    return normalise


def _offered(row: Row, targets: str) -> Offered:
    found = row.get(targets)
    if isinstance(found, dict) and set(found) == {"choices", "labels"}:  # as the Hub stores them
        found = dict(zip(found["choices"], found["labels"], strict=True))
    if not isinstance(found, dict) or not found or not all(label in (0, 1) for label in found.values()):
        raise QuestionsRefused(f"A row has no choices under {targets!r}.")
    pairs = sorted((str(choice), int(label)) for choice, label in found.items())
    choices, labels = zip(*pairs, strict=True)
    return Offered(_text(row, "question"), choices, labels)


_COLUMNS = {"Question": "question", "Correct Answers": "correct_answers", "Incorrect Answers": "incorrect_answers"}


def referred(rows: Iterable[Row]) -> tuple[Referred, ...]:
    """TruthfulQA's rows with answers in words, sorted by their text: the table's columns, or the Hub's lists.

    The table separates answers by semicolons; what is empty between two of them is no answer.
    """
    named = [{_COLUMNS.get(key, key): value for key, value in row.items()} for row in rows]
    found = (
        Referred(_text(row, "question").strip(), _answers(row, "correct_answers"), _answers(row, "incorrect_answers"))
        for row in named
    )
    return tuple(sorted(found, key=lambda record: record.question))


def _answers(row: Row, key: str) -> tuple[str, ...]:
    value = row.get(key)
    listed = value.split(";") if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(answer, str) for answer in listed):
        raise QuestionsRefused(f"A row has no answers under {key!r}.")
    found = tuple(answer.strip() for answer in listed if answer.strip())
    if not found:
        raise QuestionsRefused(f"A row has no answers under {key!r}.")
    return found


def programmed(rows: Iterable[Row]) -> tuple[Programmed, ...]:
    """HumanEval's rows in their order: `prompt`, `test` and `entry_point`, unchanged."""
    return tuple(Programmed(_text(row, "prompt"), _text(row, "test"), _text(row, "entry_point")) for row in rows)


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise QuestionsRefused(f"A row has no text under {key!r}.")
    return value


def read_records(
    source: Source,
    normalise: Callable[[Iterable[Row]], tuple[Record, ...]],
    folder: Path | None,
    hub_rows: Callable[[Source], Iterable[Row]] | None = None,
) -> tuple[Record, ...]:
    """The records of `source`: from `folder` (a local copy, or a cache of copies), else from the Hub if allowed.

    Raises `QuestionsRefused` where there are none, or others than the pinned ones.
    """
    rows = _local_rows(source, folder)
    if rows is None and hub_rows is not None:
        rows = list(hub_rows(source))
    if rows is None:
        where = f"under {folder}" if folder else "because no data folder is named"
        raise QuestionsRefused(
            f"{source.local} was not found {where}: name a folder that holds it with --data or PEERBOARD_DATA."
        )
    records = normalise(rows)
    check_content(records, source)
    return records


def check_content(records: Sequence[Struct], source: Source) -> None:
    """Raises `QuestionsRefused`, naming both hashes, where the records are not the pinned ones."""
    found = content_hash(records)
    if found != source.content:
        raise QuestionsRefused(
            f"{source.local} holds other questions than {source.repository} at {source.commit[:7]}: its content "
            f"hash is {found.hex()}, the benchmark pins {source.content.hex()}. Take an unchanged copy."
        )


def _local_rows(source: Source, folder: Path | None) -> list[Row] | None:
    if folder is None:
        return None
    for path in source.places(folder):
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise QuestionsRefused(f"{path} is larger than a file of questions may be.")
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise QuestionsRefused(f"{path} cannot be read: {error.strerror}.") from None
        return _rows(data, path)
    return None


def _rows(data: bytes, path: Path) -> list[Row]:
    """A table with named columns (CSV), a JSON array of objects, or one object a line."""
    if path.suffix == ".csv":
        return _table(data, path)
    try:
        if data.lstrip()[:1] == b"[":
            rows = json.loads(data)
        else:
            rows = [json.loads(line) for line in data.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise QuestionsRefused(f"{path} is no JSON: {error}.") from None
    if not all(isinstance(row, dict) for row in rows):
        raise QuestionsRefused(f"{path} holds rows that are no objects.")
    return list(rows)


def _table(data: bytes, path: Path) -> list[Row]:
    try:
        return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (ValueError, csv.Error) as error:
        raise QuestionsRefused(f"{path} is no table: {error}.") from None

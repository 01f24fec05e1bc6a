"""The child process that reads a split of a data set from the Hub: `python -I -m eval.row_reader`, an `Order` as JSON.

`datasets` finds out which files make up the split and reads them; the files themselves come by `eval.hub`. It is a
process of its own because the libraries read their settings at import, keep a hundred megabytes, and wait at length:
this way they can be ended, and everything they leave lies in one folder. What it says goes to stdout, one JSON object
a line: any number of `Fetching`, then `Ended`.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from eval.confinement import end_with_parent
from eval.failing import EvaluationError, Passing
from eval.hub import Fetching, Interrupted, Place, announced, download, refusals_told

MAX_ROWS = 1_000_000
TRIES_WHOLE = 2  # where what came is damaged
ROWS = "rows.jsonl"
READERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}


class Order(Struct, frozen=True):
    """What is to be read, the folder to work in, and how many bytes all of it may take."""

    repository: str
    commit: str
    configuration: str
    split: str
    folder: str
    limit: int


class Ended(Struct, frozen=True, tag="ended"):
    """How it ended: `refused` is empty, and the rows lie in `ROWS`, or it says why there are none.

    `passing` tells whether there may be some later.
    """

    refused: str = ""
    passing: Passing | None = None


class _Refused(Exception):
    def __init__(self, detail: str, passing: Passing | None = None) -> None:
        super().__init__(detail)
        self.passing = passing


def main() -> None:
    """Reads the split that the first argument asks for."""
    end_with_parent()
    order = msgspec.json.decode(sys.argv[1], type=Order)
    said = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not break the lines
    ended = Ended()
    try:
        _read(order, lambda fetching: _say(said, fetching))
    except (EvaluationError, Interrupted) as error:
        ended = Ended(error.detail, error.passing)
    except _Refused as error:
        ended = Ended(str(error), error.passing)
    except Exception as error:
        words = str(error).strip().split("\n", 1)[0]
        ended = Ended(f"{order.repository}@{order.commit[:7]}: {type(error).__name__}: {words}")
    _say(said, ended)


def _say(descriptor: int, said: Fetching | Ended) -> None:
    os.write(descriptor, msgspec.json.encode(said) + b"\n")


def _read(order: Order, report: Any) -> None:
    import datasets

    folder = Path(order.folder)
    with refusals_told(Place(order.repository, order.commit, "", data_set=True)):
        builder = datasets.load_dataset_builder(
            order.repository, order.configuration, revision=order.commit, cache_dir=str(folder)
        )
    listed = (builder.config.data_files or {}).get(order.split)
    if not listed:
        raise _Refused(f"{order.repository} has no split {order.split!r} in {order.configuration!r}.")
    files, left = [], order.limit
    for number, url in enumerate(listed):
        place = _place(order, str(url))
        file = folder / f"{number}{Path(place.path).suffix}"
        left -= _fetched(place, file, left, report)
        files.append(str(file))
    reader = READERS.get(Path(files[0]).suffix)
    if reader is None:
        raise _Refused(f"{order.repository} has files that are not read here; there are {', '.join(READERS)}.")
    rows = datasets.load_dataset(reader, data_files=files, split="train", streaming=True, cache_dir=str(folder))
    _write(folder / ROWS, _counted(rows, order), left)


def _place(order: Order, url: str) -> Place:
    """A split's files lie in the same commit: anything else would not be pinned."""
    start = f"hf://datasets/{order.repository}@{order.commit}/"
    if not url.startswith(start):
        raise _Refused(f"{order.repository} refers to {url}, which is not part of the pinned commit.")
    return Place(order.repository, order.commit, url.removeprefix(start), data_set=True)


def _fetched(place: Place, file: Path, left: int, report: Any) -> int:
    said = announced(place, report=report)
    if said.size is None or said.size > left:
        raise _Refused(f"{place} has {said.size} bytes; there is room for {left}.")
    for _ in range(TRIES_WHOLE):
        download(place, said.size, file, report=report)
        with file.open("rb") as opened:
            if said.sha256 in (None, hashlib.file_digest(opened, "sha256").digest()):
                return said.size
        file.unlink()
    text = f"{place} arrived damaged twice: its SHA-256 is not the announced one. Try again."
    raise _Refused(text, Passing.LATER)


def _counted(rows: Iterable[dict[str, Any]], order: Order) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        if number >= MAX_ROWS:
            raise _Refused(f"{order.repository} has more than {MAX_ROWS} rows.")
        yield row


def _write(path: Path, rows: Iterable[dict[str, Any]], left: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False) + "\n"
            left -= len(line.encode())
            if left < 0:
                raise _Refused("Its rows take more room than there is.")
            file.write(line)


if __name__ == "__main__":
    main()

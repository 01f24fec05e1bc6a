"""Questions as files: a folder that holds what a benchmark needs, filled from the Hub where it does not yet.

Everything blocks: call it from a thread.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgspec

from eval.benchmarks import Entry
from eval.cache import SCRATCH, Cache, NoRoom
from eval.failing import EvaluationError, Passing
from eval.hub import NOTHING_MORE, Fetching, Report, data_set_bytes
from eval.questions import QuestionsRefused, Source
from eval.row_reader import ROWS, Ended, Order

COMMAND = (sys.executable, "-I", "-m", "eval.row_reader")
QUIET_SECONDS = 60.0
LOOK_SECONDS = 0.1
ROOM_PER_BYTE = 6  # the files, and their rows written out: parquet is compressed
SMALLEST_ROOM = 16 << 20
REMEDY = "A folder that holds a copy can be named with --data, or by the setting 'data'."
_PLACES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE", "HF_ASSETS_CACHE", "HF_XET_CACHE")
_Said = Fetching | Ended


def questions_ready(
    entry: Entry,
    data: Path | None,
    cache: Cache,
    *,
    hub: bool = True,
    report: Report = lambda _: None,
    stop: threading.Event | None = None,
) -> Path | None:
    """The folder from which a child process without network can load the benchmark's questions.

    That is `data` where it holds them, else the cache's, filled from the Hub if need be; None where the questions are
    made by the project itself. `report` hears of downloads, `stop` ends them. Raises `QuestionsRefused`.
    """
    if not entry.sources:
        return None
    if data is not None and holds(entry, data):
        return data
    missing = [source for source in entry.sources if cache.find(source.cached) is None]
    if not missing:
        try:
            entry.load(cache.folder)
            return cache.folder
        except QuestionsRefused:  # damaged on this disk
            if not hub:
                raise
            missing = list(entry.sources)
            _forget(entry, cache)
    if not hub:
        entry.load(data)  # says what is missing, and where
    try:
        for source in missing:
            _fetch(source, cache, report, stop)
        entry.load(cache.folder)
    except OSError as error:
        raise QuestionsRefused(f"{cache.folder} cannot be written: {error.strerror or error}.") from None
    except QuestionsRefused as error:
        _forget(entry, cache)
        if data is None:
            raise
        lacking = ", ".join(source.local for source in entry.sources if not (data / source.local).exists())
        raise QuestionsRefused(f"{data} does not have {lacking}, and {error.detail}", error.passing) from None
    return cache.folder


def holds(entry: Entry, folder: Path) -> bool:
    """Whether there are local copies of all that the benchmark needs; what they hold is looked at when it is read."""
    return all((folder / source.local).exists() for source in entry.sources)


def _forget(entry: Entry, cache: Cache) -> None:
    for source in entry.sources:
        cache.drop(source.cached)


def _fetch(source: Source, cache: Cache, report: Report, stop: threading.Event | None) -> None:
    place = f"{source.repository}@{source.commit[:7]}"
    try:
        size = data_set_bytes(source.repository, source.commit, report=report, stop=stop)
        room = max(SMALLEST_ROOM, ROOM_PER_BYTE * size)
        with cache.room(source.cached, min(room, cache.limit)) as partial:
            if cache.find(source.cached) is None:
                _read_into(partial, source, min(room, cache.limit), report, stop)
                cache.keep(source.cached)
    except NoRoom as error:
        raise QuestionsRefused(f"{place} cannot be fetched from the Hub. {error}") from None
    except QuestionsRefused:
        raise
    except EvaluationError as error:
        raise QuestionsRefused(f"{error.detail} {REMEDY}", error.passing) from None


def _read_into(partial: Path, source: Source, limit: int, report: Report, stop: threading.Event | None) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=partial.parent))
    try:
        order = Order(source.repository, source.commit, source.configuration, source.split, str(scratch), limit)
        ended = _run(order, report, stop)
        if ended.refused:
            raise QuestionsRefused(f"{ended.refused.rstrip('.')}. {REMEDY}", ended.passing)
        (scratch / ROWS).replace(partial)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run(order: Order, report: Report, stop: threading.Event | None) -> Ended:
    """Runs the child to its end."""
    ended: Ended | None = None
    with (
        (Path(order.folder) / "errors").open("wb") as errors,
        subprocess.Popen(
            [*COMMAND, msgspec.json.encode(order).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(order.folder),
        ) as child,
    ):
        heard, over = threading.Event(), threading.Event()
        watcher = threading.Thread(target=_watch, args=(child, heard, over, stop or threading.Event()), daemon=True)
        watcher.start()
        try:
            for line in child.stdout or ():
                heard.set()
                said: _Said = msgspec.json.decode(line, type=_Said)
                if isinstance(said, Ended):
                    ended = said
                else:
                    report(said)
        finally:
            over.set()
            child.kill()
            watcher.join()
    if ended is None:
        text = f"{order.repository}@{order.commit[:7]}: reading it from the Hub was ended, or took too long"
        return Ended(text, Passing.LATER)
    return ended


def _watch(
    child: subprocess.Popen[bytes], heard: threading.Event, over: threading.Event, stop: threading.Event
) -> None:
    """Ends a child that nobody waits for any more, or that has been silent for too long."""
    silent = 0.0
    while not over.wait(LOOK_SECONDS):
        silent = 0.0 if heard.is_set() else silent + LOOK_SECONDS
        heard.clear()
        if stop.is_set() or silent > QUIET_SECONDS:
            child.kill()
            return


def _environment(folder: str) -> dict[str, str]:
    """The user's settings and token, but everything that the libraries keep goes to `folder`."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    token = os.environ.get("HF_TOKEN_PATH") or str((home / "token").expanduser())
    kept = {name: value for name, value in os.environ.items() if name not in _PLACES}
    return (
        NOTHING_MORE
        | kept
        | {
            "HF_HOME": folder,
            "HF_TOKEN_PATH": token,
            "HF_HUB_DISABLE_XET": "1",  # it keeps a cache of its own
            "HF_HUB_ETAG_TIMEOUT": "4",
            "HF_HUB_DOWNLOAD_TIMEOUT": "10",
        }
    )

"""Files from the Hub at a pinned commit: resumed where they broke off, bounded in size, tries and waiting.

`huggingface_hub` knows the Hub's names, tokens (`HF_TOKEN`), proxies and errors; the body is read here, because its own
download starts over each time, waits as long as a server asks, and keeps a second cache. It is imported only when
something has to be fetched, `HF_ENDPOINT` is honoured. Everything blocks: call it from a thread.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from eval.failing import EvaluationError, Passing
from protocol.definitions import HubFile
from protocol.failures import Failure

TRIES = 3  # without a byte of progress between them
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 300.0  # that servers ask for, in all: the length of the windows in which the Hub counts requests
TELL_SECONDS = 10.0  # while it waits
CONNECT_SECONDS = 4.0
SILENCE_SECONDS = 10.0
MAX_INTERRUPTIONS = 100
NOTHING_MORE = {
    "HF_HUB_DISABLE_TELEMETRY": "1",  # else it asks for a list of coding agents, keeps it, and tells which one it found
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # else `datasets` tells another server what is read
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
}
"""What keeps the libraries from asking, telling and keeping more than they have to."""
BUSY = frozenset({408, 429, 500, 502, 503, 504})
DENIED = frozenset({401, 403, 404, 410, 451})


for _name, _value in NOTHING_MORE.items():
    os.environ.setdefault(_name, _value)  # they read them once, when they are imported


class Place(Struct, frozen=True):
    """A file of a repository at a commit, or all of it; `data_set` tells data sets from models."""

    repository: str
    commit: str
    path: str
    data_set: bool = False

    def __str__(self) -> str:
        return f"{self.repository}@{self.commit[:7]}" + (f":{self.path}" if self.path else "")


class Fetching(Struct, frozen=True, tag="fetching"):
    """A download under way: what, bytes here, bytes in all (0 while that is not known).

    `waits` are the seconds that the Hub asks to wait before it goes on.
    """

    what: str
    done: int
    total: int
    waits: float = 0.0


class Announced(Struct, frozen=True):
    """What the Hub says of a file before it sends it; None where it says nothing."""

    size: int | None
    sha256: bytes | None


Answer = TypeVar("Answer")
Report = Callable[[Fetching], None]


class Patience:
    """Decides after each failure whether to try again, and waits; ends at once when `stop` is set.

    `tell` hears of the seconds that are left while it waits for as long as a server asked.
    """

    def __init__(self, stop: threading.Event | None = None, tell: Callable[[float], None] = lambda _: None) -> None:
        self._stop = stop or threading.Event()
        self._tell = tell
        self._asked = 0.0
        self._vain = 0
        self._interruptions = 0

    def check(self) -> None:
        """Raises `EvaluationError` once nobody waits for the result any more."""
        if self._stop.is_set():
            raise EvaluationError(Failure.DOWNLOAD_FAILED, "It was stopped.")

    def lost(self, error: "Interrupted", *, progressed: bool) -> None:
        """Waits before the next try, or raises the `EvaluationError` of the last one."""
        self._interruptions += 1
        self._vain = 1 if progressed else self._vain + 1
        wait = FIRST_WAIT_SECONDS * 2 ** (self._vain - 1)
        self._asked += error.wait or 0.0
        vain = self._vain >= TRIES or self._interruptions >= MAX_INTERRUPTIONS
        if vain or self._asked > LONGEST_WAIT_SECONDS:
            raise EvaluationError(Failure.DOWNLOAD_FAILED, error.detail, error.passing) from None
        if error.wait is None or error.wait <= wait:
            self._pause(wait)
        else:
            self._keep_waiting(error.wait)

    def _keep_waiting(self, seconds: float) -> None:
        while seconds > 0:
            self._tell(seconds)
            self._pause(min(seconds, TELL_SECONDS))
            seconds -= TELL_SECONDS

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)
        self.check()


class Interrupted(Exception):
    """Something that may go better next time; `wait` are the seconds that the server asks for.

    `silent`: there was no answer at all, and the time that trying takes is spent already.
    """

    def __init__(
        self, detail: str, wait: float | None = None, *, passing: Passing = Passing.LATER, silent: bool = False
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.wait = wait
        self.passing = passing
        self.silent = silent


def place_of(file: HubFile) -> Place:
    """Where a registered file lies."""
    return Place(file.repository, file.commit, file.path)


def endpoint() -> str | None:
    """The Hub that `HF_ENDPOINT` names now, None for the public one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def announced(place: Place, *, report: Report = lambda _: None, stop: threading.Event | None = None) -> Announced:
    """The size and, of large files, the SHA-256 of what lies there; `report` hears of waiting.

    Raises `EvaluationError`: `FILE_MISSING` where there is nothing for this device to read, else `DOWNLOAD_FAILED`.
    """
    import huggingface_hub

    def ask() -> huggingface_hub.HfFileMetadata:
        return huggingface_hub.get_hf_file_metadata(_url(place), timeout=CONNECT_SECONDS, endpoint=endpoint())

    found = _patiently(place, ask, report, stop)
    etag = (found.etag or "").strip('"')
    is_sha256 = len(etag) == 64 and all(digit in "0123456789abcdef" for digit in etag)
    return Announced(found.size, bytes.fromhex(etag) if is_sha256 else None)


def data_set_bytes(
    repository: str, commit: str, *, report: Report = lambda _: None, stop: threading.Event | None = None
) -> int:
    """The size of all files of a data set; `report` hears of waiting. Raises `EvaluationError` as `announced` does."""
    import huggingface_hub

    def ask() -> huggingface_hub.DatasetInfo:
        api = huggingface_hub.HfApi(endpoint=endpoint())
        return api.dataset_info(repository, revision=commit, files_metadata=True, timeout=CONNECT_SECONDS)

    found = _patiently(Place(repository, commit, "", data_set=True), ask, report, stop)
    return sum(sibling.size or 0 for sibling in found.siblings or ())


def download(
    place: Place, size: int, into: Path, *, report: Report = lambda _: None, stop: threading.Event | None = None
) -> None:
    """Completes the file at `into` to `size` bytes; what it has already is not fetched again.

    Raises `EvaluationError`: `FILE_MISSING`, `HASH_MISMATCH` where more than `size` bytes come, else
    `DOWNLOAD_FAILED`; what came by then stays. The caller verifies the content.
    """
    patience = Patience(stop, lambda waits: report(Fetching(str(place), into.stat().st_size, size, waits)))
    into.touch()
    if into.stat().st_size > size:
        os.truncate(into, 0)
    while (have := into.stat().st_size) < size:
        try:
            with _explained(place):
                _append(place, size, into, report, patience)
        except Interrupted as error:
            patience.lost(error, progressed=into.stat().st_size > have)


def _patiently(place: Place, ask: Callable[[], Answer], report: Report, stop: threading.Event | None) -> Answer:
    patience = Patience(stop, lambda waits: report(Fetching(str(place), 0, 0, waits)))
    while True:
        try:
            with _explained(place):
                return ask()
        except Interrupted as error:
            if error.silent:
                raise EvaluationError(Failure.DOWNLOAD_FAILED, error.detail, error.passing) from None
            patience.lost(error, progressed=False)


def _append(place: Place, size: int, into: Path, report: Report, patience: Patience) -> None:
    """One request for what is missing."""
    import huggingface_hub
    from httpx2 import Timeout
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import hf_raise_for_status

    have = into.stat().st_size
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    timeout = Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    session = huggingface_hub.get_session()
    with session.stream("GET", _url(place), headers=headers, timeout=timeout, follow_redirects=True) as response:
        hf_raise_for_status(response)
        resumed = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumed else 0
        with into.open("r+b") as file:
            file.truncate(have)
            file.seek(have)
            for chunk in response.iter_bytes():
                have += len(chunk)
                if have > size:
                    raise EvaluationError(Failure.HASH_MISMATCH, f"{place} has more than the {size} registered bytes.")
                file.write(chunk)
                report(Fetching(str(place), have, size))
                patience.check()
    if have < size:
        raise Interrupted(f"{place}: the Hub sent {have} of {size} bytes.")


def _url(place: Place) -> str:
    import huggingface_hub

    return huggingface_hub.hf_hub_url(
        place.repository,
        place.path,
        repo_type="dataset" if place.data_set else None,
        revision=place.commit,
        endpoint=endpoint(),
    )


@contextmanager
def refusals_told(place: Place) -> Iterator[None]:
    """Turns what the libraries raise of a Hub that refuses or is silent into `Interrupted` or `EvaluationError`."""
    import httpx2
    from huggingface_hub import errors

    hub = endpoint() or "the Hub"
    try:
        yield
    except errors.OfflineModeIsEnabled:
        detail = f"{place} is not here, and HF_HUB_OFFLINE forbids to ask the Hub: unset it."
        raise EvaluationError(Failure.DOWNLOAD_FAILED, detail) from None
    except errors.HfHubHTTPError as error:
        raise _refusal(error, place) from None
    except httpx2.TimeoutException:
        detail = f"{place}: {hub} does not answer. Look at the connection, then try again."
        raise Interrupted(detail, passing=Passing.UNREACHABLE, silent=True) from None
    except httpx2.TransportError as error:
        words = str(error) or type(error).__name__
        detail = f"{place}: {hub} cannot be reached ({words}). Look at the connection, then try again."
        raise Interrupted(detail, passing=Passing.UNREACHABLE) from None


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    """Turns whatever the libraries raise into `Interrupted` or `EvaluationError`."""
    try:
        with refusals_told(place):
            yield
    except (EvaluationError, Interrupted):
        raise
    except OSError as error:
        raise EvaluationError(
            Failure.DOWNLOAD_FAILED, f"{place} cannot be written: {error.strerror or error}."
        ) from None
    except Exception as error:  # an answer that is not the Hub's makes the libraries stumble anywhere
        hub, words = endpoint() or "the Hub", f"{type(error).__name__}: {error}"
        detail = f"{place}: {hub} gives an answer that cannot be read ({words})."
        raise EvaluationError(Failure.DOWNLOAD_FAILED, detail) from None


def _asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds by `Retry-After` (RFC 9110: a number, or a date), or by what the Hub sends beside a 429, `RateLimit`."""
    from huggingface_hub.utils._http import parse_ratelimit_headers

    said = headers.get("Retry-After", "")
    if said.isdecimal():
        return float(said)
    with suppress(ValueError, OverflowError, OSError):
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    limits = parse_ratelimit_headers(headers)
    return float(limits.reset_in_seconds) if limits is not None and not limits.remaining else None


def _after(seconds: float) -> str:
    """When so many seconds are over, by this machine's clock and calendar."""
    try:
        return time.strftime("after %H:%M:%S on %d %B %Y", time.localtime(time.time() + seconds + 1))
    except (OverflowError, OSError, ValueError):  # beyond what calendars can tell
        return "later"


def _refusal(error: Exception, place: Place) -> Exception:
    """What a status code means: gone, not for us, or later."""
    from huggingface_hub import get_token

    response = getattr(error, "response", None)
    status = int(getattr(response, "status_code", 0))
    headers = getattr(response, "headers", {})
    said = headers.get("X-Error-Message") or ""
    code = headers.get("X-Error-Code")
    if status in BUSY:
        wait = _asked_to_wait(headers)
        later = f" and asks to wait {wait:.0f} seconds. Try again {_after(wait)}." if wait else ". Try again later."
        return Interrupted(f"{place}: the Hub is busy (status {status}){later}", wait)
    if status == 416:
        return Interrupted(f"{place}: the Hub does not have the bytes that are missing.")
    if status == 401 and said == "Invalid credentials in Authorization header":
        return EvaluationError(Failure.DOWNLOAD_FAILED, f"{place}: the Hub does not accept HF_TOKEN. Renew it.")
    if status not in DENIED:
        return EvaluationError(
            Failure.DOWNLOAD_FAILED, f"{place}: the Hub refuses it (status {status}). {said}".strip()
        )
    if code == "GatedRepo":
        token = "" if get_token() else ", and set HF_TOKEN to a token of yours"
        detail = f"{place} is gated: ask for access on its page{token}."
        return EvaluationError(Failure.FILE_MISSING, detail)
    reasons = {"RevisionNotFound": "there is no such commit", "EntryNotFound": "the commit has no such file"}
    reason = reasons.get(code or "", "there is no such repository, or it is private")
    return EvaluationError(Failure.FILE_MISSING, f"{place}: {reason} (status {status}).")

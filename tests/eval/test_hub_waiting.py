"""A Hub that is busy, silent or away: how often it is asked, how long it is waited for, and what the person is told."""

import re
import socket
import threading
import time
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import hub as hub_module
from eval.artefacts import Resolver
from eval.cache import Cache
from eval.failing import EvaluationError, Passing
from eval.hub import Fetching
from protocol.failures import Failure
from tests.eval.pinned_files import COMMIT, DATA, failure, pinned
from tests.hub.stand_in import HubStandIn, Repository, cut_after, refused, stalled_after

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_busy_hub_is_asked_again(
    repository: Repository, hub: HubStandIn, cache: Cache, status: int, method: str
) -> None:
    hub.disturb("model.gguf", refused(status), method=method, times=2)
    assert Resolver(cache=cache).resolve(pinned()).read_bytes() == DATA


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_hub_that_stays_busy_is_left_alone(
    repository: Repository, hub: HubStandIn, cache: Cache, method: str
) -> None:
    hub.disturb("model.gguf", refused(503), method=method, times=100)
    error = failure(cache, pinned())
    assert (error.failure, error.passing) == (Failure.DOWNLOAD_FAILED, Passing.LATER)
    assert "busy (status 503)" in error.detail
    assert sum(item.status == 503 for item in hub.asked) == hub_module.TRIES


def test_a_long_wait_is_passed_on_to_the_person(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    hub.disturb("model.gguf", refused(429, retry_after="301"), method="HEAD")
    before = time.time()
    error = failure(cache, pinned())
    assert error.failure is Failure.DOWNLOAD_FAILED
    said = re.search(r"asks to wait 301 seconds\. Try again after (.*)\.$", error.detail)
    assert said
    assert before + 301 <= time.mktime(time.strptime(said[1], "%H:%M:%S on %d %B %Y")) <= time.time() + 302
    assert len(hub.requests("model.gguf", "HEAD")) == 1


class Waits(threading.Event):
    """Time that passes at once; `stops` is how often one may wait before nobody needs the result any more."""

    def __init__(self, stops: int = 1000) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._stops = stops

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds.append(timeout)
        if len(self.seconds) == self._stops:
            self.set()
        return self.is_set()


@pytest.mark.parametrize(("method", "size"), [("HEAD", 0), ("GET", len(DATA))])
def test_a_hub_that_asks_to_wait_is_waited_for_and_that_is_told(
    repository: Repository, hub: HubStandIn, cache: Cache, method: str, size: int
) -> None:
    hub.disturb("model.gguf", refused(429, retry_after="43"), method=method)
    told: list[Fetching] = []
    waits = Waits()
    assert Resolver(cache=cache).resolve(pinned(), told.append, waits).read_bytes() == DATA
    assert waits.seconds == [10.0, 10.0, 10.0, 10.0, 3.0]
    waiting = [each for each in told if each.waits]
    assert waiting == [Fetching("some/model@ccccccc:model.gguf", 0, size, left) for left in (43, 33, 23, 13, 3)]
    assert told[-1] == Fetching("some/model@ccccccc:model.gguf", len(DATA), len(DATA))


def test_waiting_ends_when_nobody_needs_the_file(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    hub.disturb("model.gguf", refused(503, retry_after="200"), method="GET")
    waits = Waits(stops=2)
    with pytest.raises(EvaluationError, match="stopped"):
        Resolver(cache=cache).resolve(pinned(), stop=waits)
    assert waits.seconds == [10.0, 10.0]


def test_all_that_a_server_asks_to_wait_is_added_up(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    busy = refused(429, retry_after="151")
    for answer in (busy, lambda redirection: redirection, busy):
        hub.disturb("model.gguf", answer, server="hub")
    hub.disturb("model.gguf", cut_after(1000), server="cdn")
    waits = Waits()
    with pytest.raises(EvaluationError, match="asks to wait 151 seconds"):
        Resolver(cache=cache).resolve(pinned(), stop=waits)
    assert sum(waits.seconds) == 151
    assert cache.files()[0].size == 1000, "what came stays"


@given(st.floats(min_value=0, allow_nan=False))
def test_any_time_to_wait_can_be_told(seconds: float) -> None:
    assert hub_module._after(seconds).startswith(("after ", "later"))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": formatdate(1_000_090, usegmt=True)}, 90),
        ({"Retry-After": formatdate(0, usegmt=True)}, 0),
        ({"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}, 55),
        ({"RateLimit": '"api";r=7;t=55'}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Mon, 99 Nov 2026 25:61:00 GMT"}, None),
        ({}, None),
    ],
)
def test_how_long_a_server_asks_to_wait(
    headers: dict[str, str], seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "time", SimpleNamespace(time=lambda: 1_000_000.0))
    assert hub_module._asked_to_wait(headers) == seconds


def test_a_date_to_wait_for_is_told_in_seconds(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    hub.disturb("model.gguf", refused(503, retry_after=formatdate(time.time() + 72_000, usegmt=True)), method="HEAD")
    assert re.search(r"asks to wait \d{5} seconds", failure(cache, pinned()).detail)
    assert len(hub.requests("model.gguf", "HEAD")) == 1


def test_a_short_wait_is_kept(
    repository: Repository, hub: HubStandIn, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float | None] = []
    monkeypatch.setattr(threading.Event, "wait", lambda _self, seconds=None: waited.append(seconds))
    patience = hub_module.Patience()
    patience.lost(hub_module.Interrupted("busy", 7.0), progressed=False)
    assert waited == [7.0]


@pytest.mark.parametrize("port", [9])  # nobody listens
def test_nobody_there(cache: Cache, hub: HubStandIn, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    error = failure(cache, pinned())
    assert (error.failure, error.passing) == (Failure.DOWNLOAD_FAILED, Passing.UNREACHABLE)
    assert f"http://127.0.0.1:{port} cannot be reached" in error.detail


def test_a_silent_server_is_not_waited_for(
    repository: Repository, hub: HubStandIn, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "SILENCE_SECONDS", 0.2)
    hub.disturb("model.gguf", stalled_after(1000))
    assert Resolver(cache=cache).resolve(pinned()).read_bytes() == DATA
    hub.disturb("small", stalled_after(0), times=hub_module.TRIES)
    other = hub.model("some/model", COMMIT)
    other.add("small.gguf", b"other")
    error = failure(cache, pinned("small.gguf", b"other"))
    assert "does not answer" in error.detail


def test_a_hub_that_never_answers_is_asked_once(
    repository: Repository, hub: HubStandIn, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        error = failure(cache, pinned())
        silent.settimeout(0)
        silent.accept()
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert (error.failure, error.passing) == (Failure.DOWNLOAD_FAILED, Passing.UNREACHABLE)
    assert "does not answer" in error.detail

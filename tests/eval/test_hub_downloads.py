"""Files from the Hub, over the unmodified client library and a stand-in on loopback: pinned, verified, resumed."""

import hashlib
import re
import socket
import threading
import time
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import hub as hub_module
from eval.artefacts import Resolver, cached_name
from eval.cache import Cache
from eval.failing import EvaluationError
from eval.hub import Fetching, Place, announced, download
from protocol.definitions import Adapter, HubFile, Model
from protocol.failures import Failure
from tests.hub.stand_in import Answer, HubStandIn, Repository, corrupted, cut_after, refused, stalled_after

DATA = bytes(range(256)) * 20_000
COMMIT = "c" * 40
MIB = 1 << 20


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
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
    return Cache(tmp_path / "cache", 100 * MIB, reserve=0)


def pinned(path: str = "model.gguf", data: bytes = DATA, commit: str = COMMIT) -> HubFile:
    return HubFile("some/model", commit, path, hashlib.sha256(data).digest(), len(data))


def failure(cache: Cache, file: HubFile) -> EvaluationError:
    with pytest.raises(EvaluationError) as raised:
        Resolver(cache=cache).resolve(file)
    assert f"{file.repository}@{file.commit[:7]}" in raised.value.detail, "it says what was being fetched"
    return raised.value


@pytest.mark.parametrize("path", ["model.gguf", "folder/small file.gguf"])
def test_a_file_is_fetched_once_and_then_never_again(
    repository: Repository, hub: HubStandIn, cache: Cache, path: str
) -> None:
    told: list[Fetching] = []
    found = Resolver(cache=cache).resolve(pinned(path), told.append)
    assert found.read_bytes() == DATA
    assert [item.done for item in told] == sorted(item.done for item in told)
    assert (told[-1].done, told[-1].total) == (len(DATA), len(DATA))
    assert {item.what for item in told} == {f"some/model@ccccccc:{path}"}
    asked = len(hub.asked)
    assert Resolver(cache=cache).resolve(pinned(path)) == found
    assert len(hub.asked) == asked, "what is here already needs no Hub"
    assert [kept.name for kept in cache.files()] == [found.name]


def test_a_body_that_breaks_off_is_resumed(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    hub.disturb("model.gguf", cut_after(1_000_000))
    hub.disturb("model.gguf", cut_after(2_000_000))
    assert Resolver(cache=cache).resolve(pinned()).read_bytes() == DATA
    bodies = [item.range for item in hub.requests("model.gguf", "GET") if item.server == "cdn"]
    assert bodies == [None, "bytes=1000000-", "bytes=3000000-"]


def test_what_an_earlier_process_left_is_resumed(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    cache.folder.mkdir(parents=True)
    (cache.folder / (cached_name(pinned()) + ".partial")).write_bytes(DATA[:5000])
    assert Resolver(cache=cache).resolve(pinned()).read_bytes() == DATA
    assert [item.range for item in hub.asked if item.server == "cdn"] == ["bytes=5000-"]


def test_a_damaged_beginning_is_fetched_afresh(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    cache.folder.mkdir(parents=True)
    (cache.folder / (cached_name(pinned()) + ".partial")).write_bytes(b"x" * 5000)
    assert Resolver(cache=cache).resolve(pinned()).read_bytes() == DATA
    assert [item.range for item in hub.asked if item.server == "cdn"] == ["bytes=5000-", None]


def test_a_server_without_ranges_sends_all_of_it(repository: Repository, hub: HubStandIn, tmp_path: Path) -> None:
    into = tmp_path / "partial"
    into.write_bytes(DATA[:5000])
    hub.disturb("model.gguf", lambda _: Answer(200, {}, DATA), server="cdn")
    download(Place("some/model", COMMIT, "model.gguf"), len(DATA), into)
    assert into.read_bytes() == DATA


def test_a_full_partial_of_a_changed_size_starts_over(repository: Repository, hub: HubStandIn, tmp_path: Path) -> None:
    into = tmp_path / "partial"
    into.write_bytes(DATA + b"more")
    download(Place("some/model", COMMIT, "model.gguf"), len(DATA), into)
    assert into.read_bytes() == DATA


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
    assert error.failure is Failure.DOWNLOAD_FAILED
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
    assert error.failure is Failure.DOWNLOAD_FAILED
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
    assert error.failure is Failure.DOWNLOAD_FAILED
    assert "does not answer" in error.detail


def test_other_bytes_at_the_registered_place_are_the_models_fault(
    repository: Repository, hub: HubStandIn, cache: Cache
) -> None:
    other = DATA[:-1] + b"x"
    for path in ("model.gguf", "folder/small file.gguf"):
        assert failure(cache, pinned(path, other)).failure is Failure.HASH_MISMATCH
        assert failure(cache, pinned(path, DATA + b"x")).failure is Failure.HASH_MISMATCH
    assert not [item for item in hub.asked if item.server == "cdn"], "a large file's hash is known beforehand"
    assert cache.files() == []


def test_bytes_damaged_on_their_way_are_not(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    hub.disturb("model.gguf", corrupted)
    assert Resolver(cache=cache).resolve(pinned()).read_bytes() == DATA
    cache.drop(cached_name(pinned()))
    hub.disturb("model.gguf", corrupted, times=2)
    error = failure(cache, pinned())
    assert error.failure is Failure.DOWNLOAD_FAILED
    assert "damaged" in error.detail
    assert cache.files() == []


def test_a_body_without_end_is_cut_short(repository: Repository, hub: HubStandIn, tmp_path: Path) -> None:
    into = tmp_path / "partial"
    with pytest.raises(EvaluationError) as raised:
        download(Place("some/model", COMMIT, "model.gguf"), 1000, into)
    assert raised.value.failure is Failure.HASH_MISMATCH
    assert into.stat().st_size <= 1000


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (pinned("none.gguf"), "the commit has no such file"),
        (pinned(commit="a" * 40), "there is no such commit"),
        (msgspec.structs.replace(pinned(), repository="some/other"), "no such repository, or it is private"),
    ],
)
@pytest.mark.parametrize("token", [None, "hf_known"])
def test_what_is_not_there(
    repository: Repository,
    hub: HubStandIn,
    cache: Cache,
    monkeypatch: pytest.MonkeyPatch,
    file: HubFile,
    words: str,
    token: str | None,
) -> None:
    if token:
        hub.tokens.add(token)
        monkeypatch.setenv("HF_TOKEN", token)
    error = failure(cache, file)
    assert error.failure is Failure.FILE_MISSING
    assert words in error.detail


@pytest.mark.parametrize("gated", [True, False])
def test_gated_and_private_repositories_want_a_token_with_access(
    repository: Repository, hub: HubStandIn, cache: Cache, monkeypatch: pytest.MonkeyPatch, gated: bool
) -> None:
    hub.tokens |= {"hf_reader", "hf_stranger"}
    repository.readers, repository.gated = {"hf_reader"}, gated
    error = failure(cache, pinned())
    assert error.failure is Failure.FILE_MISSING
    assert ("set HF_TOKEN" if gated else "private") in error.detail
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    assert failure(cache, pinned()).failure is Failure.FILE_MISSING
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    assert Resolver(cache=cache).resolve(pinned()).read_bytes() == DATA
    seen_by = {(item.server, item.token) for item in hub.asked}
    assert ("hub", "hf_reader") in seen_by
    assert {token for server, token in seen_by if server == "cdn"} == {None}, "a token never leaves the Hub"


def test_a_wrong_token_is_the_devices_fault(
    repository: Repository, hub: HubStandIn, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    error = failure(cache, pinned())
    assert error.failure is Failure.DOWNLOAD_FAILED
    assert "does not accept HF_TOKEN" in error.detail


def test_without_room_only_the_size_is_asked_for(repository: Repository, hub: HubStandIn, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", MIB, reserve=0)
    error = failure(cache, pinned())
    assert error.failure is Failure.DOWNLOAD_FAILED
    assert "this device keeps at most" in error.detail
    error = failure(Cache(tmp_path / "cache", 100 * MIB, reserve=1 << 60), pinned())
    assert "the disk has 0 to spare" in error.detail
    assert not hub.requests(method="GET")


def test_stopping_leaves_what_came(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    stop = threading.Event()

    def report(fetching: Fetching) -> None:
        stop.set()

    with pytest.raises(EvaluationError, match="stopped"):
        Resolver(cache=cache).resolve(pinned(), report, stop)
    assert [kept.name for kept in cache.files()] == [cached_name(pinned()) + ".partial"]
    kept = cache.files()[0].size
    assert 0 < kept < len(DATA)
    assert Resolver(cache=cache).resolve(pinned()).read_bytes() == DATA
    assert hub.asked[-1].range == f"bytes={kept}-"


def test_two_who_want_the_same_file_fetch_it_once(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    resolver = Resolver(cache=cache)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(resolver.resolve(pinned()).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [DATA] * 4
    assert len([item for item in hub.asked if item.server == "cdn"]) == 1


def test_a_model_comes_with_its_adapters(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    repository.add("adapter.gguf", b"adapter", large=True)
    adapter = Adapter(pinned("adapter.gguf", b"adapter"), 500)
    model = Model(pinned(), (adapter,), "llama", 1000, "F16", "Apache-2.0")
    base, (found,) = Resolver(cache=cache).resolve_model(model)
    assert base.read_bytes() == DATA
    assert Path(found.path).read_bytes() == b"adapter"
    assert found.scale == 500


def test_nonsense_from_a_server_is_no_crash(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    hub.disturb("model.gguf", refused(200, x_linked_size="many", etag='"' + "z" * 64 + '"'), method="HEAD")
    assert announced(Place("some/model", COMMIT, "model.gguf")).sha256 is None
    hub.disturb("model.gguf", refused(302, location="http://[::bad"), method="HEAD")
    assert failure(cache, pinned()).failure is Failure.DOWNLOAD_FAILED
    hub.disturb("model.gguf", refused(418), method="HEAD")
    assert "status 418" in failure(cache, pinned()).detail

"""Files from the Hub, over the unmodified client library and a stand-in on loopback: pinned, verified, resumed."""

import threading
from pathlib import Path

import pytest

from eval.artefacts import Resolver, cached_name
from eval.cache import Cache
from eval.failing import EvaluationError, Passing
from eval.hub import Fetching, Place, download
from protocol.definitions import Adapter, Model
from protocol.failures import Failure
from tests.eval.pinned_files import COMMIT, DATA, failure, pinned
from tests.hub.stand_in import Answer, HubStandIn, Repository, corrupted, cut_after

pytestmark = pytest.mark.usefixtures("impatient")


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
    assert (error.failure, error.passing) == (Failure.DOWNLOAD_FAILED, Passing.LATER)
    assert "damaged" in error.detail
    assert cache.files() == []


def test_a_body_without_end_is_cut_short(repository: Repository, hub: HubStandIn, tmp_path: Path) -> None:
    into = tmp_path / "partial"
    with pytest.raises(EvaluationError) as raised:
        download(Place("some/model", COMMIT, "model.gguf"), 1000, into)
    assert raised.value.failure is Failure.HASH_MISMATCH
    assert into.stat().st_size <= 1000


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

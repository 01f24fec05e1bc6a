"""The cache's law: never more than its limit, what is in use stays, and what was used longest ago goes first."""

import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from eval.cache import Cache, NoRoom


def put(cache: Cache, name: str, size: int) -> Path:
    with cache.room(name, size) as partial:
        partial.write_bytes(bytes(size))
        return cache.keep(name)


def names(cache: Cache) -> set[str]:
    return {kept.name for kept in cache.files()}


def age(cache: Cache, *order: str) -> None:
    """Makes files look used one after the other, long ago."""
    for moment, name in enumerate(order):
        os.utime(cache.folder / name, ns=(moment, 0))


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 100, reserve=0)
    for name in "abc":
        put(cache, name, 30)
    age(cache, "a", "b", "c")
    assert cache.find("a")
    put(cache, "d", 30)
    assert names(cache) == {"a", "c", "d"}


def test_using_a_file_does_not_change_what_it_looks_like(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 100, reserve=0)
    path = put(cache, "a", 30)
    before = path.stat().st_mtime_ns
    cache.find("a")
    assert path.stat().st_mtime_ns == before
    assert cache.find("none") is None


def test_what_is_held_stays_and_the_newcomer_is_refused(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 100, reserve=0)
    put(cache, "a", 60)
    put(cache, "b", 30)
    with cache.held(["a"]), cache.held(["a", "b"]):
        with pytest.raises(NoRoom, match="in use"):
            put(cache, "c", 20)
        assert names(cache) == {"a", "b"}, "nothing is evicted in vain"
    with cache.held(["a"]):
        put(cache, "c", 20)
        assert names(cache) == {"a", "c"}
    put(cache, "d", 90)
    assert names(cache) == {"d"}


def test_too_large_for_the_limit_or_the_disk(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 100, reserve=0)
    put(cache, "a", 60)
    with pytest.raises(NoRoom, match="at most 100"):
        put(cache, "b", 101)
    with pytest.raises(NoRoom, match="the disk has 0 to spare"):
        put(Cache(tmp_path, 1000, reserve=1 << 60), "b", 200)
    assert names(cache) == {"a"}


def test_partial_downloads_count_and_are_evicted_like_the_rest(tmp_path: Path) -> None:
    (tmp_path / "old.partial").write_bytes(bytes(50))
    cache = Cache(tmp_path, 100, reserve=0)
    put(cache, "a", 40)
    assert names(cache) == {"old.partial", "a"}
    age(cache, "old.partial", "a")
    put(cache, "b", 40)
    assert names(cache) == {"a", "b"}


def test_room_is_promised_to_downloads_under_way(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 100, reserve=0)
    with cache.room("a", 60) as partial:
        partial.write_bytes(bytes(10))
        assert cache.used() == 60
        with pytest.raises(NoRoom, match="in use"):
            put(cache, "b", 50)
        put(cache, "c", 40)
        assert names(cache) == {"a.partial", "c"}
    assert cache.used() == 50


def test_a_start_after_a_crash_sees_everything_and_keeps_the_limit(tmp_path: Path) -> None:
    (tmp_path / "scratch-left").mkdir()
    (tmp_path / "scratch-left/file").write_bytes(bytes(50))
    cache = Cache(tmp_path, 1000, reserve=0)
    assert not (tmp_path / "scratch-left").exists()
    for name in "abc":
        put(cache, name, 30)
    age(cache, "b", "a", "c")
    assert names(Cache(tmp_path, 70, reserve=0)) == {"a", "c"}


def test_downloads_of_one_name_wait_for_each_other(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 100, reserve=0)
    order: list[str] = []
    inside = threading.Event()

    def second() -> None:
        with cache.room("a", 10):
            order.append("second")

    thread = threading.Thread(target=second)
    with cache.room("a", 10):
        thread.start()
        assert not inside.wait(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


class CacheMachine(RuleBasedStateMachine):
    """Whatever is put, used, held, begun and interrupted: the limit holds, and what is held is there."""

    limit = 100
    kept: Bundle[str] = Bundle("kept")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.cache = Cache(Path(self.folder.name), self.limit, reserve=0)
        self.held: list[tuple[str, object]] = []

    @rule(target=kept, name=st.sampled_from("abcdefgh"), size=st.integers(1, 120))
    def put(self, name: str, size: int) -> str:
        held = any(name == other for other, _ in self.held)
        if held and self.cache.find(name):
            return name  # a running job's file is never fetched anew
        try:
            put(self.cache, name, size)
        except NoRoom:
            pass
        else:
            assert (Path(self.folder.name) / name).stat().st_size == size
        return name

    @rule(name=st.sampled_from("abcdefgh"), size=st.integers(2, 120))
    def interrupt(self, name: str, size: int) -> None:
        try:
            with self.cache.room(name, size) as partial:
                partial.write_bytes(bytes(size // 2))
        except NoRoom:
            pass

    @rule(name=kept)
    def hold(self, name: str) -> None:
        if self.cache.find(name):
            block = self.cache.held([name])
            block.__enter__()
            self.held.append((name, block))

    @rule()
    def release(self) -> None:
        if self.held:
            self.held.pop()[1].__exit__(None, None, None)  # type: ignore[attr-defined]

    @invariant()
    def limit_holds(self) -> None:
        assert self.cache.used() <= self.limit
        assert sum(kept.size for kept in self.cache.files()) == self.cache.used()

    @invariant()
    def what_is_held_is_there(self) -> None:
        assert all((Path(self.folder.name) / name).exists() for name, _ in self.held)

    def teardown(self) -> None:
        self.folder.cleanup()


TestCacheMachine = CacheMachine.TestCase

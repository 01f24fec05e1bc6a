"""Questions from the Hub: the unmodified libraries in a child process, a stand-in on loopback, the pinned hash."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from eval import hub as hub_module
from eval import question_files
from eval.benchmarks import Entry, find
from eval.cache import Cache
from eval.failing import Passing
from eval.hub import Fetching
from eval.question_files import questions_ready
from eval.questions import QuestionsRefused, Source, Written, content_hash, read_records, written
from protocol.failures import Failure
from tests.hub.fixtures import as_lines, as_parquet, put_data_set
from tests.hub.stand_in import HubStandIn, Repository, corrupted, cut_after, refused, stalled_after

MIB = 1 << 20
ROWS = [{"question": f"{place} + 1?", "answer": f"#### {place + 1}"} for place in range(300)]
RECORDS = tuple(Written(row["question"], row["answer"]) for row in ROWS)
COMMIT = "d" * 40
SOURCE = Source("sums/test.jsonl", "some/sums", COMMIT, "main", "test", content_hash(RECORDS))


def sums() -> Entry:
    """A small benchmark whose questions lie on the Hub."""
    template = find("gsm8k")
    return Entry(
        definition=template.definition,
        questions=lambda folder, hub: read_records(SOURCE, written, folder, hub),
        pool=None,
        prompt=template.prompt,
        sources=(SOURCE,),
    )


@pytest.fixture
def repository(hub: HubStandIn) -> Repository:
    splits = {"train": as_parquet(ROWS[:2]), "test": as_parquet(ROWS)}
    return put_data_set(hub, "some/sums", COMMIT, "main", splits)


def refusal(cache: Cache, entry: Entry | None = None) -> QuestionsRefused:
    with pytest.raises(QuestionsRefused) as raised:
        questions_ready(entry or sums(), None, cache)
    assert raised.value.failure is Failure.DOWNLOAD_FAILED
    assert "some/sums@ddddddd" in raised.value.detail, "it says what was being fetched"
    return raised.value


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_questions_are_fetched_once(hub: HubStandIn, cache: Cache, tmp_path: Path, suffix: str) -> None:
    write = as_parquet if suffix == "parquet" else as_lines
    splits = {"train": write(ROWS[:2]), "test": write(ROWS)}
    put_data_set(hub, "some/sums", COMMIT, "main", splits, suffix)
    told: list[Fetching] = []
    folder = questions_ready(sums(), None, cache, report=told.append)
    assert folder == cache.folder
    assert sums().load(folder).items == RECORDS
    assert {item.what for item in told} == {f"some/sums@ddddddd:main/test-00000-of-00001.{suffix}"}
    asked = len(hub.asked)
    assert questions_ready(sums(), None, cache) == folder
    assert len(hub.asked) == asked
    assert [kept.name for kept in cache.files()] == [SOURCE.cached], "nothing else is kept"
    assert list(cache.folder.iterdir()) == [cache.folder / SOURCE.cached]
    assert not (tmp_path / "hf-home").exists(), "nor anywhere else"
    assert not hub.requests("train-00000", "GET"), "only the split that is wanted"


def test_nobody_else_is_asked_or_told(
    repository: Repository, hub: HubStandIn, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert questions_ready(sums(), None, cache) == cache.folder
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert not [item.path for item in hub.asked if "some/sums" not in item.path and item.server == "hub"]


def test_a_local_copy_needs_no_hub(hub: HubStandIn, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "sums").mkdir()
    (tmp_path / SOURCE.local).write_bytes(as_lines(ROWS))
    assert questions_ready(sums(), tmp_path, cache) == tmp_path
    assert questions_ready(find("tally-words"), None, cache) is None
    assert not hub.asked


def test_a_damaged_copy_is_fetched_afresh(repository: Repository, cache: Cache) -> None:
    cache.folder.mkdir(parents=True)
    (cache.folder / SOURCE.cached).write_bytes(as_lines(ROWS[1:]))
    assert questions_ready(sums(), None, cache) == cache.folder
    assert sums().load(cache.folder).items == RECORDS


def test_other_questions_than_the_pinned_ones_are_refused_and_not_kept(hub: HubStandIn, cache: Cache) -> None:
    put_data_set(hub, "some/sums", COMMIT, "main", {"test": as_parquet(ROWS[::-1])})
    with pytest.raises(QuestionsRefused, match="content hash"):
        questions_ready(sums(), None, cache)
    assert cache.files() == []


def test_a_body_that_breaks_off_is_resumed(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    hub.disturb("test-00000", cut_after(500))
    assert questions_ready(sums(), None, cache) == cache.folder
    assert [item.range for item in hub.requests("test-00000", "GET") if item.server == "cdn"] == [None, "bytes=500-"]


def test_a_damaged_body_is_fetched_once_more(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    hub.disturb("test-00000", corrupted, server="cdn")
    assert questions_ready(sums(), None, cache) == cache.folder
    assert [item.range for item in hub.requests("test-00000", "GET") if item.server == "cdn"] == [None, None]


def test_a_body_that_stays_damaged_is_refused(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    hub.disturb("test-00000", corrupted, server="cdn", times=2)
    found = refusal(cache)
    assert "arrived damaged" in found.detail
    assert found.passing is Passing.LATER
    assert not cache.folder.exists() or not list(cache.folder.iterdir())


def test_a_file_that_is_no_parquet_is_refused(hub: HubStandIn, cache: Cache) -> None:
    put_data_set(hub, "some/sums", COMMIT, "main", {"test": b"PAR1 nonsense PAR1"})
    assert refusal(cache)


@pytest.mark.parametrize(
    ("status", "words"), [(503, "busy (status 503)"), (404, "no such repository"), (401, "no such repository")]
)
def test_a_hub_that_refuses(
    repository: Repository, hub: HubStandIn, cache: Cache, monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    monkeypatch.setattr(hub_module, "FIRST_WAIT_SECONDS", 0.0)
    hub.disturb("/api/datasets/", refused(status), times=100)
    said = refusal(cache)
    assert words in said.detail
    assert "--data" in said.detail
    assert said.passing is (Passing.LATER if status == 503 else None)
    assert len(hub.asked) <= hub_module.TRIES, "the child is not even started"


@pytest.mark.parametrize("path", ["README.md", "test-00000"])
def test_a_hub_that_is_busy_by_the_time_the_child_asks(
    repository: Repository, hub: HubStandIn, cache: Cache, path: str
) -> None:
    """`datasets` says it in its own words, and tries again in its own time."""
    hub.disturb(path, refused(503), times=100)
    found = refusal(cache)
    assert "busy (status 503)" in found.detail
    assert found.passing is Passing.LATER


def test_nobody_there_is_told_from_a_refusal(
    repository: Repository, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert refusal(cache).passing is Passing.UNREACHABLE


def test_a_private_data_set_with_a_token(
    repository: Repository, hub: HubStandIn, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.tokens.add("hf_reader")
    repository.readers, repository.gated = {"hf_reader"}, True
    assert "gated" in refusal(cache).detail
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    assert questions_ready(sums(), None, cache) == cache.folder
    assert {item.token for item in hub.asked if item.server == "cdn"} == {None}


def test_a_split_that_does_not_exist(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    repository.files.pop("main/test-00000-of-00001.parquet")
    assert refusal(cache)


def test_without_room_nothing_is_fetched(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    small = Cache(cache.folder, 1000, reserve=0)
    assert "room" in refusal(small).detail
    full = Cache(cache.folder, 200 * MIB, reserve=1 << 60)
    assert "the disk has" in refusal(full).detail


def test_stopping_ends_the_child(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    hub.disturb("test-00000", stalled_after(500))
    stop = threading.Event()
    with pytest.raises(QuestionsRefused, match="was ended"):
        questions_ready(sums(), None, cache, report=lambda _: stop.set(), stop=stop)
    assert list(cache.folder.iterdir()) == []


ENDLESS = """
import time
from eval import row_reader
from eval.hub import Fetching

def read(order, report):
    report(Fetching("what", 0, 1))
    time.sleep(600)

row_reader._read = read
row_reader.main()
"""
PARENT = f"""
import sys
from pathlib import Path
from eval import question_files
from eval.benchmarks import find
from eval.cache import Cache

question_files.COMMAND = (sys.executable, "-I", "-c", {ENDLESS!r})
cache = Cache(Path(sys.argv[1]), 1 << 28, reserve=0)
question_files.questions_ready(find("gsm8k"), None, cache, report=lambda _: print(flush=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_child_does_not_outlive_who_was_killed(hub: HubStandIn, cache: Cache) -> None:
    source = find("gsm8k").sources[0]
    put_data_set(hub, source.repository, source.commit, source.configuration, {source.split: b""})
    with subprocess.Popen([sys.executable, "-I", "-c", PARENT, str(cache.folder)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"\n"
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
        assert psutil.wait_procs([child], timeout=60)[1] == []


def test_a_silent_child_is_ended(
    repository: Repository, hub: HubStandIn, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(question_files, "QUIET_SECONDS", 0.3)
    monkeypatch.setattr(question_files, "COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))
    assert "took too long" in refusal(cache).detail


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_gsm8k_is_the_same_from_the_hub(
    put_gsm8k: Callable[[str], Repository], cache: Cache, data: Path, suffix: str
) -> None:
    put_gsm8k(suffix)
    entry = find("gsm8k")
    folder = questions_ready(entry, None, cache)
    fetched, local = entry.load(folder), entry.load(data)
    assert fetched.items == local.items
    assert fetched.pool == local.pool
    assert content_hash(fetched.items) == entry.definition.dataset.content


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize("name", ["truthfulqa-mc1", "truthfulqa-mc2"])
def test_truthfulqa_is_the_same_from_the_hub(
    put_truthfulqa: Callable[[str], Repository], cache: Cache, data: Path, name: str, suffix: str
) -> None:
    put_truthfulqa(suffix)
    entry = find(name)
    folder = questions_ready(entry, None, cache)
    assert entry.load(folder).items == entry.load(data).items
    assert content_hash(entry.load(folder).items) == entry.definition.dataset.content


def test_truthfulqas_answers_are_the_same_from_the_hub(
    put_truthfulqa_texts: Callable[[], Repository], cache: Cache, data: Path
) -> None:
    put_truthfulqa_texts()
    entry = find("truthfulqa-gen")
    assert entry.load(questions_ready(entry, None, cache)).items == entry.load(data).items


def test_humaneval_is_the_same_from_the_hub(
    put_humaneval: Callable[[], Repository], cache: Cache, data_folder: Callable[[str], Path]
) -> None:
    put_humaneval()
    entry = find("humaneval")
    local = data_folder("humaneval").parent
    assert entry.load(questions_ready(entry, None, cache)).items == entry.load(local).items


def test_lines_that_the_child_writes_are_the_rows(repository: Repository, cache: Cache) -> None:
    questions_ready(sums(), None, cache)
    lines = (cache.folder / SOURCE.cached).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ROWS

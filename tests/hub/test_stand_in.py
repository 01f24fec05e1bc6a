"""The stand-in against what it stands for: the unmodified client libraries, in processes of their own."""

import json
import subprocess
import sys
from typing import Any

from tests.hub.fixtures import as_lines, as_parquet, put_data_set
from tests.hub.stand_in import HubStandIn, cut_after, refused

DATA = bytes(range(256)) * 500
COMMIT = "c" * 40


def run(program: str) -> Any:
    """What a program prints as JSON; the libraries read their settings when they are imported."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def put_model(hub: HubStandIn) -> None:
    repository = hub.model("some/model", COMMIT)
    repository.add("model.gguf", DATA, large=True)
    repository.add("folder/config.json", b"{}")
    repository.add("README.md", b"# A model\n")


def test_huggingface_hub_downloads_a_file_and_a_whole_repository(hub: HubStandIn) -> None:
    put_model(hub)
    program = f"""
import huggingface_hub, json, pathlib
one = huggingface_hub.hf_hub_download("some/model", "model.gguf", revision="{COMMIT}")
everything = pathlib.Path(huggingface_hub.snapshot_download("some/model"))
files = sorted(str(path.relative_to(everything)) for path in everything.rglob("*") if path.is_file())
print(json.dumps([len(pathlib.Path(one).read_bytes()), everything.name, files]))
"""
    assert run(program) == [len(DATA), COMMIT, ["README.md", "folder/config.json", "model.gguf"]]
    assert {item.server for item in hub.requests("model.gguf", "GET")} == {"cdn"}


def test_huggingface_hub_reads_pages_and_trees(hub: HubStandIn) -> None:
    put_model(hub)
    program = """
import huggingface_hub, json
api = huggingface_hub.HfApi()
info = api.model_info("some/model", files_metadata=True)
top = sorted(entry.path for entry in api.list_repo_tree("some/model"))
paths = [(entry.path, entry.size) for entry in api.get_paths_info("some/model", ["model.gguf", "none"])]
sizes = {item.rfilename: (item.size, item.lfs and item.lfs.sha256) for item in info.siblings}
print(json.dumps([info.sha, top, paths, sizes["model.gguf"], sizes["README.md"]]))
"""
    sha256 = hub.model("some/model").files["model.gguf"].sha256
    expected = [COMMIT, ["README.md", "folder", "model.gguf"], [["model.gguf", len(DATA)]], [len(DATA), sha256]]
    assert run(program) == [*expected, [10, None]]


def test_huggingface_hub_raises_its_own_errors(hub: HubStandIn) -> None:
    put_model(hub)
    hub.tokens |= {"hf_reader", "hf_stranger"}
    gated = hub.model("some/gated")
    gated.add("model.gguf", DATA, large=True)
    gated.readers, gated.gated = {"hf_reader"}, True
    program = f"""
import huggingface_hub, json
asked = [
    ("some/model", "none", "{COMMIT}", False),
    ("some/model", "model.gguf", "{"a" * 40}", False),
    ("some/none", "model.gguf", "{COMMIT}", False),
    ("some/gated", "model.gguf", "{COMMIT}", False),
    ("some/gated", "model.gguf", "{COMMIT}", "hf_stranger"),
    ("some/gated", "model.gguf", "{COMMIT}", "hf_reader"),
]
found = []
for repository, path, revision, token in asked:
    url = huggingface_hub.hf_hub_url(repository, path, revision=revision)
    try:
        found.append(huggingface_hub.get_hf_file_metadata(url, token=token).size)
    except huggingface_hub.errors.HfHubHTTPError as error:
        found.append(type(error).__name__)
print(json.dumps(found))
"""
    missing = ["RemoteEntryNotFoundError", "RevisionNotFoundError", "RepositoryNotFoundError"]
    assert run(program) == [*missing, "GatedRepoError", "GatedRepoError", len(DATA)]


def test_huggingface_hub_resumes_and_waits(hub: HubStandIn) -> None:
    large = DATA * 100
    hub.model("some/model", COMMIT).add("model.gguf", large, large=True)
    hub.disturb("model.gguf", cut_after(11 << 20))  # the library writes ten mebibytes at a time
    hub.disturb("model.gguf", refused(429, retry_after="0"))
    program = """
import huggingface_hub, json, pathlib
print(json.dumps(len(pathlib.Path(huggingface_hub.hf_hub_download("some/model", "model.gguf")).read_bytes())))
"""
    assert run(program) == len(large)
    asked = [(item.range, item.status) for item in hub.requests("model.gguf", "GET")]
    assert asked == [(None, 200), ("bytes=10485760-", 429), ("bytes=10485760-", 206)]


def test_datasets_loads_parquet_and_lines(hub: HubStandIn) -> None:
    rows = [{"question": "1+1?", "targets": {"choices": ["1", "2"], "labels": [0, 1]}}]
    put_data_set(hub, "some/parquet", COMMIT, "main", {"test": as_parquet(rows)})
    put_data_set(hub, "some/lines", COMMIT, "main", {"test": as_lines(rows)}, "jsonl")
    program = f"""
import datasets, json
names = ["some/parquet", "some/lines"]
loaded = [datasets.load_dataset(name, "main", split="test", revision="{COMMIT}") for name in names]
streamed = datasets.load_dataset(names[0], "main", split="test", revision="{COMMIT}", streaming=True)
print(json.dumps([list(found) for found in (*loaded, streamed)]))
"""
    assert run(program) == [rows] * 3
    assert any(item.range for item in hub.requests("test-00000", "GET")), "streaming asks for ranges"

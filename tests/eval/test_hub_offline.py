"""`HF_HUB_OFFLINE=1`: what is here is used, what is not is refused with the remedy, and the Hub hears nothing of it.

Online it hears of what is needed alone. In processes of their own, because the library reads its variables once.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.hub.stand_in import HubStandIn

DATA = bytes(range(256)) * 100
COMMIT = "c" * 40
RESOLVE = """
import sys
from pathlib import Path
from eval.artefacts import Resolver
from eval.cache import Cache
from eval.failing import EvaluationError
from protocol.definitions import HubFile

folder, path, sha256, size = sys.argv[1:]
file = HubFile("some/model", "c" * 40, path, bytes.fromhex(sha256), int(size))
try:
    print("here", Resolver(cache=Cache(Path(folder), 1 << 20, reserve=0)).resolve(file).stat().st_size)
except EvaluationError as error:
    print(error.failure.name, error.detail)
"""


def test_the_library_asks_and_keeps_nothing_of_its_own(hub: HubStandIn, tmp_path: Path) -> None:
    hub.model("some/model", COMMIT).add("a.gguf", DATA, large=True)
    arguments = [str(tmp_path / "cache"), "a.gguf", hashlib.sha256(DATA).hexdigest(), str(len(DATA))]
    subprocess.run([sys.executable, "-I", "-c", RESOLVE, *arguments], check=True)
    assert {item.method for item in hub.asked} == {"HEAD", "GET"}
    assert all(item.path.endswith("/a.gguf") for item in hub.asked)
    assert not (tmp_path / "hf-home").exists()


def test_offline_the_cache_serves_and_nothing_is_asked(hub: HubStandIn, tmp_path: Path) -> None:
    repository = hub.model("some/model", COMMIT)
    for name in ("kept.gguf", "other.gguf"):
        repository.add(name, name.encode() + DATA, large=True)

    def resolve(name: str, **variables: str) -> str:
        data = name.encode() + DATA
        arguments = [str(tmp_path / "cache"), name, hashlib.sha256(data).hexdigest(), str(len(data))]
        command = [sys.executable, "-I", "-c", RESOLVE, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | variables)
        return done.stdout.strip()

    size = len(DATA) + len("kept.gguf")
    assert resolve("kept.gguf") == f"here {size}"
    asked = len(hub.asked)
    assert resolve("kept.gguf", HF_HUB_OFFLINE="1") == f"here {size}"
    refused = resolve("other.gguf", HF_HUB_OFFLINE="1")
    assert refused.startswith("DOWNLOAD_FAILED some/model@ccccccc:other.gguf is not here")
    assert refused.endswith("unset it.")
    assert len(hub.asked) == asked

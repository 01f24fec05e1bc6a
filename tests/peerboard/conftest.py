"""A daemon that answers with what a test gives it, on a real socket, and ways to call the command line."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from node.answers import canonical
from node.home import Home
from peerboard import cli

Json = dict[str, Any]
TOKEN = "correct-horse"
NETWORK = "e46e083120543e67a452c33f1a9674641a90007741446e7b2d4c0ef116c366b8"
ROOT = "4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2"
ACCOUNT = "6ab3311bfe7c52d93098e661558a14c2e56fc28db7923a7acd2b67b6a97be7eb"
OTHER = "515f906d4177206527f022185221970afbcbd7647b288da49d0996de16ca591b"
LARGE, BASE = "f5" + 31 * "08", "51" + 31 * "77"


def ledger(name: str, data: Json) -> bytes:
    checkpoint = {"size": 1204, "root": ROOT, "epoch": 42}
    schema = f"peerboard.{name}/1"
    return canonical({"schema": schema, "network": NETWORK, "checkpoint": checkpoint, "data": data})


def node(name: str, data: Json, warnings: tuple[Json, ...] = ()) -> bytes:
    time = "2026-11-21T14:18:52Z"
    answer = {"schema": f"peerboard.{name}/1", "time": time, "data": data, "warnings": list(warnings), "error": None}
    return json.dumps(answer).encode()


def board_row(**given: Any) -> Json:
    row = {
        "rank_low": 1,
        "rank_high": 2,
        "model": "peerboard/demo@05b3abf:tally-tree.gguf",
        "name": "tally-tree",
        "id": LARGE,
        "benchmark": "tally-words",
        "track": "maths",
        "language": "en",
        "score": 71.0,
        "low": 61.5,
        "high": 79.0,
        "fp_low": 62.1,
        "fp_high": 78.6,
        "questions": 100,
        "of": 1000,
        "runners": 4,
        "status": "DONE",
        "epoch": 41,
        "parameters": 900_000,
        "quantisation": "F16",
    }
    return row | given


BOARD = [
    board_row(benchmark="tally-choice", track="reasoning", rank_high=1, score=88.0, low=79.2, high=93.4, questions=75),
    board_row(),
    board_row(name="tally-base + tally-times", id=BASE, score=60.0, low=50.2, high=69.1, runners=3, status="DISPUTED"),
]
STATUS: Json = {
    "role": "node",
    "version": "0.1.0",
    "network": {"id": NETWORK, "name": "demo"},
    "account": ACCOUNT,
    "device": OTHER,
    "peer": "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X",
    "home": "/home/ada/demo/node-2",
    "pid": 4711,
    "state": "evaluating",
    "reasons": [],
    "epoch": {"number": 42, "length_s": 60, "ends_in_s": 27.4, "phase": "evaluate", "leaderless": False},
    "log": {
        "size": 1204,
        "root": ROOT,
        "epoch": 42,
        "age_s": 3.2,
        "witnesses": {"cosigned": 4, "quorum": 3, "of": 4, "witnessed": True},
    },
    "peers": 4,
    "current": {
        "task": ROOT,
        "model": "tally-tree",
        "benchmark": "tally-choice",
        "done": 14,
        "total": 25,
        "tokens_per_s": 1831.0,
    },
    "downloads": [{"what": "some/model@5555555:model.gguf", "done": 3 << 20, "total": 1 << 30}],
    "today": {
        "evaluated": 41,
        "counted": 38,
        "failed": 1,
        "energy": {"kwh": 4.6e-05, "co2_grams": 0.0218, "estimated": True},
    },
    "credit": 164,
    "sandbox": {"level": "strong", "why": ""},
    "reach": {"standing": "public", "addresses": [], "relays": 0, "relaying": 0},
    "clock": {"off_s": 0.1, "asked": 4},
    "evaluation": {"mode": "fast", "backend": "auto", "engine": "llama-cpp-python 0.3.36", "hardware": "cpu-avx2"},
}
NO_PEERS = {"code": "NO_PEERS", "severity": "warn", "title": "No peer is connected.", "remedy": "Check the network."}
_FILE = {"repository": "peerboard/demo", "commit": 40 * "5", "path": "tally-tree.gguf", "sha256": ROOT, "size": 1893376}
_MODEL = {
    "id": LARGE,
    "reference": "peerboard/demo@5555555:tally-tree.gguf",
    "name": "tally-tree",
    "base": _FILE,
    "adapters": [{"file": _FILE, "scale": 500}],
    "architecture": "llama",
    "parameters": 900_000,
    "quantisation": "F16",
    "licence": "Apache-2.0",
    "dormant": False,
}
_BENCHMARK = {
    "id": BASE,
    "name": "tally-words",
    "version": 1,
    "track": "maths",
    "language": "en",
    "kind": "generation",
    "dataset": {
        "repository": "peerboard/demo-questions",
        "commit": 40 * "7",
        "configuration": "words",
        "split": "test",
        "content": ROOT,
        "questions": 1000,
    },
}
_VERDICT = {
    "task": ROOT,
    "model": "tally-tree",
    "model_id": LARGE,
    "benchmark": "tally-words",
    "epoch": 41,
    "verdict": "DONE",
    "quorum": 3,
    "counted": 4,
    "agreeing": [ACCOUNT, OTHER, BASE],
    "score": 72.0,
    "failure": None,
}
_FAILED = _VERDICT | {
    "verdict": "FAILED",
    "agreeing": [],
    "score": None,
    "failure": {"code": "MODEL_REFUSED", "title": "llama.cpp refuses to load the model's file."},
}
_RUNNER = {"account": ACCOUNT, "devices": 1, "since": 3, "earned": 12, "credit": 164, "missed": 0}
_TASK = {
    "id": ROOT,
    "model": "tally-tree",
    "model_id": LARGE,
    "benchmark": "tally-words",
    "epoch": 42,
    "depth": 25,
    "purpose": "regular",
    "state": "RUNNING",
    "firm": True,
    "quorum": 3,
    "committed": 3,
    "counted": 3,
    "agreeing": 3,
    "runners": [
        {
            "rank": 0,
            "account": ACCOUNT,
            "mine": True,
            "assigned": True,
            "committed": True,
            "revealed": False,
            "progress": 1.0,
        }
    ],
}


_SPENT = {
    "model": "tally-tree",
    "model_id": "f5" + "08" * 31,
    "benchmark": "tally-words",
    "results": 12,
    "estimated": 4,
    "joules_per_question": 0.05642,
    "joules_per_correct": None,
    "joules_per_task": 1234.5,
    "kwh_per_task": 1.2345,
    "co2_grams_per_task": 583.9,
}


def all_answers() -> dict[str, bytes]:
    """By method and path, an answer of every kind."""
    live = [row | {"provisional": row["id"] == BASE} for row in BOARD]
    return {
        "GET /v1/leaderboard": ledger("leaderboard", {"epoch": 41, "rows": BOARD}),
        "GET /v1/leaderboard?live=1": node("leaderboard-live", {"epoch": 42, "rows": live}),
        "GET /v1/models": ledger("models", {"models": [_MODEL]}),
        "GET /v1/benchmarks": ledger("benchmarks", {"benchmarks": [_BENCHMARK]}),
        "GET /v1/results?epochs=3": ledger("results", {"verdicts": [_VERDICT, _FAILED]}),
        "GET /v1/runners": ledger("runners", {"runners": [_RUNNER, _RUNNER | {"account": OTHER, "credit": 9}]}),
        "GET /v1/energy": node("energy", {"co2_grams_per_kwh": 473.0, "rows": [_SPENT]}),
        "GET /v1/tasks": node("tasks", {"epoch": 42, "tasks": [_TASK]}),
        "GET /v1/peers": node("peers", {"peers": [{"peer": STATUS["peer"], "connected_s": 2471.0, "reach": "direct"}]}),
        "GET /v1/status": node("status", STATUS),
        "POST /v1/pause": node("status", STATUS | {"state": "paused", "reasons": [PAUSED], "current": None}),
        "POST /v1/resume": node("status", STATUS),
    }


PAUSED = {"code": "USER", "title": "paused by you", "until": "you resume it"}


@dataclass
class FakeDaemon:
    """What answers on a home. A missing answer is a 404; an answer can be a status with bytes, or made when asked."""

    home: Home
    url: str
    answers: dict[str, bytes | tuple[int, bytes] | Callable[[], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def reply(self, asked: str, token: str | None) -> tuple[int, bytes]:
        self.asked.append(asked)
        if token != f"Bearer {TOKEN}":
            problem = {"code": "NO_TOKEN", "title": "This API is for the node's owner.", "remedy": "Send the token."}
            return 401, json.dumps({"error": problem}).encode()
        found = self.answers.get(asked, (404, b"Not Found"))
        if callable(found):
            found = found()
        return found if isinstance(found, tuple) else (200, found)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A home with a daemon that has an answer to everything."""
    home = Home(tmp_path / "home")
    home.folder.mkdir()
    here: list[FakeDaemon] = []

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            status, content = here[0].reply(f"{self.command} {self.path}", self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = reply  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    here.append(FakeDaemon(home, url, dict(all_answers())))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    home.control_token.write_text(TOKEN)
    about = {"url": url, "token_file": str(home.control_token), "pid": os.getpid(), "role": "node", "web": None}
    home.control.write_text(json.dumps(about))
    try:
        yield here[0]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: bytes
    error: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Done]


@pytest.fixture
def call(capsysbinary: pytest.CaptureFixture[bytes]) -> Call:
    """`call("status", "--json")`: the command line in this process."""

    def run(*arguments: object) -> Done:
        capsysbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        out, error = capsysbinary.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, out, error.decode())

    return run


@pytest.fixture
def call_process() -> Call:
    """The same in a process of its own."""

    def run(*arguments: object, environment: dict[str, str] | None = None) -> Done:
        command = [sys.executable, "-I", "-m", "peerboard", *map(str, arguments)]
        done = subprocess.run(
            command,
            capture_output=True,
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr.decode())

    return run

"""A small server for the tests of the page: the real page and fixed answers of the API, which a test can change."""

import json
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from trio.lowlevel import TrioToken

from bootstrap.pages import page_routes

NETWORK = "9c41" * 16
NAMES = ("tally-base + tally-times", "tally-base", "tally-small", "tally-tiny", "tally-early", "tally-random")
BENCHMARKS = ("tally-choice", "tally-words")

Json = dict[str, Any]


def model_id(index: int) -> str:
    return f"{index + 1:02x}" * 32


def model(index: int, name: str) -> Json:
    def file(stem: str) -> Json:
        return {
            "repository": "peerboard/demo",
            "commit": "a1b2c3d4" * 5,
            "path": f"{stem}.gguf",
            "sha256": f"{index + 160:02x}" * 32,
            "size": 1_834_000,
        }

    stems = name.split(" + ")
    return {
        "id": model_id(index),
        "name": name,
        "reference": " + ".join(f"peerboard/demo@a1b2c3d:{stem}.gguf" for stem in stems),
        "base": file(stems[0]),
        "adapters": [{"file": file(stem), "scale": 500} for stem in stems[1:]],
        "architecture": "llama",
        "parameters": 842_000,
        "quantisation": "F16",
        "licence": "Apache-2.0",
    }


def board_row(index: int, benchmark: str = BENCHMARKS[0], **changes: Any) -> Json:
    """A row; the further down, the lower the score. Ranks are ranges of neighbours."""
    name = NAMES[index % len(NAMES)]
    score = 91.3 - 11.7 * index
    row: Json = {
        "rank_low": max(1, index),
        "rank_high": index + 2,
        "model": model(index, name)["reference"],
        "name": name,
        "id": model_id(index),
        "benchmark": benchmark,
        "track": "maths",
        "language": "en",
        "score": round(score, 1),
        "low": round(score - 9.0, 1),
        "high": round(min(100.0, score + 8.0), 1),
        "fp_low": round(score - 4.0, 1),
        "fp_high": round(score + 3.0, 1),
        "questions": 175,
        "of": 500,
        "runners": 4,
        "status": "DONE",
        "epoch": 7,
        "parameters": 842_000,
        "quantisation": "F16",
    }
    return row | changes


def board_rows() -> list[Json]:
    rows = []
    for benchmark in BENCHMARKS:
        group = [board_row(index, benchmark) for index in range(len(NAMES))]
        group[0]["rank_low"], group[0]["rank_high"] = 1, 1
        group[3] |= {"status": "DISPUTED"}
        group[5] |= {"questions": 50, "rank_high": 6}
        rows += group
    return rows


def ledger(kind: str, data: Json, size: int = 214, epoch: int | None = 7) -> Json:
    return {
        "schema": f"peerboard.{kind}/1",
        "network": NETWORK,
        "checkpoint": {"size": size, "root": f"{size % 256:02x}" * 32, "epoch": epoch},
        "data": data,
    }


def said(kind: str, data: Json) -> Json:
    schema = f"peerboard.{kind}/1"
    return {"schema": schema, "time": "2026-11-21T08:49:29Z", "data": data, "warnings": [], "error": None}


def leaderboard(rows: list[Json], size: int = 214, epoch: int | None = 7) -> Json:
    return ledger("leaderboard", {"epoch": epoch, "rows": rows}, size, epoch)


def status(**changes: Any) -> Json:
    fields: Json = {
        "role": "bootstrap",
        "version": "0.1.0",
        "network": {"id": NETWORK, "name": "demo"},
        "account": "ab" * 32,
        "device": None,
        "peer": "12D3KooW",
        "home": "/tmp/demo/bootstrap",
        "pid": 4242,
        "state": "waiting",
        "reasons": [],
        "epoch": {"number": 8, "ends_in_s": 42.0, "phase": "evaluate", "leaderless": False},
        "log": {"size": 214, "root": "d6" * 32, "epoch": 7, "age_s": 18.0},
        "peers": 4,
        "current": None,
        "today": {"evaluated": 0, "counted": 0, "failed": 0},
        "credit": 0,
    }
    return fields | changes


def task(index: int, benchmark: str = BENCHMARKS[0], **changes: Any) -> Json:
    runners: list[Json] = [
        {
            "rank": rank,
            "account": f"{(17 * index + 41 * rank) % 256:02x}" * 32,
            "mine": False,
            "assigned": True,
            "committed": rank == 0,
            "revealed": False,
            "progress": (None, 0.72, 0.4, None)[rank],
        }
        for rank in range(4)
    ]
    fields: Json = {
        "id": f"{benchmark}{index}".encode().hex().ljust(64, "0"),
        "model": NAMES[index % len(NAMES)],
        "model_id": model_id(index),
        "benchmark": benchmark,
        "epoch": 8,
        "depth": 25,
        "purpose": "regular",
        "state": "RUNNING",
        "firm": False,
        "quorum": 3,
        "committed": 1,
        "counted": 0,
        "agreeing": 0,
        "runners": runners,
    }
    return fields | changes


def verdict(index: int, epoch: int, **changes: Any) -> Json:
    fields: Json = {
        "task": f"{epoch:064x}",
        "model": NAMES[index],
        "model_id": model_id(index),
        "benchmark": BENCHMARKS[0],
        "epoch": epoch,
        "verdict": "DONE",
        "quorum": 3,
        "counted": 4,
        "agreeing": [f"{number:02x}" * 32 for number in range(4)],
        "score": 88.0,
        "failure": None,
    }
    return fields | changes


def activity(number: int, level: str = "ok", text: str | None = None) -> Json:
    sentence = text if text is not None else f"tally-base on tally-words: {number} of 4 agree"
    return {
        "time": f"2026-11-21T08:{number // 60:02}:{number % 60:02}Z",
        "level": level,
        "code": "VERDICT",
        "text": sentence,
        "task": None,
    }


class BoardServer:
    """Serves on a loopback port in a thread of its own until `stop`; `start` again takes the same port."""

    def __init__(self) -> None:
        self.answers: dict[str, Json] = {
            "/v1/leaderboard": leaderboard(board_rows()),
            "/v1/status": said("status", status()),
            "/v1/tasks": said("tasks", {"epoch": 8, "tasks": [task(index) for index in range(3)]}),
            "/v1/models": ledger("models", {"models": [model(i, name) for i, name in enumerate(NAMES)]}),
            "/v1/results": ledger(
                "results",
                {
                    "verdicts": [
                        verdict(0, 6),
                        verdict(0, 7, verdict="DISPUTED", agreeing=["aa" * 32, "bb" * 32], score=None),
                        verdict(1, 7),
                    ]
                },
            ),
        }
        self.requests: Counter[str] = Counter()
        self.failing: set[str] = set()
        self._port = 0
        self._sequence = 0
        self._streams: set[trio.MemorySendChannel[bytes]] = set()
        self._thread: threading.Thread | None = None
        self._token: TrioToken | None = None
        self._scope = trio.CancelScope()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        started = threading.Event()
        self._scope = trio.CancelScope()
        self._thread = threading.Thread(target=trio.run, args=(self._serve, listener.detach(), started.set))
        self._thread.start()
        assert started.wait(30)

    def stop(self) -> None:
        if self._thread is not None and self._token is not None:
            self._token.run_sync_soon(self._scope.cancel)
            self._thread.join(30)
            assert not self._thread.is_alive()
            self._thread = None

    def push(self, name: str, data: Json, *, skip: int = 0) -> None:
        """Send one event to every stream; `skip` leaves out so many sequence numbers before it."""
        self._sequence += 1 + skip
        text = f"event: {name}\ndata: {json.dumps(data | {'sequence': self._sequence})}\n\n".encode()
        trio.from_thread.run_sync(self._send, text, trio_token=self._token)

    def push_raw(self, chunk: bytes) -> None:
        """Send bytes as they are to every stream."""
        trio.from_thread.run_sync(self._send, chunk, trio_token=self._token)

    def _send(self, chunk: bytes) -> None:
        for stream in self._streams:
            stream.send_nowait(chunk)

    async def _serve(self, descriptor: int, started: Callable[[], None]) -> None:
        self._token = trio.lowlevel.current_trio_token()
        config = Config()
        config.bind = [f"fd://{descriptor}"]
        config.accesslog = None
        routes = [
            Route("/v1/events", self._events),
            Route("/v1/{rest:path}", self._answer),
            *page_routes(),
        ]
        application = Starlette(routes=routes)
        with self._scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(serve, application, config)
                started()

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        self.requests[path] += 1
        if path in self.failing or path not in self.answers:
            error = {"code": "BROKEN", "title": "The disk is full", "remedy": "Free some space"}
            return _json({"schema": "peerboard.error/1", "data": None, "warnings": [], "error": error}, 503)
        return _json(self.answers[path])

    async def _events(self, request: Request) -> Response:
        self.requests[request.url.path] += 1
        sender, receiver = trio.open_memory_channel[bytes](1000)

        async def stream() -> AsyncIterator[bytes]:
            self._streams.add(sender)
            try:
                yield b": hello\n\n"
                async for chunk in receiver:
                    yield chunk
            finally:
                self._streams.discard(sender)

        return StreamingResponse(stream(), media_type="text/event-stream")


def _json(value: Json, code: int = 200) -> Response:
    content = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return Response(content, status_code=code, media_type="application/json")

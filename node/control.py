"""The HTTP API: what a node tells its owner, and the read-only part that the bootstrap tells everybody.

`docs/control-api.md` describes it. A node's API listens on loopback and asks for the bearer token of its home.
"""

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
import trio
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from node.answers import VERDICT_EPOCHS, VERDICT_EPOCHS_MOST
from node.bulletin import Activity, Topic, Watcher, timestamp
from node.observer import Json, Observer

EVENT_SECONDS = 0.5
ALIVE_SECONDS = 4.0
LEDGER_ANSWERS = ("leaderboard", "models", "benchmarks", "runners")


def node_answer(observer: Observer, name: str, data: Any) -> JSONResponse:
    """`data` in the envelope of node answers."""
    body: Json = {
        "schema": f"peerboard.{name}/1",
        "time": timestamp(observer.core.clock.now()),
        "data": data,
        "warnings": observer.warnings(),
        "error": None,
    }
    return JSONResponse(body)


def refusal(status: int, code: str, title: str, remedy: str, time: str = "") -> JSONResponse:
    """An error for people and programs."""
    error = {"code": code, "title": title, "remedy": remedy}
    body: Json = {"schema": "peerboard.error/1", "time": time, "data": None, "warnings": [], "error": error}
    return JSONResponse(body, status_code=status)


def read_routes(observer: Observer) -> list[Route]:
    """The part that only reads."""

    def ledger(name: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if name == "leaderboard" and request.query_params.get("live") == "1":
                return node_answer(observer, "leaderboard-live", observer.live_leaderboard())
            content = observer.core.replica.answers.bytes_of(name)
            return Response(content, media_type="application/json")

        return answer

    async def results(request: Request) -> Response:
        given = request.query_params.get("epochs", str(VERDICT_EPOCHS))
        if not (given.isascii() and given.isdecimal()) or not 1 <= int(given[:9]) <= VERDICT_EPOCHS_MOST:
            remedy = f"Give a number from 1 to {VERDICT_EPOCHS_MOST}."
            return refusal(400, "WRONG_EPOCHS", f"epochs={given[:20]} is not a number of epochs.", remedy)
        content = observer.core.replica.answers.results(int(given))
        return Response(content, media_type="application/json")

    async def status(request: Request) -> Response:
        return node_answer(observer, "status", observer.status())

    async def energy(request: Request) -> Response:
        return node_answer(observer, "energy", observer.energy())

    async def tasks(request: Request) -> Response:
        return node_answer(observer, "tasks", observer.tasks())

    async def events(request: Request) -> Response:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_events(observer), media_type="text/event-stream", headers=headers)

    routes = [Route(f"/v1/{name}", ledger(name)) for name in LEDGER_ANSWERS]
    return [
        *routes,
        Route("/v1/results", results),
        Route("/v1/status", status),
        Route("/v1/energy", energy),
        Route("/v1/tasks", tasks),
        Route("/v1/events", events),
    ]


def owner_routes(observer: Observer, commands: Mapping[str, Callable[[], None]]) -> list[Route]:
    """The part for the node's owner: its peers, and commands such as `pause`, by their names."""

    async def peers(request: Request) -> Response:
        return node_answer(observer, "peers", observer.peers())

    def command(act: Callable[[], None]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            act()
            return node_answer(observer, "status", observer.status())

        return answer

    acts = [Route(f"/v1/{name}", command(act), methods=["POST"]) for name, act in commands.items()]
    return [Route("/v1/peers", peers), *acts]


def token_required(token: str) -> Middleware:
    """Refuse requests without the home's token."""
    return Middleware(_TokenRequired, token=token)


class _TokenRequired:
    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                remedy = "Send `Authorization: Bearer` with the token in control.token of the node's home."
                response = refusal(401, "NO_TOKEN", "This API is for the node's owner.", remedy)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _events(observer: Observer) -> AsyncIterator[bytes]:
    """Activities at once; views that changed at most every half second or with an activity, the newest only."""
    sequence = 0

    def event(name: str, data: Json) -> bytes:
        nonlocal sequence
        sequence += 1
        return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode({"sequence": sequence, **data}))

    def status() -> Json:
        return {**observer.status(), "warnings": observer.warnings()}

    async with observer.core.bulletin.watch() as watcher:
        for activity in tuple(observer.core.bulletin.activities):
            yield event("activity", msgspec.to_builtins(activity))
        yield event("status", status())
        yield event("tasks", observer.tasks())
        alive = trio.current_time()
        while True:
            told, changed = await _notes(watcher)
            for activity in told:
                yield event("activity", msgspec.to_builtins(activity))
            sequence, watcher.lost = sequence + watcher.lost, 0  # a gap tells the client to fetch everything anew
            if Topic.BOARD in changed:
                yield event("board", {"epoch": observer.core.replica.state.last_closed})
            if Topic.TASKS in changed:
                yield event("tasks", observer.tasks())
            if Topic.STATUS in changed or trio.current_time() - alive >= ALIVE_SECONDS:
                yield event("status", status())
                yield b": alive\n\n"
                alive = trio.current_time()


async def _notes(watcher: Watcher) -> tuple[list[Activity], set[Topic]]:
    """What the watcher is told until the first activity, for half a second at most.

    Apart from the generator: what yields must not do so within a cancel scope.
    """
    changed: set[Topic] = set()
    with trio.move_on_after(EVENT_SECONDS):
        async for note in watcher.notes:
            if isinstance(note, Activity):
                return [note], changed
            changed.add(note)
    return [], changed

"""The HTTP API over a real port: what it answers, whom it refuses, and how events arrive."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trio
from starlette.applications import Starlette

from node.bulletin import Bulletin, Level, Topic
from node.clock import Clock
from node.control import owner_routes, read_routes, token_required
from node.core import open_core
from node.home import Home
from node.memory_network import open_memory_hub
from node.observer import Observer
from node.process import HomeInUse, announced, hold, new_token, serving
from protocol import epochs
from protocol.definitions import Benchmark, Dataset, HubFile, Model, TaskKind
from protocol.genesis import Genesis
from protocol.parameters import DEMO

CHAIN = epochs.hash_chain(b"c" * 32, 20)


def genesis() -> Genesis:
    dataset = Dataset("test/questions", "0" * 40, "main", "test", b"q" * 32, 100)
    benchmark = Benchmark("sums", 1, "maths", "en", TaskKind.CHOICE, dataset, "p/1", "s/1", 0, 0, ("1", "2"))
    file = HubFile("test/models", "0" * 40, "m.gguf", b"m" * 32, 10)
    model = Model(file, (), "llama", 1000, "F16", "MIT")
    return Genesis("test", 1_800_000_000, DEMO, (benchmark,), (model,), b"l" * 32, CHAIN[-1], 20)


@dataclass
class Api:
    """A served API."""

    client: httpx.AsyncClient
    observer: Observer
    bulletin: Bulletin
    told: list[str]


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Api]:
    home = Home(folder)
    clock = Clock()
    bulletin = Bulletin(clock)
    told: list[str] = []
    async with (
        open_memory_hub() as hub,
        hub.open("node") as network,
        open_core(genesis(), network, home.store, clock, bulletin) as core,
    ):
        observer = Observer(core, "node", "0", home.folder)
        routes = [*read_routes(observer), *owner_routes(observer, {"pause": lambda: told.append("pause")})]
        token = new_token(home)
        app = Starlette(routes=routes, middleware=[token_required(token)])
        async with (
            serving(app, ["127.0.0.1:0"]) as url,
            httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client,
        ):
            with trio.fail_after(30):
                yield Api(client, observer, bulletin, told)


async def test_every_answer_has_its_envelope(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        for name in ("status", "tasks", "peers", "energy"):
            answer = (await api.client.get(f"/v1/{name}")).json()
            assert answer["schema"] == f"peerboard.{name}/1"
            assert set(answer) == {"schema", "time", "data", "warnings", "error"}
        for name in ("leaderboard", "models", "benchmarks", "runners", "results"):
            response = await api.client.get(f"/v1/{name}")
            answer = response.json()
            assert set(answer) == {"schema", "network", "checkpoint", "data"}
            compact = json.dumps(answer, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            assert response.content == compact.encode(), "canonical bytes"
        live = (await api.client.get("/v1/leaderboard?live=1")).json()
        assert live["schema"] == "peerboard.leaderboard-live/1"


async def test_before_the_first_mark_everything_is_empty_and_answers(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        status = (await api.client.get("/v1/status")).json()["data"]
        assert (status["state"], status["epoch"], status["log"]["size"]) == ("starting", None, 0)
        assert (await api.client.get("/v1/tasks")).json()["data"] == {"epoch": None, "tasks": []}
        assert (await api.client.get("/v1/leaderboard")).json()["data"] == {"epoch": None, "rows": []}


async def test_without_the_token_nobody_is_told_anything(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic cGVlcg=="}):
            async with httpx.AsyncClient(base_url=api.client.base_url, trust_env=False) as stranger:
                for path in ("/v1/status", "/v1/leaderboard", "/v1/events", "/nothing"):
                    response = await stranger.get(path, headers=given)
                    assert response.status_code == 401
                    assert response.json()["error"]["code"] == "NO_TOKEN"
                assert (await stranger.post("/v1/pause", headers=given)).status_code == 401
        assert api.told == []


async def test_commands_are_carried_out(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        assert (await api.client.post("/v1/pause")).json()["schema"] == "peerboard.status/1"
        assert api.told == ["pause"]
        assert (await api.client.get("/v1/pause")).status_code == 405
        assert (await api.client.post("/v1/nothing")).status_code == 404


@pytest.mark.parametrize("epochs_given", ["0", "25", "-1", "x", "1e9", "9" * 5000, "", "٣"])
async def test_a_wrong_number_of_epochs_is_refused_with_a_remedy(tmp_path: Path, epochs_given: str) -> None:
    async with served(tmp_path) as api:
        response = await api.client.get("/v1/results", params={"epochs": epochs_given})
        assert response.status_code == 400
        assert response.json()["error"]["remedy"]


async def test_events_come_with_growing_numbers_and_tell_of_losses(tmp_path: Path) -> None:
    async with served(tmp_path) as api, api.client.stream("GET", "/v1/events") as stream:
        events: list[tuple[str, int]] = []
        lines = stream.aiter_lines()
        api.bulletin.tell(Level.OK, "HELLO", "hello")
        name, flooded = "", False
        async for line in lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                events.append((name, data["sequence"]))
                if name == "tasks":
                    flooded = True
                    for _ in range(300):  # more than a watcher's queue holds, before it has a chance to read
                        api.bulletin.touch(Topic.STATUS)
                elif name == "status" and flooded:
                    break
        assert {name for name, _ in events} >= {"status", "tasks", "activity"}
        numbers = [number for _, number in events]
        assert numbers == sorted(numbers)
        assert numbers[-1] > len(numbers), "a gap tells that something was lost"


def test_one_process_runs_on_a_home(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with hold(home), pytest.raises(HomeInUse, match=r"Process \d+ runs on"), hold(home):
        pytest.fail("two processes hold one home")
    with hold(home):
        pass


def test_the_token_is_the_owners_alone_and_new_each_time(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first, second = new_token(home), new_token(home)
    assert first != second
    assert home.control_token.read_text() == second
    assert home.control_token.stat().st_mode & 0o777 == 0o600


def test_the_address_is_announced_while_it_is_served(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with announced(home, "node", "http://127.0.0.1:1"):
        assert json.loads(home.control.read_text())["url"] == "http://127.0.0.1:1"
    assert not home.control.exists()

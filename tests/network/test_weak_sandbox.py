"""A node whose machine cannot confine evaluations as strongly as its owner wants: it pauses and says so."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from eval.sandbox import Sandbox
from node import daemon
from node.home import Home
from node.memory_network import open_memory_hub
from node.settings import Settings

WHY = "bubblewrap is not installed."
Kit = Any  # the class of conftest.py, which tests cannot import


@asynccontextmanager
async def running(
    home: Home, settings: Settings, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    ready = trio.Event()

    async def listening(_stop: trio.Event) -> None:  # the node's control API is announced by now
        ready.set()

    monkeypatch.setattr(daemon, "stop_on_signals", listening)

    @asynccontextmanager
    async def fixed(_home: Home, _settings: Settings) -> AsyncIterator[Any]:
        yield kit.FixedEvaluator(bytes(32))

    async with open_memory_hub() as hub, trio.open_nursery() as nursery:
        node = partial(
            daemon.run_node,
            version="0",
            open_network=lambda _seed, _listen, **_reach: hub.open("node"),
            open_evaluator=fixed,
        )
        nursery.start_soon(node, home, settings, kit.genesis(), bytes(32))
        with trio.fail_after(60):
            await ready.wait()
        told, token = json.loads(home.control.read_text()), home.control_token.read_text().strip()
        async with httpx.AsyncClient(
            base_url=told["url"], headers={"Authorization": f"Bearer {token}"}, trust_env=False
        ) as client:
            yield client
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("least", "pauses"), [("strong", True), ("in-process", True), ("limits", False)])
async def test_a_weaker_sandbox_than_the_settings_ask_for_pauses_the_node(
    least: Any, pauses: bool, kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "detect", lambda: Sandbox("limits", WHY))
    async with running(Home(tmp_path), Settings(sandbox=least), kit, monkeypatch) as client:
        status = (await client.get("/v1/status")).json()["data"]
        assert status["sandbox"] == {"level": "limits", "why": WHY}
        assert [reason["code"] for reason in status["reasons"]] == ["SANDBOX_WEAK"] * pauses
        assert (status["state"] == "paused") is pauses
        if pauses:
            await client.post("/v1/pause")
            await client.post("/v1/resume")
            reasons = (await client.get("/v1/status")).json()["data"]["reasons"]
            assert [reason["code"] for reason in reasons] == ["SANDBOX_WEAK"], "resuming lifts only the owner's pause"

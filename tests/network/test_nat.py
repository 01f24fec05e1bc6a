"""Nodes behind routers that let nobody in: they evaluate, and agree, through the bootstrap as relay.

Where both routers keep ports, they come to a direct connection; where they do not, the relayed one stays.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from eval.demo.catalogue import packaged_models
from node.home import Home
from node.peer_id import peer_id
from node.peer_key import load_peer_key
from node.settings import read_settings, write_settings
from peerboard.client import Daemon
from peerboard.demo_network import write_demo_network
from peerboard.exits import CommandFailed
from protocol.parameters import DEMO
from tests.conftest import do_without
from tests.network.routers import Routers, Space, open_routers
from tests.network.running import running

EPOCH_SECONDS = 30
PATIENCE = 90.0


@pytest.fixture
def routers(require_tool: Callable[..., Path]) -> Iterator[Routers]:
    for tool in ("ip", "nft", "nsenter", "unshare", "setpriv"):
        require_tool(tool)
    if os.geteuid():
        do_without("tools", "needs root to make network namespaces")
    try:
        with open_routers() as made:
            yield made
    except (OSError, subprocess.CalledProcessError) as error:
        do_without("tools", f"needs network namespaces, and there are none here: {error}")


@dataclass
class Member:
    """A daemon in a network namespace."""

    home: Home
    command: tuple[str, ...]
    space: Space
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [sys.executable, "-I", "-m", "peerboard", *self.command, "--home", str(self.home.folder)]
        with (self.home.folder / "output.log").open("wb") as output:
            self.process = subprocess.Popen(
                [*self.space.enter, *words, "--exit-with-parent"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def data(self, path: str) -> Any:
        """Its answer, None while it has none."""
        with contextlib.suppress(CommandFailed, OSError):
            return self.space.ask(lambda: Daemon(self.home).data(path))
        return None

    def board(self) -> bytes:
        return self.space.ask(lambda: Daemon(self.home).bytes_of("/v1/leaderboard"))


@pytest.fixture
def members(request: pytest.FixtureRequest, tmp_path: Path, routers: Routers) -> Iterator[list[Member]]:
    """The bootstrap and one node in public, two nodes behind a router each."""
    random_ports = getattr(request, "param", True)
    parameters = replace(DEMO, epoch_seconds=EPOCH_SECONDS, grace_seconds=3, quick_depth=5)
    network = write_demo_network(tmp_path, 3, time.time() + 4, parameters=parameters, models=packaged_models()[:2])
    bootstrap = f"/ip4/11.0.0.1/tcp/4801/p2p/{peer_id(load_peer_key(network.bootstrap.peer_key))}"
    public = routers.public
    people = [Member(network.bootstrap, ("bootstrap", "run"), public), Member(network.nodes[0], ("run",), public)]
    people += [Member(home, ("run",), routers.private(random_ports=random_ports)) for home in network.nodes[1:]]
    for member, listen in zip(people, (4801, 4802, 4801, 4801), strict=True):
        settings = read_settings(member.home.settings)
        host = "11.0.0.1" if member.space is public else "0.0.0.0"
        known = (bootstrap,) if member.command == ("run",) else ()
        place = (f"/ip4/{host}/tcp/{listen}",)
        write_settings(member.home.settings, replace(settings, listen=place, bootstrap=known))
    with running(people):
        yield people


def await_that(what: str, happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.2)


def standing(member: Member) -> str | None:
    status = member.data("/v1/status")
    return status["reach"]["standing"] if status else None


def reached(member: Member) -> dict[str, str]:
    answer = member.data("/v1/peers")
    return {peer["peer"]: peer["reach"] for peer in answer["peers"]} if answer else {}


def test_two_nodes_behind_routers_agree_through_the_relay(members: list[Member]) -> None:
    bootstrap, public, one, other = members
    names = {id(member): peer_id(load_peer_key(member.home.peer_key)) for member in members}

    expected = ["public", "private", "private"]
    await_that("each knows whether it can be dialled", lambda: [*map(standing, (public, one, other))] == expected)
    await_that("a circuit joins the two", lambda: reached(one).get(names[id(other)]) == "relayed")
    assert reached(other)[names[id(one)]] == "relayed"
    assert reached(one)[names[id(bootstrap)]] == reached(one)[names[id(public)]] == "direct"
    assert bootstrap.data("/v1/status")["reach"]["relaying"] == 2

    await_that("all three agree on every task of an epoch", lambda: agreed(bootstrap))
    await_that("everybody has the same board", lambda: len({member.board() for member in members}) == 1)
    assert reached(one)[names[id(other)]] == "relayed"


def agreed(member: Member) -> bool:
    """Whether an epoch is closed in which every task was DONE with three who agree; a busy machine may miss one."""
    answer = member.data("/v1/results?epochs=24")
    verdicts = answer["verdicts"] if answer else []
    return any(
        {(v["verdict"], len(v["agreeing"])) for v in verdicts if v["epoch"] == epoch} == {("DONE", 3)}
        for epoch in {v["epoch"] for v in verdicts}
    )


@pytest.mark.parametrize("members", [False], indirect=True, ids=["routers that keep ports"])
def test_two_nodes_behind_routers_that_keep_ports_meet_without_the_relay(members: list[Member]) -> None:
    bootstrap, public, one, other = members
    names = {id(member): peer_id(load_peer_key(member.home.peer_key)) for member in members}

    def between() -> set[str | None]:
        return {reached(one).get(names[id(other)]), reached(other).get(names[id(one)])}

    await_that("a circuit joins the two", lambda: between() == {"relayed"})
    await_that("a direct connection takes its place", lambda: between() == {"direct"})
    assert [standing(one), standing(other)] == ["private", "private"]
    for member in (bootstrap, public):
        assert member.process
        member.process.kill()
    await_that("nobody is left but the two", lambda: reached(one) == {names[id(other)]: "direct"})
    assert reached(other) == {names[id(one)]: "direct"}

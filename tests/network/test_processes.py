"""A network of real processes that lose members: what `peerboard demo` runs, with shorter epochs and fewer questions.

One story, told once because it takes two minutes: a node is killed, then comes back; the bootstrap is killed, the
others go on without it, it comes back; a model's file is not what its registration says. Nothing is lost, and in the
end everybody has the same board.
"""

import contextlib
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from eval.demo.catalogue import packaged_models
from peerboard.cli import main
from peerboard.client import Daemon
from peerboard.demo import Member
from peerboard.demo_network import write_demo_network
from peerboard.exits import CommandFailed
from protocol.definitions import HubFile, Model
from protocol.parameters import DEMO
from tests.hub.stand_in import HubStandIn
from tests.network.running import running

EPOCH_SECONDS = 28
PATIENCE = 90.0
STOP_SECONDS = 5.0
WRONG_BYTES = b"not the registered file"


@pytest.fixture
def wrong_hub(hub: HubStandIn) -> None:
    """A Hub that holds other bytes than were registered, of the same length."""
    hub.model("test/wrong", "1" * 40).add("wrong.gguf", WRONG_BYTES)


@pytest.fixture
def members(tmp_path: Path, wrong_hub: None) -> Iterator[list[Member]]:
    """A running network: the bootstrap and four nodes."""
    parameters = replace(DEMO, epoch_seconds=EPOCH_SECONDS, grace_seconds=5, quick_depth=5)
    file = HubFile("test/wrong", "1" * 40, "wrong.gguf", hashlib.sha256(b"right").digest(), len(WRONG_BYTES))
    wrong = Model(file, (), "llama", 1000, "F16", "Apache-2.0")
    models = (*packaged_models()[:2], wrong)
    network = write_demo_network(tmp_path, 4, time.time() + 6, parameters=parameters, models=models)
    people = [Member("bootstrap", network.bootstrap, ["bootstrap", "run"])]
    people += [Member(f"node-{place}", home, ["run"]) for place, home in enumerate(network.nodes, 1)]
    with running(people):
        yield people


def ask(member: Member, path: str) -> Any:
    """A member's answer, None while it does not answer."""
    with contextlib.suppress(CommandFailed, OSError):
        return Daemon(member.home).data(path)
    return None


def await_that(what: str, happens: Callable[[], bool], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not happens():
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(0.2)


def closed(member: Member) -> int:
    """The last closed epoch on a member's board, -1 for none."""
    board = ask(member, "/v1/leaderboard")
    return -1 if board is None or board["epoch"] is None else int(board["epoch"])


def boards(members: list[Member]) -> set[bytes]:
    return {Daemon(member.home).bytes_of("/v1/leaderboard") for member in members}


def committed(member: Member) -> int:
    tasks = ask(member, "/v1/tasks")
    return sum(task["committed"] for task in tasks["tasks"]) if tasks else 0


def kill(member: Member) -> None:
    assert member.process
    member.process.send_signal(signal.SIGKILL)
    member.process.wait()


def test_members_come_and_go_and_nothing_is_lost(members: list[Member], capsys: pytest.CaptureFixture[str]) -> None:
    bootstrap, *nodes = members
    casualty = nodes[3]

    await_that("all have committed in the first epoch", lambda: committed(nodes[0]) == 6 * 4)
    kill(casualty)
    survivors = [bootstrap, *nodes[:3]]
    await_that("the others close the epoch", lambda: min(closed(member) for member in survivors) >= 0)
    assert len(boards(survivors)) == 1
    verdicts = [v for v in ask(bootstrap, "/v1/results?epochs=24")["verdicts"] if v["epoch"] == 0]
    found = {(v["verdict"], len(v["agreeing"])) for v in verdicts if v["model"] != "wrong"}
    assert found == {("DONE", 3)}
    failures = {(v["verdict"], v["failure"] and v["failure"]["code"]) for v in verdicts if v["model"] == "wrong"}
    assert failures == {("FAILED", "HASH_MISMATCH")}

    casualty.start()
    await_that("the casualty has caught up", lambda: closed(casualty) == closed(bootstrap) >= 0)
    assert len(boards(members)) == 1

    kill(bootstrap)
    gone = closed(nodes[0])
    await_that("the nodes go on leaderless", lambda: leaderless(nodes[0]) and committed(nodes[0]) > 0)
    missed = ask(nodes[0], "/v1/status")["epoch"]["number"]
    warnings = Daemon(nodes[0].home).answer("/v1/status")["warnings"]
    codes = {warning["code"] for warning in warnings}
    assert "NO_BOOTSTRAP" in codes
    assert codes <= {"NO_BOOTSTRAP", "UNWITNESSED"}, "on a slow machine a mark may have come to some witnesses too late"
    await_that("they reveal", lambda: revealed(nodes[0]) or not leaderless(nodes[0]))
    bootstrap.start()
    await_that("everybody has closed the leaderless epoch", lambda: min(map(closed, members)) >= missed > gone)
    await_that("all boards are the same bytes", lambda: len(boards(members)) == 1, 10)
    verdicts = [v for v in ask(bootstrap, "/v1/results?epochs=24")["verdicts"] if v["epoch"] == missed]
    assert {v["verdict"] for v in verdicts if v["model"] != "wrong"} == {"DONE"}, "no work of that epoch is lost"

    await_that("a stranger finds that all of it matches", lambda: verified(bootstrap, capsys))

    began = time.monotonic()
    for member in members:
        assert member.pid
        os.kill(member.pid, signal.SIGTERM)
    for member in members:
        assert member.process
        assert member.process.wait(timeout=STOP_SECONDS) == 0, (member.home.folder / "output.log").read_text()
    assert time.monotonic() - began < STOP_SECONDS
    assert not any(member.home.control.exists() for member in members)
    for member in members:
        said = member.home.log_file.read_text().splitlines()
        assert not [line for line in said if json.loads(line).get("level") in {"error", "critical"}]


def verified(bootstrap: Member, capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether what is published at the web address is what the log gives; before the first mark nothing is."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(Daemon(bootstrap.home).where["web"]), "--json"])
    answer = json.loads(capsys.readouterr().out)
    return not ended.value.code and {"tree", "ledger", "snapshot", "contents"} <= {
        step["step"] for step in answer["data"]["steps"] if step["ok"]
    }


def leaderless(member: Member) -> bool:
    status = ask(member, "/v1/status")
    return bool(status and status["epoch"] and status["epoch"]["leaderless"])


def revealed(member: Member) -> bool:
    tasks = ask(member, "/v1/tasks")
    return bool(tasks) and all(any(r["revealed"] for r in t["runners"]) for t in tasks["tasks"] if t["runners"])

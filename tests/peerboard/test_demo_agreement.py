"""What the demo calls an agreement: all who run, two at least, with the same bytes."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from node.home import Home
from peerboard import demo
from peerboard.demo import Demo, Member
from peerboard.demo_network import write_demo_network
from peerboard.demo_view import DemoView


@dataclass
class Participant(Member):
    """A member without a process: its last closed epoch, what else its board holds, whether it runs and answers."""

    epoch: int | None = None
    rows: str = "same"
    runs: bool = True
    answers: bool = True

    def running(self) -> psutil.Process | None:
        return psutil.Process() if self.runs else None

    def board(self) -> bytes | None:
        content = json.dumps({"data": {"epoch": self.epoch, "rows": self.rows}}).encode()
        return content if self.runs and self.answers else None


@pytest.fixture
def people(tmp_path: Path) -> list[Participant]:
    return [Participant(name, Home(tmp_path / name), []) for name in ("bootstrap", "node-1", "node-2")]


@pytest.fixture
def network(people: list[Participant], tmp_path: Path) -> Demo:
    return Demo(write_demo_network(tmp_path / "network", 2, time.time()), list(people), DemoView())


@pytest.fixture
def compare(
    network: Demo, people: list[Participant], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """`compare(0, 0, 1)`: what is said when the participants have closed these epochs."""

    def look(*epochs: int | None, late: bool = False) -> str:
        monkeypatch.setattr(demo, "LATE_SECONDS", -1.0 if late else 1e9)
        for member, epoch in zip(people, epochs, strict=True):
            member.epoch = epoch
        network._compare()
        return capsys.readouterr().err

    return look


def ended(network: Demo) -> tuple[bool, bool]:
    """Whether the demo fails at its own end, and when it is interrupted."""
    return network.disagreement(interrupted=False) is not None, network.disagreement(interrupted=True) is not None


def test_the_same_bytes_agree(network: Demo, compare: Callable[..., str]) -> None:
    assert compare(None, None, None) == ""
    assert ended(network) == (False, False)
    assert "agreement: the boards of bootstrap, node-1, node-2 are the same bytes" in compare(0, 0, 0)
    assert compare(0, 0, 0) == "", "once for each epoch"
    assert ended(network) == (False, False)
    assert json.loads(network.last_board)["data"]["epoch"] == 0


def test_other_bytes_are_never_forgiven(network: Demo, people: list[Participant], compare: Callable[..., str]) -> None:
    people[1].rows = "other"
    assert "NO AGREEMENT: the boards differ" in compare(0, 0, 0)
    people[1].rows = "same"
    assert "agreement: the boards of" in compare(1, 1, 1)
    assert ended(network) == (True, True)


@pytest.mark.parametrize("epochs", [(1, 0, 1), (0, 1, 1), (0, 0, 1), (1, 1, None)])
def test_who_is_behind_is_waited_for_and_then_named(
    epochs: Sequence[int | None], network: Demo, people: list[Participant], compare: Callable[..., str]
) -> None:
    behind = [member.name for member, epoch in zip(people, epochs, strict=True) if epoch != 1]
    assert compare(*epochs) == ""
    assert network.agreements == []
    said = compare(*epochs, late=True)
    assert f"not compared, since they are behind: {', '.join(behind)}\n" in said
    assert "NO AGREEMENT" not in said
    assert ended(network) == (True, False)


def test_who_stays_behind_for_another_epoch_is_no_agreement(network: Demo, compare: Callable[..., str]) -> None:
    compare(0, 0, None, late=True)
    assert "NO AGREEMENT: node-2 did not have the last epoch's board either" in compare(1, 1, 0, late=True)
    assert ended(network) == (True, True)
    assert (
        network.disagreement(interrupted=True) == "node-2 did not have the board of epoch 1, which others had closed."
    )
    assert "NO AGREEMENT" not in compare(2, 2, 2)
    assert ended(network) == (False, False)


def test_who_runs_and_does_not_answer_is_behind(
    network: Demo, people: list[Participant], compare: Callable[..., str]
) -> None:
    people[2].answers = False
    assert compare(0, 0, 0) == ""
    assert "behind: node-2" in compare(0, 0, 0, late=True)


def test_who_has_ended_is_not_waited_for(network: Demo, people: list[Participant], compare: Callable[..., str]) -> None:
    people[0].runs = False
    assert "agreement: the boards of node-1, node-2 are" in compare(0, 0, 0)
    assert ended(network) == (False, False)


def test_one_alone_agrees_with_nobody(network: Demo, people: list[Participant], compare: Callable[..., str]) -> None:
    people[0].runs = people[1].runs = False
    said = compare(0, 0, 0)
    assert "nothing to compare: node-2 alone has a board" in said
    assert "agree" not in said.lower().split("closed:")[1]
    assert ended(network) == (True, False)


@pytest.mark.parametrize(("interrupt", "code"), [(False, 1), (True, 130)])
def test_the_exit_code_says_so(
    interrupt: bool, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Callable[..., Any]
) -> None:
    def watch(running: Demo, epochs: int | None) -> None:
        running.agreements.append(demo.Agreement(0, {"bootstrap": "0", "node-1": "0"}, ("node-2",)))
        if interrupt:
            raise KeyboardInterrupt

    monkeypatch.setattr(Demo, "start", lambda running: None)
    monkeypatch.setattr(Demo, "watch", watch)
    done = call("demo", "--epochs", 1, "--home", tmp_path / "demo")
    assert done.code == code
    assert ("error[NO_AGREEMENT]: node-2 did not have the board of epoch 0" in done.error) is not interrupt
    assert not (tmp_path / "demo").exists()

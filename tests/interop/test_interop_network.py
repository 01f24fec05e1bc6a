"""A js-libp2p node and real Peerboard processes are one network: they find the same, in both directions.

One story, told once because it takes half a minute. The node dials `listener`, `dialler` dials the node; the two second
implementations know each other only through it.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from eval.demo.catalogue import packaged_models
from node.peer_id import peer_id
from node.peer_key import load_peer_key
from node.settings import read_settings, write_settings
from peerboard.client import Daemon
from peerboard.demo import Member
from peerboard.demo_network import DemoNetwork, write_demo_network
from peerboard.exits import CommandFailed
from protocol.parameters import DEMO
from tests.network.running import running

PEER = Path(__file__).parent / "peer.js"
PATIENCE = 90.0
EPOCH_SECONDS = 12
QUESTIONS = 5

Event = dict[str, Any]


class ScriptPeer:
    """A process of the second implementation. What it says goes to standard output, too: a transcript for people."""

    def __init__(self, name: str, node: Path, genesis: Path, began: float) -> None:
        self.name = name
        self.heard: list[Event] = []
        self._began = began
        self._news = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            [node, PEER, genesis], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        about = self.until("where it listens", is_a("listening"))
        self.account, self.address = about["account"], about["addresses"][0]

    def do(self, command: str, **details: object) -> None:
        """Give a command and wait until it is done."""
        before = len(self.heard)
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": command, **details}) + "\n")
        self._process.stdin.flush()
        self.until(f"{command} is done", is_a("done", do=command), before)

    def until(self, what: str, fits: Callable[[Event], bool], since: int = 0) -> Event:
        """The first event that fits, of those from `since` on; waits for it."""
        with self._news:
            self._news.wait_for(lambda: self._ended or any(map(fits, self.heard[since:])), PATIENCE)
            found = [event for event in self.heard[since:] if fits(event)]
        assert found, f"{self.name} did not say {what}, and {'ended' if self._ended else f'{PATIENCE} s are over'}"
        return found[0]

    def is_on_common_ground(self, event: Event) -> bool:
        """Whether it is a commitment on the ground of a mark that closed results: salts are in its beacon."""
        grounds = [mark["ground"] for mark in self.heard if closes_done(mark)]
        return is_a("envelope", kind="commitment")(event) and event["body"]["ground"] in grounds

    def leave(self) -> int:
        """Let it leave in good order; its exit status."""
        assert self._process.stdin
        self._process.stdin.close()
        status = self._process.wait(PATIENCE)
        self._reader.join()
        return status

    def end(self) -> None:
        """Make sure that it is gone."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            event = json.loads(line)
            tell(self._began, self.name, event)
            with self._news:
                self.heard.append(event)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


def is_a(name: str, /, **details: object) -> Callable[[Event], bool]:
    """Fits events of that name with these details."""
    return lambda event: event["event"] == name and all(event.get(key) == value for key, value in details.items())


def tell(began: float, who: str, event: Event) -> None:
    """A line of the transcript; long hex is shortened."""

    def short(value: object) -> str:
        if isinstance(value, list):
            return f"[{', '.join(map(short, value))}]"
        if isinstance(value, dict):
            return f"({', '.join(f'{name} {short(item)}' for name, item in value.items())})"
        text = str(value)
        return text if len(text) <= 20 or "/" in text else f"{text[:8]}…"

    details = ", ".join(f"{name} {short(value)}" for name, value in event.items() if name not in {"event", "body"})
    sys.stdout.write(f"{time.monotonic() - began:6.2f}  {who:<9} {event['event']}: {details}\n")


@pytest.fixture
def network(tmp_path: Path) -> DemoNetwork:
    """The files of a network of one node, which alone decides (K = 1), with one model and five questions a task."""
    parameters = replace(
        DEMO,
        epoch_seconds=EPOCH_SECONDS,
        grace_seconds=4,
        quorum=1,
        quick_depth=QUESTIONS,
        standard_depth=QUESTIONS,
        comprehensive_depth=QUESTIONS,
    )
    return write_demo_network(tmp_path, 1, time.time(), parameters=parameters, models=packaged_models()[:1])


@pytest.fixture
def script_peer(node: Path, network: DemoNetwork) -> Iterator[Callable[[str], ScriptPeer]]:
    """Starts second implementations by name."""
    began = time.monotonic()
    started = []

    def start(name: str) -> ScriptPeer:
        started.append(ScriptPeer(name, node, network.bootstrap.genesis, began))
        return started[-1]

    yield start
    for peer in started:
        peer.end()


@pytest.fixture
def listener(script_peer: Callable[[str], ScriptPeer]) -> ScriptPeer:
    """A second implementation that waits to be dialled."""
    return script_peer("listener")


@pytest.fixture
def members(network: DemoNetwork, listener: ScriptPeer) -> Iterator[list[Member]]:
    """The bootstrap and the node, which dials the listener, too."""
    (home,) = network.nodes
    settings = read_settings(home.settings)
    write_settings(home.settings, replace(settings, bootstrap=(*settings.bootstrap, listener.address)))
    people = [Member("bootstrap", network.bootstrap, ["bootstrap", "run"]), Member("node-1", home, ["run"])]
    with running(people):
        yield people


def await_answer(member: Member, path: str, what: str, fits: Callable[[Any], bool]) -> Any:
    """A member's answer, once it fits."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(CommandFailed, OSError):
            answer = Daemon(member.home).data(path)
            if fits(answer):
                return answer
        time.sleep(0.1)
    raise AssertionError(f"{member.name} did not show within {PATIENCE} s: {what}")


def test_two_implementations_are_one_network(
    network: DemoNetwork, listener: ScriptPeer, members: list[Member], script_peer: Callable[[str], ScriptPeer]
) -> None:
    bootstrap, member = members
    peer, other = (str(peer_id(load_peer_key(one.home.peer_key))) for one in (member, bootstrap))
    (place,) = read_settings(member.home.settings).listen

    listener.do("join")
    listener.until("that the node dialled it", is_a("connected", peer=peer, direction="inbound"))
    heard = listener.until("what the node committed to", is_a("envelope", kind="commitment"))

    # Signed and never sent: only reconciliation can bring it to the node.
    upcoming = network.genesis.epoch_at(time.time()) + 1
    listener.do("introduce", epoch=upcoming, quietly=True)
    listener.do("reconcile", peer=peer)

    # And the other way round: what was said before it came, and outside the gossip.
    dialler = script_peer("dialler")
    dialler.do("dial", address=f"{place}/p2p/{peer}")
    dialler.until("its connection", is_a("connected", peer=peer, direction="outbound"))
    dialler.do("reconcile", peer=peer)
    assert heard["id"] in dialler.until("what it has now", is_a("reconciled"))["held"]

    # The node finds these envelopes valid, and passes them on.
    dialler.do("join")
    dialler.do("introduce", epoch=upcoming, quietly=False)
    for kind in ("delegation", "profile"):
        said = dialler.until(f"its {kind}", is_a("published", kind=kind))
        passed = listener.until(f"the dialler's {kind}", is_a("envelope", id=said["id"]))
        assert passed["forwarder"] in {peer, other}

    def knows_both(data: Any) -> bool:
        return {listener.account, dialler.account} <= {runner["account"] for runner in data["runners"]}

    runners = await_answer(member, "/v1/runners", "both second implementations", knows_both)["runners"]
    assert len(runners) == 3

    # Both follow the log by themselves, derive the epoch's tasks and come to the node's verdicts.
    dialler.do("follow", peer=peer)
    for second in (listener, dialler):
        mark = second.until("a mark that closes an epoch whose tasks are all DONE", closes_done)
        compare(mark["closed"], member)
        second.until("that the node stands on a ground that it derived, too", second.is_on_common_ground)

    assert not [event for second in (listener, dialler) for event in second.heard if event["event"] == "refused"]
    assert [listener.leave(), dialler.leave()] == [0, 0]
    for one in members:
        assert one.process
        one.process.terminate()
        assert one.process.wait(PATIENCE) == 0, (one.home.folder / "output.log").read_text()


def closes_done(event: Event) -> bool:
    """Whether it is a mark that closes epochs in which every task is DONE."""
    verdicts = [verdict for closed in event.get("closed", ()) for verdict in closed["verdicts"]]
    return bool(verdicts) and all(verdict["state"] == "DONE" for verdict in verdicts)


def compare(closed: list[Event], member: Member) -> None:
    """Assert that the node has the same verdicts on the same tasks: state, score in percent, who agreed."""
    found = {verdict["task"]: verdict for one in closed for verdict in one["verdicts"]}

    def knows(data: Any) -> bool:
        return found.keys() <= {verdict["task"] for verdict in data["verdicts"]}

    known = await_answer(member, "/v1/results?epochs=24", "the verdicts", knows)["verdicts"]
    epochs = {one["epoch"] for one in closed}
    shown = {one["task"]: (one["verdict"], one["score"], one["agreeing"]) for one in known if one["epoch"] in epochs}
    assert shown == {
        task: (one["state"], round(one["total"] / (10 * one["questions"]), 1), one["agreeing"])
        for task, one in found.items()
    }

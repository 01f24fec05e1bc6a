"""`peerboard demo`: a whole network on this machine, from nothing to a board that everybody agrees on.

Each participant is a process of its own with its own home and keys. The demo starts them, shows what happens, compares
their boards byte for byte after every epoch, and stops them.
"""

import contextlib
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from node.home import Home
from peerboard.client import Daemon
from peerboard.demo_network import DemoNetwork, write_demo_network
from peerboard.demo_view import DemoView
from peerboard.exits import CommandFailed, Exit

LEAST_NODES, MOST_NODES = 3, 32
STOP_SECONDS = 4.0
LOOK_SECONDS = 0.5
READY_SECONDS = 90.0
LATE_SECONDS = 15.0
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Member:
    """A process of the demo: the bootstrap or a node."""

    name: str
    home: Home
    arguments: list[str]
    process: subprocess.Popen[bytes] | None = None
    ended: bool = False

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches the demo alone."""
        command = [sys.executable, "-I", "-m", "peerboard", *self.arguments, "--home", str(self.home.folder)]
        self.home.folder.mkdir(parents=True, exist_ok=True)
        with (self.home.folder / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--exit-with-parent"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """The process that runs on this home now: ours, or one that a person started in its place."""
        if self.process and self.process.poll() is None:
            return self.process.pid
        with contextlib.suppress(OSError, ValueError, KeyError):
            pid = int(json.loads(self.home.control.read_text())["pid"])
            if psutil.pid_exists(pid):
                return pid
        return None

    def daemon(self) -> Daemon | None:
        """Its control API, if it answers."""
        with contextlib.suppress(CommandFailed, OSError):
            return Daemon(self.home)
        return None


@dataclass
class Agreement:
    """The comparison of all boards at one closed epoch."""

    epoch: int
    digests: dict[str, str]

    @property
    def holds(self) -> bool:
        """Whether all are the same bytes."""
        return len(set(self.digests.values())) == 1


@dataclass
class Demo:
    """The running network."""

    network: DemoNetwork
    members: list[Member]
    view: DemoView
    agreements: list[Agreement] = field(default_factory=list)
    first_seen: dict[int, float] = field(default_factory=dict)
    """When the first participant had closed an epoch, on the monotonic clock."""

    def start(self) -> None:
        """Start all processes."""
        for member in self.members:
            member.start()
            self.view.say(f"{member.name:<10} pid {member.pid:<7} home {member.home.folder}")

    def watch(self, epochs: int | None) -> None:
        """Show what happens until `epochs` are closed (for ever if None)."""
        self._await_bootstrap()
        while epochs is None or len(self.agreements) < epochs:
            self._look()
            time.sleep(LOOK_SECONDS)

    def board(self) -> dict[str, Any] | None:
        """The bootstrap's board as JSON, else any node's."""
        for member in self.members:
            if daemon := member.daemon():
                with contextlib.suppress(CommandFailed):
                    return daemon.answer("/v1/leaderboard")
        return None

    def stop(self) -> None:
        """End all processes within a few seconds, those too that a person started in their place."""
        pids = [pid for member in self.members if (pid := member.pid)]
        alive = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, stubborn = psutil.wait_procs(alive, timeout=STOP_SECONDS)
        for process in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for member in self.members:
            if member.process:
                member.process.wait()

    def _await_bootstrap(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if daemon := self.members[0].daemon():
                self.view.say(f"web page   {daemon.where['web']}")
                return
            self._tell_ended()
            if self.members[0].process and self.members[0].process.poll() is not None:
                break
            time.sleep(0.1)
        log = self.members[0].home.folder / "output.log"
        raise CommandFailed("DEMO_FAILED", "The bootstrap did not come up.", f"Read {log}, or run with --keep.")

    def _look(self) -> None:
        self._tell_ended()
        for member in self.members:
            daemon = member.daemon()
            if daemon is None:
                continue
            try:
                self.view.show(daemon.data("/v1/status"), daemon.data("/v1/tasks"))
                self._compare(daemon.data("/v1/leaderboard")["epoch"])
                return
            except CommandFailed:
                continue

    def _tell_ended(self) -> None:
        for member in self.members:
            code = member.process.poll() if member.process else None
            if code is not None and not member.ended:
                member.ended = True
                cause = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                command = " ".join(["peerboard", *member.arguments, "--home", str(member.home.folder)])
                self.view.say(f"{member.name} {cause}; the others go on. Bring it back: {command}")

    def _compare(self, epoch: int | None) -> None:
        """Once every running participant has closed `epoch`, or has had time to, compare their boards."""
        if epoch is None or (self.agreements and self.agreements[-1].epoch >= epoch):
            return
        late = time.monotonic() - self.first_seen.setdefault(epoch, time.monotonic()) > LATE_SECONDS
        boards, behind = {}, []
        for member in self.members:
            daemon = member.daemon()
            if daemon is None:
                continue
            try:
                content = daemon.bytes_of("/v1/leaderboard")
            except CommandFailed:
                continue
            if json.loads(content)["data"]["epoch"] != epoch:
                behind.append(member.name)
                continue
            boards[member.name] = hashlib.sha256(content).hexdigest()
        if behind and not late:
            return  # they are still catching up: compare at the next look
        agreement = Agreement(epoch, boards)
        self.agreements.append(agreement)
        self.view.agreed(agreement.epoch, agreement.digests, self._verdicts(epoch))
        if behind:
            self.view.say(f"  not compared, since they are behind: {', '.join(behind)}")

    def _verdicts(self, epoch: int) -> list[dict[str, Any]]:
        for member in self.members:
            if daemon := member.daemon():
                with contextlib.suppress(CommandFailed):
                    found = daemon.data("/v1/results?epochs=1")["verdicts"]
                    return [verdict for verdict in found if verdict["epoch"] == epoch]
        return []


def run_demo(nodes: int, epochs: int | None, home: Path | None, *, keep: bool, as_json: bool) -> int:
    """Run the demo; the exit code. Raises `CommandFailed`."""
    if not LEAST_NODES <= nodes <= MOST_NODES:
        text = f"A demo needs {LEAST_NODES} to {MOST_NODES} nodes, not {nodes}: fewer than 3 cannot outvote a liar."
        raise CommandFailed("TOO_FEW_NODES", text, "peerboard demo --nodes 4", Exit.USAGE)
    with _folder(home, keep=keep) as folder, DemoView() as view:
        network = write_demo_network(folder, nodes, time.time())
        members = [Member("bootstrap", network.bootstrap, ["bootstrap", "run"])]
        members += [Member(f"node-{place + 1}", each, ["run"]) for place, each in enumerate(network.nodes)]
        demo = Demo(network, members, view)
        interrupted, board = False, None
        try:
            with _ends_like_interrupts():
                demo.start()
                demo.watch(epochs)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            with _without_interrupts():
                board = demo.board()
                view.finish("Stopping all processes ...")
                demo.stop()
        if as_json:
            print(json.dumps(board, ensure_ascii=False))
        if not all(agreement.holds for agreement in demo.agreements):
            text = "The participants do not have the same board."
            raise CommandFailed("NO_AGREEMENT", text, "Run again with --keep, and compare the homes.")
    return int(Exit.INTERRUPTED if interrupted else Exit.FINE)


@contextlib.contextmanager
def _folder(home: Path | None, *, keep: bool) -> Iterator[Path]:
    """The folder of all homes. What the demo made is removed afterwards, unless it is to be kept."""
    if home is None:
        folder = Path(tempfile.mkdtemp(prefix="peerboard-demo-"))
    else:
        folder = home.expanduser().resolve()
        if folder.exists() and any(folder.iterdir()):
            text = f"{folder} is not empty."
            raise CommandFailed("HOME_NOT_EMPTY", text, "Choose a new folder for --home.", Exit.USAGE)
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _ends_like_interrupts() -> Iterator[None]:
    """A terminal that closes and a polite kill end the demo as Ctrl-C does: nothing is left behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in ENDING_SIGNALS[1:]}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """A second Ctrl-C does not leave processes behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

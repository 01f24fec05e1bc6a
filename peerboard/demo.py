"""`peerboard demo`: a whole network on this machine, from nothing to a board that everybody agrees on.

Each participant is a process of its own with its own home and keys. The demo starts them, shows what happens, compares
their boards byte for byte after every epoch, and stops them.
"""

import contextlib
import hashlib
import json
import secrets
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
from peerboard.calling import command
from peerboard.client import Daemon
from peerboard.demo_network import DemoNetwork, write_demo_network
from peerboard.demo_view import DemoView
from peerboard.endings import ending_like_control_c, without_interrupts
from peerboard.exits import CommandFailed, Exit

LEAST_NODES, MOST_NODES = 3, 32
STOP_SECONDS = 3.0
LOOK_SECONDS = 0.5
READY_SECONDS = 90.0
LATE_SECONDS = 15.0
ANSWER_SECONDS = 2.0
LAST_SECONDS = 1.0


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
        arguments = [*self.arguments, "--home", str(self.home.folder), "--exit-with-parent"]
        self.home.folder.mkdir(parents=True, exist_ok=True)
        with (self.home.folder / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-m", "peerboard", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """The process that runs on this home now."""
        running = self.running()
        return running.pid if running else None

    def running(self) -> psutil.Process | None:
        """What runs on this home now: our process, or one that a person started in its place.

        A number that the system has given to another program since is neither.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, psutil.Error):
            if self.process and self.process.poll() is None:
                return psutil.Process(self.process.pid)
            process = psutil.Process(int(json.loads(self.home.control.read_text())["pid"]))
            words = process.cmdline()
            folder = str(self.home.folder)
            if any(Path(word).name == "peerboard" for word in words) and {folder, f"--home={folder}"} & set(words):
                return process
        return None

    def daemon(self, seconds: float = ANSWER_SECONDS) -> Daemon | None:
        """Its control API, if there is one; an answer is waited for `seconds`."""
        with contextlib.suppress(CommandFailed, OSError):
            return Daemon(self.home, seconds)
        return None

    def board(self) -> bytes | None:
        """Its board, if it answers."""
        if daemon := self.daemon():
            with contextlib.suppress(CommandFailed):
                return daemon.bytes_of("/v1/leaderboard")
        return None


@dataclass
class Agreement:
    """The comparison of all boards at one closed epoch: the digests by name, and who runs and has not closed it."""

    epoch: int
    digests: dict[str, str]
    behind: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether two boards are not the same bytes."""
        return len(set(self.digests.values())) > 1

    @property
    def holds(self) -> bool:
        """Whether everybody who runs has the same bytes; one alone agrees with nobody."""
        return len(self.digests) > 1 and not self.differs and not self.behind


@dataclass
class Demo:
    """The running network."""

    network: DemoNetwork
    members: list[Member]
    view: DemoView
    agreements: list[Agreement] = field(default_factory=list)
    first_seen: dict[int, float] = field(default_factory=dict)
    """When the first participant had closed an epoch, on the monotonic clock."""
    last_board: bytes = b"null"

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

    def board(self) -> Any:
        """The bootstrap's board as JSON, else any node's; the last one seen if nobody answers at once."""
        deadline = time.monotonic() + LAST_SECONDS
        for member in self.members:
            if (left := deadline - time.monotonic()) <= 0:
                break
            if daemon := member.daemon(left):
                with contextlib.suppress(CommandFailed):
                    return daemon.answer("/v1/leaderboard")
        return json.loads(self.last_board)

    def stop(self) -> None:
        """End all processes within a few seconds, those too that a person started in their place."""
        alive = [process for member in self.members if (process := member.running())]
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _, stubborn = psutil.wait_procs(alive, timeout=STOP_SECONDS)
        for process in stubborn:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(stubborn, timeout=LAST_SECONDS / 2)
        for member in self.members:
            if member.process:
                member.process.poll()

    def disagreement(self, *, interrupted: bool) -> str | None:
        """Why this demo has not ended in agreement, None if it has.

        Who interrupts does not wait for those that are behind: only a second epoch without them counts then.
        """
        if any(agreement.differs for agreement in self.agreements):
            return "The participants do not have the same board."
        lately = self.agreements[-2:]
        if not lately or any(agreement.holds for agreement in (lately if interrupted else lately[-1:])):
            return None
        if interrupted and len(lately) < 2:
            return None
        last = lately[-1]
        if last.behind:
            return f"{', '.join(last.behind)} did not have the board of epoch {last.epoch}, which others had closed."
        return f"Only {', '.join(last.digests)} had a board at the end of epoch {last.epoch}: there is no agreement."

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
                break
            except CommandFailed:
                continue
        self._compare()

    def _tell_ended(self) -> None:
        for member in self.members:
            code = member.process.poll() if member.process else None
            if code is not None and not member.ended:
                member.ended = True
                cause = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                back = command(*member.arguments, "--home", member.home.folder)
                self.view.say(f"{member.name} {cause}; the others go on. Bring it back: {back}")

    def _compare(self) -> None:
        """Once every running participant has closed the newest epoch, or has had time to, compare their boards."""
        boards = {member.name: content for member in self.members if (content := member.board())}
        closed = {name: json.loads(content)["data"]["epoch"] for name, content in boards.items()}
        epoch = max((each for each in closed.values() if each is not None), default=None)
        if epoch is None or (self.agreements and self.agreements[-1].epoch >= epoch):
            return
        late = time.monotonic() - self.first_seen.setdefault(epoch, time.monotonic()) > LATE_SECONDS
        digests = {
            name: hashlib.sha256(content).hexdigest() for name, content in boards.items() if closed[name] == epoch
        }
        behind = tuple(member.name for member in self.members if member.name not in digests and member.running())
        if behind and not late:
            return  # they are still catching up: compare at the next look
        before = self.agreements[-1].behind if self.agreements else ()
        stuck = tuple(name for name in behind if name in before)
        self.last_board = next(content for name, content in boards.items() if name in digests)
        self.agreements.append(Agreement(epoch, digests, behind))
        self.view.agreed(epoch, digests, self._verdicts(epoch), behind=behind, stuck=stuck)

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
        raise CommandFailed("TOO_FEW_NODES", text, command("demo", "--nodes", 4), Exit.USAGE)
    with ending_like_control_c() as interruption, _folder(home, keep=keep) as folder, DemoView() as view:
        try:
            network = write_demo_network(folder, nodes, time.time())
        except OSError as error:
            raise _unusable(folder, error) from None
        members = [Member("bootstrap", network.bootstrap, ["bootstrap", "run"])]
        members += [Member(f"node-{place + 1}", each, ["run"]) for place, each in enumerate(network.nodes)]
        demo = Demo(network, members, view)
        interrupted, board = False, None
        try:
            demo.start()
            demo.watch(epochs)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            with without_interrupts():
                board = demo.board() if as_json else None
                with contextlib.suppress(OSError):  # a terminal that is gone must not keep the processes alive
                    view.finish("Stopping all processes ...")
                demo.stop()
        if as_json:
            print(json.dumps(board, ensure_ascii=False))
        if why := demo.disagreement(interrupted=interrupted):
            raise CommandFailed("NO_AGREEMENT", why, "Run again with --keep, and compare the homes.")
    return interruption.code if interrupted else int(Exit.FINE)


@contextlib.contextmanager
def _folder(home: Path | None, *, keep: bool) -> Iterator[Path]:
    """The folder of all homes. What the demo made is removed afterwards, unless it is to be kept."""
    # The name is known before there is such a folder: no signal can come between its making and its removal.
    folder = Path(tempfile.gettempdir()) / f"peerboard-demo-{secrets.token_hex(8)}"
    try:
        if home is not None:
            folder = home.expanduser().resolve()
            if folder.exists() and any(folder.iterdir()):
                text = f"{folder} is not empty."
                raise CommandFailed("HOME_NOT_EMPTY", text, "Choose a new folder for --home.", Exit.USAGE)
    except (OSError, RuntimeError) as error:
        raise _unusable(home or folder, error) from None
    try:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=home is not None)
        except OSError as error:
            raise _unusable(folder, error) from None
        yield folder
    finally:
        if not keep:
            with without_interrupts():
                shutil.rmtree(folder, ignore_errors=True)


def _unusable(folder: Path, error: OSError | RuntimeError) -> CommandFailed:
    why = error.strerror if isinstance(error, OSError) else str(error)
    text = f"{folder} cannot hold the demo's homes: {why}."
    return CommandFailed("HOME_UNUSABLE", text, "Choose another folder with --home.", Exit.USAGE)

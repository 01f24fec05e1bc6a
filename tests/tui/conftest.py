"""Sample answers, views made of them, and a source that shows what a test wants shown.

The figures are invented, the shapes those of docs/control-api.md.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.tui.followed_daemon import Daemon
from tests.tui.stage import Stage
from tui.answers import Board, Peers, Status, Tasks, Verdicts, decode_answer, decode_event
from tui.link import Instant, Trouble
from tui.source import Show
from tui.stream import EventReader
from tui.view import Delta, Dropped, Opened, PeersTold, Snapshot, View, reduce

ANSWERS = Path(__file__).parent / "answers"
START = Instant(1000.0, 1795270732.0)
"""2026-11-21T14:18:52Z, when the sample answers are given."""


def later(seconds: float) -> Instant:
    return Instant(START.steady + seconds, START.wall + seconds)


def sample_snapshot() -> Snapshot:
    status, cautions = decode_answer((ANSWERS / "status.json").read_bytes(), Status)
    tasks, _ = decode_answer((ANSWERS / "tasks.json").read_bytes(), Tasks)
    board, _ = decode_answer((ANSWERS / "leaderboard-live.json").read_bytes(), Board)
    verdicts, _ = decode_answer((ANSWERS / "results.json").read_bytes(), Verdicts)
    return Snapshot(START, None, status, cautions, tasks, board, verdicts.verdicts, None)


def sample_view() -> View:
    """A live view of the sample."""
    view = reduce(Opened(START), View())
    view = reduce(sample_snapshot(), view)
    peers, _ = decode_answer((ANSWERS / "peers.json").read_bytes(), Peers)
    view = reduce(PeersTold(START, peers.peers), view)
    for frame in EventReader().feed((ANSWERS / "events.txt").read_bytes()):
        if frame.data:
            view = reduce(Delta(START, *decode_event(frame.kind, frame.data)), view)
    return view


def empty_view() -> View:
    """Connected to a node of a network that has measured nothing yet."""
    snapshot = msgspec.structs.replace(sample_snapshot(), tasks=Tasks(epoch=42), board=Board(), verdicts=())
    status = msgspec.structs.replace(snapshot.status, current=None, state="waiting")
    return reduce(msgspec.structs.replace(snapshot, status=status), reduce(Opened(START), View()))


class Scene:
    """A state of the dashboard by name, with the moment at which it is looked at."""

    def __init__(self, view: View, now: Instant) -> None:
        self.view = view
        self.now = now


def scene(name: str) -> Scene:
    match name:
        case "live":
            return Scene(sample_view(), later(1))
        case "stale":
            return Scene(sample_view(), later(8))
        case "down":
            lost = Dropped(Trouble.NOT_RUNNING, "", START.steady + 12)
            return Scene(reduce(lost, sample_view()), later(8))
        case "empty":
            return Scene(empty_view(), later(1))
        case "never":
            return Scene(reduce(Dropped(Trouble.NOT_RUNNING, "", START.steady + 5), View()), later(1))
        case _:
            raise ValueError(name)


class Script:
    """A source that shows a first view, then whatever `tell` gives it, and remembers commands."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.commands: list[str] = []
        self.retries = 0
        self.refusal: str | None = None
        self.on_command: Callable[[str, View], View] = lambda _path, view: view
        self._show: Show | None = None

    async def run(self, show: Show) -> None:
        self._show = show
        show(self.view)
        await asyncio.Event().wait()

    def tell(self, view: View) -> None:
        self.view = view
        assert self._show is not None
        self._show(view)

    async def command(self, path: str) -> str | None:
        self.commands.append(path)
        if self.refusal is None:
            self.tell(self.on_command(path, self.view))
        return self.refusal

    def retry(self) -> None:
        self.retries += 1


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of day read the same everywhere."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def live() -> View:
    return sample_view()


@pytest.fixture
def scene_of() -> Callable[[str], Scene]:
    return scene


@pytest.fixture
def answers_folder() -> Path:
    return ANSWERS


@pytest.fixture
def daemon(answers_folder: Path) -> Daemon:
    return Daemon(answers_folder)


@pytest.fixture
def stage() -> Callable[[str], Stage]:
    """Opens the dashboard on a scene, by its name."""

    def build(name: str) -> Stage:
        found = scene(name)
        return Stage(found, Script(found.view))

    return build

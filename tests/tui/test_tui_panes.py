"""What the panes say in every state, at every width, about names that somebody else chose."""

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.answers import Board, Caution, Download, Energy, Epoch, Peer, Reason, Runner, Spent, Status, Task, Tasks, Today
from tui.arrangement import Query
from tui.help import help_lines
from tui.lines import Line, text_of, width_of
from tui.link import Instant, Link, Trouble
from tui.panes.activity import activity_lines
from tui.panes.board import empty_lines
from tui.panes.footer import footer
from tui.panes.header import header, notice
from tui.panes.model import model_lines
from tui.panes.now import now_lines
from tui.panes.peers import peers_lines
from tui.panes.tasks import tasks_lines
from tui.panes.today import today_lines
from tui.view import View
from tui.words import age, clock, left, moment

HOSTILE = "[red]\x1b[31mevil\x1b[0m\u202e\x07\n[/] 日本" + "x" * 60


def said(lines: Sequence[Line]) -> str:
    return "\n".join(text_of(line) for line in lines)


def panes_of(view: View, now: Instant, width: int) -> list[Line]:
    key = view.rows[0].key if view.rows else None
    return [
        header(view, now, width),
        notice(view, now, width),
        footer(view, "board", width),
        *now_lines(view, now, width),
        *today_lines(view, width),
        *tasks_lines(view, width),
        *activity_lines(view, width),
        *peers_lines(view, width),
        *model_lines(view, key, width),
        *empty_lines(view, Query(), now, width),
    ]


def hostile(value: Any, text: str) -> Any:
    """The value with every text in it replaced, except what the rules read."""
    kept = {"state", "role", "status", "phase", "level", "verdict", "purpose", "severity", "benchmark"}
    if isinstance(value, msgspec.Struct):
        fields = {
            name: getattr(value, name) if name in kept else hostile(getattr(value, name), text)
            for name in value.__struct_fields__
        }
        return msgspec.structs.replace(value, **fields)
    if isinstance(value, tuple):
        return tuple(hostile(part, text) for part in value)
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("name", ["live", "stale", "down", "empty", "never"])
@pytest.mark.parametrize("width", [34, 56, 76, 96, 136])
def test_nothing_is_wider_than_its_pane(name: str, width: int, scene_of: Callable[[str], Any]) -> None:
    scene = scene_of(name)
    for line in panes_of(scene.view, scene.now, width):
        assert width_of(line) <= width, text_of(line)


@pytest.mark.parametrize("width", [34, 76, 136])
@settings(max_examples=30)
@given(text=st.just(HOSTILE) | st.text(st.characters(exclude_categories=[]), max_size=50))
def test_names_do_no_harm(width: int, text: str) -> None:
    view = hostile(_sample(), text)
    for line in panes_of(view, Instant(1001.0, 0.0), width):
        shown = text_of(line)
        assert width_of(line) <= width
        assert not any(unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp") for sign in shown)


def _sample() -> View:
    return _SAMPLE[0]


_SAMPLE: list[View] = []


@pytest.fixture(autouse=True)
def sample(live: View) -> None:
    _SAMPLE[:] = [live]


def test_the_header_keeps_what_matters_most(live: View) -> None:
    now = Instant(1001.0, 0.0)
    wide = text_of(header(live, now, 140))
    for part in ("demo", "epoch 42", "0:27 left", "● EVALUATING", "4 peers", "log 1,204", "final 15 s ago", "live"):
        assert part in wide
    narrow = text_of(header(live, now, 30))
    assert "◉ live" in narrow
    assert "● EVALUATING" in narrow
    assert "log" not in narrow


def test_down_says_what_to_do_and_keeps_what_was(scene_of: Callable[[str], Any]) -> None:
    scene = scene_of("down")
    sentence = text_of(notice(scene.view, scene.now, 100))
    assert "The daemon is not running. `peerboard run`" in sentence
    assert "retry in 4 s" in sentence
    assert "last heard 14:18:52" in sentence
    assert "○ was evaluating" in text_of(header(scene.view, scene.now, 100))
    assert "0:28 left" in text_of(header(scene.view, scene.now, 100))
    short = text_of(notice(scene.view, scene.now, 66))
    assert short == "○ The daemon is not running. `peerboard run` · retry in 4 s"


def test_stale_says_since_when(scene_of: Callable[[str], Any]) -> None:
    scene = scene_of("stale")
    assert "last heard 14:18:52" in text_of(notice(scene.view, scene.now, 100))
    assert "commit by 14:19:04" in said(now_lines(scene.view, scene.now, 80))


@pytest.mark.parametrize(
    ("trouble", "role", "words"),
    [
        (Trouble.NOT_RUNNING, "bootstrap", "The bootstrap does not answer."),
        (Trouble.SILENT, "node", "The daemon does not answer."),
        (Trouble.ENDED, "node", "ended the connection"),
        (Trouble.REFUSED, "node", "refuses this token"),
        (Trouble.STRANGE, "node", "no Peerboard daemon"),
    ],
)
def test_every_trouble_has_a_sentence(trouble: Trouble, role: str, words: str) -> None:
    link = Link(trouble=trouble, detail="404" if trouble is Trouble.STRANGE else "", retry_at=3.0)
    view = View(link=link, status=Status(state="waiting", role=role))
    assert words in text_of(notice(view, Instant(0.0, 0.0), 120))


def test_a_pause_says_why_and_is_no_warning(live: View) -> None:
    assert live.status is not None
    reasons = (Reason("USER", "you paused it", "you resume"), Reason("DISK_FULL", "no room", "there is room"))
    status = msgspec.structs.replace(live.status, state="paused", reasons=reasons, current=None)
    view = msgspec.structs.replace(live, status=status)
    now = Instant(1001.0, 0.0)
    assert "‖ PAUSED · USER + DISK_FULL" in text_of(header(view, now, 120))
    content = notice(view, now, 120)
    assert "USER: you paused it, until you resume; DISK_FULL: no room" in text_of(content)
    assert {part.style for part in content} == {"strong"}
    assert "space resumes" in said(now_lines(view, now, 60))
    assert "space resume" in text_of(footer(view, "board", 140))


def test_downloads_are_shown_with_how_far_they_are(live: View) -> None:
    assert live.status is not None
    downloads = (Download("some/model@5555555:model.gguf", 3_100_000, 1_874_000_000),)
    view = msgspec.structs.replace(live, status=msgspec.structs.replace(live.status, downloads=downloads))
    assert "fetching some/model@5555555:model.gguf  3.1 of 1,874 MB" in said(now_lines(view, Instant(1001.0, 0.0), 60))
    assert all(width_of(each) <= 40 for each in now_lines(view, Instant(1001.0, 0.0), 40))
    downloads = (msgspec.structs.replace(downloads[0], waits_s=95.0),)
    view = msgspec.structs.replace(live, status=msgspec.structs.replace(live.status, downloads=downloads))
    assert "some/model@5555555:model.gguf  the Hub asks to wait 1" in said(now_lines(view, Instant(1001.0, 0.0), 70))


def test_the_daemons_warnings_are_passed_on(live: View) -> None:
    cautions = (Caution("A", "note", "nothing"), Caution("B", "warn", "some"), Caution("C", "fail", "bad", "do it"))
    view = msgspec.structs.replace(live, cautions=cautions)
    assert text_of(notice(view, Instant(1001.0, 0.0), 120)) == "× bad → do it (and 1 more)"


def test_marks_of_the_runners(live: View) -> None:
    text = said(tasks_lines(live, 90))
    assert "you" in text.splitlines()[0]
    large = next(part for part in text.splitlines() if part.startswith("tally-large") and "agree" in part)
    assert large.count("✓") == 4
    assert "~ 4 of 4 agree, firm" in large
    tiny = next(part for part in text.splitlines() if "92%" in part)
    assert tiny.count("■") == 2
    assert "epoch 41 closed: 9 done · 1 disputed" in text


def test_many_runners_stand_by_rank_with_spares_apart() -> None:
    runners = tuple(
        Runner(rank=n, account=f"{n:04}", assigned=n < 5, revealed=n < 2, committed=n < 3, progress=n / 11)
        for n in range(11)
    )
    task = Task(id="t", model="m", benchmark="b", state="RUNNING", quorum=3, counted=2, runners=runners[:7])
    other = Task(id="u", model="m", benchmark="b", state="QUEUED", runners=runners[7:])
    view = View(tasks=Tasks(epoch=1, tasks=(task, other)))
    text = said(tasks_lines(view, 70))
    assert "✓✓■" in text
    assert "┊" in text
    assert "~ 2 counted, 3 must agree" in text


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (Task(id="t", state="WAITING"), "· too few runners"),
        (Task(id="t", state="DONE", counted=4, agreeing=3), "✓ done, 3 of 4 agree"),
        (Task(id="t", state="DISPUTED", counted=4, agreeing=2), "! disputed, 2 of 4 agree"),
        (Task(id="t", state="EXPIRED", purpose="audit"), "– expired (audit)"),
        (Task(id="t", state="FAILED"), "× failed"),
        (Task(id="t", state="NEWER_STATE"), "· newer state"),
    ],
)
def test_verdicts_have_a_sign_and_a_word(task: Task, words: str) -> None:
    assert words in said(tasks_lines(View(tasks=Tasks(epoch=1, tasks=(task,))), 70))


def test_before_anything_has_happened() -> None:
    nothing = View(status=Status(state="catching_up"), tasks=Tasks())
    now = Instant(0.0, 0.0)
    assert "waits for its first mark" in said(tasks_lines(nothing, 70))
    assert "no epoch is open" in said(now_lines(nothing, now, 70))
    assert "Learning the board" in said(now_lines(nothing, now, 70))
    assert "before the first epoch" in text_of(header(nothing, now, 90))
    assert "Nothing has happened yet" in said(activity_lines(nothing, 70))
    assert "has no tasks" in said(tasks_lines(View(tasks=Tasks(epoch=5)), 70))


@pytest.mark.parametrize(
    ("runner", "words"),
    [
        (Runner(mine=True), "None of your 2 tasks has begun."),
        (Runner(mine=True, committed=True), "2 of your 2 tasks are committed."),
        (Runner(mine=True, committed=True, revealed=True), "2 of your 2 tasks are revealed."),
        (Runner(committed=True), "No task of yours is open."),
    ],
)
def test_between_tasks_it_says_how_far_ours_are(runner: Runner, words: str) -> None:
    tasks = tuple(Task(id=name, runners=(runner,)) for name in "ab")
    view = View(status=Status(state="waiting"), tasks=Tasks(epoch=3, tasks=tasks))
    assert words in said(now_lines(view, Instant(0.0, 0.0), 100))


def test_a_bootstrap_evaluates_nothing() -> None:
    view = View(status=Status(state="waiting", role="bootstrap", peers=4))
    now = Instant(0.0, 0.0)
    assert "● BOOTSTRAP" in text_of(header(view, now, 90))
    assert "evaluates nothing" in said(now_lines(view, now, 70))
    assert "4 connected" in said(peers_lines(view, 70))
    assert "pause" not in text_of(footer(view, "board", 140))


def test_without_the_epochs_length_its_phase_is_shown(live: View) -> None:
    assert live.status is not None
    epoch = Epoch(number=42, ends_in_s=27.4, phase="reveal", leaderless=True)
    view = msgspec.structs.replace(live, status=msgspec.structs.replace(live.status, epoch=epoch))
    text = said(now_lines(view, Instant(1001.0, 0.0), 60))
    assert "[reveal]" in text
    assert "closes in 0:27, at 14:19:19" in text
    assert "! leaderless" in text_of(header(view, Instant(1001.0, 0.0), 120))


def test_a_models_page(live: View) -> None:
    row = next(row for row in live.rows if row.name == "tally-small" and row.status == "DISPUTED")
    text = said(model_lines(live, row.key, 90))
    assert "tally-steps" in text
    assert "tally-choice" in text
    assert "125 of 500 questions" in text
    assert "! disputed" in text
    assert "Not yet separable on tally-steps from: " in text
    assert "No model is chosen" in said(model_lines(live, None, 90))


@pytest.mark.parametrize(("estimated", "words"), [(0, "measured: "), (4, "partly estimated: "), (12, "estimated: ")])
def test_what_a_model_costs_says_how_that_is_known(live: View, estimated: int, words: str) -> None:
    energy = Energy(12, estimated, 0.81234, 1.62468, 1.1e-06, 0.00053)
    row = msgspec.structs.replace(live.rows[0], energy=energy)
    view = msgspec.structs.replace(live, board=Board(41, (row, *live.rows[1:])))
    text = said(model_lines(view, row.key, 90))
    assert f"  {words}0.812 J a question · 1.62 J a correct answer · 0.00053 g CO2 a task" in text
    nothing_right = msgspec.structs.replace(row, energy=msgspec.structs.replace(energy, joules_per_correct=None))
    view = msgspec.structs.replace(live, board=Board(41, (nothing_right,)))
    assert f"  {words}0.812 J a question · 0.00053 g CO2 a task" in said(model_lines(view, row.key, 90))
    assert " J a " not in said(model_lines(live, row.key, 90)), "a daemon that does not tell"


def test_what_this_machine_spent(live: View) -> None:
    assert live.status is not None
    assert "Wh" not in said(today_lines(live, 90)), "a daemon that does not tell"
    for estimated, word in ((True, "estimated"), (False, "measured")):
        today = Today(41, 38, 1, Spent(0.0123, 5.8179, estimated))
        view = msgspec.structs.replace(live, status=msgspec.structs.replace(live.status, today=today))
        assert f" · {word} 12.3 Wh, 5.82 g CO2" in said(today_lines(view, 90))


def test_peers_are_keys_and_nothing_else() -> None:
    view = View(status=Status(state="waiting"), peers=(Peer("12D3KooW", 125.0, "relay"),))
    assert said(peers_lines(view, 76)).splitlines()[-1].split() == ["12D3KooW", "relay", "2", "min"]
    assert "No peers" in said(peers_lines(View(status=Status(state="waiting"), peers=()), 76))


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_help_page_fits(width: int) -> None:
    for line in help_lines(width):
        assert width_of(line) <= max(width, 70)


def test_times() -> None:
    assert [left(n) for n in (0, 0.2, 61, 3600, -4, float("nan"))] == [
        "0:00",
        "0:01",
        "1:01",
        "1:00:00",
        "0:00",
        "0:00",
    ]
    assert [age(n) for n in (-1, 59, 119, 120, 7200, 200_000)] == ["0 s", "59 s", "119 s", "2 min", "2 h", "2 d"]
    assert moment("2026-11-21T14:18:52Z") == "14:18:52"
    assert moment("2026-11-21T14:18:52") == "14:18:52"
    assert moment("tomorrow") == "–"
    assert clock(1e300) == "–"

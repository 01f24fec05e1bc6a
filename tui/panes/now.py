"""What this machine does right now, and where the epoch stands."""

from rich.cells import cell_len

from tui.answers import Download, Epoch, Status, Tasks
from tui.lines import BLANK, Line, Span, cropped, line, span, width_of
from tui.link import Instant
from tui.panes.header import seconds_since
from tui.plain import cut_middle, plain, wrapped
from tui.plot import gauge
from tui.view import View
from tui.words import clock, count, left, megabytes, reason_sentence

SEALED_AT = 3 / 4
REVEALED_AT = 5 / 6

_WAITING = {
    "starting": "The daemon is starting.",
    "catching_up": "Learning the board from the network. The first task comes after that.",
    "waiting": "No task of yours is open. The next ones come with the next epoch.",
    "stopping": "The daemon is stopping.",
    "evaluating": "Between two tasks.",
}


def now_lines(view: View, now: Instant, width: int) -> list[Line]:
    """Current task with progress, then the epoch's phases."""
    status = view.status
    if status is None:
        return [line(span("Nothing is known yet.", "muted"))]
    lines = [*_current(status, view.tasks, width), BLANK]
    if status.epoch is None:
        sentence = "Before the first mark: no epoch is open."
        lines.extend(line(span(text, "muted")) for text in wrapped(sentence, width))
        return lines
    said = now if view.status_at is None else view.status_at
    # To the second: what was said is a little late each time, and a time of day should stand still.
    closes = round(said.wall + status.epoch.ends_in_s)
    remaining = status.epoch.ends_in_s - seconds_since(view, now)
    return [*lines, *_epoch(status.epoch, remaining, closes, width)]


def _current(status: Status, tasks: Tasks | None, width: int) -> list[Line]:
    if status.role != "node":
        sentence = "It introduces peers, keeps the log and publishes the board. It evaluates nothing."
        return [line(text) for text in wrapped(sentence, width)]
    if status.state == "paused":
        reasons = [reason_sentence(reason) for reason in status.reasons] or ["no reason given"]
        lines = [line(span("‖ paused", "strong"))]
        for reason in reasons:
            lines.extend(line(text) for text in wrapped(reason, width, most=2))
        return [*lines, line(span("space resumes", "muted"))] if _by_user(status) else lines
    current = status.current
    if current is None:
        sentence = _WAITING.get(status.state, status.state.replace("_", " "))
        if status.state == "waiting":
            sentence = _own_tasks(tasks) or sentence
        return [line(text) for text in wrapped(sentence, width)]
    bench = cut_middle(current.benchmark, max(8, width // 3, width - 3 - cell_len(plain(current.model))))
    name = cut_middle(current.model, width - cell_len(bench) - 3)
    speed = "" if current.tokens_per_s is None else f"   {current.tokens_per_s:,.0f} tok/s"
    share = current.done / current.total if current.total else 0.0
    bar = gauge(share, max(8, min(width, 48)))
    return [
        line(span(name, "strong"), span(" · ", "muted"), span(bench)),
        bar,
        line(f"{count(current.done)} of {count(current.total)} questions", span(speed, "muted")),
        *(_download(each, width) for each in status.downloads),
    ]


def _download(download: Download, width: int) -> Line:
    much = f"  {megabytes(download.done)} of {megabytes(download.total)} MB"
    if download.waits_s:
        much = f"  the Hub asks to wait {left(download.waits_s)}"
    name = cut_middle(download.what, max(8, width - len("fetching ") - len(much)))
    return line(span("fetching ", "muted"), span(name), span(much, "muted"))


def _own_tasks(tasks: Tasks | None) -> str:
    """How far this node's tasks of the open epoch are, while it evaluates none of them."""
    mine = [runner for task in tasks.tasks for runner in task.runners if runner.mine] if tasks else []
    if not mine:
        return ""
    revealed, committed = sum(runner.revealed for runner in mine), sum(runner.committed for runner in mine)
    yours = f"of your {count(len(mine))} tasks"
    if revealed:
        return f"{count(revealed)} {yours} are revealed. The verdicts come when the epoch closes."
    if committed:
        return f"{count(committed)} {yours} are committed. Results are revealed when all are sealed."
    return f"None {yours} has begun."


def _by_user(status: Status) -> bool:
    return any(reason.code == "USER" for reason in status.reasons)


def _epoch(epoch: Epoch, remaining: float, closes: float, width: int) -> list[Line]:
    words = {"evaluate": "evaluating", "sealed": "sealed", "reveal": "revealing"}
    head = line(
        span("epoch "),
        span(count(epoch.number), "strong"),
        span(f" · {words.get(epoch.phase, epoch.phase)}"),
    )
    if not epoch.length_s or epoch.length_s <= 0:
        end = line(span(f"closes in {left(remaining)}, at {clock(closes)}", "muted"))
        return [cropped(head, width), _phases(epoch.phase), end]
    done = min(1.0, max(0.0, 1 - remaining / epoch.length_s))
    start = closes - epoch.length_s
    seconds = epoch.length_s < 1200
    commit, reveal = (clock(start + epoch.length_s * part, seconds=seconds) for part in (SEALED_AT, REVEALED_AT))
    ends = clock(closes, seconds=seconds)
    times = [
        span(f"commit by {commit}", "text" if done < SEALED_AT else "muted"),
        span(f"reveal {reveal}", "muted" if done < SEALED_AT else "text"),
        span(f"close {ends}", "muted"),
    ]
    dot = span(" · ", "muted")
    told = [line(times[0], dot, times[1], dot, times[2])]
    if width_of(told[0]) > width:
        told = [line(times[0]), cropped(line(times[1], dot, times[2]), width)]
    return [cropped(head, width), _timeline(done, max(12, min(width, 48))), *told]


def _phases(phase: str) -> Line:
    parts: list[Span] = []
    for name, word in (("evaluate", "commit"), ("sealed", "sealed"), ("reveal", "reveal")):
        if parts:
            parts.append(span(" ▸ ", "faint"))
        parts.append(span(f"[{word}]" if name == phase else word, "strong" if name == phase else "muted"))
    return tuple(parts)


def _timeline(done: float, width: int) -> Line:
    """The epoch as a rule with marks where commitments end and results are revealed."""
    marks = {round(part * (width - 1)) for part in (SEALED_AT, REVEALED_AT)}
    here = round(done * (width - 1))
    parts: list[Span] = []
    for place in range(width):
        passed = place < here
        if place == here:
            parts.append(span("●", "accent"))
        elif place in marks:
            parts.append(span("┃", "text"))
        else:
            parts.append(span("━" if passed else "─", "accent" if passed else "faint"))
    return tuple(parts)

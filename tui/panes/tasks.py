"""Who evaluates what in the open epoch.

Up to eight accounts have a column each; with more, a task's marks stand in the order of its ranks.
"""

from itertools import groupby

from rich.cells import cell_len

from tui.answers import Runner, Task
from tui.lines import BLANK, Line, Span, Style, cell, cropped, line, span, width_of
from tui.plain import cut_middle, plain, wrapped
from tui.view import View
from tui.words import Sign, count, short, task_sign

COLUMNS_MOST = 8
COLUMN = 5
LEVELS = "▁▂▃▄▅▆"


def tasks_lines(view: View, width: int) -> list[Line]:
    """A table: task, a mark per runner, the verdict so far."""
    tasks = view.tasks
    if tasks is None:
        return [line(span("Nothing is known yet.", "muted"))]
    if tasks.epoch is None:
        return _sentence("No epoch is open: the network waits for its first mark.", width)
    if not tasks.tasks:
        return [
            *_sentence(f"Epoch {count(tasks.epoch)} has no tasks: nothing is due.", width),
            BLANK,
            *_last(view, width),
        ]
    accounts = _accounts(tasks.tasks)
    columns = accounts if len(accounts) <= COLUMNS_MOST and width >= 36 + COLUMN * len(accounts) else None
    marks = COLUMN * len(columns) if columns is not None else _ranks_width(tasks.tasks)
    sign = max(len(_verdict(task).text) for task in tasks.tasks)
    longest = max(cell_len(plain(task.model)) for task in tasks.tasks)
    name = max(8, min(longest, width - marks - sign - 2))
    lines = [cropped(_head(name, columns, marks, _ours(tasks.tasks)), width)]
    for benchmark, members in groupby(sorted(tasks.tasks, key=_benchmark), key=_benchmark):
        head = line(span(cut_middle(benchmark, width - 4), "strong"), " ")
        lines.append((*head, span("─" * max(0, width - width_of(head)), "faint")))
        for task in members:
            parts = [cell(cut_middle(task.model, name), name), span(" ")]
            parts += _by_account(task, columns) if columns is not None else _by_rank(task, marks)
            verdict = _verdict(task)
            parts += [span(" "), span(verdict.text, verdict.style)]
            lines.append(cropped(tuple(parts), width))
    lines += [BLANK, cropped(_legend(columns is None), width), *_last(view, width)]
    return lines


def _benchmark(task: Task) -> str:
    return task.benchmark


def _verdict(task: Task) -> Sign:
    sign = task_sign(task)
    return sign if task.purpose == "regular" else sign._replace(word=f"{sign.word} ({task.purpose})")


def _sentence(text: str, width: int) -> list[Line]:
    return [line(part) for part in wrapped(text, width)]


def _accounts(tasks: tuple[Task, ...]) -> tuple[str, ...]:
    """All accounts at work, ours first, then by key."""
    found = {(not runner.mine, runner.account) for task in tasks for runner in task.runners}
    return tuple(account for _, account in sorted(found))


def _ours(tasks: tuple[Task, ...]) -> frozenset[str]:
    return frozenset(runner.account for task in tasks for runner in task.runners if runner.mine)


def _head(name: int, columns: tuple[str, ...] | None, marks: int, ours: frozenset[str]) -> Line:
    parts = [cell("model", name, "muted"), span(" ")]
    if columns is None:
        parts.append(cell("runners", marks, "muted"))
    else:
        parts += [cell("you" if account in ours else short(account), COLUMN, "muted") for account in columns]
    return (*parts, span(" verdict", "muted"))


def _by_account(task: Task, columns: tuple[str, ...]) -> list[Span]:
    runners = {runner.account: runner for runner in task.runners}
    parts: list[Span] = []
    for account in columns:
        runner = runners.get(account)
        if runner is None:
            parts.append(Span(" " * COLUMN, "text"))
            continue
        text, style = _mark(runner)
        text = text if runner.assigned else f"({text})"
        style = "strong" if runner.mine and style != "muted" else style
        parts.append(cell(text, COLUMN, style))
    return parts


def _mark(runner: Runner) -> tuple[str, Style]:
    if runner.revealed:
        return "✓", "text"
    if runner.committed:
        return "■", "accent"
    if runner.progress is not None:
        return f"{min(1.0, max(0.0, runner.progress)):.0%}", "accent"
    return "·", "muted"


def _by_rank(task: Task, marks: int) -> list[Span]:
    parts: list[Span] = []
    for runner in task.runners:
        text, style = _mark(runner)
        if runner.progress is not None and not (runner.committed or runner.revealed):
            text = LEVELS[min(5, max(0, int(runner.progress * 6)))]
        if not runner.assigned and not any(part.text == "┊" for part in parts):
            parts.append(Span("┊", "faint"))
        parts.append(Span(text, "strong" if runner.mine and style != "muted" else style))
    shown = list(cropped(tuple(parts), marks))
    return [*shown, Span(" " * (marks - width_of(shown)), "text")]


def _ranks_width(tasks: tuple[Task, ...]) -> int:
    return min(16, max(7, max(len(task.runners) for task in tasks) + 1))


def _legend(by_rank: bool) -> Line:
    spare = "┊ spares" if by_rank else "( ) spare"
    work = "▃" if by_rank else "60%"
    return line(span(f"· waiting  {work} at work  ■ committed  ✓ revealed  {spare}", "muted"))


def _last(view: View, width: int) -> list[Line]:
    """How the newest closed epoch ended."""
    epochs = [verdict.epoch for verdict in view.verdicts if verdict.epoch is not None]
    if not epochs:
        return []
    newest = max(epochs)
    ended = [verdict.verdict.lower() for verdict in view.verdicts if verdict.epoch == newest]
    counts = [f"{ended.count(word)} {word}" for word in ("done", "disputed", "failed", "expired", "waiting")]
    told = " · ".join(text for text in counts if not text.startswith("0 "))
    return [cropped(line(span(f"epoch {count(newest)} closed: {told}", "muted")), width)]

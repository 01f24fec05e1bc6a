"""The demo's progress: a live table on a terminal, plain lines anywhere else. All of it goes to stderr."""

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from peerboard.safe_text import cells, cut_end, cut_middle, safe

LINE_SECONDS = 10.0
LEAST_NAME = 12
GAP = 1

Json = dict[str, Any]


class DemoView:
    """Shows one network. Nothing that comes from the network is read as markup."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._said = 0.0
        self._epoch: int | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):  # a terminal that is gone must not hide why the demo ended
            self._live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, soft_wrap=True)

    def show(self, status: Json, tasks: Json) -> None:
        """The open epoch as one participant sees it."""
        if self._console.is_terminal:
            self._live.update(Group(_headline(status), _table(tasks, self._console.width)), refresh=True)
        elif status["epoch"] and (
            status["epoch"]["number"] != self._epoch or time.monotonic() - self._said >= LINE_SECONDS
        ):
            self._epoch = status["epoch"]["number"]
            self._said = time.monotonic()
            self.say(f"{_headline(status)}  {_summary(tasks)}")

    def agreed(
        self,
        epoch: int,
        digests: dict[str, str],
        verdicts: list[Json],
        *,
        behind: Sequence[str] = (),
        stuck: Sequence[str] = (),
    ) -> None:
        """The end of an epoch: its verdicts, and whether all have the same board.

        `behind` are those that run and have not closed it, `stuck` those of them that had not closed the one before.
        """
        counts = Counter(verdict["verdict"] for verdict in verdicts)
        summary = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "no task"
        self.say(f"epoch {epoch} closed: {summary}")
        for verdict in verdicts:
            score = f"{verdict['score']:5.1f} %" if verdict["score"] is not None else verdict["verdict"]
            agree = f"{len(verdict['agreeing'])} of {verdict['counted']} agree"
            self.say(f"  {verdict['model']:<28} {verdict['benchmark']:<14} {score:>10}   {agree}")
        if len(set(digests.values())) > 1:
            self.say("  NO AGREEMENT: the boards differ")
            for name, digest in digests.items():
                self.say(f"    {name}: {digest}")
        elif len(digests) > 1:
            digest = next(iter(digests.values()))
            self.say(f"  agreement: the boards of {', '.join(digests)} are the same bytes (SHA-256 {digest[:16]}…)")
        else:
            self.say(f"  nothing to compare: {', '.join(digests) or 'nobody'} alone has a board")
        if behind:
            self.say(f"  not compared, since they are behind: {', '.join(behind)}")
        if stuck:
            self.say(f"  NO AGREEMENT: {', '.join(stuck)} did not have the last epoch's board either")

    def finish(self, text: str) -> None:
        """The end: the live table goes, the line stays."""
        if self._live.is_started:
            self._live.stop()
        self.say(text)


def _headline(status: Json) -> Text:
    epoch = status["epoch"]
    if not epoch:
        return Text("waiting for the first epoch to open")
    leaderless = ", leaderless" if epoch["leaderless"] else ""
    return Text(
        f"epoch {epoch['number']} ({epoch['phase']}{leaderless}), {epoch['ends_in_s']:.0f} s left"
        f"   {status['peers']} peers   log {status['log']['size']} entries"
    )


def _summary(tasks: Json) -> str:
    rows = tasks["tasks"]
    committed = sum(task["committed"] for task in rows)
    agreed = sum(1 for task in rows if task["agreeing"] >= task["quorum"])
    asked = sum(len(task["runners"]) for task in rows)
    return f"{len(rows)} tasks, {committed} of {asked} commitments, {agreed} tasks with agreement"


def _table(tasks: Json, width: int) -> Table:
    """At most `width` cells wide: first the models' names give way, in their middle, then the verdicts."""
    accounts = sorted({runner["account"] for task in tasks["tasks"] for runner in task["runners"]})
    heads = ["model", "benchmark", *(account[:6] for account in accounts), "verdict"]
    rows = [_row(task, accounts) for task in tasks["tasks"]]
    model, *others, verdict = (max(map(cells, column)) for column in zip(heads, *map(_plain, rows), strict=True))
    room = width - sum(others) - GAP * (len(heads) - 1)
    name = min(model, max(LEAST_NAME, room - verdict))
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if 2 <= place < len(heads) - 1 else "left", no_wrap=True)
    for row in rows:
        last = Text(cut_end(row[-1].plain, max(0, room - name)), style=row[-1].style)
        table.add_row(Text(cut_middle(row[0].plain, name)), *row[1:-1], last)
    return table


def _row(task: Json, accounts: list[str]) -> list[Text]:
    by_account = {runner["account"]: runner for runner in task["runners"]}
    runners = [_cell(by_account.get(account)) for account in accounts]
    return [Text(safe(task["model"])), Text(safe(task["benchmark"])), *runners, _verdict(task)]


def _plain(row: list[Text]) -> list[str]:
    return [text.plain for text in row]


def _cell(runner: Json | None) -> Text:
    if runner is None:
        return Text("")
    if runner["revealed"]:
        return Text("revealed", style="green")
    if runner["committed"]:
        return Text("sealed", style="cyan")
    if runner["progress"] is None:
        return Text("·")
    done = runner["progress"] >= 1
    return Text("done" if done else f"{100 * runner['progress']:.0f} %", style="" if done else "yellow")


def _verdict(task: Json) -> Text:
    if task["agreeing"]:
        firm = "" if task["firm"] else ", not firm yet"
        return Text(f"{task['agreeing']} of {task['counted']} agree{firm}", style="green")
    return Text(task["state"])

"""What the network knows, printed: the ledger's answers, and this node's view of the open epoch.

With JSON, ledger answers are the API's bytes, unchanged; node answers are the API's JSON.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from node.home import find_home
from peerboard.board_table import board_lines
from peerboard.client import Daemon
from peerboard.exits import CommandFailed
from peerboard.phrases import counted, duration, short, size
from peerboard.tables import Cell, Column, Word, packed, table
from peerboard.terminal import Terminal, standard_output

Json = dict[str, Any]
Lines = Callable[[Json, Terminal], Iterable[str]]


def show(home: Path | None, path: str, lines: Lines, *, as_json: bool, ledger: bool) -> None:
    """Print an answer of the home's daemon: its JSON, or `lines` of it. Raises `CommandFailed`."""
    daemon = Daemon(find_home(home))
    content = daemon.bytes_of(path)
    if as_json:
        sys.stdout.flush()
        sys.stdout.buffer.write(content if ledger else content.rstrip() + b"\n")
        return
    with understood():
        for line in lines(daemon.parsed(content), standard_output()):
            print(line)


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """An answer without what is looked for becomes an error for people."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        text = f"The daemon's answer is not what this version understands ({type(error).__name__}: {error})."
        raise CommandFailed("UNEXPECTED", text, "Compare `peerboard version` with the daemon's `status`.") from None


def leaderboard(home: Path | None, *, as_json: bool, live: bool) -> None:
    """The board at the last closed epoch, or with what the open epoch shows so far."""
    if live:
        show(home, "/v1/leaderboard?live=1", _live_board, as_json=as_json, ledger=False)
    else:
        show(home, "/v1/leaderboard", _board, as_json=as_json, ledger=True)


def energy(home: Path | None, *, as_json: bool) -> None:
    """What evaluations cost, by model and benchmark."""
    show(home, "/v1/energy", _energy, as_json=as_json, ledger=False)


def models(home: Path | None, *, as_json: bool) -> None:
    """All registered models."""
    show(home, "/v1/models", _models, as_json=as_json, ledger=True)


def benchmarks(home: Path | None, *, as_json: bool) -> None:
    """All benchmarks of the network."""
    show(home, "/v1/benchmarks", _benchmarks, as_json=as_json, ledger=True)


def results(home: Path | None, epochs: int, *, as_json: bool) -> None:
    """The final verdicts of the last closed epochs."""
    show(home, f"/v1/results?epochs={epochs}", _results, as_json=as_json, ledger=True)


def runners(home: Path | None, *, as_json: bool) -> None:
    """The accounts that evaluate."""
    show(home, "/v1/runners", _runners, as_json=as_json, ledger=True)


def tasks(home: Path | None, *, as_json: bool) -> None:
    """The open epoch's tasks."""
    show(home, "/v1/tasks", _tasks, as_json=as_json, ledger=False)


def peers(home: Path | None, *, as_json: bool) -> None:
    """Who is connected."""
    show(home, "/v1/peers", _peers, as_json=as_json, ledger=False)


def _board(answer: Json, terminal: Terminal) -> Iterator[str]:
    data = answer["data"]
    if data["rows"]:
        yield from board_lines(data["rows"], terminal)
    else:
        yield "Nothing is measured yet: the first scores come when the first epoch closes."
        yield "→ peerboard leaderboard --live"
    closed = f"epoch {data['epoch']}" if data["epoch"] is not None else "no epoch closed yet"
    yield from packed([closed, *_checkpoint(answer)], terminal)


def _live_board(answer: Json, terminal: Terminal) -> Iterator[str]:
    data = answer["data"]
    if data["rows"]:
        yield from board_lines(data["rows"], terminal)
    else:
        yield "Nothing is measured yet, and nobody has agreed on anything in the open epoch so far."
    changing = sum(bool(row.get("provisional")) for row in data["rows"])
    where = f"epoch {data['epoch']} is open" if data["epoch"] is not None else "no epoch is open"
    yield from packed([where, f"{counted(changing, 'provisional row')} as this node sees it"], terminal)


def _models(answer: Json, terminal: Terminal) -> Iterator[str]:
    columns = [
        Column("model", elastic=True),
        Column("architecture", keep=1),
        Column("parameters", right=True, keep=5),
        Column("weights", keep=4),
        Column("size", right=True, keep=2),
        Column("licence", keep=3),
        Column("state"),
        Column("id", keep=6),
    ]
    rows: list[list[Cell]] = []
    for model in sorted(answer["data"]["models"], key=lambda model: (model["name"], model["id"])):
        total = model["base"]["size"] + sum(adapter["file"]["size"] for adapter in model["adapters"])
        state = Word("dormant", "amber") if model["dormant"] else Word("active")
        about: list[Cell] = [model["name"], model["architecture"], f"{model['parameters']:,}", model["quantisation"]]
        rows.append([*about, size(total), model["licence"], state, short(model["id"])])
    yield from table(columns, rows, terminal)
    yield from packed(_checkpoint(answer), terminal)


def _benchmarks(answer: Json, terminal: Terminal) -> Iterator[str]:
    columns = [
        Column("benchmark"),
        Column("version", right=True, keep=3),
        Column("track", keep=4),
        Column("language", keep=2),
        Column("kind", keep=5),
        Column("questions", right=True),
        Column("data set", keep=6, elastic=True),
        Column("id", keep=1),
    ]
    rows: list[list[Cell]] = []
    for each in sorted(answer["data"]["benchmarks"], key=lambda each: (each["name"], each["version"])):
        data_set = each["dataset"]
        place = f"{data_set['repository']}@{data_set['commit'][:7]} {data_set['configuration']}/{data_set['split']}"
        about: list[Cell] = [each["name"], each["version"], each["track"], each["language"], each["kind"]]
        rows.append([*about, f"{data_set['questions']:,}", place, short(each["id"])])
    yield from table(columns, rows, terminal)
    yield from packed(_checkpoint(answer), terminal)


_VERDICTS = {"DONE": "green", "DISPUTED": "amber", "FAILED": "amber"}


def _results(answer: Json, terminal: Terminal) -> Iterator[str]:
    columns = [
        Column("epoch", right=True),
        Column("model", elastic=True),
        Column("benchmark"),
        Column("verdict"),
        Column("score", right=True),
        Column("agree", right=True, keep=3),
        Column("task", keep=2),
        Column("reason", keep=1),
    ]
    rows: list[list[Cell]] = []
    for each in answer["data"]["verdicts"]:
        agreeing = f"{len(each['agreeing'])} of {each['counted']}"
        score = f"{each['score']:.1f}" if each["score"] is not None else "–"
        reason = each["failure"]["title"] if each["failure"] else ""
        verdict = Word(each["verdict"], _VERDICTS.get(each["verdict"], "dim"))
        about: list[Cell] = [each["epoch"], each["model"], each["benchmark"], verdict, score]
        rows.append([*about, agreeing, short(each["task"]), reason])
    if rows:
        yield from table(columns, rows, terminal)
    else:
        yield "No epoch has closed yet."
    yield from packed(_checkpoint(answer), terminal)


def _runners(answer: Json, terminal: Terminal) -> Iterator[str]:
    columns = [
        Column("account", elastic=True),
        Column("since epoch", right=True, keep=2),
        Column("devices", right=True, keep=1),
        Column("earned", right=True, keep=4),
        Column("missed", right=True, keep=3),
        Column("credit", right=True),
    ]
    found = sorted(answer["data"]["runners"], key=lambda each: (-each["credit"], each["account"]))
    rows: list[list[Cell]] = [
        [each["account"], each["since"], each["devices"], each["earned"], each["missed"], f"{each['credit']:,}"]
        for each in found
    ]
    if rows:
        yield from table(columns, rows, terminal)
    else:
        yield "No account is in the log yet."
    yield from packed(_checkpoint(answer), terminal)


def _energy(answer: Json, terminal: Terminal) -> Iterator[str]:
    columns = [
        Column("model", elastic=True),
        Column("benchmark"),
        Column("J a question", right=True),
        Column("J a correct answer", right=True, keep=2),
        Column("Wh a task", right=True, keep=3),
        Column("g CO2 a task", right=True, keep=4),
        Column("results", right=True, keep=5),
        Column("estimated", right=True, keep=1),
    ]
    rows: list[list[Cell]] = [
        [
            each["model"],
            each["benchmark"],
            _measured(each["joules_per_question"]),
            _measured(each["joules_per_correct"]),
            _measured(1000 * each["kwh_per_task"]),
            _measured(each["co2_grams_per_task"]),
            each["results"],
            each["estimated"],
        ]
        for each in answer["data"]["rows"]
    ]
    if rows:
        yield from table(columns, rows, terminal)
        text = f"Medians of what runners say, at {answer['data']['co2_grams_per_kwh']:,g} g CO2 a kWh."
        yield from packed([text], terminal)
    else:
        yield "No result that counts has said yet what it cost."


def _measured(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _tasks(answer: Json, terminal: Terminal) -> Iterator[str]:
    data = answer["data"]
    if data["epoch"] is None:
        yield "No epoch is open yet: tasks come with the first mark."
        return
    columns = [
        Column("model", elastic=True),
        Column("benchmark"),
        Column("questions", right=True, keep=1),
        Column("purpose", keep=2),
        Column("state"),
        Column("sealed", right=True, keep=4),
        Column("agree", right=True, keep=5),
        Column("mine", keep=6),
    ]
    rows = [_task(each) for each in data["tasks"]]
    yield from table(columns, rows, terminal)
    yield from packed([f"epoch {data['epoch']}", f"{counted(len(rows), 'task')} as this node sees it"], terminal)


def _task(task: Json) -> list[Cell]:
    mine = next((runner for runner in task["runners"] if runner["mine"]), None)
    doing = ""
    if mine:
        doing = "spare" if not mine["assigned"] else "assigned"
        if mine["progress"] is not None:
            doing = f"{100 * mine['progress']:.0f} %"
        if mine["committed"]:
            doing = "revealed" if mine["revealed"] else "sealed"
    state = task["state"].lower() + (", firm" if task["firm"] else "")
    sealed = f"{task['committed']} of {len(task['runners'])}"
    agree = f"{task['agreeing']} of {task['counted']}, needs {task['quorum']}"
    about: list[Cell] = [task["model"], task["benchmark"], task["depth"], task["purpose"]]
    return [*about, state, sealed, agree, doing]


def _peers(answer: Json, terminal: Terminal) -> Iterator[str]:
    columns = [Column("peer", elastic=True), Column("connected", right=True), Column("reach", keep=1)]
    rows: list[list[Cell]] = [
        [each["peer"], duration(each["connected_s"]), each["reach"]] for each in answer["data"]["peers"]
    ]
    if rows:
        yield from table(columns, rows, terminal)
    else:
        yield "No peer is connected: the node goes on trying."
        yield "→ peerboard doctor"


def _checkpoint(answer: Json) -> list[str]:
    network = f"network {short(answer['network'])}"
    at = answer["checkpoint"]
    if at is None:
        return ["no checkpoint yet", network]
    entries = counted(at["size"], "entry", "entries")
    return [f"checkpoint: {entries}, root {short(at['root'])}", f"mark of epoch {at['epoch']}", network]

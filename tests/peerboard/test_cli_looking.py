"""What the looking commands print of a daemon's answers: exact bytes as JSON, lines that fit for people."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.answers import Answers
from peerboard.demo_network import write_demo_network
from protocol.ledger import begin

LEDGER = {
    ("leaderboard",): "GET /v1/leaderboard",
    ("models",): "GET /v1/models",
    ("benchmarks",): "GET /v1/benchmarks",
    ("results",): "GET /v1/results?epochs=3",
    ("runners",): "GET /v1/runners",
}
NODE = {
    ("leaderboard", "--live"): "GET /v1/leaderboard?live=1",
    ("tasks",): "GET /v1/tasks",
    ("energy",): "GET /v1/energy",
    ("peers",): "GET /v1/peers",
    ("status",): "GET /v1/status",
    ("pause",): "POST /v1/pause",
    ("resume",): "POST /v1/resume",
}


@pytest.mark.parametrize(("command", "path"), LEDGER.items())
def test_ledger_answers_are_the_bytes_of_the_api(
    command: tuple[str, ...], path: str, daemon: Any, call_process: Callable[..., Any]
) -> None:
    # Bytes that no JSON library would write like this: they can only have been passed on.
    daemon.answers[path] = daemon.answers[path][:-1] + ',"später":1.50}  '.encode()
    done = call_process(*command, "--json", "--home", daemon.home.folder)
    assert (done.code, done.out, done.error) == (0, daemon.answers[path], "")
    assert daemon.asked == [path]


@pytest.mark.parametrize(("command", "path"), NODE.items())
def test_node_answers_are_the_json_of_the_api(
    command: tuple[str, ...], path: str, daemon: Any, call: Callable[..., Any]
) -> None:
    done = call(*command, "--json", "--home", daemon.home.folder)
    assert (done.code, done.error) == (0, "")
    assert done.json == json.loads(daemon.answers[path])
    assert done.out.count(b"\n") == 1
    assert daemon.asked == [path]


def test_results_asks_for_the_epochs_wanted(daemon: Any, call: Callable[..., Any]) -> None:
    daemon.answers["GET /v1/results?epochs=24"] = daemon.answers["GET /v1/results?epochs=3"]
    assert call("results", "--epochs", 24, "--home", daemon.home.folder).code == 0
    assert daemon.asked == ["GET /v1/results?epochs=24"]


EXPECTED = {
    ("leaderboard",): """\
tally-choice · reasoning · en
rank  model       score       95 %  70 ────────────────── 100  questions  runners  status
1     tally-tree   88.0  79.2–93.4  ·······├──────●────┤·····   75/1,000        4  done
""",
    ("models",): "tally-tree  llama            900,000  F16      3.6 MiB  Apache-2.0  active  f50808080808…\n",
    ("benchmarks",): "tally-words        1  maths  en        generation      1,000  "
    "peerboard/demo-questions@7777777 words/test  517777777777…\n",
    ("results",): "   41  tally-tree  tally-words  FAILED       –  0 of 4  4813494d137e…  "
    "llama.cpp refuses to load the model's file.\n",
    ("runners",): "6ab3311bfe7c52d93098e661558a14c2e56fc28db7923a7acd2b67b6a97be7eb            3"
    "        1      12       0     164\n",
    ("tasks",): "tally-tree  tally-words         25  regular  running, firm  3 of 1  3 of 3, needs 3  sealed\n",
    (
        "energy",
    ): "tally-tree  tally-words        0.0564                   –      1,234           584       12          4\n"
    "Medians of what runners say, at 473 g CO2 a kWh.\n",
    ("peers",): "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X     41 min  direct\n",
    ("status",): """\
● evaluating  tally-tree · tally-choice · 14 of 25 · 1,831 tok/s
  fetching some/model@5555555:model.gguf · 3.0 MiB of 1.0 GiB
network  demo · epoch 42, evaluate, 27 s left
log      1,204 entries, heard 3 s ago · 4 peers
mark     witnessed: 4 of 4 cosigned, 3 needed
reach    others can dial this node
today    41 evaluated · 38 counted · 1 failed · credit 164
account  6ab3311bfe7c… · device 515f906d4177…
sandbox  strong
engine   fast mode, backend auto · cpu-avx2, llama-cpp-python 0.3.36
home     /home/ada/demo/node-2 · node, pid 4711
""",
    ("pause",): "‖ paused\n  paused by you (USER, until you resume it)\n",
}


@pytest.mark.parametrize(("command", "part"), EXPECTED.items())
def test_what_people_read_in_full(command: tuple[str, ...], part: str, daemon: Any, call: Callable[..., Any]) -> None:
    done = call(*command, "--home", daemon.home.folder)
    assert (done.code, done.error) == (0, "")
    assert part in done.text
    assert "\x1b" not in done.text


def test_the_board_names_epoch_checkpoint_and_network(daemon: Any, call: Callable[..., Any]) -> None:
    last = call("leaderboard", "--home", daemon.home.folder).text.splitlines()[-1]
    expected = "epoch 41 · checkpoint: 1,204 entries, root 4813494d137e… · mark of epoch 42 · network e46e08312054…"
    assert last == expected


def test_live_rows_say_that_they_are_provisional(daemon: Any, call: Callable[..., Any]) -> None:
    lines = call("leaderboard", "--live", "--home", daemon.home.folder).text.splitlines()
    assert [line.rsplit("  ", 1)[1] for line in lines if "tally-base" in line] == ["~ provisional"]
    assert lines[-1].startswith("epoch 42 is open · 1 provisional row")


def test_an_empty_board_says_when_there_will_be_one(daemon: Any, call: Callable[..., Any]) -> None:
    answer = json.loads(daemon.answers["GET /v1/leaderboard"])
    answer |= {"checkpoint": None, "data": {"epoch": None, "rows": []}}
    daemon.answers["GET /v1/leaderboard"] = json.dumps(answer).encode()
    done = call("leaderboard", "--home", daemon.home.folder)
    assert done.code == 0
    assert "Nothing is measured yet" in done.text
    assert "no checkpoint yet" in done.text


def test_before_the_first_mark_everything_has_something_to_say(daemon: Any, call: Callable[..., Any]) -> None:
    status = json.loads(daemon.answers["GET /v1/status"])
    status["data"] |= {"state": "starting", "epoch": None, "current": None, "peers": 0}
    status["data"]["log"] |= {"epoch": None, "age_s": None, "size": 0}
    daemon.answers["GET /v1/status"] = json.dumps(status).encode()
    daemon.answers["GET /v1/tasks"] = json.dumps({"data": {"epoch": None, "tasks": []}}).encode()
    daemon.answers["GET /v1/peers"] = json.dumps({"data": {"peers": []}}).encode()
    home = ("--home", daemon.home.folder)
    assert "waiting for the first epoch to open" in call("status", *home).text
    assert "No epoch is open yet" in call("tasks", *home).text
    assert "No peer is connected" in call("peers", *home).text


def test_that_the_hub_asks_to_wait_is_in_the_status(daemon: Any, call: Callable[..., Any]) -> None:
    status = json.loads(daemon.answers["GET /v1/status"])
    status["data"]["downloads"][0]["waits_s"] = 83.0
    daemon.answers["GET /v1/status"] = json.dumps(status).encode()
    text = call("status", "--home", daemon.home.folder).text
    assert "\n  fetching some/model@5555555:model.gguf · the Hub asks to wait 83 s\n" in text


@pytest.mark.parametrize("name", ["leaderboard", "models", "benchmarks", "runners", "results"])
def test_the_answers_of_a_real_ledger_are_understood(
    name: str, daemon: Any, call: Callable[..., Any], tmp_path: Path
) -> None:
    answers = Answers(begin(write_demo_network(tmp_path / "network", 3, 0.0).genesis))
    content = answers.results() if name == "results" else answers.bytes_of(name)
    daemon.answers["GET /v1/results?epochs=3" if name == "results" else f"GET /v1/{name}"] = content
    done = call(name, "--home", daemon.home.folder)
    assert (done.code, done.error) == (0, "")
    assert "no checkpoint yet" in done.text
    if name in {"models", "benchmarks"}:
        assert len(done.text.splitlines()) == 2 + len(json.loads(content)["data"][name])


HOSTILE = "\x1b[2J\x1b]0;pwned\x07evil\u202emodel\nsecond line\x9b31m"


def test_hostile_names_reach_people_harmless_and_json_unchanged(daemon: Any, call: Callable[..., Any]) -> None:
    home = ("--home", daemon.home.folder)
    for command, path in (LEDGER | NODE).items():
        text = json.dumps(json.loads(daemon.answers[path]))
        daemon.answers[path] = text.replace('"tally-tree"', json.dumps(HOSTILE)).encode()
        done = call(*command, *home)
        assert done.code == 0
        assert not set(done.text) & set("\x1b\x07\x9b\u202e")
        assert call(*command, "--json", *home).out.strip() == daemon.answers[path].strip()
    assert "evilmodel second line" in call("leaderboard", *home).text
    assert "evilmodel second line" in call("status", *home).text


def test_hostile_errors_are_harmless_too(daemon: Any, call: Callable[..., Any]) -> None:
    problem = {"code": HOSTILE, "title": HOSTILE, "remedy": HOSTILE}
    daemon.answers["GET /v1/status"] = (500, json.dumps({"error": problem}).encode())
    done = call("status", "--home", daemon.home.folder)
    assert done.code == 1
    assert not set(done.error) & set("\x1b\x07\x9b\u202e")
    assert done.error.count("\n") == 2


def in_terminal(arguments: list[str], columns: int, environment: dict[str, str] | None = None) -> str:
    """What a terminal of that width receives."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    given = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "peerboard", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=given | {"TERM": "xterm-256color"} | (environment or {}),
    )
    os.close(theirs)
    received = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not chunk:
            break
        received += chunk
    os.close(ours)
    assert process.stderr is not None
    error = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), error) == (0, b"")
    return received.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [40, 60, 79, 80, 120])
@pytest.mark.parametrize("command", ["leaderboard", "results", "status"])
def test_no_line_is_wider_than_the_terminal(command: str, columns: int, daemon: Any) -> None:
    shown = in_terminal([command, "--home", str(daemon.home.folder)], columns, {"NO_COLOR": "1"})
    assert "\x1b" not in shown
    lines = shown.splitlines()
    assert max(map(len, lines)) <= columns
    if command == "leaderboard":
        assert sum("tally-" in line and "." in line for line in lines) == 3
        assert ("├" in shown) == (columns >= 60)


def test_a_terminal_gets_colour_with_its_words(daemon: Any) -> None:
    shown = in_terminal(["leaderboard", "--home", str(daemon.home.folder)], 100)
    assert "\x1b[33m! disputed\x1b[0m" in shown
    assert "\x1b" not in in_terminal(["leaderboard", "--home", str(daemon.home.folder)], 100, {"TERM": "dumb"})

"""Exit codes, and errors that say what to do: on stderr for people, on stdout as JSON."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer.main
from typer.testing import CliRunner

from peerboard import node_status
from peerboard.cli import app

ASKING = [
    ("leaderboard",),
    ("leaderboard", "--live"),
    ("models",),
    ("benchmarks",),
    ("results",),
    ("runners",),
    ("tasks",),
    ("peers",),
    ("credit",),
    ("status",),
    ("status", "--check"),
    ("pause",),
    ("resume",),
    ("stop",),
    ("top",),
]


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that there is."""
    group = group or typer.main.get_command(app)
    if not hasattr(group, "commands"):
        yield path
        return
    for name, command in group.commands.items():
        yield from commands(command, (*path, name))


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_takes_home_and_json(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*command, "--help"])
    assert done.exit_code == 0
    assert "--home" in done.stdout
    assert "--json" in done.stdout


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_without_a_daemon_it_is_3(command: tuple[str, ...], tmp_path: Path, call: Callable[..., Any]) -> None:
    done = call(*command, "--home", tmp_path)
    assert (done.code, done.out) == (3, b"")
    first, remedy = done.error.splitlines()
    assert first == f"error[NOT_RUNNING]: Home {tmp_path}: no daemon runs on it."
    assert remedy.startswith("→ peerboard ")


@pytest.mark.parametrize("command", ASKING[:-1], ids=" ".join)
def test_with_json_the_error_is_also_on_stdout(
    command: tuple[str, ...], tmp_path: Path, call: Callable[..., Any]
) -> None:
    done = call(*command, "--json", "--home", tmp_path)
    assert done.code == 3
    assert done.json["schema"] == "peerboard.error/1"
    assert done.json["data"] is None
    assert done.json["error"]["code"] == "NOT_RUNNING"
    assert done.error.startswith("error[NOT_RUNNING]: ")


def test_a_home_that_ran_before_says_how_to_run_it_again(tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "genesis.cbor").touch()
    (tmp_path / "daemon.log").touch()
    os.utime(tmp_path / "daemon.log", (1_795_270_732, 1_795_270_732))
    error = call("status", "--home", tmp_path).error
    assert "last sign of life 2026-11-2" in error
    assert error.endswith(f"→ peerboard run --home {tmp_path}\n")


def test_a_daemon_that_died_is_not_running(daemon: Any, call: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    where = json.loads(daemon.home.control.read_text())
    daemon.home.control.write_text(json.dumps(where | {"url": f"http://127.0.0.1:{port}"}))
    done = call("status", "--home", daemon.home.folder)
    assert done.code == 3
    assert f"does not answer at http://127.0.0.1:{port}" in done.error


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "\xff", '{"url": 7, "token_file": "x"}', '{"url": "http://[", "token_file": "x"}']
)
def test_an_unreadable_control_file_is_not_running(content: str, daemon: Any, call: Callable[..., Any]) -> None:
    daemon.home.control.write_text(content, encoding="latin-1")
    done = call("status", "--home", daemon.home.folder)
    assert done.code == 3
    assert "control.json cannot be read" in done.error


@pytest.mark.parametrize("token", ["wrong", "bad\nheader: x", "naïve"])
def test_a_wrong_token_is_refused(token: str, daemon: Any, call: Callable[..., Any]) -> None:
    daemon.home.control_token.write_text(token)
    done = call("leaderboard", "--json", "--home", daemon.home.folder)
    assert done.code == 4
    assert done.json["error"]["code"] == "NO_TOKEN"


def test_a_missing_token_is_not_running(daemon: Any, call: Callable[..., Any]) -> None:
    daemon.home.control_token.unlink()
    assert call("status", "--home", daemon.home.folder).code == 3


@pytest.mark.parametrize(("status", "code"), [(400, 2), (403, 4), (404, 1), (429, 75), (500, 1), (503, 75)])
def test_refusals_of_the_daemon_have_codes(status: int, code: int, daemon: Any, call: Callable[..., Any]) -> None:
    problem = {"code": "SOME_CODE", "title": "A sentence.", "remedy": "Do this."}
    daemon.answers["GET /v1/tasks"] = (status, json.dumps({"error": problem}).encode())
    done = call("tasks", "--json", "--home", daemon.home.folder)
    assert (done.code, done.json["error"]) == (code, problem)
    assert done.error == "error[SOME_CODE]: A sentence.\n→ Do this.\n"


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"{}", b'{"data": null}', b'{"data": {"rows": [{}]}}', b"\xff"]
)
@pytest.mark.parametrize("command", ["leaderboard", "status", "tasks", "models", "credit", "stop"])
def test_nonsense_from_the_daemon_is_an_error_for_people(
    command: str, content: bytes, daemon: Any, call: Callable[..., Any]
) -> None:
    daemon.answers = dict.fromkeys([*daemon.answers, "POST /v1/stop"], content)
    done = call(command, "--home", daemon.home.folder)
    assert done.code == 1
    assert done.error.startswith("error[UNEXPECTED]: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("status", "--frobnicate"),
        ("status", "surplus"),
        ("results", "--epochs", "0"),
        ("results", "--epochs", "25"),
        ("results", "--epochs", "many"),
        ("eval", "tally-base"),
        ("eval", "tally-base", "--benchmark", "tally-words", "--samples", "0"),
        ("score", "--benchmark", "tally-words"),
        ("init",),
        ("key",),
        ("demo", "--nodes", "2"),
        ("top", "--json"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(arguments: tuple[str, ...], call: Callable[..., Any]) -> None:
    done = call(*arguments)
    assert done.code == 2
    assert done.error.startswith("error[")
    assert "\n→ peerboard " in done.error
    as_json = call(*arguments, "--json")
    assert as_json.code == 2
    assert as_json.json["error"]["title"]


def test_alone_it_shows_what_there_is(call: Callable[..., Any]) -> None:
    done = call()
    assert done.code == 0
    assert {name for name, *_ in commands()} <= set(done.text.split())


def test_status_is_fine_when_paused_and_check_finds_warnings(daemon: Any, call: Callable[..., Any]) -> None:
    home = ("--home", daemon.home.folder)
    daemon.answers["GET /v1/status"] = daemon.answers["POST /v1/pause"]
    assert call("status", *home).code == 0
    assert call("status", "--check", *home).code == 0
    answer = json.loads(daemon.answers["GET /v1/status"])
    warning = {"code": "NO_PEERS", "severity": "warn", "title": "No peer is connected.", "remedy": "Check the network."}
    daemon.answers["GET /v1/status"] = json.dumps(answer | {"warnings": [warning]}).encode()
    assert call("status", *home).code == 0
    checked = call("status", "--check", *home)
    assert checked.code == 1
    assert checked.text.endswith("warn  NO_PEERS  No peer is connected.\n→ Check the network.\n")
    assert call("status", "--check", "--json", *home).code == 1
    daemon.answers["GET /v1/status"] = json.dumps(answer | {"warnings": [warning | {"severity": "note"}]}).encode()
    assert call("status", "--check", *home).code == 0


def test_status_says_whether_the_newest_mark_is_witnessed(daemon: Any, call: Callable[..., Any]) -> None:
    answer = json.loads(daemon.answers["GET /v1/status"])

    def said(witnesses: object) -> str:
        answer["data"]["log"]["witnesses"] = witnesses
        daemon.answers["GET /v1/status"] = json.dumps(answer).encode()
        return str(call("status", "--home", daemon.home.folder).text)

    assert "cosigned" not in said(None)
    for witnessed, words in ((True, "witnessed: 3 of 4 cosigned"), (False, "! unwitnessed: 2 of 4 cosigned, 3 needed")):
        seen = {"cosigned": 3 if witnessed else 2, "quorum": 3, "of": 4, "witnessed": witnessed}
        assert f"mark     {words}" in said(seen)


def test_stop_waits_for_the_end_of_the_process(daemon: Any, call: Callable[..., Any]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:

        def stopping() -> bytes:
            answer = json.loads(daemon.answers["GET /v1/status"])
            answer["data"] |= {"state": "stopping", "pid": process.pid}
            process.terminate()
            return json.dumps(answer).encode()

        daemon.answers["POST /v1/stop"] = stopping
        done = call("stop", "--home", daemon.home.folder)
        assert (done.code, done.text) == (0, f"Stopped: process {process.pid} has ended.\n")


def test_a_daemon_that_does_not_stop_is_tried_again_later(
    daemon: Any, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_status, "STOP_SECONDS", 0.1)
    answer = json.loads(daemon.answers["GET /v1/status"])
    answer["data"]["pid"] = os.getpid()
    daemon.answers["POST /v1/stop"] = json.dumps(answer).encode()
    done = call("stop", "--home", daemon.home.folder)
    assert done.code == 75
    assert f"process {os.getpid()} still runs" in done.error


def test_credit_is_the_own_accounts(daemon: Any, call: Callable[..., Any]) -> None:
    home = ("--home", daemon.home.folder)
    done = call("credit", "--json", *home)
    assert (done.code, done.json["schema"]) == (0, "peerboard.credit/1")
    runners = json.loads(daemon.answers["GET /v1/runners"])["data"]["runners"]
    assert done.json["data"] == runners[0]
    assert "credit   164\n" in call("credit", *home).text
    daemon.answers["GET /v1/runners"] = json.dumps({"data": {"runners": runners[1:]}}).encode()
    assert call("credit", "--json", *home).json["data"]["since"] is None
    assert "not in the log yet" in call("credit", *home).text


def test_what_a_bootstrap_cannot_do_is_said(daemon: Any, call: Callable[..., Any]) -> None:
    where = json.loads(daemon.home.control.read_text())
    daemon.home.control.write_text(json.dumps(where | {"role": "bootstrap"}))
    del daemon.answers["POST /v1/pause"]
    done = call("pause", "--home", daemon.home.folder)
    assert done.code == 1
    assert done.error.startswith("error[NOT_HERE]: This bootstrap does not know POST /v1/pause")


def test_the_dashboard_needs_a_terminal(daemon: Any, call_process: Callable[..., Any]) -> None:
    done = call_process("top", "--home", daemon.home.folder)
    assert (done.code, done.out) == (2, b"")
    assert "needs a terminal" in done.error


def test_a_bootstrap_has_no_credit(daemon: Any, call: Callable[..., Any]) -> None:
    answer = json.loads(daemon.answers["GET /v1/status"])
    answer["data"] |= {"account": None, "role": "bootstrap", "device": None}
    daemon.answers["GET /v1/status"] = json.dumps(answer).encode()
    assert call("credit", "--home", daemon.home.folder).code == 1
    assert call("status", "--home", daemon.home.folder).code == 0


TALKATIVE = """
import signal
from peerboard import local_evaluation
from peerboard.cli import main
signal.signal(signal.SIGINT, {})
local_evaluation.FIRST_SECONDS = local_evaluation.LINE_SECONDS = 0.0
main()
"""


@pytest.mark.parametrize(
    ("number", "control_c"),
    [
        (signal.SIGINT, "signal.default_int_handler"),
        (signal.SIGTERM, "signal.default_int_handler"),
        (signal.SIGTERM, "signal.SIG_IGN"),  # as a script starts what it runs in the background
    ],
)
def test_signals_end_an_evaluation_and_leave_nothing(number: signal.Signals, control_c: str, tmp_path: Path) -> None:
    asked = ("eval", "tally-tree", "--benchmark", "tally-words", "--samples", "1000")
    with subprocess.Popen(
        [sys.executable, "-c", TALKATIVE.format(control_c), *asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stderr is not None
        while b" of 1000 questions" not in process.stderr.readline():
            pass
        below = psutil.Process(process.pid).children(recursive=True)
        assert below
        assert list(tmp_path.glob("peerboard-*"))
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out) == (128 + number, b"")
        assert b"Traceback" not in error
        assert psutil.wait_procs(below, timeout=60)[1] == []
    assert list(tmp_path.iterdir()) == []


def test_control_c_is_130(daemon: Any) -> None:
    asked, release = threading.Event(), threading.Event()

    def wait() -> bytes:
        asked.set()
        release.wait(60)
        return b"{}"

    daemon.answers["GET /v1/status"] = wait
    command = [sys.executable, "-I", "-m", "peerboard", "status", "--home", str(daemon.home.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
        release.set()
        assert (process.returncode, out, error) == (130, b"", b"")


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_a_reader_that_has_seen_enough_is_no_crash(extra: tuple[str, ...], daemon: Any) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-I", "-m", "peerboard", "leaderboard", *extra, "--home", str(daemon.home.folder)]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_terminal_without_our_signs_gets_others(daemon: Any, call_process: Callable[..., Any]) -> None:
    done = call_process("status", "--home", daemon.home.folder)
    assert done.text.startswith("● evaluating")
    command = [sys.executable, "-m", "peerboard", "status", "--home", str(daemon.home.folder)]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    plain = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert plain.stdout.startswith(b"? evaluating")


HEAVY = ("libp2p", "llama_cpp", "datasets", "textual", "trio", "numpy", "httpx", "rich", "psutil")


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["status", "--json"], ["leaderboard"], ["tasks"]])
def test_looking_imports_nothing_heavy(arguments: list[str], daemon: Any) -> None:
    program = f"""
import sys
from peerboard.cli import main
try:
    main({[*arguments, *([] if "--help" in arguments else ["--home", str(daemon.home.folder)])]!r})
except SystemExit as ended:
    print([name for name in {HEAVY!r} if name in sys.modules], ended.code, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "[] 0\n"

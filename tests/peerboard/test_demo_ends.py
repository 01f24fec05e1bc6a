"""However the demo ends, it leaves nothing behind, and it signals nobody but its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from node.home import Home
from peerboard import demo
from peerboard.demo import Demo, Member
from peerboard.demo_network import write_demo_network
from peerboard.demo_view import DemoView

WAITING = "import sys; print(flush=True); sys.stdin.read()"


@pytest.fixture
def member(tmp_path: Path) -> Member:
    home = Home(tmp_path / "node-1")
    home.folder.mkdir()
    return Member("node-1", home, ["run"])


@pytest.fixture
def network(member: Member, tmp_path: Path) -> Demo:
    return Demo(write_demo_network(tmp_path / "network", 1, time.time()), [member], DemoView())


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose command line ends in `words`."""
    command = [sys.executable, "-I", "-c", WAITING, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout
        running.stdout.readline()
        try:
            yield running
        finally:
            running.kill()


def test_a_process_that_took_its_place_is_the_member(network: Demo, member: Member) -> None:
    for home in (("--home", str(member.home.folder)), (f"--home={member.home.folder}",)):
        with process("/bin/peerboard", "run", *home) as replacement:
            member.home.control.write_text(json.dumps({"pid": replacement.pid}))
            assert member.pid == replacement.pid
            network.stop()
            assert replacement.wait(60) is not None
            assert member.pid is None


@pytest.mark.parametrize("words", [(), ("peerboard", "run"), ("tail", "{home}/output.log"), ("vi", "{home}")])
def test_a_stranger_with_its_number_is_not(words: tuple[str, ...], network: Demo, member: Member) -> None:
    with process(*(word.format(home=member.home.folder) for word in words)) as stranger:
        member.home.control.write_text(json.dumps({"pid": stranger.pid}))
        assert member.pid is None
        network.stop()
        assert stranger.poll() is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": null}', '{"pid": -1}', '{"pid": "x"}', '{"pid": 1e30}'])
def test_nonsense_instead_of_a_number(content: str, member: Member) -> None:
    member.home.control.write_text(content)
    assert member.pid is None


def test_the_last_board_stands_for_one_that_does_not_come(
    network: Demo, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "LAST_SECONDS", 0.1)
    network.last_board = b'{"data": 1}'
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        member.home.control_token.write_text("token")
        member.home.control.write_text(json.dumps({"url": url, "token_file": str(member.home.control_token)}))
        assert network.board() == {"data": 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_signals_leave_no_folder(number: signal.Signals, tmp_path: Path) -> None:
    program = """
import os, signal, sys
from peerboard import demo
from peerboard.cli import main

write = demo.write_demo_network

def interrupted(*given):
    write(*given)
    os.kill(os.getpid(), int(sys.argv[1]))

demo.write_demo_network = interrupted
main(["demo"])
"""
    command = [sys.executable, "-c", program, str(int(number))]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_control_c_during_the_imports_is_quiet() -> None:
    program = """
import sys

class Interrupted:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
import peerboard.cli
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_a_folder_that_cannot_be_has_a_sentence(tmp_path: Path, call: Callable[..., Any]) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    (tmp_path / "loop").symlink_to("loop")
    for home in (file, file / "below", tmp_path / "loop", "/proc/nonesuch"):
        done = call("demo", "--home", home)
        assert done.code == 2
        assert done.error.startswith("error[HOME_UNUSABLE]: ")
    assert file.read_text() == "kept"

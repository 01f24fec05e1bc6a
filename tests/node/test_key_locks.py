"""One process signs with a key in a network, whatever home it has it from."""

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import pytest
import structlog.testing

from node.key_locks import KeyInUse, hold_keys

HOLDER = """
import sys
from pathlib import Path
from node.key_locks import hold_keys

with hold_keys(b"n" * 32, [b"k" * 32], Path("/a/home"), Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_process_is_refused_until_the_first_one_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-c", HOLDER, str(tmp_path / "locks")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(KeyInUse, match=f"Process {holder.pid} on /a/home signs with the key 6b6b"),
            hold_keys(b"n" * 32, [b"o" * 32, b"k" * 32], tmp_path, tmp_path / "locks"),
        ):
            pytest.fail("two processes hold one key")
        with hold_keys(b"n" * 32, [b"o" * 32], tmp_path, tmp_path / "locks"):
            pass  # it was given back when the second key could not be had
        with hold_keys(b"m" * 32, [b"k" * 32], tmp_path, tmp_path / "locks"):
            pass  # in another network the key says nothing that could contradict this
        holder.kill()
    with hold_keys(b"n" * 32, [b"k" * 32], tmp_path, tmp_path / "locks"):
        assert len(list((tmp_path / "locks").iterdir())) == 1, "what the killed one left is taken over"
    assert not list((tmp_path / "locks").iterdir()), "and nothing is left behind"


def test_a_lock_file_that_its_holder_just_removed_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = fcntl.flock
    removed: list[Path] = []

    def late(stream: TextIO, operation: int) -> None:
        if not removed:
            removed.extend(tmp_path.glob("locks/*"))
            removed[0].unlink()  # between opening and locking
        genuine(stream, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with (
        hold_keys(b"n" * 32, [b"k" * 32], tmp_path, tmp_path / "locks"),
        pytest.raises(KeyInUse),
        hold_keys(b"n" * 32, [b"k" * 32], tmp_path, tmp_path / "locks"),
    ):
        pytest.fail("two hold one key")
    assert removed


def test_where_no_lock_can_be_kept_that_is_said_and_the_node_runs(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with structlog.testing.capture_logs() as told, hold_keys(b"n" * 32, [b"k" * 32], tmp_path, folder):
        pass
    assert [each["log_level"] for each in told] == ["warning"]
    assert not list(folder.iterdir())

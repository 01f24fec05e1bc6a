"""Small files: replaced whole, and secrets that nobody but their owner can read."""

import os
from pathlib import Path

import pytest

from node.durable import write_durably, write_secret_once


def mode(file: Path) -> int:
    return file.stat().st_mode & 0o777


@pytest.mark.parametrize("left_behind", [False, True])
def test_a_private_file_is_private_whatever_was_there(tmp_path: Path, left_behind: bool) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(0o644)
    if left_behind:  # by a process that was killed
        (tmp_path / "file.new").write_bytes(b"a half")
        (tmp_path / "file.new").chmod(0o644)
    write_durably(file, b"new", private=True)
    assert (file.read_bytes(), mode(file), os.listdir(tmp_path)) == (b"new", 0o600, ["file"])


def test_others_may_read_what_is_no_secret(tmp_path: Path) -> None:
    write_durably(tmp_path / "file", b"new")
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert mode(tmp_path / "file") == mode(plain)


def test_the_first_secret_stays(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    for content in (b"first", b"second"):
        write_secret_once(file, content)
    assert (file.read_bytes(), mode(file), os.listdir(tmp_path)) == (b"first", 0o600, ["secret"])

"""The examples of docs/cli.md: each is run, and shows what it says."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from eval.demo.questions import word_questions
from peerboard.cli import app
from peerboard.demo_network import write_demo_network

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
EXIT = re.compile(r"^\(exit (\d+)\)$", re.MULTILINE)


def examples() -> list[tuple[str, str]]:
    """Every `$ command` of the page, with what stands below it."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE) if part]
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


def test_the_examples_do_what_the_page_says(
    daemon: Any, call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_demo_network(tmp_path / "network", 3, 0.0).bootstrap.genesis.rename(tmp_path / "genesis.cbor")
    outputs = [{"index": 0, "output": word_questions()[0].answer}, {"index": 1, "output": "no idea"}]
    (tmp_path / "outputs.jsonl").write_text("\n".join(map(json.dumps, outputs)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    daemon.home.folder.rename(tmp_path / "data" / "peerboard")
    where = tmp_path / "data" / "peerboard" / "control.json"
    where.write_text(where.read_text().replace(str(daemon.home.folder), str(where.parent)))
    found = examples()
    assert len(found) > 20
    for command, shown in found:
        program, *arguments = shlex.split(command)
        assert program == "peerboard"
        done = call(*arguments)
        code = EXIT.search(shown)
        assert done.code == int(code[1] if code else 0), (command, done)
        expected = EXIT.sub("", shown).strip()
        if expected:
            assert (done.text or done.error).strip() == expected


def test_the_page_names_every_command() -> None:
    page = PAGE.read_text()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for full in [f"{name} {sub}" for sub in getattr(command, "commands", [])] or [name]:
            assert f"peerboard {full}" in page

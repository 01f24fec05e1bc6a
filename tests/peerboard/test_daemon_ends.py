"""A daemon that cannot start says why and what to do, and its exit code says whether waiting helps."""

import errno
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.home import Home
from node.identity import load_identity, load_key
from node.key_locks import hold_keys
from node.settings import Settings, write_settings
from peerboard.daemons import _explained
from peerboard.demo_network import DemoNetwork, write_demo_network


@pytest.fixture
def network(tmp_path: Path) -> DemoNetwork:
    return write_demo_network(tmp_path / "network", 1, time.time())


@pytest.mark.parametrize("place", ["nonsense", "/ip4/999.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/many"])
def test_an_address_to_listen_on_that_is_none(place: str, network: DemoNetwork, call: Callable[..., Any]) -> None:
    home = network.nodes[0]
    write_settings(home.settings, Settings(listen=(place,)))
    done = call("run", "--home", home.folder)
    assert done.code == 2
    assert done.error.startswith(f"error[SETTINGS_WRONG]: {home.settings}: `listen`: {place!r} is not a multiaddr")


def test_a_port_that_is_taken(network: DemoNetwork, call_process: Callable[..., Any]) -> None:
    home = network.nodes[0]
    with socket.create_server(("127.0.0.1", 0)) as other:
        write_settings(home.settings, Settings(listen=(f"/ip4/127.0.0.1/tcp/{other.getsockname()[1]}",)))
        done = call_process("run", "--home", home.folder)
    assert done.code == 75
    assert done.error.startswith("error[CANNOT_LISTEN]: cannot listen on /ip4/127.0.0.1/tcp/")
    assert done.error.endswith(f"→ Free the port, or correct `listen` in {home.settings}.\n")


def test_an_address_of_no_kind_to_listen_on(network: DemoNetwork, call_process: Callable[..., Any]) -> None:
    home = network.nodes[0]
    write_settings(home.settings, Settings(listen=("/ip4/127.0.0.1/udp/4001",)))
    done = call_process("run", "--home", home.folder)
    assert done.code == 1, "it does not pass by itself"
    assert done.error.startswith("error[CANNOT_LISTEN]: ")


@pytest.mark.parametrize("role", ["node", "bootstrap"])
def test_a_second_home_with_the_same_keys(role: str, network: DemoNetwork, call_process: Callable[..., Any]) -> None:
    """A copy of a home does not start while the original runs: two would contradict each other, or fork the log."""
    home = network.nodes[0] if role == "node" else network.bootstrap
    copy = Home(home.folder.with_name("copy"))
    identity = load_identity(home.account_key, home.device_key)
    shutil.copytree(home.folder, copy.folder)
    key = identity.account if role == "node" else load_key(home.log_key)
    command = ["run"] if role == "node" else ["bootstrap", "run"]
    with hold_keys(network.genesis.id, [key.public], home.folder):
        done = call_process(*command, "--home", copy.folder)
    assert done.code == 4
    assert done.error.startswith(f"error[KEY_IN_USE]: Process {os.getpid()} on {home.folder} signs with the key ")
    assert str(copy.folder) in done.error


@pytest.mark.parametrize("content", ["junk", "", 64 * "0", None])
def test_a_hash_chain_that_is_not_the_networks(
    content: str | None, network: DemoNetwork, call_process: Callable[..., Any]
) -> None:
    home = network.bootstrap
    home.chain_seed.unlink()
    if content is not None:
        home.chain_seed.write_text(content)
    done = call_process("bootstrap", "run", "--home", home.folder)
    assert done.code == 1
    assert done.error.startswith("error[KEY_UNUSABLE]: ")


@pytest.mark.parametrize("error", [KeyError("b"), ExceptionGroup("", [OSError("passes"), KeyError("b")])], ids=repr)
def test_a_bug_outside_of_any_service_is_reported_as_well(
    error: Exception, network: DemoNetwork, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_node(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr("peerboard.daemons.run_node", run_node)
    home = network.nodes[0]
    done = call("run", "--home", home.folder)
    report = home.folder / "bug-daemon.txt"
    assert done.code == 1
    assert done.error.startswith("error[BUG]: daemon failed for a reason that nobody foresaw: ")
    assert str(report) in done.error
    assert "KeyError: 'b'" in report.read_text()


def test_a_file_of_the_home_that_is_a_folder(network: DemoNetwork, call: Callable[..., Any]) -> None:
    home = network.nodes[0]
    home.lock.mkdir()
    done = call("run", "--home", home.folder)
    assert done.code == 1
    assert done.error.startswith(f"error[HOME_UNUSABLE]: {home.lock}: Is a directory.\n")


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [
        (errno.EROFS, "HOME_UNUSABLE", 1),
        (errno.EACCES, "HOME_UNUSABLE", 1),
        (errno.ENOTDIR, "HOME_UNUSABLE", 1),
        (errno.ENOSPC, "DISK_FULL", 75),
        (errno.EADDRINUSE, "CANNOT_LISTEN", 75),
        (errno.EIO, "OS_ERROR", 75),
    ],
)
def test_errors_of_the_system_have_sentences(number: int, code: str, status: int, network: DemoNetwork) -> None:
    home = network.nodes[0]
    failed = _explained(home, OSError(number, "Some reason", str(home.lock)))
    assert (failed.code, failed.status) == (code, status)
    assert failed.sentence == f"{home.lock}: Some reason."
    assert str(home.folder) in failed.remedy

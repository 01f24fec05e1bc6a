"""Making a home, showing what lies in it, and the doctor's visit."""

import json
import os
import pty
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from node.home import Home
from node.identity import load_identity
from node.peer_key import load_peer_key
from node.settings import Settings, read_settings, write_settings
from peerboard import doctor
from peerboard.client import Daemon
from peerboard.demo_network import DemoNetwork, write_demo_network

ADDRESS = "/ip4/192.0.2.7/tcp/4801/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> DemoNetwork:
    return write_demo_network(tmp_path_factory.mktemp("network"), 3, time.time())


@pytest.fixture
def genesis(network: DemoNetwork) -> Path:
    return network.bootstrap.genesis


def test_init_makes_a_home(genesis: Path, tmp_path: Path, call_process: Callable[..., Any]) -> None:
    home = Home(tmp_path / "home")
    done = call_process("init", "--genesis", genesis, "--bootstrap", ADDRESS, "--home", home.folder)
    assert done.code == 0
    assert "What becomes public" in done.error
    assert home.genesis.read_bytes() == genesis.read_bytes()
    assert read_settings(home.settings).bootstrap == (ADDRESS,)
    identity = load_identity(home.account_key, home.device_key)
    assert identity.account.public.hex() in done.text
    for file in (home.account_key, home.device_key, home.peer_key):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_bytes().strip().hex() not in done.text
        assert file.read_text(encoding="latin-1").strip() not in done.text + done.error


def test_init_as_json_says_the_same(
    genesis: Path, network: DemoNetwork, tmp_path: Path, call: Callable[..., Any]
) -> None:
    given = ("--memory", 1024, "--disk", 2048, "--bootstrap", ADDRESS, "--bootstrap", ADDRESS)
    done = call("init", "--genesis", genesis, *given, "--home", tmp_path / "home", "--json")
    assert (done.code, done.error, done.json["schema"]) == (0, "", "peerboard.init/1")
    data = done.json["data"]
    assert data["network"] == {"id": network.genesis.id.hex(), "name": "demo"}
    assert (data["memory"], data["disk"], data["bootstrap"]) == (1024, 2048, [ADDRESS, ADDRESS])
    shown = call("key", "show", "--home", tmp_path / "home", "--json").json["data"]
    assert shown == {name: data[name] for name in ("account", "device", "peer")}


def test_init_asks_a_person_for_limits(genesis: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-I", "-m", "peerboard", "init", "--genesis", str(genesis), "--home", str(tmp_path)]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.write(ours, b"much\n512\n\n")
        out, _ = process.communicate(timeout=60)
    os.close(theirs)
    os.close(ours)
    assert process.returncode == 0
    assert f"limits   512 MiB of memory, 8192 MiB of disk: {tmp_path}/config.toml" in out.decode()


def test_init_overwrites_nothing(genesis: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    assert call("init", "--genesis", genesis, "--home", tmp_path).code == 0
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    done = call("init", "--genesis", genesis, "--home", tmp_path, "--json")
    assert (done.code, done.json["error"]["code"]) == (4, "HOME_EXISTS")
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_init_keeps_keys_that_were_restored(genesis: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    identity = load_identity(tmp_path / "account.key", tmp_path / "device.key")
    done = call("init", "--genesis", genesis, "--home", tmp_path, "--json")
    assert done.json["data"]["account"] == identity.account.public.hex()


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, None])
def test_init_refuses_what_is_no_genesis(content: bytes | None, tmp_path: Path, call: Callable[..., Any]) -> None:
    file = tmp_path / "genesis"
    if content is not None:
        file.write_bytes(content)
    done = call("init", "--genesis", file, "--home", tmp_path / "home", "--json")
    assert (done.code, done.json["error"]["code"]) == (2 if content is None else 1, "GENESIS_WRONG")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "address",
    ["", "192.0.2.7:4801", "/ip4/192.0.2.7/tcp/4801", ADDRESS + "\n", ADDRESS + "/x", "/ip4//tcp/1/p2p/" + 30 * "Q"],
)
def test_init_refuses_what_is_no_address(address: str, genesis: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    done = call("init", "--genesis", genesis, "--bootstrap", address, "--home", tmp_path / "home", "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "WRONG_ADDRESS")
    assert not (tmp_path / "home").exists()


def test_init_takes_no_senseless_limits(genesis: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    done = call("init", "--genesis", genesis, "--memory", 1, "--home", tmp_path / "home", "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "TOO_LITTLE")


def test_showing_keys_makes_none_and_tells_no_secret(
    network: DemoNetwork, tmp_path: Path, call: Callable[..., Any]
) -> None:
    done = call("key", "show", "--home", tmp_path)
    assert done.code == 1
    assert list(tmp_path.iterdir()) == []
    home = network.bootstrap
    shown = call("key", "show", "--home", home.folder)
    assert network.genesis.log_key.hex() in shown.text
    assert home.log_key.read_text().strip() not in shown.text
    assert home.peer_key.read_bytes().hex() not in shown.text


def test_a_damaged_key_is_named(tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "account.key").write_text("not hex")
    done = call("key", "show", "--home", tmp_path, "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "KEY_UNUSABLE")
    assert "account.key" in done.error


def test_settings_with_their_sources(network: DemoNetwork, tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "config.toml").write_text("memory = 512\n")
    data = call("config", "show", "--home", tmp_path, "--json").json["data"]
    assert (data["values"]["memory"], data["sources"]["memory"]) == (512, "file")
    assert data["sources"]["disk"] == "default"
    assert "memory                512" in call("config", "show", "--home", tmp_path).text
    assert call("config", "path", "--home", tmp_path).text == f"{tmp_path}/config.toml\n"
    (tmp_path / "config.toml").write_text("memroy = 512\n")
    assert "memroy" in call("config", "show", "--home", tmp_path).error


def test_paths_and_version(network: DemoNetwork, call: Callable[..., Any]) -> None:
    home = network.nodes[0]
    places = call("paths", "--home", home.folder, "--json").json["data"]
    assert places["genesis"] == str(home.genesis)
    assert str(home.settings) in call("paths", "--home", home.folder).text
    about = call("version", "--home", home.folder, "--json").json["data"]
    assert about["network"] == network.genesis.id.hex()
    assert about["python"] == ".".join(map(str, sys.version_info[:3]))


def by_code(answer: Any) -> dict[str, str]:
    return {each["code"]: each["severity"] for each in answer["data"]["checks"]}


def test_the_doctor_finds_a_home_that_is_not_there(tmp_path: Path, call: Callable[..., Any]) -> None:
    done = call("doctor", "--home", tmp_path / "home", "--json")
    found = by_code(done.json)
    assert done.code == 1
    assert (found["HOME"], found["GENESIS"], found["DAEMON"], found["PYTHON"]) == ("fail", "fail", "warn", "ok")
    assert {each["code"] for each in done.json["warnings"]} == {code for code, how in found.items() if how != "ok"}
    assert all(each["remedy"] for each in done.json["warnings"])
    assert not (tmp_path / "home").exists()


def test_the_doctor_takes_no_file_for_a_home_and_looks_for_the_data(tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'} is a file, a home is a folder." in call("doctor", "--home", tmp_path / "file").text
    settings = Settings(bootstrap=(ADDRESS,), data=str(tmp_path / "none"))
    write_settings(Home(tmp_path).settings, settings)
    text = call("doctor", "--home", tmp_path).text
    assert f"{tmp_path / 'none'}, where local copies of data sets were to be, is no folder" in text
    assert f"SETTINGS → Correct `data` in {tmp_path / 'config.toml'}" in text
    (tmp_path / "none").mkdir()
    assert "local copies" not in call("doctor", "--home", tmp_path).text


def test_the_doctor_finds_a_running_node_well(daemon: Any, network: DemoNetwork, call: Callable[..., Any]) -> None:
    home = daemon.home
    load_identity(home.account_key, home.device_key)
    load_peer_key(home.peer_key)
    for name in ("genesis.cbor", "config.toml"):
        (home.folder / name).write_bytes((network.nodes[0].folder / name).read_bytes())
    status = json.loads(daemon.answers["GET /v1/status"])
    epoch = network.genesis.epoch_at(time.time())
    status["data"]["log"] |= {"epoch": max(0, epoch), "age_s": 0.0}
    daemon.answers["GET /v1/status"] = json.dumps(status).encode()
    done = call("doctor", "--home", home.folder)
    assert done.code == 0, done.text
    assert done.text.endswith("13 of 13 are fine\n")
    status["data"]["peers"] = 0
    daemon.answers["GET /v1/status"] = json.dumps(status).encode()
    done = call("doctor", "--home", home.folder)
    assert done.code == 1
    assert "PEERS → Check the network" in done.text


def test_keys_that_others_can_read_or_that_are_damaged(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert doctor.keys(home).severity == "warn"
    load_identity(home.account_key, home.device_key)
    home.peer_key.write_bytes(os.urandom(32))
    home.peer_key.chmod(0o644)
    assert "can be read by others" in doctor.keys(home).title
    home.peer_key.chmod(0o600)
    assert doctor.keys(home).severity == "ok"
    home.account_key.write_text("short")
    assert (doctor.keys(home).severity, doctor.keys(home).title.split()[0]) == ("fail", str(home.account_key))


@pytest.mark.parametrize(
    ("after_start", "severity"),
    [(-100, "fail"), (-5, "ok"), (0, "ok"), (59, "ok"), (70, "ok"), (100, "warn"), (10_000, "warn")],
)
def test_the_clock_is_held_against_the_logs_epoch(
    after_start: int, severity: str, daemon: Any, network: DemoNetwork
) -> None:
    status = json.loads(daemon.answers["GET /v1/status"])
    status["data"]["log"] |= {"epoch": 7, "age_s": 30.0}
    daemon.answers["GET /v1/status"] = json.dumps(status).encode()
    heard = network.genesis.start_of(7) + after_start
    assert doctor.clock(network.genesis, Daemon(daemon.home), heard + 30.0).severity == severity


def test_a_clock_before_the_networks_beginning(network: DemoNetwork) -> None:
    assert doctor.clock(network.genesis, None, network.genesis.time - 3600).severity == "warn"
    assert doctor.clock(network.genesis, None, network.genesis.time + 3600).severity == "ok"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
        ("raise SystemExit('no such library')", "no such library"),
        ("print('hello')", "no reason given"),
    ],
)
def test_an_engine_that_cannot_be_loaded_is_a_finding(program: str, words: str) -> None:
    finding = doctor.engine((sys.executable, "-c", program))
    assert finding.severity == "warn"
    assert words in finding.title
    assert finding.remedy


def test_an_old_python_is_a_finding() -> None:
    assert doctor.python((3, 10)).severity == "fail"


def test_a_full_disk_is_a_finding(tmp_path: Path) -> None:
    settings = read_settings(tmp_path / "none")
    assert doctor.disk(Home(tmp_path / "no" / "such"), settings).code == "DISK"
    more_than_there_is = 1 << 40
    greedy = msgspec.structs.replace(settings, disk=more_than_there_is)
    assert doctor.disk(Home(tmp_path), greedy).severity == "warn"
    strict = msgspec.structs.replace(settings, least_free_disk=more_than_there_is)
    assert doctor.disk(Home(tmp_path), strict).severity == "fail"

"""What lies in a home, shown: public keys, paths, settings and versions. Never a secret."""

import importlib.metadata
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node.home import Home, find_home
from peerboard.exits import CommandFailed, Exit, json_answer
from peerboard.tables import Column, table
from peerboard.terminal import standard_output
from peerboard.version import VERSION


def show_keys(folder: Path | None, *, as_json: bool) -> None:
    """The public halves of the home's keys. Makes none. Raises `CommandFailed`."""
    from node.peer_id import peer_id

    home = find_home(folder)
    readers: list[tuple[str, Path, Callable[[Path], str]]] = [
        ("account", home.account_key, _public),
        ("device", home.device_key, _public),
        ("peer", home.peer_key, lambda file: peer_id(_peer_seed(file))),
        ("witness", home.witness_key, _public),
        ("log", home.log_key, _public),
    ]
    keys = {name: read(file) for name, file, read in readers if file.exists()}
    if not keys:
        text = f"{home.folder} holds no keys."
        raise CommandFailed("NO_KEYS", text, "peerboard init --genesis FILE", Exit.FAILED)
    if as_json:
        print(json_answer("keys", keys))
    else:
        for name, key in keys.items():
            print(f"{name:<7}  {key}")


def make_witness_key(folder: Path | None, *, as_json: bool) -> None:
    """Make the key with which this home's node cosigns marks, unless it is there. Raises `CommandFailed`."""
    home = find_home(folder)
    key = _public(home.witness_key)
    if as_json:
        print(json_answer("keys", {"witness": key}))
    else:
        print(f"witness  {key}")


def _public(file: Path) -> str:
    from node.identity import KeyFileDamaged, load_key

    try:
        return load_key(file).public.hex()
    except (KeyFileDamaged, OSError) as error:
        raise CommandFailed("KEY_UNUSABLE", str(error), f"Look at {file}.") from None


def _peer_seed(file: Path) -> bytes:
    from node.peer_key import PeerKeyError, load_peer_key

    try:
        return load_peer_key(file)
    except (PeerKeyError, OSError) as error:
        raise CommandFailed("KEY_UNUSABLE", str(error), f"Look at {file}.") from None


def show_paths(folder: Path | None, *, as_json: bool) -> None:
    """Where everything of this home lies."""
    home = find_home(folder)
    places = _places(home)
    if as_json:
        print(json_answer("paths", {name: str(path) for name, path in places}))
        return
    rows = [[name, str(path), "" if path.exists() else "not there"] for name, path in places]
    for line in table([Column("what"), Column("path"), Column("", keep=1)], rows, standard_output()):
        print(line)


def _places(home: Home) -> list[tuple[str, Path]]:
    return [
        ("home", home.folder),
        ("genesis", home.genesis),
        ("settings", home.settings),
        ("account key", home.account_key),
        ("device key", home.device_key),
        ("peer key", home.peer_key),
        ("store", home.store),
        ("cache", home.cache),
        ("log", home.log_file),
        ("control", home.control),
    ]


def show_settings(folder: Path | None, *, as_json: bool) -> None:
    """Every setting with its value and where it comes from. Raises `CommandFailed`."""
    import tomllib

    from node.settings import SettingsWrong, read_settings

    home = find_home(folder)
    try:
        settings = read_settings(home.settings)
        written = set(tomllib.loads(home.settings.read_text())) if home.settings.exists() else set()
    except SettingsWrong as error:
        text = str(error)
        raise CommandFailed("SETTINGS_WRONG", text, f"Edit {home.settings}", Exit.USAGE) from None
    values: dict[str, Any] = {name: getattr(settings, name) for name in settings.__struct_fields__}
    sources = {name: "file" if name in written else "default" for name in values}
    if as_json:
        data = {"file": str(home.settings), "values": values, "sources": sources}
        print(json_answer("config", data))
        return
    rows = [[name, json.dumps(value), sources[name]] for name, value in values.items()]
    for line in table([Column("setting"), Column("value"), Column("from", keep=1)], rows, standard_output()):
        print(line)


def show_settings_path(folder: Path | None, *, as_json: bool) -> None:
    """The settings' file."""
    file = find_home(folder).settings
    print(json_answer("config-path", {"file": str(file), "exists": file.exists()}) if as_json else file)


def show_version(folder: Path | None, *, as_json: bool) -> None:
    """This release, its engine, Python, and the home's network if it has one."""
    data = {
        "peerboard": VERSION,
        "engine": _engine(),
        "python": platform.python_version(),
        "network": _network(find_home(folder)),
    }
    if as_json:
        print(json_answer("version", data))
        return
    print(f"peerboard  {data['peerboard']}")
    print(f"engine     {data['engine'] or 'not installed: make setup builds it'}")
    print(f"python     {data['python']}")
    print(f"network    {data['network'] or 'none in this home'}")


def _engine() -> str | None:
    try:
        return f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"
    except importlib.metadata.PackageNotFoundError:
        return None


def _network(home: Home) -> str | None:
    """The id is the hash of the file's bytes: to say it needs no more."""
    import hashlib

    try:
        return hashlib.sha256(home.genesis.read_bytes()).hexdigest()
    except OSError:
        return None

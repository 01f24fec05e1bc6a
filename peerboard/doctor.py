"""`peerboard doctor`: what could keep this home from taking part, each with what to do about it."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from node.home import Home, find_home
from node.settings import MIB, Settings, SettingsWrong, read_settings
from peerboard.client import Daemon
from peerboard.exits import CommandFailed, Exit, json_answer
from peerboard.phrases import counted, duration, size
from peerboard.safe_text import safe
from peerboard.tables import Cell, Column, Word, table
from peerboard.terminal import standard_output
from protocol.genesis import Genesis, read_genesis
from protocol.rejections import Rejected

OK, WARN, FAIL = "ok", "warn", "fail"
OLDEST_PYTHON = (3, 11)
ENGINE_SECONDS = 60
CLOCK_TOLERANCE = 10.0
_STYLES = {OK: "green", WARN: "amber", FAIL: "red"}


@dataclass(frozen=True)
class Finding:
    """One check's outcome; `remedy` is empty where all is well."""

    severity: str
    code: str
    title: str
    remedy: str = ""


def examine(folder: Path | None, *, as_json: bool) -> int:
    """Print all checks; 1 if one of them found something."""
    home = find_home(folder)
    findings = list(checks(home))
    wrong = [finding for finding in findings if finding.severity != OK]
    if as_json:
        warnings = [asdict(finding) for finding in wrong]
        print(json_answer("doctor", {"checks": [asdict(each) for each in findings]}, warnings=warnings))
    else:
        columns = [Column("result"), Column("check"), Column("finding")]
        rows: list[list[Cell]] = [
            [Word(each.severity, _STYLES[each.severity]), each.code, each.title] for each in findings
        ]
        for line in table(columns, rows, standard_output()):
            print(line)
        for each in wrong:
            print(f"{each.code} → {safe(each.remedy)}")
        print(f"{len(findings) - len(wrong)} of {len(findings)} are fine")
    return int(Exit.FAILED if wrong else Exit.FINE)


def checks(home: Home) -> Iterator[Finding]:
    """All checks of a home, one after the other; none of them changes anything that stays."""
    yield python(sys.version_info[:2])
    yield folder_usable(home)
    yield keys(home)
    genesis, finding = _genesis(home)
    yield finding
    settings, finding = _settings(home)
    yield finding
    yield disk(home, settings)
    yield engine()
    yield sandbox(settings)
    daemon, finding = _daemon(home)
    yield finding
    if daemon is not None:
        yield neighbours(daemon)
        yield log_honesty(daemon)
        yield reach(daemon)
    yield (clock_by_peers(daemon) if daemon else None) or clock(genesis, daemon, time.time())


def python(version: tuple[int, ...]) -> Finding:
    """Whether this Python is new enough."""
    if version >= OLDEST_PYTHON:
        return Finding(OK, "PYTHON", f"Python {platform.python_version()}")
    wanted = ".".join(map(str, OLDEST_PYTHON))
    return Finding(
        FAIL, "PYTHON", f"Python {platform.python_version()} is older than {wanted}.", "Install a newer one."
    )


def folder_usable(home: Home) -> Finding:
    """Whether the home is there and can be read and written."""
    if home.folder.exists() and not home.folder.is_dir():
        return Finding(FAIL, "HOME", f"{home.folder} is a file, a home is a folder.", "Name another one with --home.")
    if not home.folder.is_dir():
        return Finding(FAIL, "HOME", f"{home.folder} is not there.", "peerboard init --genesis FILE, or peerboard demo")
    if not os.access(home.folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding(FAIL, "HOME", f"{home.folder} cannot be read and written.", f"chmod u+rwx {home.folder}")
    return Finding(OK, "HOME", str(home.folder))


def keys(home: Home) -> Finding:
    """Whether the home's keys are there, whole, and nobody else's to read."""
    signing = [home.log_key, home.chain_seed] if home.log_key.exists() else [home.account_key, home.device_key]
    missing = [file.name for file in (*signing, home.peer_key) if not file.exists()]
    if missing:
        title = f"{', '.join(missing)} missing: the daemon makes new ones when it starts."
        return Finding(WARN, "KEYS", title, "Restore them from your backup if this home had an account before.")
    for file in (*signing, home.peer_key):
        try:
            open_to_others = file.stat().st_mode & 0o077
            damaged = _damaged(file.read_bytes(), raw=file == home.peer_key)
        except OSError as error:
            return Finding(FAIL, "KEYS", f"{file} cannot be read: {error.strerror}.", "Be the user who owns this home.")
        if damaged:
            return Finding(FAIL, "KEYS", f"{file} does not hold a key.", "Restore it from your backup.")
        if open_to_others:
            return Finding(FAIL, "KEYS", f"{file} can be read by others.", f"chmod 600 {file}")
    return Finding(OK, "KEYS", f"{len(signing) + 1} keys, only yours to read")


def _damaged(content: bytes, *, raw: bool) -> bool:
    try:
        keys = [content] if raw else [bytes.fromhex(line) for line in content.decode().split()]
        return not keys or any(len(key) != 32 for key in keys)
    except ValueError:
        return True


def _genesis(home: Home) -> tuple[Genesis | None, Finding]:
    try:
        genesis = read_genesis(home.genesis.read_bytes())
    except (OSError, Rejected) as error:
        title = f"{home.genesis} cannot be used: {error.strerror if isinstance(error, OSError) else error}"
        return None, Finding(FAIL, "GENESIS", title, "Get the network's file, then: peerboard init --genesis FILE")
    return genesis, Finding(OK, "GENESIS", f"network {genesis.name}, {genesis.id.hex()[:16]}…")


def _settings(home: Home) -> tuple[Settings, Finding]:
    try:
        settings = read_settings(home.settings)
    except SettingsWrong as error:
        return Settings(), Finding(FAIL, "SETTINGS", str(error), f"Edit {home.settings}")
    if not settings.bootstrap and not home.log_key.exists():
        title = "No bootstrap address is set: this node waits to be found."
        return settings, Finding(WARN, "SETTINGS", title, f"Add one to `bootstrap` in {home.settings}")
    if settings.data and not Path(settings.data).expanduser().is_dir():
        title = f"{settings.data}, where local copies of data sets were to be, is no folder: they will be downloaded."
        return settings, Finding(WARN, "SETTINGS", title, f"Correct `data` in {home.settings}")
    return settings, Finding(OK, "SETTINGS", f"{settings.memory} MiB of memory, {settings.disk} MiB of disk")


def disk(home: Home, settings: Settings) -> Finding:
    """Whether the home's disk has room for what the settings allow."""
    place = next(each for each in (home.folder, *home.folder.parents) if each.exists())
    free = shutil.disk_usage(place).free
    if free < settings.least_free_disk * MIB:
        title = f"{size(free)} free: below {settings.least_free_disk} MiB the node pauses."
        return Finding(FAIL, "DISK", title, f"Free some space on the disk of {place}")
    if free < settings.disk * MIB:
        title = f"{size(free)} free, and the settings allow {settings.disk} MiB for models."
        return Finding(WARN, "DISK", title, f"Free some space, or lower `disk` in {home.settings}")
    return Finding(OK, "DISK", f"{size(free)} free")


def engine(command: tuple[str, ...] = (sys.executable, "-I", "-m", "peerboard.engine_probe")) -> Finding:
    """Whether the engine can be loaded on this processor."""
    unable = partial(
        Finding, WARN, "ENGINE", remedy="make setup builds it for this machine; until then it only relays."
    )
    try:
        done = subprocess.run(command, capture_output=True, timeout=ENGINE_SECONDS, check=False, text=True)
    except subprocess.TimeoutExpired:
        return unable(f"The engine did not load within {ENGINE_SECONDS} seconds.")
    if done.returncode < 0:
        return unable(f"Loading the engine ended with {signal.Signals(-done.returncode).name}.")
    try:
        found = json.loads(done.stdout)
        return Finding(OK, "ENGINE", f"{found['engine']}, {found['hardware']}: {', '.join(found['devices'])}")
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return unable(f"The engine cannot be loaded: {last}")


def sandbox(settings: Settings) -> Finding:
    """How strongly evaluations are confined here, and whether that is what the settings ask for."""
    from eval.sandbox import IN_PROCESS, detect

    found = detect()
    remedy = "docs/sandbox.md says what each level needs."
    if not found.holds(settings.sandbox):
        title = f"{found.level}, and the settings ask for {settings.sandbox}: this node pauses. {found.why}"
        return Finding(FAIL, "SANDBOX", title, remedy)
    if not found.why:
        return Finding(OK, "SANDBOX", found.level)
    if found.holds(IN_PROCESS):
        return Finding(OK, "SANDBOX", f"{found.level}. {found.why}")
    return Finding(WARN, "SANDBOX", f"{found.level}. {found.why}", remedy)


def _daemon(home: Home) -> tuple[Daemon | None, Finding]:
    try:
        daemon = Daemon(home)
        status = daemon.data("/v1/status")
        return daemon, Finding(OK, "DAEMON", f"{status['role']} {status['version']} runs, {status['state']}")
    except CommandFailed as error:
        return None, Finding(WARN, "DAEMON", error.sentence, error.remedy)
    except (KeyError, TypeError):
        return None, Finding(WARN, "DAEMON", "The daemon's answers are not understood.", "Start it again.")


def neighbours(daemon: Daemon) -> Finding:
    """Whether the running daemon has peers."""
    count = _asked(lambda: int(daemon.data("/v1/status")["peers"]))
    if not count:
        title = "No peer is connected." if count == 0 else "The daemon does not tell its peers."
        return Finding(WARN, "PEERS", title, "Check the network and the addresses under `bootstrap` in the settings.")
    return Finding(OK, "PEERS", f"{count} connected")


def log_honesty(daemon: Daemon) -> Finding:
    """Whether the running daemon has found the log to be what it should be."""
    warnings = _asked(lambda: [dict(each) for each in daemon.answer("/v1/status")["warnings"]]) or []
    for severity in (FAIL, WARN):
        for each in warnings:
            if each.get("severity") == severity and each.get("code") not in {"NO_PEERS", "CLOCK_OFF"}:
                return Finding(severity, "LOG", str(each.get("title")), str(each.get("remedy")))
    return Finding(OK, "LOG", "nothing is known against the log")


def reach(daemon: Daemon) -> Finding:
    """Whether others can dial the running daemon, or reach it through a relay."""
    found = _asked(lambda: daemon.data("/v1/status")["reach"])
    forward = "Forward the port under `listen` in the settings at the router; `announce` names the address outside."
    match found:
        case {"standing": "public", "addresses": [address, *_]}:
            return Finding(OK, "REACH", f"others can dial this node at {safe(address).rpartition('/p2p/')[0]}")
        case {"standing": "private", "relays": int(relays)} if relays:
            return Finding(OK, "REACH", f"others reach this node through {counted(relays, 'relay')}")
        case {"standing": "private"}:
            return Finding(WARN, "REACH", "Others cannot dial this node, and it found no relay.", forward)
    return Finding(OK, "REACH", "not known yet: no peer has tried to dial this node")


def clock(genesis: Genesis | None, daemon: Daemon | None, now: float) -> Finding:
    """Whether this clock can be right: the log opens epoch e between its start and the end of its grace.

    The newest checkpoint came `age_s` ago and its log stands in epoch e: then it was e's time for the
    bootstrap.
    """
    if genesis is None:
        return Finding(WARN, "CLOCK", "There is no genesis to compare the clock with.", "peerboard init --genesis FILE")
    if now < genesis.time - CLOCK_TOLERANCE:
        early = duration(genesis.time - now)
        return Finding(WARN, "CLOCK", f"By this clock the network begins in {early}.", "Set the clock: timedatectl")
    log = _asked(lambda: daemon.data("/v1/status")["log"]) if daemon else None
    if not log or log["epoch"] is None or log["age_s"] is None:
        title = "not before the network's beginning; nobody is there to compare it with"
        return Finding(OK, "CLOCK", title)
    heard = now - log["age_s"]
    starts = genesis.start_of(log["epoch"])
    ends = genesis.start_of(log["epoch"] + 1) + genesis.parameters.grace_seconds
    if heard < starts - CLOCK_TOLERANCE:
        title = f"This clock is at least {duration(starts - heard)} behind the bootstrap's."
        return Finding(FAIL, "CLOCK", title, "Set the clock: timedatectl set-ntp true")
    if heard > ends + CLOCK_TOLERANCE:
        title = f"This clock is {duration(heard - ends)} ahead of the log's newest epoch, or the log has stopped."
        return Finding(WARN, "CLOCK", title, "Compare with another clock: timedatectl")
    return Finding(OK, "CLOCK", f"agrees with the log's epoch {log['epoch']}")


def clock_by_peers(daemon: Daemon) -> Finding | None:
    """What the running daemon found by its peers' clocks, None where it asked nobody yet."""
    answer = _asked(lambda: dict(daemon.answer("/v1/status"))) or {}
    for each in answer.get("warnings", ()):
        if each.get("code") == "CLOCK_OFF":
            return Finding(WARN, "CLOCK", safe(str(each.get("title"))), safe(str(each.get("remedy"))))
    compared = _asked(lambda: (float(answer["data"]["clock"]["off_s"]), int(answer["data"]["clock"]["asked"])))
    return (
        Finding(OK, "CLOCK", f"within {abs(compared[0]):.1f} s of {counted(compared[1], 'peer')}") if compared else None
    )


def _asked(question: Callable[[], Any]) -> Any:
    """The daemon's answer, or None where it has none."""
    try:
        return question()
    except (CommandFailed, KeyError, TypeError, ValueError):
        return None

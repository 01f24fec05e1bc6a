"""This node's status, and what its owner tells it: pause, resume, stop."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from node.home import find_home
from peerboard.client import Daemon
from peerboard.exits import CommandFailed, Exit, json_answer
from peerboard.looking import understood
from peerboard.phrases import counted, duration, short, size
from peerboard.safe_text import cut_end, safe
from peerboard.terminal import Terminal, standard_output

Json = dict[str, Any]
STOP_SECONDS = 7.0
LOOK_SECONDS = 0.05
_STATES = {"evaluating": ("●", "green"), "paused": ("‖", "amber"), "stopping": ("■", "amber")}
_SEVERITIES = {"fail": "red", "warn": "amber", "note": "blue"}


def status(home: Path | None, *, as_json: bool, check: bool) -> int:
    """Print the node's status. With `check` 1 if a person should look at something. Raises `CommandFailed`."""
    daemon = Daemon(find_home(home))
    content = daemon.bytes_of("/v1/status")
    answer = daemon.parsed(content)
    _print(content, answer, as_json=as_json)
    with understood():
        serious = [each for each in answer["warnings"] if each["severity"] in {"warn", "fail"}]
    return int(Exit.FAILED if check and serious else Exit.FINE)


def pause(home: Path | None, *, as_json: bool) -> None:
    """Pause evaluating until `resume`. Raises `CommandFailed`."""
    _command(home, "/v1/pause", as_json=as_json)


def resume(home: Path | None, *, as_json: bool) -> None:
    """End the pause that the owner asked for. Raises `CommandFailed`."""
    _command(home, "/v1/resume", as_json=as_json)


def stop(home: Path | None, *, as_json: bool) -> None:
    """Stop the daemon and wait until its process has ended. Raises `CommandFailed`."""
    daemon = Daemon(find_home(home))
    content = daemon.post_bytes("/v1/stop")
    with understood():
        pid = int(daemon.parsed(content)["data"]["pid"])
    if not _ended(pid):
        text = f"The daemon has been told to stop, but process {pid} still runs after {STOP_SECONDS:.0f} seconds."
        raise CommandFailed("STILL_RUNNING", text, f"Wait a little, or end it: kill {pid}", Exit.TRY_AGAIN)
    if as_json:
        _write(content)
    else:
        print(f"Stopped: process {pid} has ended.")


def credit(home: Path | None, *, as_json: bool) -> None:
    """The own account's standing in the log. Raises `CommandFailed`."""
    daemon = Daemon(find_home(home))
    with understood():
        account = daemon.data("/v1/status")["account"]
        if account is None:
            text = "This is a bootstrap: it evaluates nothing and has no account."
            raise CommandFailed("NO_ACCOUNT", text, "peerboard runners", Exit.FAILED)
        rows = daemon.data("/v1/runners")["runners"]
        empty = {"account": account, "devices": 0, "since": None, "earned": 0, "credit": 0, "missed": 0}
        row = next((row for row in rows if row["account"] == account), empty)
        if as_json:
            print(json_answer("credit", row))
            return
        print(f"account  {safe(row['account'])}")
        print(f"credit   {row['credit']:,}")
        print(f"earned   {counted(row['earned'], 'evaluation')} that agreed: what registering a model costs")
        print(f"missed   {counted(row['missed'], 'reveal')} too late or not at all")
        if row["since"] is None:
            print("since    not in the log yet: it comes with the first profile that is logged")
        else:
            print(f"since    epoch {row['since']}, with {counted(row['devices'], 'device')}")


def _command(home: Path | None, path: str, *, as_json: bool) -> None:
    daemon = Daemon(find_home(home))
    content = daemon.post_bytes(path)
    _print(content, daemon.parsed(content), as_json=as_json)


def _print(content: bytes, answer: Json, *, as_json: bool) -> None:
    if as_json:
        _write(content)
        return
    with understood():
        for line in _lines(answer, standard_output()):
            print(line)


def _write(content: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(content.rstrip() + b"\n")


def _lines(answer: Json, terminal: Terminal) -> Iterator[str]:
    data = answer["data"]
    sign, style = _STATES.get(data["state"], ("○", "blue"))
    words = f"{sign} {safe(data['state']).replace('_', ' ')}"
    current = data["current"]
    doing = ""
    if current:
        speed = f" · {current['tokens_per_s']:,.0f} tok/s" if current["tokens_per_s"] else ""
        progress = f"{current['done']} of {current['total']}"
        doing = safe(f"  {current['model']} · {current['benchmark']} · {progress}{speed}")
    yield terminal.paint(words, style) + _fit(doing, terminal, len(words))
    for reason in data["reasons"]:
        until = f", until {reason['until']}" if reason["until"] else ""
        yield _fit(f"  {safe(reason['title'])} ({safe(reason['code'])}{safe(until)})", terminal)
    for each in data.get("downloads", ()):
        share = f"{size(each['done'])} of {size(each['total'])}"
        if waits := each.get("waits_s"):
            share = f"the Hub asks to wait {duration(waits)}"
        yield _fit(f"  fetching {safe(each['what'])} · {share}", terminal)
    log = data["log"]
    age = f", heard {duration(log['age_s'])} ago" if log["age_s"] is not None else ", not heard yet"
    yield _fit(f"network  {safe(data['network']['name'])} · {_epoch(data['epoch'])}", terminal)
    yield _fit(f"log      {counted(log['size'], 'entry', 'entries')}{age} · {counted(data['peers'], 'peer')}", terminal)
    if log.get("witnesses"):
        seen = log["witnesses"]
        word = "witnessed" if seen["witnessed"] else "! unwitnessed"
        yield _fit(f"mark     {word}: {seen['cosigned']} of {seen['of']} cosigned, {seen['quorum']} needed", terminal)
    if data.get("reach"):
        yield _fit(f"reach    {safe(_reach(data['reach']))}", terminal)
    if data["account"]:
        today = data["today"]
        counts = f"{today['evaluated']} evaluated · {today['counted']} counted · {today['failed']} failed"
        yield _fit(f"today    {counts} · credit {data['credit']:,}", terminal)
        yield _fit(f"account  {short(data['account'])} · device {short(data['device'])}", terminal)
    if data.get("sandbox"):
        yield _fit(f"sandbox  {safe(data['sandbox']['level'])}", terminal)
    if data.get("evaluation"):
        how = data["evaluation"]
        found = f" · {how['hardware']}, {how['engine']}" if how.get("hardware") else ""
        yield _fit(f"engine   {safe(how['mode'])} mode, backend {safe(how['backend'] + found)}", terminal)
    yield _fit(f"home     {safe(data['home'])} · {safe(data['role'])}, pid {data['pid']}", terminal)
    for warning in answer["warnings"]:
        severity = safe(warning["severity"])
        about = f"  {safe(warning['code'])}  {safe(warning['title'])}"
        yield terminal.paint(severity, _SEVERITIES.get(severity, "")) + _fit(about, terminal, len(severity))
        yield f"→ {safe(warning['remedy'])}"


def _reach(reach: Json) -> str:
    through = f"behind a router, reached through {counted(reach['relays'], 'relay')}"
    words = {"public": "others can dial this node", "private": through}.get(reach["standing"], "not known yet")
    return f"{words} · relaying for {counted(reach['relaying'], 'peer')}" if reach["relaying"] else words


def _epoch(epoch: Json | None) -> str:
    if epoch is None:
        return "waiting for the first epoch to open"
    leaderless = ", leaderless" if epoch["leaderless"] else ""
    return f"epoch {epoch['number']}, {safe(epoch['phase'])}{leaderless}, {duration(epoch['ends_in_s'])} left"


def _fit(text: str, terminal: Terminal, taken: int = 0) -> str:
    return text if terminal.width is None else cut_end(text, max(0, terminal.width - taken))


def _ended(pid: int) -> bool:
    """Wait until a process is gone; one that waits for its parent to notice is gone."""
    import psutil

    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False
        time.sleep(LOOK_SECONDS)
    return False

"""Starting the two daemons: what they need is found, wired and held, and every end has an exit code."""

import errno
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import trio

from bootstrap.daemon import run_bootstrap
from bootstrap.log_writer import NotThisLog
from node.bug_reports import report_bug
from node.daemon import run_node
from node.home import Home, find_home
from node.identity import KeyFileDamaged
from node.key_locks import KeyInUse
from node.libp2p_host import CannotListen, parse_place
from node.libp2p_network import open_libp2p_network
from node.llama_evaluator import open_llama_evaluator
from node.peer_key import PeerKeyError, load_peer_key
from node.process import HomeInUse, ending_at_once, hold, log_to
from node.settings import Settings, SettingsWrong, read_settings
from node.store import StoreFailed
from node.supervision import ServiceBroken
from peerboard.calling import command
from peerboard.exits import CommandFailed, Exit
from peerboard.version import VERSION
from protocol.genesis import Genesis, read_genesis
from protocol.rejections import Rejected

PARENT_SECONDS = 1.0
TAKEN = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
EXPECTED = (
    SettingsWrong,
    HomeInUse,
    KeyInUse,
    KeyFileDamaged,
    PeerKeyError,
    NotThisLog,
    StoreFailed,
    ServiceBroken,
    OSError,
)

Daemon = Callable[[Home, Settings, Genesis, bytes], Coroutine[Any, Any, None]]


def run_node_daemon(folder: Path | None, *, exit_with_parent: bool) -> int:
    """Run a node in the foreground; the exit code. Raises `CommandFailed`."""

    async def node(home: Home, settings: Settings, genesis: Genesis, seed: bytes) -> None:
        await run_node(
            home,
            settings,
            genesis,
            seed,
            version=VERSION,
            open_network=open_libp2p_network,
            open_evaluator=open_llama_evaluator,
        )

    return _run(node, folder, exit_with_parent=exit_with_parent)


def run_bootstrap_daemon(folder: Path | None, *, exit_with_parent: bool) -> int:
    """Run a bootstrap in the foreground; the exit code. Raises `CommandFailed`."""

    async def bootstrap(home: Home, settings: Settings, genesis: Genesis, seed: bytes) -> None:
        await run_bootstrap(home, settings, genesis, seed, version=VERSION, open_network=open_libp2p_network)

    return _run(bootstrap, folder, exit_with_parent=exit_with_parent)


def _run(daemon: Daemon, folder: Path | None, *, exit_with_parent: bool) -> int:
    home = find_home(folder)
    parent = os.getppid() if exit_with_parent else None
    try:
        genesis = _genesis(home)
        settings = read_settings(home.settings)
        for place in settings.listen:
            _check_place(home, place)
        with hold(home), ending_at_once():
            log_to(home.log_file)
            seed = load_peer_key(home.peer_key)
            trio.run(_until_orphaned, daemon, home, settings, genesis, seed, parent)
    except CommandFailed:
        raise
    except Exception as error:
        raise _ended(home, error) from None
    return int(Exit.FINE)


def _ended(home: Home, error: Exception) -> CommandFailed:
    """What to say of a daemon's end; what is not foreseen is a bug, and gets a report like a service's."""
    leaves = list(_leaves(error))
    reported = next((leaf for leaf in leaves if isinstance(leaf, ServiceBroken)), None)
    if reported is None and not all(isinstance(leaf, EXPECTED) for leaf in leaves):
        return _explained(home, ServiceBroken(report_bug(home.folder, "daemon", error)))
    return _explained(home, reported or leaves[0])


async def _until_orphaned(
    daemon: Daemon, home: Home, settings: Settings, genesis: Genesis, seed: bytes, parent: int | None
) -> None:
    """Run the daemon; with a `parent` end it when that process is gone."""
    async with trio.open_nursery() as nursery:
        if parent is not None:
            nursery.start_soon(_watch_parent, parent, nursery.cancel_scope)
        await daemon(home, settings, genesis, seed)
        nursery.cancel_scope.cancel()


async def _watch_parent(parent: int, scope: trio.CancelScope) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110  nobody tells when a parent goes
        await trio.sleep(PARENT_SECONDS)
    scope.cancel()


def _genesis(home: Home) -> Genesis:
    try:
        return read_genesis(home.genesis.read_bytes())
    except FileNotFoundError:
        text = f"{home.folder} belongs to no network: there is no {home.genesis.name}."
        remedy = f"Try a whole network on this machine: {command('demo')}"
        raise CommandFailed("NO_NETWORK", text, remedy, Exit.USAGE) from None
    except (Rejected, OSError) as error:
        text = f"{home.genesis} cannot be used: {error}"
        raise CommandFailed("GENESIS_WRONG", text, "Get the network's genesis file again.") from None


def _check_place(home: Home, place: str) -> None:
    try:
        parse_place(place)
    except ValueError as error:
        text = f"{home.settings}: `listen`: {error}."
        raise CommandFailed("SETTINGS_WRONG", text, "Correct it, then start again.", Exit.USAGE) from None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _explained(home: Home, error: BaseException) -> CommandFailed:
    """Why a daemon ended, with what to do about it."""
    text = str(error)
    match error:
        case SettingsWrong():
            found = CommandFailed("SETTINGS_WRONG", text, "Correct it, then start again.", Exit.USAGE)
        case HomeInUse():
            found = CommandFailed("HOME_IN_USE", text, command("status", "--home", home.folder), Exit.REFUSED)
        case KeyInUse():
            found = CommandFailed("KEY_IN_USE", text, "Keys of its own come with a new home.", Exit.REFUSED)
        case KeyFileDamaged() | PeerKeyError() | NotThisLog():
            found = CommandFailed("KEY_UNUSABLE", text, f"Look at the key files in {home.folder}.")
        case StoreFailed():
            found = CommandFailed("STORE_FAILED", text, f"Look at {home.store}.", Exit.TRY_AGAIN)
        case OSError():
            found = _system_error(home, error)
        case _:
            found = CommandFailed("BUG", text, f"Start again; the log is {home.log_file}.")
    return found


def _system_error(home: Home, error: OSError) -> CommandFailed:
    if isinstance(error, CannotListen):
        remedy = f"Free the port, or correct `listen` in {home.settings}."
        passes = isinstance(error.__cause__, OSError) and error.__cause__.errno in TAKEN
        return CommandFailed("CANNOT_LISTEN", str(error), remedy, Exit.TRY_AGAIN if passes else Exit.FAILED)
    why = error.strerror or str(error)
    text = f"{error.filename}: {why}." if error.filename else f"The daemon cannot go on: {why}."
    match error.errno:
        case number if number in TAKEN:
            remedy = f"Free the port, or correct `web_host`, `web_port` and `control_port` in {home.settings}."
            return CommandFailed("CANNOT_LISTEN", text, remedy, Exit.TRY_AGAIN)
        case errno.EACCES | errno.EPERM | errno.EROFS:
            remedy = f"Be the user who owns {home.folder}, or choose a folder that can be written with --home."
            return CommandFailed("HOME_UNUSABLE", text, remedy)
        case errno.EISDIR | errno.ENOTDIR | errno.EEXIST | errno.ENOENT:
            remedy = f"Look at what lies in {home.folder}, or choose another folder with --home."
            return CommandFailed("HOME_UNUSABLE", text, remedy)
        case errno.ENOSPC | errno.EDQUOT:
            return CommandFailed("DISK_FULL", text, f"Free space on the disk of {home.folder}.", Exit.TRY_AGAIN)
    return CommandFailed("OS_ERROR", text, f"Start again; the log is {home.log_file}.", Exit.TRY_AGAIN)

"""Starting the two daemons: what they need is found, wired and held, and every end has an exit code."""

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import trio
from node.llama_evaluator import open_llama_evaluator

from bootstrap.daemon import run_bootstrap
from node.daemon import run_node
from node.home import Home, find_home
from node.identity import KeyFileDamaged
from node.libp2p_network import open_libp2p_network
from node.peer_key import PeerKeyError, load_peer_key
from node.process import HomeInUse, hold, log_to
from node.settings import Settings, SettingsWrong, read_settings
from node.store import StoreFailed
from node.supervision import ServiceBroken
from peerboard.exits import CommandFailed, Exit
from peerboard.version import VERSION
from protocol.genesis import Genesis, read_genesis
from protocol.rejections import Rejected

PARENT_SECONDS = 1.0

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
        with hold(home):
            log_to(home.log_file)
            seed = load_peer_key(home.peer_key)
            trio.run(_until_orphaned, daemon, home, settings, genesis, seed, parent)
    except* SettingsWrong as group:
        raise _failed("SETTINGS_WRONG", group, "Correct it, then start again.", Exit.USAGE) from None
    except* HomeInUse as group:
        raise _failed("HOME_IN_USE", group, f"peerboard status --home {home.folder}", Exit.REFUSED) from None
    except* (KeyFileDamaged, PeerKeyError) as group:
        raise _failed("KEY_UNUSABLE", group, f"Look at the key files in {home.folder}.") from None
    except* StoreFailed as group:
        raise _failed("STORE_FAILED", group, f"Look at {home.store}.", Exit.TRY_AGAIN) from None
    except* ServiceBroken as group:
        raise _failed("BUG", group, f"Start again; the log is {home.log_file}.") from None
    except* OSError as group:
        raise _failed("OS_ERROR", group, f"Free the port or correct {home.settings}.", Exit.TRY_AGAIN) from None
    return int(Exit.FINE)


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
    while os.getppid() == parent:
        await trio.sleep(PARENT_SECONDS)
    scope.cancel()


def _genesis(home: Home) -> Genesis:
    try:
        return read_genesis(home.genesis.read_bytes())
    except FileNotFoundError:
        text = f"{home.folder} belongs to no network: there is no {home.genesis.name}."
        raise CommandFailed(
            "NO_NETWORK", text, "Try a whole network on this machine: peerboard demo", Exit.USAGE
        ) from None
    except (Rejected, OSError) as error:
        text = f"{home.genesis} cannot be used: {error}"
        raise CommandFailed("GENESIS_WRONG", text, "Get the network's genesis file again.") from None


def _failed(code: str, group: BaseExceptionGroup[Any], remedy: str, status: Exit = Exit.FAILED) -> CommandFailed:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return CommandFailed(code, str(first), remedy, status)

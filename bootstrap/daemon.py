"""The bootstrap: a first peer that writes the log and shows the board, and evaluates nothing."""

from functools import partial

import trio
from starlette.applications import Starlette

from bootstrap.chains import Chains
from bootstrap.log_writer import LogWriter, NotThisLog
from bootstrap.pages import page_routes
from bootstrap.publication import Publication, public_routes
from node.bulletin import Bulletin, Level
from node.clock import Clock
from node.control import owner_routes, read_routes, token_required
from node.core import open_core
from node.daemon import OpenNetwork, housekeeping, tell_clock
from node.home import Home
from node.identity import KeyFileDamaged, load_key
from node.key_locks import hold_keys
from node.neighbourhood import Neighbourhood
from node.observer import Observer
from node.process import announced, new_token, serving, stop_on_signals
from node.settings import Settings
from node.supervision import Supervisor
from protocol.genesis import Genesis
from protocol.signing import PrivateKey


async def run_bootstrap(
    home: Home, settings: Settings, genesis: Genesis, peer_seed: bytes, *, version: str, open_network: OpenNetwork
) -> None:
    """Run the public face until it is stopped. Raises as `node.daemon.run_node` does.

    The home's lock is held by the caller; the home holds the log's key and the seed of its hash chain.
    """
    key, chains = _log_keys(home, genesis.chain_length)
    with hold_keys(genesis.id, [key.public], home.folder):
        await _run(home, settings, genesis, peer_seed, key, chains, version=version, open_network=open_network)


async def _run(
    home: Home,
    settings: Settings,
    genesis: Genesis,
    peer_seed: bytes,
    key: PrivateKey,
    chains: Chains,
    *,
    version: str,
    open_network: OpenNetwork,
) -> None:
    clock = Clock()
    bulletin = Bulletin(clock)
    stop = trio.Event()
    async with (
        open_network(peer_seed, settings.listen, announce=settings.announce, relay=True) as network,
        open_core(genesis, network, home.store, clock, bulletin, topic_bits=settings.topic_bits) as core,
    ):
        observer = Observer(core, "bootstrap", version, home.folder)
        writer = LogWriter(core, key, chains, home.signed, waits_for=settings.first_mark_waits_for)
        observer.more_warnings = (writer.warnings,)
        observer.grams_per_kwh = settings.carbon_intensity
        neighbourhood = Neighbourhood(network, home, settings, genesis, clock, bulletin)
        observer.watch_neighbours(neighbourhood)
        supervisor = Supervisor(bulletin, home.folder)
        public = Starlette(routes=[*read_routes(observer), *public_routes(home.public), *page_routes()])
        owner = owner_routes(observer, {"stop": partial(_stop, observer, stop)})
        control = Starlette(routes=[*read_routes(observer), *owner], middleware=[token_required(new_token(home))])
        async with (
            serving(public, [f"{settings.web_host}:{settings.web_port}"]) as web,
            serving(control, [f"127.0.0.1:{settings.control_port}"]) as url,
            trio.open_nursery() as nursery,
        ):
            with announced(home, "bootstrap", url, web=web):
                nursery.start_soon(stop_on_signals, stop)
                nursery.start_soon(supervisor.keep, "clock", partial(clock.watch, partial(tell_clock, bulletin)))
                nursery.start_soon(supervisor.keep, "core", core.run)
                for name, service in neighbourhood.services:
                    nursery.start_soon(supervisor.keep, name, service)
                nursery.start_soon(supervisor.keep, "log writer", writer.run)
                nursery.start_soon(supervisor.keep, "publication", Publication(core, home.public).run)
                nursery.start_soon(supervisor.keep, "housekeeping", partial(housekeeping, core))
                bulletin.tell(Level.OK, "READY", f"The board is at {web}.")
                await stop.wait()
                bulletin.tell(Level.NOTE, "STOPPING", "Stopping.")
                nursery.cancel_scope.cancel()


def _log_keys(home: Home, chain_length: int) -> tuple[PrivateKey, Chains]:
    """The log's key and its hash chains. None is ever made here. Raises `NotThisLog`."""
    missing = [file.name for file in (home.log_key, home.chain_seed) if not file.exists()]
    if len(missing) == 2:
        raise NotThisLog(f"{home.folder} holds no log key: it is a node's home. Run it with `peerboard run`.")
    if missing:
        raise NotThisLog(f"{home.folder} lacks {missing[0]}: restore it from your backup.")
    try:
        return load_key(home.log_key), Chains(home.chain_seed, chain_length)
    except (KeyFileDamaged, ValueError, OSError) as error:
        raise NotThisLog(f"The keys of the log in {home.folder} cannot be read: {error}. Restore them.") from None


def _stop(observer: Observer, stop: trio.Event) -> None:
    observer.stopping = True
    stop.set()

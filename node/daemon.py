"""The daemon of a volunteer: all services of a node in one nursery."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol

import trio
from starlette.applications import Starlette

from eval.sandbox import detect
from node.batches import Batches
from node.bulletin import Bulletin, Level
from node.clock import Clock
from node.control import owner_routes, read_routes, token_required
from node.core import Core, open_core
from node.disk import watch_disk
from node.evaluation import Evaluator
from node.examiner import Examiner
from node.home import Home
from node.identity import Identity, load_identity, load_key
from node.key_locks import hold_keys
from node.neighbourhood import Neighbourhood, ReachingNetwork
from node.observer import Observer
from node.offload import offload
from node.pauses import SANDBOX_WEAK, USER, Pauses
from node.process import announced, new_token, serving, stop_on_signals
from node.scheduler import Scheduler
from node.settings import Settings
from node.snapshots import Retention
from node.supervision import Supervisor
from protocol.genesis import Genesis
from protocol.messages import Profile
from protocol.signing import PrivateKey

MIB = 1 << 20
DAY_SECONDS = 86_400


class OpenNetwork(Protocol):
    """Opens the transport."""

    def __call__(
        self, seed: bytes, listen: Sequence[str], /, *, announce: Sequence[str] = (), relay: bool = False
    ) -> AbstractAsyncContextManager[ReachingNetwork]:
        """From the seed of a peer key and the multiaddrs to listen on; see `open_libp2p_network`."""
        ...


OpenEvaluator = Callable[[Home, Settings], AbstractAsyncContextManager[Evaluator]]


async def run_node(
    home: Home,
    settings: Settings,
    genesis: Genesis,
    peer_seed: bytes,
    *,
    version: str,
    open_network: OpenNetwork,
    open_evaluator: OpenEvaluator,
) -> None:
    """Run a node until it is stopped.

    Raises `StoreFailed`, `KeyFileDamaged`, `KeyInUse`, `OSError`, or `ServiceBroken` for a bug. The home's lock is held
    by the caller.
    """
    identity = load_identity(home.account_key, home.device_key)
    witness = load_key(home.witness_key) if home.witness_key.exists() else None
    keys = [identity.account.public, *([witness.public] if witness else [])]
    with hold_keys(genesis.id, keys, home.folder):
        await _run(
            home,
            settings,
            genesis,
            peer_seed,
            identity,
            witness,
            version=version,
            open_network=open_network,
            open_evaluator=open_evaluator,
        )


async def _run(
    home: Home,
    settings: Settings,
    genesis: Genesis,
    peer_seed: bytes,
    identity: Identity,
    witness: PrivateKey | None,
    *,
    version: str,
    open_network: OpenNetwork,
    open_evaluator: OpenEvaluator,
) -> None:
    clock = Clock()
    bulletin = Bulletin(clock)
    stop = trio.Event()
    async with (
        open_network(peer_seed, settings.listen, announce=settings.announce, relay=settings.relay) as network,
        open_core(
            genesis,
            network,
            home.store,
            clock,
            bulletin,
            witness,
            topic_bits=settings.topic_bits,
            retention=retention(settings, genesis),
        ) as core,
        open_evaluator(home, settings) as evaluator,
    ):
        observer = Observer(core, "node", version, home.folder)
        pauses = Pauses(bulletin)
        scheduler = _scheduler(core, identity, evaluator, pauses, settings)
        observer.account, observer.device = identity.account.public, identity.device.public
        observer.scheduler, observer.pauses = scheduler, pauses
        neighbourhood = Neighbourhood(network, home, settings, genesis, clock, bulletin)
        observer.watch_neighbours(neighbourhood)
        observer.mode, observer.backend = settings.mode, settings.backend
        observer.grams_per_kwh = settings.carbon_intensity
        observer.sandbox = await offload(detect)
        if not observer.sandbox.holds(settings.sandbox):
            pauses.begin(SANDBOX_WEAK)
        commands = {
            "pause": partial(pauses.begin, USER),
            "resume": partial(pauses.end, USER),
            "stop": partial(_stop, observer, stop),
        }
        routes = [*read_routes(observer), *owner_routes(observer, commands)]
        app = Starlette(routes=routes, middleware=[token_required(new_token(home))])
        supervisor = Supervisor(bulletin, home.folder)
        async with (
            serving(app, [f"127.0.0.1:{settings.control_port}"]) as url,
            trio.open_nursery() as nursery,
        ):
            with announced(home, "node", url):
                nursery.start_soon(stop_on_signals, stop)
                nursery.start_soon(supervisor.keep, "clock", partial(clock.watch, partial(tell_clock, bulletin)))
                nursery.start_soon(supervisor.keep, "core", core.run)
                for name, service in neighbourhood.services:
                    nursery.start_soon(supervisor.keep, name, service)
                least_free = settings.least_free_disk * MIB
                nursery.start_soon(supervisor.keep, "disk", partial(watch_disk, home.folder, least_free, pauses))
                nursery.start_soon(supervisor.keep, "scheduler", scheduler.run)
                nursery.start_soon(supervisor.keep, "housekeeping", partial(housekeeping, core))
                bulletin.tell(Level.OK, "READY", f"This node is ready; its home is {home.folder}.")
                await stop.wait()
                bulletin.tell(Level.NOTE, "STOPPING", "Stopping.")
                nursery.cancel_scope.cancel()


def retention(settings: Settings, genesis: Genesis) -> Retention:
    """What the owner wants to keep of the log."""
    epochs = -(-settings.log_days * DAY_SECONDS // genesis.parameters.epoch_seconds)
    return Retention(epochs, settings.log_disk * MIB)


async def housekeeping(core: Core) -> None:
    """After each mark forget what nobody can need any more."""
    while True:
        await core.replica.next_mark()
        if core.replica.marked_epoch is not None:
            await core.store.drop_before(core.replica.marked_epoch - 3)
            await core.store.drop_unheld(core.replica.held)


def _scheduler(core: Core, identity: Identity, evaluator: Evaluator, pauses: Pauses, settings: Settings) -> Scheduler:
    batches = Batches(identity, core.replica, core.store, core.gossiper)
    examiner = Examiner(core.replica, core.transcripts, evaluator, core.clock, core.bulletin)
    offer = partial(_profile, settings)
    return Scheduler(
        identity,
        core.replica,
        core.gossiper,
        batches,
        evaluator,
        examiner,
        core.clock,
        core.bulletin,
        pauses,
        offer,
        earns=settings.earn,
    )


def _profile(settings: Settings, epoch: int) -> Profile:
    return Profile(epoch, settings.memory, settings.disk, ("cpu",))


def tell_clock(bulletin: Bulletin, seconds: float) -> None:
    """The wall clock was set, or the machine slept."""
    bulletin.tell(Level.NOTE, "CLOCK", f"The clock moved by {seconds:+.1f} s: the schedule follows it.")


def _stop(observer: Observer, stop: trio.Event) -> None:
    observer.stopping = True
    stop.set()

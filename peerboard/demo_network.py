"""The demo network's files: a fresh log key and genesis, and a home for the bootstrap and for each node."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from eval.demo.catalogue import demo_benchmarks, packaged_models
from node.durable import write_secret_once
from node.home import Home
from node.identity import load_key
from node.peer_id import peer_id
from node.peer_key import load_peer_key
from node.settings import Settings, write_settings
from protocol import cbor
from protocol.definitions import Model
from protocol.epochs import hash_chain
from protocol.genesis import Genesis
from protocol.parameters import DEMO, Parameters

CHAIN_LENGTH = 4096
SECONDS_UNTIL_GENESIS = 5
MOST_WITNESSES = 64
NODE_MEMORY, NODE_DISK = 2048, 1024


@dataclass(frozen=True)
class DemoNetwork:
    """Where everything lies."""

    genesis: Genesis
    bootstrap: Home
    nodes: tuple[Home, ...]

    @property
    def homes(self) -> tuple[Home, ...]:
        """The bootstrap's home, then the nodes'."""
        return (self.bootstrap, *self.nodes)


def write_demo_network(
    folder: Path,
    nodes: int,
    now: float,
    *,
    parameters: Parameters = DEMO,
    models: tuple[Model, ...] | None = None,
) -> DemoNetwork:
    """Make the homes of a network whose epoch 0 begins a few seconds after `now` (Unix time).

    `models` are the packaged ones unless others are given.
    """
    homes = tuple(Home(folder / f"node-{number}") for number in range(1, nodes + 1))
    bootstrap = Home(folder / "bootstrap")
    genesis = _genesis(bootstrap, homes, int(now) + SECONDS_UNTIL_GENESIS, parameters, models or packaged_models())
    ports = _free_ports(nodes + 1)
    first = f"/ip4/127.0.0.1/tcp/{ports[0]}"
    address = f"{first}/p2p/{peer_id(load_peer_key(bootstrap.peer_key))}"
    _write(bootstrap, genesis, Settings(listen=(first,), web_port=0, first_mark_waits_for=nodes))
    for home, port in zip(homes, ports[1:], strict=True):
        settings = Settings(
            bootstrap=(address,), listen=(f"/ip4/127.0.0.1/tcp/{port}",), memory=NODE_MEMORY, disk=NODE_DISK, threads=1
        )
        _write(home, genesis, settings)
    return DemoNetwork(genesis, bootstrap, homes)


def _genesis(
    bootstrap: Home, nodes: tuple[Home, ...], time: int, parameters: Parameters, models: tuple[Model, ...]
) -> Genesis:
    """A network that all of its nodes witness."""
    chain_seed = os.urandom(32)
    bootstrap.folder.mkdir(parents=True)
    write_secret_once(bootstrap.chain_seed, f"{chain_seed.hex()}\n".encode("ascii"))
    return Genesis(
        name="demo",
        time=time,
        parameters=parameters,
        benchmarks=demo_benchmarks(),
        models=models,
        log_key=load_key(bootstrap.log_key).public,
        chain_anchor=hash_chain(chain_seed, CHAIN_LENGTH)[-1],
        chain_length=CHAIN_LENGTH,
        witnesses=tuple(load_key(home.witness_key).public for home in nodes[:MOST_WITNESSES]),
    )


def _write(home: Home, genesis: Genesis, settings: Settings) -> None:
    home.folder.mkdir(parents=True, exist_ok=True)
    home.genesis.write_bytes(cbor.encode(genesis))
    write_settings(home.settings, settings)


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago: each node must know the bootstrap's before it runs."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()

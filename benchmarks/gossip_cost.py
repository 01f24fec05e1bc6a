"""CPU per delivered message and latency of gossip: nodes in processes of their own, on loopback.

    python benchmarks/gossip_cost.py [--nodes 3 8 --rate 50] [--seconds 20] [--size 1024] [--over tcp quic] [--json]

`rate` is messages a second in the whole network; each reaches all other nodes. The CPU time is that of all processes
while messages flow, the library's heartbeats and pings included; latency is from publish to the subscriber. Unless told
otherwise: 3 and 8 nodes at 50 messages a second, 24 at 10. Exits with 1 where a limit is missed; those on latency hold
for a machine that has nothing else to do.
"""

import argparse
import json
import logging
import os
import platform
import subprocess
import sys
import time
from typing import Any

import structlog
import trio

TOPIC = "/peerboard/benchmark/1"
DRAIN_SECONDS = 3.0
RUNS = ((3, 50.0), (8, 50.0), (24, 10.0))
LIMITS = {
    (3, 50.0): {"cpu_ms_per_delivery": 2.0},
    (8, 50.0): {"cpu_ms_per_delivery": 2.6, "p99_ms": 100.0},
    (24, 10.0): {"p99_ms": 1000.0},
}
PLACES = {"tcp": "/ip4/127.0.0.1/tcp/0", "quic": "/ip4/127.0.0.1/udp/0/quic-v1"}
DIALS = 20  # what a node may dial; so up to 21 nodes are fully connected


class Lines:
    """JSON values from a stream, one a line."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._buffer = b""

    async def next(self) -> Any:
        """The next value."""
        while b"\n" not in self._buffer:
            chunk = await self._stream.receive_some()
            if not chunk:
                raise EOFError("a node ended early")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)


async def node(number: int, nodes: int, rate: float, seconds: float, size: int, over: str) -> None:
    """One node: say the address, hear all addresses, connect, wait for the word, run, report."""
    from node.libp2p_network import open_libp2p_network

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # the output is figures
    latencies: list[float] = []
    orders = Lines(trio.lowlevel.FdStream(os.dup(0)))
    async with (
        open_libp2p_network(os.urandom(32), [PLACES[over]]) as network,
        network.subscribe(TOPIC, lambda data: True) as heard,
        trio.open_nursery() as nursery,
    ):

        async def listen() -> None:
            async for message in heard:
                latencies.append((time.time_ns() - int.from_bytes(message.data[:8], "big")) / 1e6)

        say(network.addresses[0])
        for address in (await orders.next())[max(0, number - DIALS) : number]:
            await network.connect(address)
        await network.await_audience(TOPIC, min(number, DIALS) + min(nodes - 1 - number, DIALS))
        say("ready")
        await orders.next()
        nursery.start_soon(listen)
        cpu, idle = time.process_time(), network.traffic.published
        gap = nodes / rate
        count = int(seconds / gap)
        start = trio.current_time() + gap * number / nodes
        for turn in range(count):
            await trio.sleep_until(start + turn * gap)
            head = time.time_ns().to_bytes(8, "big") + number.to_bytes(2, "big") + turn.to_bytes(4, "big")
            await network.publish(TOPIC, head + bytes(size - len(head)))
        await trio.sleep(DRAIN_SECONDS)
        say({"cpu": time.process_time() - cpu, "published": count - idle, "latencies": latencies})
        nursery.cancel_scope.cancel()


def say(value: Any) -> None:
    """Tell the parent."""
    print(json.dumps(value), flush=True)


async def measure(nodes: int, rate: float, seconds: float, size: int, over: str) -> dict[str, Any]:
    """Run one network and sum up."""
    command = [sys.executable, "-I", __file__, "--nodes", str(nodes), "--rate", str(rate)]
    command += ["--seconds", str(seconds), "--size", str(size), "--over", over, "--node"]
    processes = [
        await trio.lowlevel.open_process([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for number in range(nodes)
    ]
    try:
        with trio.fail_after(120 + seconds):
            reports = await conduct(processes)
    finally:
        for process in processes:
            process.kill()
    latencies = sorted(latency for report in reports for latency in report["latencies"])
    expected = sum(report["published"] for report in reports) * (nodes - 1)
    return {
        "over": over,
        "nodes": nodes,
        "rate": rate,
        "bytes": size,
        "delivered_percent": round(100 * len(latencies) / expected, 2),
        "cpu_ms_per_delivery": round(1000 * sum(report["cpu"] for report in reports) / len(latencies), 2),
        "p50_ms": round(latencies[len(latencies) // 2], 1),
        "p99_ms": round(latencies[len(latencies) * 99 // 100], 1),
    }


async def conduct(processes: list[trio.Process]) -> list[dict[str, Any]]:
    """Introduce the nodes to each other, let them run, collect their reports."""
    voices = [Lines(process.stdout) for process in processes if process.stdout]
    addresses = [await voice.next() for voice in voices]
    for process in processes:
        assert process.stdin
        await process.stdin.send_all(json.dumps(addresses).encode() + b"\n")
    for voice in voices:
        await voice.next()
    for process in processes:
        assert process.stdin
        await process.stdin.send_all(b'"go"\n')
    return [await voice.next() for voice in voices]


def main() -> None:
    """Parse the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+")
    parser.add_argument("--rate", type=float, default=50.0, help="with --nodes")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--over", nargs="+", choices=tuple(PLACES), default=["tcp"], help="transports, side by side")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--node", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.node is not None:
        trio.run(node, given.node, given.nodes[0], given.rate, given.seconds, given.size, given.over[0])
        return
    runs = [(nodes, given.rate) for nodes in given.nodes] if given.nodes else RUNS
    results = [
        trio.run(measure, nodes, rate, given.seconds, given.size, over) for nodes, rate in runs for over in given.over
    ]
    if given.json:
        print(
            json.dumps(
                {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "runs": results}
            )
        )
    else:
        for result in results:
            print("  ".join(f"{name} {value}" for name, value in result.items()))
    if missed := [text for result in results for text in exceeded(result)]:
        sys.exit(f"limits missed: {'; '.join(missed)}")


def exceeded(result: dict[str, Any]) -> list[str]:
    """What is beyond the limits of a run of this size."""
    limits = LIMITS.get((result["nodes"], result["rate"]), {}) if result["over"] == "tcp" else {}
    who = f"{result['nodes']} nodes at {result['rate']:g} a second"
    missed = [f"{who}: {name} {result[name]} > {most}" for name, most in limits.items() if result[name] > most]
    return missed + ([f"{who}: {result['delivered_percent']} % delivered"] if result["delivered_percent"] < 100 else [])


if __name__ == "__main__":
    main()

"""Networks behind routers on this machine: Linux network namespaces, bridges and nft's masquerading.

A namespace has no name: it is held by a process that dies with the test's, however that ends, and is gone with it.
Nothing leaves the machine. Needs root, `ip`, `nft` and util-linux.
"""

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")
CLONE_NEWNET = 0x40000000
WAN = "11.0.0"
ROUTER = """
table ip addresses { chain leaving { type nat hook postrouting priority 100; oifname "wan" masquerade %s; }; }
table ip guard {
  chain incoming { type filter hook input priority 0; iifname "wan" ct state new drop; }
  chain passing { type filter hook forward priority 0; iifname "wan" ct state new drop; }
}
"""


class Space:
    """A network namespace."""

    def __init__(self, holder: int) -> None:
        self.holder = holder

    @property
    def enter(self) -> list[str]:
        """What to put before a command's words to run it inside."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net", "--"]

    def run(self, *words: str, text: str = "") -> None:
        """Run a command inside. Raises `CalledProcessError`."""
        subprocess.run([*self.enter, *words], check=True, input=text, text=True, capture_output=True, timeout=30)

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Call a function in a thread whose sockets are inside."""
        outcome: list[Answer] = []
        failure: list[BaseException] = []

        def inside() -> None:
            try:
                descriptor = os.open(f"/proc/{self.holder}/ns/net", os.O_RDONLY)
                try:
                    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                finally:
                    os.close(descriptor)
                outcome.append(question())
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return outcome[0]


class Routers:
    """One public network and private ones behind routers; `public` is a machine at 11.0.0.1 of the former."""

    def __init__(self, spaces: ExitStack) -> None:
        self._spaces = spaces
        self._routers = 0
        self.public = self._space()
        self.public.run("ip", "link", "add", "public", "type", "bridge")
        self.public.run("ip", "address", "add", f"{WAN}.1/24", "dev", "public")
        self.public.run("ip", "link", "set", "public", "up")

    def private(self, *, random_ports: bool = False) -> Space:
        """A machine at 192.168.1.2 behind a router of its own, which lets only answers in.

        `random_ports`: the router gives each connection another port, so that nobody can guess it.
        """
        self._routers += 1
        router, machine = self._space(), self._space()
        self._link(router, "wan", self.public, f"router{self._routers}")
        self.public.run("ip", "link", "set", f"router{self._routers}", "master", "public")
        self._link(router, "lan", machine, "ethernet")
        router.run("ip", "address", "add", f"{WAN}.{self._routers + 1}/24", "dev", "wan")
        router.run("ip", "address", "add", "192.168.1.1/24", "dev", "lan")
        machine.run("ip", "address", "add", "192.168.1.2/24", "dev", "ethernet")
        machine.run("ip", "route", "add", "default", "via", "192.168.1.1")
        router.run("nft", "-f", "-", text=ROUTER % ("fully-random" if random_ports else ""))
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        return machine

    def _link(self, one: Space, name: str, other: Space, other_name: str) -> None:
        peer = ("peer", "name", other_name, "netns", str(other.holder))
        one.run("ip", "link", "add", name, "type", "veth", *peer)
        one.run("ip", "link", "set", name, "up")
        other.run("ip", "link", "set", other_name, "up")

    def _space(self) -> Space:
        before = Path("/proc/self/ns/net").readlink()
        holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"])
        self._spaces.callback(holder.wait)
        self._spaces.callback(holder.kill)
        while Path(f"/proc/{holder.pid}/ns/net").readlink() == before:
            if holder.poll() is not None:
                raise OSError("no network namespace can be made")
        space = Space(holder.pid)
        space.run("ip", "link", "set", "lo", "up")
        return space


@contextmanager
def open_routers() -> Iterator[Routers]:
    """A public network without any private one yet; all is gone afterwards."""
    with ExitStack() as spaces:
        yield Routers(spaces)

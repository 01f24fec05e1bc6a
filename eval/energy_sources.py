"""Counters of energy: Linux's powercap (Intel and AMD RAPL), NVIDIA's NVML, Apple's powermetrics.

Each reads nothing, and says so, where it is missing or not allowed; none of them raises.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

_ZONES = Path("/sys/class/powercap")
_ZONE = re.compile(r"(intel|amd)-rapl(:\d+)+")
_COUNTED = re.compile(r"package-\d+(-die-\d+)?|dram")  # psys and the parts of a package would count twice
_POWERMETRICS = ("/usr/bin/powermetrics", "--samplers", "cpu_power,gpu_power", "-i", "500", "-b", "1")
_ELAPSED = re.compile(r"\(([\d.]+)ms elapsed\)")
_POWER = re.compile(r"^Combined Power \(CPU \+ GPU \+ ANE\): (\d+) mW", re.MULTILINE)
_END_SECONDS = 2.0


class Rapl:
    """Processor packages and their memory; usually for the superuser alone."""

    name = "rapl"

    def __init__(self, zones: Path = _ZONES) -> None:
        self._zones = zones

    def begin(self) -> object:
        """What the zones show."""
        return self._read()

    def spent(self, begun: object) -> int | None:
        """Millijoules since then."""
        before, now = begun, self._read()
        if not now or not isinstance(before, dict) or before.keys() != now.keys():
            return None
        spent = 0
        for zone, (value, span) in now.items():
            change = value - before[zone][0]
            spent += change if change >= 0 else change + span  # it wraps
        return spent // 1000

    def _read(self) -> dict[str, tuple[int, int]] | None:
        """By zone its microjoules and the span at which they wrap."""
        try:
            zones = [zone for zone in sorted(self._zones.iterdir()) if _ZONE.fullmatch(zone.name)]
            named = {zone: (zone / "name").read_text().strip() for zone in zones}
            if not any(name.startswith("package-") for name in named.values()):  # memory alone is not what was spent
                return None
            return {
                zone.name: (int((zone / "energy_uj").read_text()), int((zone / "max_energy_range_uj").read_text()))
                for zone, name in named.items()
                if _COUNTED.fullmatch(name)
            }
        except (OSError, ValueError):
            return None


class Cards:
    """All NVIDIA cards that count their energy (Volta and later). Other programs on them are in it."""

    name = "nvml"

    def __init__(self, load: Callable[[], Any] = lambda: import_module("pynvml")) -> None:
        self._load = load

    def begin(self) -> object:
        """What the cards have counted."""
        return self._read()

    def spent(self, begun: object) -> int | None:
        """Millijoules since then."""
        now = self._read()
        if now is None or not isinstance(begun, int) or now < begun:
            return None
        return now - begun

    def _read(self) -> int | None:
        """Millijoules since the driver was loaded, of all cards."""
        try:
            library = self._load()
        except ImportError:
            return None
        try:
            library.nvmlInit()
            try:
                handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())]
                counts = [int(library.nvmlDeviceGetTotalEnergyConsumption(handle)) for handle in handles]
            finally:
                library.nvmlShutdown()
        except library.NVMLError:
            return None
        return sum(counts) if counts else None


@dataclass(frozen=True)
class _Running:
    process: subprocess.Popen[bytes]
    output: IO[str]


class PowerMetrics:
    """Apple's own program, which only the superuser may run: processor, graphics and neural engine together."""

    name = "powermetrics"

    def __init__(self, command: Sequence[str] | None = None) -> None:
        allowed = sys.platform == "darwin" and os.geteuid() == 0
        self._command = tuple(command) if command is not None else _POWERMETRICS if allowed else ()

    def begin(self) -> object:
        """The running program."""
        if not self._command:
            return None
        output = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  closed in `spent`
        try:
            process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL
            )
        except OSError:
            output.close()
            return None
        return _Running(process, output)

    def spent(self, begun: object) -> int | None:
        """Millijoules of its samples; it is ended."""
        if not isinstance(begun, _Running):
            return None
        with begun.output as output:
            begun.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                begun.process.wait(_END_SECONDS)
            begun.process.kill()
            begun.process.wait()
            output.seek(0)
            return added_up(output.read())


def added_up(text: str) -> int | None:
    """Millijoules of all whole samples in the words of powermetrics, or None without one."""
    spent, samples = 0.0, _ELAPSED.split(text)[1:]
    for elapsed, words in zip(samples[::2], samples[1::2], strict=True):
        power = _POWER.search(words)
        if power is None:
            return None if not spent else round(spent)
        spent += float(elapsed) / 1000 * int(power[1])
    return round(spent) if samples else None

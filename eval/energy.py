"""Energy as Linux's powercap interface counts it (Intel and AMD RAPL), where this user may read it."""

from pathlib import Path

_ZONES = Path("/sys/class/powercap")


class EnergyMeter:
    """Counts from its making. It covers whole processor packages: other programs' share is in it."""

    def __init__(self, zones: Path = _ZONES) -> None:
        self._packages = [zone for zone in sorted(zones.glob("*-rapl:*")) if zone.name.count(":") == 1]
        self._start = self._read()

    def millijoules(self) -> int | None:
        """Energy since the making, or None where no counter can be read."""
        now = self._read()
        if not now or len(now) != len(self._start):
            return None
        spent = 0
        for (first, _), (last, span) in zip(self._start, now, strict=True):
            spent += last - first if last >= first else last - first + span
        return spent // 1000

    def _read(self) -> list[tuple[int, int]]:
        """Microjoules and the span at which the counter wraps, of each package."""
        try:
            return [
                (int((zone / "energy_uj").read_text()), int((zone / "max_energy_range_uj").read_text()))
                for zone in self._packages
            ]
        except (OSError, ValueError):
            return []

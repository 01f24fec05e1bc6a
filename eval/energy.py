"""What an evaluation costs in energy, as well as this machine can tell (docs/energy.md).

Read by the side that starts the confined child, which sees no counters. What a counter covers more than one program of
is shared out by processor time. Where no counter of the processor can be read, its part is an estimate from processor
time, and the source says so.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import psutil
from msgspec import Struct

from eval.energy_sources import Cards, PowerMetrics, Rapl

ESTIMATE = "estimate"
WATTS_PER_CORE = 10.0
"""Of a busy core, with its share of the rest of the machine."""
GRAMS_PER_KWH = 473.0
"""CO2 equivalents of the world's electricity in 2024 (Ember, Global Electricity Review 2025)."""
JOULES_PER_KWH = 3_600_000


class Energy(Struct, frozen=True):
    """`source`: the counters that were read, and `estimate` where part of it is one, joined by `+`."""

    millijoules: int
    source: str

    @property
    def estimated(self) -> bool:
        """Whether any of it is an estimate."""
        return ESTIMATE in self.source.split("+")

    @property
    def joules(self) -> float:
        """Joules."""
        return self.millijoules / 1000

    @property
    def kwh(self) -> float:
        """Kilowatt-hours."""
        return self.joules / JOULES_PER_KWH

    def __add__(self, other: "Energy") -> "Energy":
        sources = dict.fromkeys([*self.source.split("+"), *other.source.split("+")])
        return Energy(self.millijoules + other.millijoules, "+".join(sources))

    def grams(self, per_kwh: float) -> float:
        """Grams of CO2 equivalents where a kWh costs `per_kwh`."""
        return self.kwh * per_kwh


class Power(Struct, frozen=True):
    """What the owner knows of his machine: watts of a busy core, and grams of CO2 equivalents that a kWh costs."""

    watts: float = WATTS_PER_CORE
    carbon: float = GRAMS_PER_KWH


WORLD = Power()


class Counter(Protocol):
    """Something that counts energy between `begin` and `spent`; both may block for some milliseconds."""

    name: str

    def begin(self) -> object:
        """Where the count stands, whatever that is; None where nothing can be read."""

    def spent(self, begun: object) -> int | None:
        """Millijoules since then, or None where that cannot be told. Ends what `begin` started."""


class Meter:
    """Measures one job at a time. `busy` gives the seconds of processor time that all programs have had so far."""

    def __init__(
        self,
        processor: Sequence[Counter] | None = None,
        cards: Counter | None = None,
        *,
        watts_per_core: float = WATTS_PER_CORE,
        busy: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processor = tuple(processor) if processor is not None else (Rapl(), PowerMetrics())
        self._cards = cards if cards is not None else Cards()
        self._watts = watts_per_core
        self._busy = busy if busy is not None else _busy_seconds
        self._clock = clock

    def begin(self, *, with_cards: bool) -> "Metering":
        """Starts to measure; `with_cards` where the job may compute on graphics cards."""
        counters = [*self._processor, *([self._cards] if with_cards else [])]
        begun = [(counter, counter.begin()) for counter in counters]
        return Metering(begun, self._cards, self._watts, self._busy, self._clock)


class Metering:
    """One job's measurement."""

    def __init__(
        self,
        begun: Sequence[tuple[Counter, object]],
        cards: Counter,
        watts: float,
        busy: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._begun = begun
        self._cards = cards
        self._watts = watts
        self._busy, self._clock = busy, clock
        self._busy_before, self._started = busy(), clock()

    def end(self, processor_seconds: float, *, on_card: bool) -> Energy:
        """The job's energy, of which its own process says how much processor time it took."""
        seconds = max(0.0, self._clock() - self._started)
        busy = self._busy() - self._busy_before
        own = min(max(0.0, processor_seconds), seconds * (psutil.cpu_count() or 1))
        found = {counter: counter.spent(begun) for counter, begun in self._begun}
        card = found.pop(self._cards, None) if on_card else None
        found.pop(self._cards, None)
        counted = {counter.name: value for counter, value in found.items() if value is not None}
        total, sources = card or 0, list(counted)[:1] or [ESTIMATE]
        if counted:
            whole = on_card and sources[0] == PowerMetrics.name  # processor time says nothing of the card's part
            total += round(counted[sources[0]] * (1.0 if whole or busy <= 0 else min(1.0, own / busy)))
        else:
            total += round(1000 * self._watts * own)
        if card is not None:
            sources.append(self._cards.name)
        elif on_card and PowerMetrics.name not in counted:
            sources = [*dict.fromkeys([*sources, ESTIMATE])]  # the card's part is missing
        return Energy(total, "+".join(sources))

    def stop(self) -> None:
        """Ends without a result."""
        for counter, begun in self._begun:
            counter.spent(begun)


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    others = ("idle", "iowait", "steal", "guest", "guest_nice")  # guests are in the user's time already
    return float(sum(times) - sum(getattr(times, name, 0.0) for name in others))


def figures(energy: Energy, questions: int, right: float, per_kwh: float) -> dict[str, object]:
    """What people and programs are shown; per right answer None where there is none."""
    return {
        "joules": energy.joules,
        "kwh": energy.kwh,
        "co2_grams": energy.grams(per_kwh),
        "co2_grams_per_kwh": per_kwh,
        "joules_per_question": energy.joules / questions if questions else None,
        "joules_per_correct": energy.joules / right if right else None,
        "source": energy.source,
        "estimated": energy.estimated,
    }

"""Energy: each counter against what its machine would show, and who gets which share of it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.client import open_worker
from eval.demo import catalogue
from eval.energy import ESTIMATE, Energy, Meter, figures
from eval.energy_sources import Cards, PowerMetrics, Rapl, added_up
from eval.job import Job, Outcome
from eval.plausible import run_of

SPAN = 262_143_328_850


class Zones:
    """A powercap folder of two packages, the memory of one, a part of a package and the whole platform.

    Of a package with several dies each is a zone of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = {"0": "package-0", "1": "package-1-die-1", "0:0": "core", "0:1": "dram", "2": "psys"}
        for number, name in names.items():
            zone = folder / f"intel-rapl:{number}"
            zone.mkdir()
            (zone / "name").write_text(f"{name}\n")
            (zone / "max_energy_range_uj").write_text(f"{SPAN}\n")
            self.show(number, 0)
        (folder / "intel-rapl-mmio:0").mkdir()  # the same package through another register

    def show(self, number: str, microjoules: int) -> None:
        (self.folder / f"intel-rapl:{number}" / "energy_uj").write_text(f"{microjoules}\n")


class Count:
    """A counter that shows what it is told to."""

    def __init__(self, name: str, spent: int | None) -> None:
        self.name = name
        self.ended = 0
        self._spent = spent

    def begin(self) -> object:
        return 0

    def spent(self, begun: object) -> int | None:
        self.ended += 1
        return self._spent


def test_rapl_counts_packages_and_their_memory_once(tmp_path: Path) -> None:
    zones, counter = Zones(tmp_path), Rapl(tmp_path)
    zones.show("1", SPAN - 1_000_000)
    begun = counter.begin()
    for number, microjoules in {"0": 5_000_000, "1": 2_000_000, "0:0": 4_000_000, "0:1": 700_000, "2": 9e6}.items():
        zones.show(number, int(microjoules))
    assert counter.spent(begun) == 5_000 + 3_000 + 700, "package 1 has wrapped"


@pytest.mark.parametrize("broken", ["missing", "forbidden", "words", "fewer", "memory alone"])
def test_rapl_that_cannot_be_read_says_nothing(tmp_path: Path, broken: str) -> None:
    zones, counter = Zones(tmp_path), Rapl(tmp_path)
    if broken == "missing":
        assert Rapl(tmp_path / "nothing").spent(Rapl(tmp_path / "nothing").begin()) is None
        return
    if broken == "memory alone":
        for number in "01":
            (zones.folder / f"intel-rapl:{number}" / "name").write_text("gone")
    begun = counter.begin()
    energy = zones.folder / "intel-rapl:0" / "energy_uj"
    if broken == "forbidden":
        energy.unlink()
        energy.mkdir()
    elif broken == "words":
        energy.write_text("nothing")
    else:
        (zones.folder / "intel-rapl:1" / "name").write_text("gone")
    assert counter.spent(begun) is None


class Library:
    """What `pynvml` offers, of cards that count so many millijoules; None for one that does not count."""

    class NVMLError(Exception):
        pass

    def __init__(self, counts: list[int | None], *, driver: bool = True) -> None:
        self.counts = counts
        self._driver = driver
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if not self._driver:
            raise self.NVMLError("driver not loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.counts)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        count = self.counts[handle]
        if count is None:
            raise self.NVMLError("not supported")
        return count


def test_cards_are_added_up() -> None:
    library = Library([1_000, 20_000])
    counter = Cards(lambda: library)
    begun = counter.begin()
    library.counts = [1_500, 27_000]
    assert counter.spent(begun) == 7_500
    assert library.open == 0


def missing() -> Any:
    raise ImportError("pynvml")


@pytest.mark.parametrize("load", [lambda: Library([1, None]), lambda: Library([1], driver=False), missing])
def test_cards_that_do_not_count_say_nothing(load: Callable[[], Any]) -> None:
    counter = Cards(load)
    assert counter.spent(counter.begin()) is None


def test_the_real_library_has_the_names_that_are_used() -> None:
    pynvml = pytest.importorskip("pynvml")
    names = [name for name in vars(Library) if name.startswith("nvml")]
    assert all(callable(getattr(pynvml, name)) for name in names)
    assert issubclass(pynvml.NVMLError, Exception)


SAMPLE = """
*** Sampled system activity (Sat Nov 21 10:00:00 2026 +0100) ({elapsed}ms elapsed) ***

**** Processor usage ****

CPU Power: 700 mW
GPU Power: 20 mW
ANE Power: 0 mW
Combined Power (CPU + GPU + ANE): {power} mW
"""


def test_powermetrics_is_started_read_and_ended(tmp_path: Path) -> None:
    words = SAMPLE.format(elapsed="500.00", power=2_000) + SAMPLE.format(elapsed="250.00", power=4_000)
    ready = tmp_path / "ready"
    program = f"import pathlib,time;print({words!r},flush=True);pathlib.Path({str(ready)!r}).touch();time.sleep(600)"
    counter = PowerMetrics((sys.executable, "-c", program))
    begun: Any = counter.begin()
    while not ready.exists():
        assert begun.process.poll() is None
    assert counter.spent(begun) == 2_000
    assert begun.process.returncode is not None


@pytest.mark.parametrize("command", [(), ("/nonexistent/powermetrics",), (sys.executable, "-c", "print('no samples')")])
def test_powermetrics_that_does_not_run_says_nothing(command: tuple[str, ...]) -> None:
    counter = PowerMetrics(command)
    assert counter.spent(counter.begin()) is None


@given(st.text())
def test_any_words_of_powermetrics_are_taken(text: str) -> None:
    found = added_up(text)
    assert found is None or found >= 0


def meter(*processor: Count, cards: Count | None = None, busy: float = 4.0, seconds: float = 10.0) -> Meter:
    """One that finds `busy` seconds of processor time of all programs within so many seconds."""
    times, clock = iter((0.0, busy)), iter((0.0, seconds))
    return Meter(
        processor, cards or Count("nvml", None), watts_per_core=8, busy=lambda: next(times), clock=lambda: next(clock)
    )


def measured(made: Meter, processor_seconds: float, *, on_card: bool = False) -> Energy:
    return made.begin(with_cards=on_card).end(processor_seconds, on_card=on_card)


def test_what_was_counted_is_shared_by_processor_time() -> None:
    assert measured(meter(Count("rapl", 20_000)), 1.0) == Energy(5_000, "rapl")
    assert measured(meter(Count("rapl", 20_000), busy=0.5), 1.0) == Energy(20_000, "rapl"), "never more than all"


def test_without_a_counter_it_is_an_estimate_and_says_so() -> None:
    found = measured(meter(Count("rapl", None)), 1.5)
    assert found == Energy(12_000, ESTIMATE)
    assert found.estimated
    assert not measured(meter(Count("rapl", 1)), 1.5).estimated


def test_a_process_cannot_claim_more_than_there_was() -> None:
    cores = psutil.cpu_count() or 1
    found = measured(meter(seconds=2.0), 1e9)
    assert found == Energy(8_000 * 2 * cores, ESTIMATE)


def test_a_card_is_counted_only_where_it_was_used() -> None:
    card = Count("nvml", 90_000)
    assert measured(meter(Count("rapl", 20_000), cards=card), 1.0, on_card=True) == Energy(95_000, "rapl+nvml")
    assert measured(meter(cards=card), 1.0, on_card=True) == Energy(98_000, "estimate+nvml")
    assert measured(meter(Count("rapl", 20_000), cards=card), 1.0) == Energy(5_000, "rapl")
    silent = measured(meter(Count("rapl", 20_000)), 1.0, on_card=True)
    assert silent == Energy(5_000, "rapl+estimate"), "the card's part is missing"
    assert silent.estimated
    apple = measured(meter(Count("rapl", None), Count("powermetrics", 7_000)), 1.0, on_card=True)
    assert apple == Energy(7_000, "powermetrics"), "it covers the card"


def test_a_job_that_ends_otherwise_ends_its_counters() -> None:
    counter = Count("powermetrics", 1)
    meter(counter).begin(with_cards=False).stop()
    assert counter.ended == 1


def test_figures() -> None:
    found = figures(Energy(7_200_000, "rapl"), 100, 40, 500)
    assert found["joules"] == 7200
    assert found["kwh"] == pytest.approx(0.002)
    assert found["co2_grams"] == pytest.approx(1.0)
    assert found["joules_per_question"] == 72
    assert found["joules_per_correct"] == 180
    assert figures(Energy(1, "rapl"), 3, 0, 500)["joules_per_correct"] is None


async def test_an_evaluation_says_what_it_cost_and_how_that_is_known() -> None:
    job = Job(str(catalogue.MODELS / "tally-seed.gguf"), bytes(32), "tally-choice", (1, 2))
    counter = Count("rapl", 1_000)
    async with open_worker(meter=Meter((counter,), busy=lambda: 0.0)) as worker:
        outcome = await worker.evaluate(job)
    assert isinstance(outcome, Outcome)
    assert outcome.energy == Energy(1_000, "rapl")
    assert outcome.cpu_ms > 0
    assert counter.ended == 1
    said = {setting.name: setting.value for setting in run_of(outcome).configuration}
    assert said["energy"] == "rapl"

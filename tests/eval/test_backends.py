"""What the engine finds to compute on, how that is named, and what a mode makes of it."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as some

from eval import backends, binding
from eval.backends import Device, Kind, card, devices, hardware, rows_alone
from eval.binding import hardware_class
from eval.demo import catalogue
from eval.header import read_header
from eval.modes import ALONE, AUTO, CPU, REPRODUCIBLE, SPLIT, layout

CARDS = [
    Device("cuda", Kind.GPU, "NVIDIA H100 80GB HBM3", 70 << 30, 79 << 30),
    Device("metal", Kind.GPU, "Apple M3", 10 << 30, 16 << 30),
    Device("vulkan", Kind.INTEGRATED, "Radeon", 1 << 30, 2 << 30),
]
PROCESSOR = Device("cpu", Kind.CPU, "A processor", 1 << 30, 2 << 30)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the engine's build find these devices, with or without support for cards."""

    def find(*present: Device, supported: bool = True) -> None:
        monkeypatch.setattr(backends, "devices", lambda: present)
        monkeypatch.setattr(binding.C, "llama_supports_gpu_offload", lambda: supported)

    return find


def test_a_processor_is_always_found() -> None:
    processors = [device for device in devices() if device.kind is Kind.CPU]
    assert processors
    for device in processors:
        assert device.backend == "cpu"
        assert device.name
        assert 0 < device.free <= device.total
        assert not device.is_gpu


@pytest.mark.parametrize("present", CARDS, ids=lambda device: device.backend)
def test_a_card_is_taken_unless_the_owner_wants_none(present: Device, found: Callable[..., None]) -> None:
    found(PROCESSOR, present)
    assert card(AUTO) == present
    assert card(CPU) is None


def test_a_build_without_cards_takes_none(found: Callable[..., None]) -> None:
    found(PROCESSOR, *CARDS, supported=False)
    assert card(AUTO) is None
    found(PROCESSOR)
    assert card(AUTO) is None


@given(some.sampled_from(CARDS))
def test_results_name_a_class_and_never_a_card(device: Device) -> None:
    assert hardware(None) == hardware_class()
    assert hardware(device) == f"{device.backend}+{hardware_class()}"
    assert device.name not in hardware(device)


HEADER = read_header(catalogue.MODELS / "tally-base.gguf")


@given(some.sampled_from(CARDS))
def test_on_a_card_reproducible_is_one_question_at_a_time(device: Device) -> None:
    assert not rows_alone(device, HEADER)
    assert layout(REPRODUCIBLE, rows_alone=rows_alone(device, HEADER), blocks=False, recurrent=False) == ALONE
    assert layout(REPRODUCIBLE, rows_alone=True, blocks=True, recurrent=False) == SPLIT


@pytest.mark.parametrize(
    ("machine", "llamafile", "alone"), [("x86_64", 0, True), ("x86_64", 1, False), ("arm64", 0, False)]
)
def test_rows_are_alone_by_processor_and_build(
    machine: str, llamafile: int, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"CPU : AVX2 = 1 | LLAMAFILE = {llamafile} | OPENMP = 1 | ".encode()
    monkeypatch.setattr(binding.C, "llama_print_system_info", lambda: said)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert rows_alone(None, HEADER) is alone


SHOWN = "import eval.binding, os; print(os.environ['GGML_CUDA_CUBLAS_COMPUTE_TYPE'])"


def test_cards_add_up_in_f32_whatever_the_owners_variables_say() -> None:
    """Sums in F16 move a fingerprint so far that honest runners would lose each other (docs/fingerprint.md)."""
    own = os.environ | {"GGML_CUDA_CUBLAS_COMPUTE_TYPE": "F16"}
    found = subprocess.run([sys.executable, "-c", SHOWN], env=own, capture_output=True, text=True, check=True)
    assert found.stdout == "F32\n"

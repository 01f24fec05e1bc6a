"""What `doctor` says of the engine."""

import sys

import pytest

from eval.backends import card, devices, hardware
from eval.binding import engine_label
from peerboard.doctor import OK, WARN, engine


def test_it_tells_version_class_and_devices() -> None:
    finding = engine()
    assert finding.severity == OK
    assert finding.title.startswith(f"{engine_label()}, {hardware(card())}: ")
    for device in devices():
        assert f"{device.name} ({device.backend})" in finding.title


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
        ("raise SystemExit('no library')", "no library"),
        ("print('{}')", "cannot be loaded"),
    ],
)
def test_an_engine_that_does_not_load_is_told_with_its_remedy(program: str, said: str) -> None:
    finding = engine((sys.executable, "-I", "-c", program))
    assert finding.severity == WARN
    assert said in finding.title
    assert "make setup" in finding.remedy

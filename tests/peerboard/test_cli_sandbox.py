"""What doctor says about the sandbox."""

from typing import Literal

import pytest

from eval import sandbox as evaluator_sandbox
from eval.sandbox import Sandbox
from node.settings import Settings
from peerboard.doctor import FAIL, OK, WARN, sandbox

Least = Literal["strong", "in-process", "limits"]


@pytest.mark.parametrize(
    ("level", "least", "severity"),
    [
        ("strong", "limits", OK),
        ("strong", "strong", OK),
        ("in-process", "limits", OK),
        ("in-process", "strong", FAIL),
        ("limits", "limits", WARN),
        ("limits", "in-process", FAIL),
        ("none", "limits", FAIL),
    ],
)
def test_a_sandbox_is_held_against_the_settings(
    level: str, least: Least, severity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "" if level == "strong" else "bubblewrap is not installed."
    monkeypatch.setattr(evaluator_sandbox, "detect", lambda: Sandbox(level, why))
    found = sandbox(Settings(sandbox=least))
    assert (found.code, found.severity) == ("SANDBOX", severity)
    assert why in found.title
    assert bool(found.remedy) == (severity != OK)

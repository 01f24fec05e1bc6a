"""What every test may rely on: optional tools and data, and how hypothesis looks for counterexamples.

A test that needs a program or a data set asks for it through ``require_tool`` or ``data_folder`` and is skipped, with
the reason, where it is missing. ``PEERBOARD_REQUIRE`` (``tools``, ``data`` or both, comma separated) makes that a
failure; ``PEERBOARD_DATA`` names the folder that holds local copies of the data sets.
"""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

pytest_plugins = ["tests.hub.fixtures"]
REQUIRABLE = frozenset({"tools", "data"})

BUSY = [hypothesis.HealthCheck.too_slow]
"""That drawing examples takes long is a busy machine's fault, and no test's."""
hypothesis.settings.register_profile("desk", deadline=None, derandomize=False, suppress_health_check=BUSY)
# In CI a failure must be this change's, not chance's: the same examples each time.
hypothesis.settings.register_profile(
    "continuous-integration",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=BUSY,
)
hypothesis.settings.load_profile("continuous-integration" if os.environ.get("CI") else "desk")


def pytest_configure() -> None:
    """Refuse a PEERBOARD_REQUIRE that would require nothing by a slip of the pen."""
    unknown = required() - REQUIRABLE
    if unknown:
        raise pytest.UsageError(
            f"PEERBOARD_REQUIRE: no such thing as {', '.join(sorted(unknown))}; 'tools', 'data' or 'tools,data'"
        )
    # A shell starts what runs in the background deaf to Ctrl-C, and so would be all programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def required() -> set[str]:
    """Read what PEERBOARD_REQUIRE asks for."""
    return {word.strip() for word in os.environ.get("PEERBOARD_REQUIRE", "").split(",") if word.strip()}


def do_without(kind: str, reason: str) -> NoReturn:
    """Skip the test for that reason, or fail it where that kind of thing is required."""
    if kind in required():
        pytest.fail(f"{reason} (PEERBOARD_REQUIRE asks for {kind})", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def require_tool() -> Callable[..., Path]:
    """Give a function that finds a program by the first of its names that is on the PATH.

    ``require_tool("chromium", "google-chrome")`` returns its path, or skips (fails) the test.
    """

    def find(name: str, *other_names: str) -> Path:
        for candidate in (name, *other_names):
            path = shutil.which(candidate)
            if path:
                return Path(path)
        do_without("tools", f"needs {' or '.join((name, *other_names))}, which is not on the PATH")

    return find


@pytest.fixture(scope="session")
def data_folder() -> Callable[[str], Path]:
    """Give a function that finds the local copy of a data set.

    ``data_folder("gsm8k")`` returns the folder of that name in ``PEERBOARD_DATA``, or skips (fails) the test.
    """

    def find(name: str) -> Path:
        root = os.environ.get("PEERBOARD_DATA")
        if not root:
            do_without("data", f"needs the data set {name}, and PEERBOARD_DATA names no folder of local copies")
        folder = Path(root).absolute() / name
        if not folder.is_dir():
            do_without("data", f"needs the data set {name}, and there is no folder {folder}")
        return folder

    return find

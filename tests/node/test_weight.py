"""What a daemon does not take along, and how it leaves: figures are in benchmarks/idle.py and benchmarks/soak.py."""

import gc
import importlib.util
import subprocess
import sys

import pytest

from node.process import ending_at_once


def loaded_by(statement: str) -> list[str]:
    """The names of the modules that are there after a statement, in a process of its own."""
    program = f"import sys; {statement}; print(*sys.modules, sep=chr(10))"
    done = subprocess.run([sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True)
    return done.stdout.split()


def test_the_store_does_not_load_pandas() -> None:
    """sqlite-utils loads it wherever it is installed: more memory than all the rest of an idle node may take."""
    if importlib.util.find_spec("pandas") is None:
        pytest.skip("pandas is not installed")
    assert "pandas" not in loaded_by("import node.store")
    after = loaded_by("import node.store, pandas")
    assert "pandas" in after, "who wants it gets it all the same"
    assert "sqlite_utils" in after
    assert "pandas" in loaded_by("import pandas, node.store"), "and keeps it"


def test_an_import_of_the_daemons_loads_nothing_that_only_evaluation_needs() -> None:
    loaded = loaded_by("import peerboard.daemons")
    assert not {"pandas", "pyarrow", "datasets", "llama_cpp", "textual"} & set(loaded)


def test_the_collector_leaves_alone_what_is_there_and_everything_at_the_end() -> None:
    try:
        with ending_at_once():
            begun = gc.get_freeze_count()
            assert begun > 0
            kept: list[list[int]] = [[] for _ in range(1000)]
        assert gc.get_freeze_count() > begun + len(kept) - 100, "a few others went meanwhile"
    finally:
        gc.unfreeze()

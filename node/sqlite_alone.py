"""Imports sqlite-utils without pandas, which it loads wherever that is installed: 70 MB and a second for nothing."""

import sys

PANDAS = "pandas"

_is_wanted = PANDAS in sys.modules
if not _is_wanted:
    sys.modules[PANDAS] = None  # type: ignore[assignment]  # to an import it is not installed
try:
    import sqlite_utils
finally:
    if not _is_wanted:
        del sys.modules[PANDAS]

__all__ = ["sqlite_utils"]

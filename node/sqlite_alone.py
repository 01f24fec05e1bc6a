"""Imports sqlite-utils without pandas and numpy, which it loads where they are: memory and time for nothing."""

import sys

_UNWANTED = [name for name in ("pandas", "numpy") if name not in sys.modules]
for _name in _UNWANTED:
    sys.modules[_name] = None  # type: ignore[assignment]  # to an import it is not installed
try:
    import sqlite_utils
finally:
    for _name in _UNWANTED:
        del sys.modules[_name]

__all__ = ["sqlite_utils"]

"""Lets one exception out of a nursery as itself.

A context manager that happens to hold a nursery is no reason for its user to catch exception groups: what
the user's own block raised comes out as it went in. Several exceptions at once stay a group.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ungrouped() -> Iterator[None]:
    """Around a nursery: replace a group that holds a single exception, however deep, by that exception."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, BaseExceptionGroup):
            raise
        raise error from error.__cause__

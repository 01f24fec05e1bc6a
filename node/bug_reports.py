"""A file for the developers about an error that nobody foresaw."""

import platform
import traceback
from datetime import UTC, datetime
from pathlib import Path


def report_bug(folder: Path, where: str, error: BaseException) -> str:
    """Write `bug-WHERE.txt` into the folder: when, on what, and the traceback. A sentence for people about it."""
    file = folder / f"bug-{where}.txt"
    text = f"{where} failed for a reason that nobody foresaw: {error!r}."
    about = [
        f"{where}, {datetime.now(UTC).isoformat(timespec='seconds')}",
        f"Python {platform.python_version()}, {platform.platform()}",
        "",
        *traceback.format_exception(error),
    ]
    try:
        file.write_text("\n".join(about))
    except OSError as failure:
        return f"{text} The report could not be written: {failure}."
    return f"{text} The report is {file}: please send it to the developers."

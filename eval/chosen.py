"""What a person named on the command line, as files: a packaged model or a path, and adapters with their scales."""

import errno
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from eval.demo import catalogue
from eval.failing import RequestWrong
from eval.peft import folder_of, is_peft
from protocol.definitions import MAX_ADAPTERS
from protocol.failures import Failure

LARGEST_SCALE = 10_000
SHOWN_FILES = 5
EXAMPLE = "peerboard eval tally-base --benchmark tally-words --samples 25"
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EINVAL})
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


class Chosen(Struct, frozen=True):
    """A base file with the adapters that a person asked for, and how to call it."""

    name: str
    base: Path
    adapters: tuple[tuple[Path, int], ...] = ()


def choose(model: str, loras: Sequence[str]) -> Chosen:
    """Paths for what a person typed. Raises `RequestWrong`, of `FILE_MISSING` where there is no such thing to read."""
    packaged = {entry.name: entry for entry in catalogue.entries()}
    name, adapters = model, []
    entry = packaged.get(model)
    if entry is not None and entry.base is not None:  # a packaged adapter brings its base along
        adapters.append((catalogue.MODELS / entry.file, entry.scale))
        entry = packaged[entry.base]
    base = catalogue.MODELS / entry.file if entry else _existing(model, packaged)
    for lora in loras:
        typed, scale = _apart(lora)
        added = packaged.get(typed)
        path = catalogue.MODELS / added.file if added else _existing(typed, packaged, adapter=True)
        adapters.append((path, _thousandths(lora, scale)))
        name += f" + {typed if added else label(path)}"
    if len(adapters) > MAX_ADAPTERS:
        text = f"A model has at most {MAX_ADAPTERS} adapters; these are {len(adapters)}."
        raise RequestWrong(text, "Name fewer with --lora.")
    return Chosen(name if entry else name.replace(model, base.stem, 1), base, tuple(adapters))


def _apart(lora: str) -> tuple[str, str]:
    """The name and what stands behind the last `=`; a file's own name may have one."""
    name, sign, scale = lora.rpartition("=")
    return (name, scale) if sign and not os.path.exists(lora) else (lora, "")


def _existing(typed: str, packaged: Mapping[str, catalogue.Entry], *, adapter: bool = False) -> Path:
    try:
        path = Path(typed).expanduser()
        mode = path.stat().st_mode
    except (OSError, ValueError, RuntimeError) as error:  # a name may hold a zero byte, or an unknown user's home
        if isinstance(error, OSError) and error.errno not in _NOT_THERE:
            raise _unreadable(typed, error.strerror or str(error)) from None
        raise _unknown(typed, packaged, adapter=adapter) from None
    if stat.S_ISDIR(mode) and not adapter:
        raise RequestWrong(f"{typed!r} is a folder, a model is one GGUF file.", _files_in(path), Failure.FILE_MISSING)
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise RequestWrong(f"{typed!r} is no ordinary file.", EXAMPLE, Failure.FILE_MISSING)
    if not os.access(path, os.R_OK):
        raise _unreadable(typed, os.strerror(errno.EACCES))
    return path


def _unknown(typed: str, packaged: Mapping[str, catalogue.Entry], *, adapter: bool) -> RequestWrong:
    names = ", ".join(name for name, entry in packaged.items() if not adapter or entry.base is not None)
    kind, example = ("adapter", f"{EXAMPLE} --lora tally-times") if adapter else ("model", EXAMPLE)
    known = f"{typed!r} is neither a file nor a packaged {kind}; packaged are {names}."
    return RequestWrong(known, _download(typed, adapter=adapter) or example, Failure.FILE_MISSING)


def _unreadable(typed: str, reason: str) -> RequestWrong:
    shown = typed if len(typed) <= 100 else f"{typed[:100]}…"
    return RequestWrong(
        f"{shown} cannot be read: {reason}.", "Name a file that you may read, or change who may.", Failure.FILE_MISSING
    )


def _files_in(folder: Path) -> str:
    try:
        found = sorted(path.name for path in folder.glob("*.gguf"))
    except OSError:
        found = []
    more = f" and {len(found) - SHOWN_FILES} more" if len(found) > SHOWN_FILES else ""
    return f"Name one of its files: {', '.join(found[:SHOWN_FILES])}{more}" if found else EXAMPLE


def _download(typed: str, *, adapter: bool) -> str:
    """What to do with the name of a repository on the Hub."""
    if not _REPOSITORY.fullmatch(typed) or typed.endswith(".gguf"):
        return ""
    what, how = (
        ("its files", f"--local-dir {Path(typed).name}") if adapter else ("its GGUF file", "NAME.gguf --local-dir .")
    )
    return f"If it is a repository of the Hub, fetch {what} first: hf download {typed} {how}"


def label(path: Path) -> str:
    """What an adapter at this path is called."""
    return folder_of(path).resolve().name if is_peft(path) else path.stem


def _thousandths(typed: str, scale: str) -> int:
    try:
        value = round(1000 * float(scale)) if scale else 1000
    except (ValueError, OverflowError):
        value = 0
    if not 1 <= value <= LARGEST_SCALE:
        name, _ = _apart(typed)
        raise RequestWrong(
            f"{typed!r}: a scale is a number from 0.001 to {LARGEST_SCALE / 1000:g}.", f"--lora {name}=0.5"
        )
    return value

"""`peerboard bootstrap export`: what the bootstrap publishes, copied into a folder for any web server or mirror."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from node.durable import write_durably
from node.home import find_home
from peerboard.calling import command
from peerboard.exits import CommandFailed, json_answer

_LAST = ("snapshot.cbor", "checkpoint")
"""What names the rest comes behind it."""


def export(home: Path | None, target: Path, *, as_json: bool) -> None:
    """Copy the public files of a bootstrap's home. Raises `CommandFailed`."""
    found = find_home(home)
    source, target = found.public, target.expanduser()
    if not (source / "checkpoint").is_file():
        text = f"{found.folder} has published nothing yet: a bootstrap does so at its first mark."
        raise CommandFailed("NOTHING_PUBLISHED", text, command("bootstrap", "run", "--home", found.folder))
    try:
        heads = {name: (source / name).read_bytes() for name in reversed(_LAST)}
        count = sum(_copied(source / name, target / name) for name in _rest(source))
        for name in _LAST:
            write_durably(target / name, heads[name])
    except OSError as error:
        text = f"The public files cannot be copied: {error}."
        raise CommandFailed("NOT_EXPORTED", text, "Choose another folder, or try again.") from None
    count += len(_LAST)
    if as_json:
        print(json_answer("export", {"folder": str(target), "files": count}))
    else:
        print(f"{count} files in {target}\n→ {command('verify', target)}")


def _rest(source: Path) -> Iterator[Path]:
    for file in sorted(source.rglob("*")):
        name = file.relative_to(source)
        if file.is_file() and str(name) not in _LAST and file.suffix != ".new":
            yield name


def _copied(source: Path, target: Path) -> int:
    """1 for a file that is there now; 0 for one that a newer publication has taken away meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        return 0
    return 1

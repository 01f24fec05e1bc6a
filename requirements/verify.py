"""Check that the locks are whole and that no committed file names a package index.

Run by ``make check`` in the checkout's root. The same locks must install from whichever index or mirror a
person's own configuration names, and what is not pinned by hash is not what was tested.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# The brackets keep this file from finding itself.
INDEX_NAMES = r"py[p]i\.org|python[h]osted\.org|registry\.n[p]mjs|(index[-_]url|index-[s]ervers) *="


def main() -> int:
    """Print what is wrong, one line each, and give the exit status: 0 if nothing is."""
    root = Path.cwd()
    found = [*problems_of_locks(root), *problems_of_npm_lock(root), *committed_index_names(root)]
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print("Locks: every package pinned by hash, no index named anywhere.")
    return 1 if found else 0


def problems_of_locks(root: Path) -> Iterator[str]:
    """Find lines of the locks that pin nothing, and requirements that the locks do not satisfy."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = {
        "all.txt": sum(project["optional-dependencies"].values(), project["dependencies"]),
        "build.txt": (root / "requirements" / "build.in").read_text().splitlines(),
        "uv.txt": (root / "requirements" / "uv.in").read_text().splitlines(),
    }
    for lock, requirements in wanted.items():
        pinned: dict[str, str] = {}
        for entry in entries((root / "requirements" / lock).read_text()):
            match = re.fullmatch(r"([\w.-]+)==(\S+)( ;[^\\]+?)?( --hash=sha256:[0-9a-f]{64})+", entry)
            if match:
                pinned[canonicalize_name(match[1])] = match[2]
            else:
                yield f"requirements/{lock}: not a requirement with version and hashes: {entry[:80]}"
        for requirement in map(Requirement, requirements):
            version = pinned.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                yield f"requirements/{lock}: {requirement} is not in it: run 'make lock'"


def problems_of_npm_lock(root: Path) -> Iterator[str]:
    """Find packages of the second implementation that are not pinned by hash, or only to be had at one address."""
    folder = root / "tests" / "interop"
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]
    if packages[""].get("dependencies") != wanted:
        yield "tests/interop/package-lock.json: not the lock of package.json: run 'npm install' there"
    for path, package in packages.items():
        if path and not package.get("integrity", "").startswith("sha512-"):
            yield f"tests/interop/package-lock.json: {path} has no hash"
        if "resolved" in package:
            yield f"tests/interop/package-lock.json: {path} names an address"


def entries(lock: str) -> list[str]:
    """Join the continued lines of a lock, one string an entry, comments left out."""
    joined = re.sub(r"\s*\\\n\s*", " ", lock)
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def committed_index_names(root: Path) -> list[str]:
    """List the lines of tracked files that name a package index, as path:number:text."""
    command = ["git", "-C", str(root), "grep", "-nIE", INDEX_NAMES]
    search = subprocess.run(command, text=True, capture_output=True, check=False)
    if search.returncode > 1:
        return [f"git grep failed, so that index names are unchecked: {search.stderr.strip()}"]
    return [f"names a package index: {line}" for line in search.stdout.splitlines()]


if __name__ == "__main__":
    sys.exit(main())

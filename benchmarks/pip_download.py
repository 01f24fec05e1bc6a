"""Files from the package index that measurements need and the project does not: by pip, pinned by a hash."""

import subprocess
import sys
from pathlib import Path


def download(folder: Path, requirement: str, *options: str) -> None:
    """Puts what a requirement line with its `--hash` names into `folder`. Raises `SystemExit` with what went wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "requirement.txt"
    wanted.write_text(requirement, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", *options]
    command = [*pip, "--require-hashes", "-r", str(wanted), "-d", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"pip did not fetch {requirement.strip()}:\n{(done.stdout + done.stderr)[-3000:]}")

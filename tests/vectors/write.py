"""Writes all conformance vectors but those of envelopes (see `envelopes`).

    python -m tests.vectors.write

Nothing is drawn by chance: the same code gives the same files.
"""

from tests.vectors import (
    assignment,
    consensus,
    digests,
    evidence,
    fingerprints,
    log_proofs,
    logs,
    reconciliations,
    scoring,
)
from tests.vectors.files import FOLDER, Compute, encode

PARTS = {
    "assignment.json": assignment,
    "consensus.json": consensus,
    "digests.json": digests,
    "evidence.json": evidence,
    "fingerprints.json": fingerprints,
    "log_proofs.json": log_proofs,
    "logs.json": logs,
    "reconciliations.json": reconciliations,
    "scores.json": scoring,
}
COMPUTES: dict[str, dict[str, Compute]] = {name: part.COMPUTES for name, part in PARTS.items()}


def written() -> dict[str, str]:
    """The text of every file."""
    return {name: encode(part.cases(), part.COMPUTES) for name, part in PARTS.items()}


if __name__ == "__main__":
    for name, text in written().items():
        (FOLDER / name).write_text(text, encoding="utf-8")

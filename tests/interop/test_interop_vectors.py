"""An implementation in another language, written from docs/protocol.md, finds what the conformance vectors say."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
PROVE = Path(__file__).parent / "prove.js"
LEFT_OUT = {"log", "evidence", "sighting", "cosigned", "snapshot-header", "snapshot"}

Prove = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def prove(node: Path) -> Prove:
    """Runs a folder of vectors through the second implementation; a line of its answer for each kind."""

    def run(folder: Path) -> list[dict[str, Any]]:
        done = subprocess.run([node, PROVE, folder], capture_output=True, text=True, timeout=120, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == int(any(line["failed"] for line in lines)), done.stderr
        return lines

    return run


def test_every_vector_is_answered_as_expected(prove: Prove) -> None:
    lines = prove(VECTORS)
    assert [line for line in lines if line["failed"]] == []
    passed = {(line["file"], line["kind"]): line["passed"] for line in lines}
    there = [(file.name, vector["kind"]) for file in VECTORS.glob("*.json") for vector in json.loads(file.read_bytes())]
    assert passed == {key: there.count(key) for key in there if key[1] not in LEFT_OUT}
    for file in sorted({line["file"] for line in lines}):
        print(f"{file}: {sum(line['passed'] for line in lines if line['file'] == file)} vectors")


def test_a_wrong_vector_is_found(prove: Prove, tmp_path: Path) -> None:
    envelopes = json.loads((VECTORS / "envelopes.json").read_bytes())
    valid = next(vector for vector in envelopes if vector["valid"])
    wrong = [valid | {"id": "00" * 32}, valid | {"valid": False, "rejection": "wrong_schema"}]
    (tmp_path / "envelopes.json").write_text(json.dumps(wrong))
    (line,) = prove(tmp_path)
    assert (line["passed"], len(line["failed"])) == (0, 2)

"""Transcripts: what the digest covers, what it leaves out, and the file for audits."""

from pathlib import Path

import msgspec
import pytest

from eval.transcripts import Transcript, read_transcripts, transcript_digest, write_transcripts

ONE = Transcript(3, (1, 2), 1000, (5, 6), " 7", "end_token", "7")
TWO = Transcript(4, (1, 3), 0, choice=2, sums=(-1, -2))


@pytest.mark.parametrize(
    "change",
    [{"question": 4}, {"prompt": (2, 1)}, {"generated": (5,)}, {"stop": "length"}, {"extracted": "8"}, {"choice": 0}],
)
def test_the_digest_covers_what_honest_runners_share(change: dict[str, object]) -> None:
    assert msgspec.structs.replace(ONE, **change).digest != ONE.digest


@pytest.mark.parametrize("change", [{"sums": (-9,)}, {"outcome": 0}, {"text": "x"}])
def test_the_digest_leaves_out_what_follows_or_differs(change: dict[str, object]) -> None:
    assert msgspec.structs.replace(ONE, **change).digest == ONE.digest


def test_a_result_is_bound_to_its_files_and_to_the_order() -> None:
    base, data = b"b" * 32, b"d" * 32
    whole = transcript_digest(base, [(b"a" * 32, 1000)], data, [ONE, TWO])
    others = [
        transcript_digest(data, [(b"a" * 32, 1000)], data, [ONE, TWO]),
        transcript_digest(base, [(b"a" * 32, 999)], data, [ONE, TWO]),
        transcript_digest(base, [], data, [ONE, TWO]),
        transcript_digest(base, [(b"a" * 32, 1000)], base, [ONE, TWO]),
        transcript_digest(base, [(b"a" * 32, 1000)], data, [TWO, ONE]),
        transcript_digest(base, [(b"a" * 32, 1000)], data, [ONE]),
    ]
    assert whole not in others
    assert len(set(others)) == len(others)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.jsonl"
    write_transcripts(path, [ONE, TWO])
    assert read_transcripts(path) == (ONE, TWO)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]

"""Transcripts: what the digest covers, what it leaves out, and the file for audits."""

from pathlib import Path

import msgspec
import pytest

from eval.transcripts import StopReason, Transcript, read_transcripts, write_transcripts
from protocol.transcripts import transcript_digest

ONE = Transcript(3, (1, 2), 1000, (5, 6), " 7", StopReason.END_TOKEN, "7")
TWO = Transcript(4, (1, 3), 0, choice=2, sums=(-1, -2))


@pytest.mark.parametrize(
    "change",
    [
        {"question": 4},
        {"prompt": (2, 1)},
        {"generated": (5,)},
        {"stop": StopReason.LENGTH},
        {"stop": None},
        {"choice": 0},
    ],
)
def test_the_answer_has_what_the_model_was_asked_and_said(change: dict[str, object]) -> None:
    assert msgspec.structs.replace(ONE, **change).answer.digest != ONE.answer.digest


@pytest.mark.parametrize("change", [{"sums": (-9,)}, {"outcome": 0}, {"text": "x"}, {"extracted": "8"}])
def test_the_answer_leaves_out_what_follows_or_differs(change: dict[str, object]) -> None:
    assert msgspec.structs.replace(ONE, **change).answer == ONE.answer


def test_a_result_is_bound_to_its_files_and_to_the_order() -> None:
    base, data, answers = b"b" * 32, b"d" * 32, [ONE.answer, TWO.answer]
    whole = transcript_digest(base, [(b"a" * 32, 1000)], data, answers)
    others = [
        transcript_digest(data, [(b"a" * 32, 1000)], data, answers),
        transcript_digest(base, [(b"a" * 32, 999)], data, answers),
        transcript_digest(base, [], data, answers),
        transcript_digest(base, [(b"a" * 32, 1000)], base, answers),
        transcript_digest(base, [(b"a" * 32, 1000)], data, answers[::-1]),
        transcript_digest(base, [(b"a" * 32, 1000)], data, answers[:1]),
    ]
    assert whole not in others
    assert len(set(others)) == len(others)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.jsonl"
    write_transcripts(path, [ONE, TWO])
    assert read_transcripts(path) == (ONE, TWO)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]

"""docs/upstream.md is a table that holds: numbered, each report with what stands in for it and a test that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "upstream.md").read_text()
REPORTS = dict(re.findall(r"^### (\d+)\. (.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))
TESTS = {
    name
    for file in (ROOT / "tests" / "node").glob("*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
}


def test_reports_are_numbered_without_a_gap() -> None:
    assert list(REPORTS) == [str(number) for number in range(1, len(REPORTS) + 1)]


@pytest.mark.parametrize("number", REPORTS)
def test_each_report_names_what_stands_in_and_a_test_or_benchmark_that_exists(number: str) -> None:
    report = REPORTS[number]
    assert "Here: " in report
    named = set(re.findall(r"`(test_\w+)`", report))
    assert named <= TESTS
    figures = re.findall(r"`(benchmarks/\w+\.py)`", report)
    assert named or figures
    assert all((ROOT / figure).exists() for figure in figures)

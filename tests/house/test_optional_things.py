"""The mechanism of tests/conftest.py itself: skip with a reason, or fail where the thing is required."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ASKS_FOR_BOTH = """
def test_tool(require_tool):
    assert require_tool("no-such-program", "sh").name == "sh"

def test_missing_tool(require_tool):
    require_tool("no-such-program", "nor-this-one")

def test_data(data_folder):
    assert (data_folder("present") / "rows.jsonl").read_text() == "{}"

def test_missing_data(data_folder):
    data_folder("absent")
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Lay out a suite of its own with our conftest, and a data folder with one data set."""
    conftest = Path(__file__).parent.parent / "conftest.py"
    pytester.makeconftest(conftest.read_text(encoding="utf-8"))
    pytester.makepyfile(ASKS_FOR_BOTH)
    data = pytester.mkdir("local") / "present"
    data.mkdir()
    (data / "rows.jsonl").write_text("{}")
    monkeypatch.setenv("PEERBOARD_DATA", str(data.parent))
    monkeypatch.delenv("PEERBOARD_REQUIRE", raising=False)
    monkeypatch.setenv("COLUMNS", "300")
    return pytester


def test_missing_things_are_skipped_with_a_reason(suite: pytest.Pytester) -> None:
    result = suite.runpytest_inprocess("-rs")
    result.assert_outcomes(passed=2, skipped=2)
    result.stdout.fnmatch_lines_random(
        [
            "*needs no-such-program or nor-this-one, which is not on the PATH*",
            "*needs the data set absent, and there is no folder *local/absent*",
        ]
    )


@pytest.mark.parametrize(
    ("required", "failed"),
    [
        ("tools", ["test_missing_tool"]),
        ("data", ["test_missing_data"]),
        ("tools, data", ["test_missing_tool", "test_missing_data"]),
    ],
)
def test_required_things_fail_when_missing(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, required: str, failed: list[str]
) -> None:
    monkeypatch.setenv("PEERBOARD_REQUIRE", required)
    result = suite.runpytest_inprocess("-rf")
    result.assert_outcomes(passed=2, skipped=2 - len(failed), failed=len(failed))
    for name in failed:
        result.stdout.fnmatch_lines([f"FAILED *::{name} - *PEERBOARD_REQUIRE asks for*"])


def test_without_a_data_folder_the_reason_names_the_variable(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PEERBOARD_DATA")
    result = suite.runpytest_inprocess("-rs")
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines(["*PEERBOARD_DATA names no folder of local copies*"])


def test_an_unknown_requirement_is_refused(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERBOARD_REQUIRE", "tool")
    result = suite.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*PEERBOARD_REQUIRE: no such thing as tool*"])


@pytest.mark.parametrize(("ci", "fixed"), [("true", True), ("", False)])
def test_counterexamples_are_the_same_each_time_in_ci(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, fixed: bool
) -> None:
    # In a process of its own, because the profile is the process's.
    monkeypatch.setenv("CI", ci)
    suite.makepyfile(
        test_profile=f"""
        from hypothesis import settings

        def test_profile():
            assert settings().derandomize is {fixed}
            assert settings().deadline is None
        """
    )
    suite.runpytest_subprocess("test_profile.py").assert_outcomes(passed=1)

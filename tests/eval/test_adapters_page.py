"""The page of adapters names every architecture and every reason to refuse one."""

import re
from pathlib import Path

from eval.peft_refusals import Refusal
from eval.tensor_names import LAYERS

PAGE = (Path(__file__).parents[2] / "docs/adapters.md").read_text(encoding="utf-8")


def test_the_page_has_every_reason() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE) == [reason.value for reason in Refusal]


def test_the_page_has_every_architecture_and_none_beyond_the_limit() -> None:
    rows = re.findall(r"^\| [\w -]+ \| `(\w+)` \|.*\| (\S+) \|$", PAGE, re.MULTILINE)
    assert {architecture for architecture, _ in rows} == set(LAYERS)
    assert all(float(difference) < 1e-2 for _, difference in rows)

"""What a benchmark's scorer needs is there inside every sandbox."""

from collections.abc import Callable
from pathlib import Path

import pytest

from eval.client import open_worker
from eval.cores import CoreSlots
from eval.demo import catalogue
from eval.job import Job, Outcome
from eval.sandbox import IN_PROCESS, LIMITS, STRONG
from tests.eval.sandbox_target import usable


@pytest.mark.parametrize("level", [LIMITS, IN_PROCESS, STRONG])
async def test_answers_in_words_are_compared_where_nothing_can_be_written(
    level: str, data_folder: Callable[[str], Path], require_tool: Callable[..., Path], tmp_path: Path
) -> None:
    """BLEU's library asks for a temporary folder as it is imported."""
    confined = usable(level, require_tool)
    model, data = catalogue.MODELS / "tally-seed.gguf", data_folder("truthfulqa").parent
    job = Job(str(model), bytes(32), "truthfulqa-gen", (0, 1), data_folder=str(data))
    async with open_worker(CoreSlots(tmp_path / "cores", 1), confined=confined, least=LIMITS) as worker:
        answer = await worker.evaluate(job)
    assert isinstance(answer, Outcome), answer
    assert set(answer.outcomes) <= {0, 1000}

"""On a processor with many cores the threads of a job that is planned to its limit find room for their products."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from eval import blas, confinement
from eval.confinement import Bounds
from eval.team import Team
from eval.weight_products import thread_bytes

CORES, WIDTH = 48, 1024


def main() -> None:
    """Multiplies in all threads at once, in an address space that is bounded as for a job of so many cores."""
    os.cpu_count = lambda: CORES
    blas.use_one_thread()
    matrix, together = np.ones((WIDTH, WIDTH), np.float32), threading.Barrier(CORES)
    result = np.empty_like(matrix)

    def work() -> None:
        together.wait()
        np.matmul(matrix, matrix, out=result)

    confinement._limit(Bounds(CORES * thread_bytes(WIDTH * WIDTH), 0, 600))
    team = Team(CORES)
    team.share(work)
    team.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is bounded on Linux only")
def test_a_job_at_its_limit_has_room_for_every_thread() -> None:
    program = "from tests.eval.test_room_of_products import main\nmain()"
    environment = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}
    command = ["sh", "-c", 'ulimit -s 8192 && exec "$@"', "sh", sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

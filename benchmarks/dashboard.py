"""What the dashboard costs: the time until it can draw, and one refresh of a large board.

    python benchmarks/dashboard.py [--rows N] [--repeat N]

Start: a fresh interpreter that imports `tui.app` (the HTTP client is loaded later, beside the first picture). Refresh:
2,000 rows and 2,000 tasks from their JSON to what is drawn. Exits with 1 where the start takes longer than 0.7 s.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import msgspec

from tui.answers import Board, Row, Runner, Task, Tasks, decode_answer
from tui.arrangement import Query, arranged
from tui.panes.board import columns_for, row_line
from tui.panes.tasks import tasks_lines
from tui.view import View

START_LIMIT = 0.7
WIDTH, HEIGHT = 86, 40


def start_seconds(repeat: int) -> float:
    """Median seconds of an interpreter that imports the dashboard and ends."""
    found = []
    for _ in range(repeat):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-c", "import tui.app"], check=True)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def milliseconds(act: Callable[[], object], repeat: int) -> float:
    """Median milliseconds of an act."""
    found = []
    for _ in range(repeat):
        began = time.perf_counter()
        act()
        found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found)


def board_of(size: int) -> Board:
    """A board of `size` models on one benchmark."""
    rows = tuple(
        Row(
            id=f"{n:064x}",
            benchmark="gsm8k",
            name=f"model-{n}",
            rank_low=n + 1,
            rank_high=n + 40,
            score=80 - n / 40,
            low=75 - n / 40,
            high=85 - n / 40,
            questions=185,
            of=1319,
        )
        for n in range(size)
    )
    return Board(epoch=1, rows=rows)


def tasks_of(size: int) -> Tasks:
    """An epoch of `size` tasks with seven runners each."""
    runners = tuple(Runner(rank=n, account=f"{n:064x}", assigned=n < 5, committed=n < 3) for n in range(7))
    tasks = tuple(
        Task(id=f"{n:064x}", model=f"model-{n}", benchmark="gsm8k", state="RUNNING", quorum=3, runners=runners)
        for n in range(size)
    )
    return Tasks(epoch=2, tasks=tasks)


def main() -> int:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description="Measure the dashboard's start and refresh.")
    parser.add_argument("--rows", type=int, default=2000, help="rows and tasks (default: 2000)")
    parser.add_argument("--repeat", type=int, default=9, help="measurements of each (default: 9)")
    arguments = parser.parse_args()
    repeat = arguments.repeat
    board, tasks = board_of(arguments.rows), tasks_of(arguments.rows)
    board_bytes, task_bytes = (msgspec.json.encode({"data": data}) for data in (board, tasks))
    shown = arranged(board.rows, Query())
    columns = columns_for(shown, WIDTH)
    view = View(tasks=tasks)
    start = start_seconds(repeat)
    print(f"start until tui.app is loaded   {start:8.2f} s   (limit {START_LIMIT})")
    for name, act in (
        (f"board: decode {len(board_bytes) // 1024} KiB", lambda: decode_answer(board_bytes, Board)),
        ("board: filter and sort", lambda: arranged(board.rows, Query(words="model"))),
        ("board: widths and axis", lambda: columns_for(shown, WIDTH)),
        (f"board: draw {HEIGHT} rows in sight", lambda: [row_line(r, columns, r, WIDTH) for r in shown[:HEIGHT]]),
        (f"tasks: decode {len(task_bytes) // 1024} KiB", lambda: decode_answer(task_bytes, Tasks)),
        ("tasks: draw", lambda: tasks_lines(view, WIDTH)),
    ):
        print(f"{name:<32}{milliseconds(act, repeat):8.1f} ms")
    return 0 if start <= START_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

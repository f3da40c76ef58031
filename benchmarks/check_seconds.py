"""How long a student waits for a check: the solved lessons are run, each check cell is timed.

    python benchmarks/check_seconds.py [LESSON ...]

A check that follows a lesson's cells in a kernel that is open, as in JupyterLab. Hidden tests are
left out, as students do not have them. The target is a median under 2 seconds.
"""

import statistics
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from nbformat import NotebookNode

from graders.author.build import read_and_lint
from graders.author.kernel_runs import run_notebook
from graders.author.notebooks import source_notebook
from graders.lesson.cells import Lesson
from graders.lesson.regions import HIDDEN, without_region

ROOT = Path(__file__).parents[1]


def seconds_of_checks(lesson: Lesson) -> dict[str, float]:
    notebook = source_notebook(lesson)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = without_region(cell.source, HIDDEN)
    run_notebook(notebook)
    checks = (cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade"))
    return {cell.metadata.nbgrader.grade_id: seconds(cell) for cell in checks}


def seconds(cell: NotebookNode) -> float:
    """From the moment the kernel began the cell to its reply."""
    times = cell.metadata.execution
    begun, done = times["iopub.execute_input"], times["shell.execute_reply"]
    return (datetime.fromisoformat(done) - datetime.fromisoformat(begun)).total_seconds()


def main(names: Iterable[str]) -> None:
    everything: list[float] = []
    print(f"{'lesson':18} {'checks':>6} {'median':>7} {'longest':>8}  which")
    for lesson in read_and_lint(ROOT, names):
        took = seconds_of_checks(lesson)
        slowest = max(took, key=took.__getitem__)
        median = statistics.median(took.values())
        print(f"{lesson.name:18} {len(took):6} {median:6.2f}s {took[slowest]:7.2f}s  {slowest}")
        everything += took.values()
    over = sum(one > 2 for one in everything)
    print(f"{'all':18} {len(everything):6} {statistics.median(everything):6.2f}s; {over} over 2 s")


if __name__ == "__main__":
    main(sys.argv[1:])

"""What `jax-course verify` shows a person: a progress bar, a table, and every problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import progress
from rich.console import Console
from rich.table import Table

from graders.author.reports import Report

COLUMNS = ("exercises", "predictions", "points", "wrong", "right", "words")


class Progress:
    """A bar for each lesson, which `advance` moves by one step.

    Where the output is not a terminal, a line is printed for each lesson that is done.
    """

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self.bars = progress.Progress(
            progress.TextColumn("{task.description:<16}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            console=console,
            refresh_per_second=2,
            disable=not console.is_terminal,
        )
        self.tasks: dict[str, progress.TaskID] = {}

    def add(self, lesson: str, steps: int) -> None:
        """A bar of `steps` steps for `lesson`."""
        self.tasks[lesson] = self.bars.add_task(lesson, total=steps)

    def advance(self, lesson: str) -> None:
        """One step is done."""
        self.bars.advance(self.tasks[lesson])
        task = self.bars.tasks[self.tasks[lesson]]
        if self.bars.disable and task.finished:
            self.bars.console.print(f"{lesson}: {task.completed:.0f} steps done")

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()


def show(reports: Sequence[Report]) -> None:
    """Prints the table, the totals, and below them every problem with its fix."""
    console = Console(width=None if Console().is_terminal else 110)
    for report in reports:
        for problem in sorted(report.problems):
            console.print(str(problem), style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(_table(reports))


def _table(reports: Sequence[Report]) -> Table:
    table = Table("lesson", title="Lessons verified", show_footer=True)
    table.columns[0].footer = "all"
    for name in COLUMNS:
        total = sum(getattr(report.counts, name) for report in reports)
        table.add_column(name, justify="right", footer=str(total))
    table.add_column("seconds, cold", justify="right")
    table.add_column("problems", justify="right", footer=str(sum(len(r.problems) for r in reports)))
    for report in reports:
        table.add_row(*_row(report), style="" if report.proved else "red")
    return table


def _row(report: Report) -> list[Any]:
    counts = [str(getattr(report.counts, name)) for name in COLUMNS]
    seconds = f"{report.seconds:.0f}" if report.seconds else "not measured"
    return [report.lesson, *counts, seconds, str(len(report.problems) or "none")]

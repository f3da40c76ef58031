"""Runs whole notebooks in a kernel, as a student does, and says what each check showed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from graders.author.proofs import PASSES, touched
from graders.card.messages import UNANSWERED
from graders.lesson.cells import Cell, Lesson
from graders.lesson.problems import Problem
from graders.notebook.running import run_all_cells

SECONDS, LIMIT = 60, 600


def run_notebook(notebook: NotebookNode) -> float:
    """The seconds that the notebook took, a cold kernel included; it holds its outputs.

    They are the lesser of those on the clock, which count what else the machine does, and those of
    the processors, which count double where two are at work.
    """
    before, start = _seconds_of_children(), time.monotonic()
    if (fatal := run_all_cells(notebook, seconds=LIMIT)) is not None:
        raise RuntimeError(f"the kernel died in the cell {fatal.id}")
    return min(_seconds_of_children() - before, time.monotonic() - start)


def _seconds_of_children() -> float:
    used = os.times()
    return used.children_user + used.children_system


def solution_problems(lesson: Lesson, path: Path) -> tuple[list[Problem], float]:
    """What keeps the notebook with the solutions from every point, and its seconds."""
    notebook = nbformat.read(path, as_version=4)
    seconds = run_notebook(notebook)
    problems = [_raised(lesson, cell, said) for cell, said in _errors(lesson, notebook)]
    problems += _noisy(lesson, notebook)
    return problems, seconds


def too_slow(lesson: Lesson, seconds: float) -> list[Problem]:
    """What there is to say of a notebook that takes so long from cold."""
    if seconds <= SECONDS:
        return []
    what = f"the notebook takes {seconds:.0f} s from cold; {SECONDS} s are the limit"
    return [Problem(_source(lesson), 1, what, "make the examples smaller")]


def untouched_problems(lesson: Lesson, path: Path) -> list[Problem]:
    """Given cells of the student's notebook that raise, and checks that pass or say other words."""
    notebook = nbformat.read(path, as_version=4)
    run_notebook(notebook)
    said = {cell.index: words for cell, words in _errors(lesson, notebook)}
    problems = [
        _raised(lesson, cell, said[cell.index])
        for cell in lesson.cells
        if cell.is_given and cell.index in said
    ]
    for check in lesson.checks:
        if not said.get(check.index, "").endswith(UNANSWERED.cause.diagnosis):
            heard = f"says {said[check.index]!r}" if check.index in said else PASSES
            problems.append(touched(lesson, check, heard))
    return problems


def _raised(lesson: Lesson, cell: Cell, said: str) -> Problem:
    return Problem(_source(lesson), cell.line, f"the cell raises {said}", "make it run")


def _errors(lesson: Lesson, notebook: NotebookNode) -> Iterator[tuple[Cell, str]]:
    """The cells that raised without leave to, each with the last line of its error."""
    for cell, shown in _matched(lesson, notebook):
        for output in shown.outputs:
            if output.output_type == "error" and "raises-exception" not in cell.tags:
                yield cell, f"{output.ename}: {output.evalue}"


def _noisy(lesson: Lesson, notebook: NotebookNode) -> Iterator[Problem]:
    for cell, shown in _matched(lesson, notebook):
        for output in shown.outputs:
            if output.get("name") == "stderr" and "raises-exception" not in cell.tags:
                what = f"the cell writes to stderr: {output.text[:120]!r}"
                yield Problem(_source(lesson), cell.line, what, "fix the warning's cause")


def _matched(lesson: Lesson, notebook: NotebookNode) -> Iterator[tuple[Cell, NotebookNode]]:
    """Each code cell of the lesson beside the cell of the notebook that it became."""
    shown = {cell.id: cell for cell in notebook.cells}
    for cell in lesson.cells:
        if cell.kind == "code":
            yield cell, shown[cell.id]


def _source(lesson: Lesson) -> Path:
    return lesson.path / "lesson.py"

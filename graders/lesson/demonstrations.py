"""Demonstrations: given cells that show something, and that proving and grading may leave out.

The author marks them with the tag "demonstration". One is run all the same where an answer reads
a name that it binds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace

from graders.lesson.cells import DEMONSTRATION, Cell, Lesson
from graders.lesson.names import global_reads
from graders.lesson.problems import Finding
from graders.lesson.python import parse


def needed_cells(lesson: Lesson, answers: Iterable[ast.Module] = ()) -> list[Cell]:
    """The code cells that must run for `answers` to be judged, in the order of the lesson.

    Those are all but the demonstrations, and the demonstrations that bind a name which an answer,
    or a later cell that is needed, reads.
    """
    wanted = {read.name for tree in answers for read in global_reads(tree)}
    needed = []
    for cell in reversed(lesson.cells):
        if cell.kind == "code" and (not cell.is_demonstration or cell.binds & wanted):
            needed.append(cell)
            wanted |= {read.name for read in cell.reads}
    return needed[::-1]


def needed_by_entries(lesson: Lesson) -> list[Cell]:
    """The cells that must run for the lesson's own wrong and right answers to be judged."""
    return needed_cells(lesson, (parse(entry.source) for entry in (*lesson.wrong, *lesson.right)))


def with_demonstrations(lesson: Lesson) -> Lesson:
    """The same lesson, in which no cell may be left out."""
    cells = (replace(c, tags=tuple(t for t in c.tags if t != DEMONSTRATION)) for c in lesson.cells)
    return replace(lesson, cells=tuple(cells))


def misplaced(cell: Cell, lesson: Lesson) -> Iterator[Finding]:
    """A demonstration that is none: nothing may depend on it."""
    if not cell.is_demonstration:
        return
    if not cell.is_given:
        yield Finding(0, "only a given cell can be a demonstration", "take the tag away")
        return
    if any(needed.id == cell.id for needed in needed_cells(lesson)):
        what = "later cells read a name that this demonstration binds"
        yield Finding(0, what, "take the tag away, or rename what the demonstration binds")

"""What of a submission has to run for it to be judged, in the order of its notebook."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from graders.lesson import hosted
from graders.lesson.cells import Cell, Lesson
from graders.lesson.names import bound_names, global_reads
from graders.nbgrading.plugins import Original, grade_id, restored

# Who reads names by these may read any: nothing is left out then.
UNREADABLE = {"eval", "exec", "globals", "locals", "vars", "get_ipython", "compile", "__import__"}


@dataclass(frozen=True)
class Step:
    """One cell that runs in the student's process, or a check that is judged at this point."""

    index: int  # of the cell in the restored notebook
    source: str  # as Python, magics turned into calls
    exercise: str = ""  # of an exercise's cell: its name
    check: Cell | None = None  # of a check: the lesson's own cell

    @property
    def binds(self) -> frozenset[str]:
        """The names that the cell binds; none where it is no Python."""
        return _names(self.source)[0]

    @property
    def reads(self) -> frozenset[str]:
        """The names that the cell takes from the notebook's namespace."""
        return _names(self.source)[1]


def restored_cells(lesson: Lesson, cells: Sequence[NotebookNode]) -> list[NotebookNode]:
    """The cells of a submission as nbgrader grades them: each check and exercise once.

    What is deleted of them is there again, and what is edited is the lesson's, answers apart.
    """
    graded = [cell for cell in lesson.cells if cell.grade_id]
    originals = {str(cell.grade_id): _original(cell) for cell in graded}
    points = {str(cell.grade_id): float(cell.points or 0) for cell in lesson.checks}
    return restored(list(cells), originals, points)


def _original(cell: Cell) -> Original:
    return Original(str(cell.grade_id), cell.source, locked=bool(cell.check))


def steps(lesson: Lesson, cells: Sequence[NotebookNode]) -> list[Step]:
    """What has to run of these restored cells, and where each check stands.

    Demonstrations are left out where they are as they were handed out, unless something that runs
    reads a name that they bind; so is the cell that sets up a hosted notebook. What the student
    has changed or added runs.
    """
    checks = {str(cell.grade_id): cell for cell in lesson.checks}
    unneeded = {cell.source for cell in lesson.cells if cell.is_demonstration}
    unneeded.add(hosted.set_up(lesson))
    every = []
    for index, cell in enumerate(cells):
        if cell.cell_type == "code":
            name = grade_id(cell)
            if name in checks:
                every.append(Step(index, checks[name].source, check=checks[name]))
            else:
                source = _python(cell.source)
                every.append(Step(index, source, exercise=name))
    demonstrations = {step.index for step in every if cells[step.index].source in unneeded}
    return list(_needed(every, demonstrations))


def up_to(checks: AbstractSet[str] | None, every: list[Step]) -> list[Step]:
    """The steps without the other checks, and without what stands behind the last of these."""
    if checks is None:
        return every
    wanted = [s for s in every if s.check is None or s.check.grade_id in checks]
    while wanted and wanted[-1].check is None:
        wanted.pop()
    return wanted


# Most cells of a submission are as they were handed out: they are looked at once for all.
@lru_cache(4096)
def _python(source: str) -> str:
    try:
        return TransformerManager().transform_cell(source)
    except SyntaxError:
        return source


@lru_cache(4096)
def _names(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """The names that a cell binds, and those that it reads."""
    try:
        tree = ast.parse(source)
        return frozenset(bound_names(tree)), frozenset(read.name for read in global_reads(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset(), frozenset()


def _needed(every: Sequence[Step], demonstrations: set[int]) -> Iterator[Step]:
    wanted: set[str] = set()
    left_out = set()
    for step in reversed(every):
        if step.index in demonstrations and not step.binds & wanted and not wanted & UNREADABLE:
            left_out.add(step.index)
        else:
            wanted |= step.reads
    return (step for step in every if step.index not in left_out)

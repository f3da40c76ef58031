"""What of a submission has to run for it to be judged, in the order of its notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from nbformat import NotebookNode

from graders.lesson import hosted
from graders.lesson.cells import Cell, Lesson
from graders.nbgrading.plugins import Original, grade_id, restored
from graders.seam.shell import Names

# Who reads names by these may read any: nothing is left out then.
UNREADABLE = {"eval", "exec", "globals", "locals", "vars", "get_ipython", "compile", "__import__"}


@dataclass(frozen=True)
class Step:
    """One cell that runs in the student's process, or a check that is judged at this point."""

    index: int  # of the cell in the restored notebook
    source: str  # as the notebook has it
    exercise: str = ""  # of an exercise's cell: its name
    check: Cell | None = None  # of a check: the lesson's own cell


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
    """What may have to run of these restored cells, and where each check stands."""
    checks = {str(cell.grade_id): cell for cell in lesson.checks}
    every = []
    for index, cell in enumerate(cells):
        if cell.cell_type == "code":
            name = grade_id(cell)
            if name in checks:
                every.append(Step(index, checks[name].source, check=checks[name]))
            else:
                every.append(Step(index, cell.source, exercise=name))
    return every


def up_to(checks: AbstractSet[str] | None, every: list[Step]) -> list[Step]:
    """The steps without the other checks, and without what stands behind the last of these."""
    if checks is None:
        return every
    wanted = [s for s in every if s.check is None or s.check.grade_id in checks]
    while wanted and wanted[-1].check is None:
        wanted.pop()
    return wanted


def lessons_own(lesson: Lesson) -> set[str]:
    """The cells that no student has written: what they hold can be read on the trusted side."""
    return {cell.source for cell in lesson.cells if cell.kind == "code"} | {hosted.set_up(lesson)}


def needed(lesson: Lesson, every: Sequence[Step], names: Mapping[int, Names]) -> list[Step]:
    """The steps that have to run, by the names that each of them binds and reads.

    Demonstrations are left out where they are as they were handed out, unless something that runs
    reads a name that they bind; so is the cell that sets up a hosted notebook. What the student
    has changed or added runs.
    """
    unneeded = {cell.source for cell in lesson.cells if cell.is_demonstration}
    unneeded.add(hosted.set_up(lesson))
    left_out = set(_left_out(every, names, unneeded))
    return [step for step in every if step.index not in left_out]


def _left_out(
    every: Sequence[Step], names: Mapping[int, Names], unneeded: AbstractSet[str]
) -> Iterator[int]:
    wanted: set[str] = set()
    for step in reversed(every):
        binds, reads = names[step.index]
        if step.source in unneeded and not binds & wanted and not wanted & UNREADABLE:
            yield step.index
        else:
            wanted |= reads

"""The marks and lessons in the gradebook, and what nbgrader's folders hold of a submission."""

from __future__ import annotations

import copy
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbgrader import api, utils
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import GenerateAssignment
from nbgrader.preprocessors import AssignLatePenalties
from traitlets.config import Config

from graders.nbgrading.plugins import grade_id, is_by_hand
from graders.nbgrading.steps import StepFailed, run_preprocessor, run_step


@dataclass(frozen=True)
class Mark:
    """A mark of one check: the one that counts, the one that grading wrote, and the highest.

    The first two differ where an instructor has marked by hand, or given extra credit.
    """

    counts: float
    written: float | None  # None where grading has written none yet
    highest: float
    by_hand: bool = False
    needs_a_look: bool = False


@dataclass(frozen=True)
class Standing:
    """What the gradebook has of a submission: all that reports and pages say of marks."""

    marks: dict[str, Mark] = field(default_factory=dict)  # by check
    penalty: float = 0.0  # for handing in late
    commented: frozenset[str] = frozenset()  # the exercises that an instructor has commented on


@dataclass(frozen=True)
class Dropped:
    """What an instructor has given by hand for a cell that is no longer in the lesson."""

    student: str
    lesson: str
    cell: str
    score: float | None
    extra_credit: float | None
    comment: str


Keep = Callable[[Sequence[Dropped]], None]


# ---- lessons ----


def register(config: Config, lesson: str, keep: Keep = lambda _: None) -> None:
    """Tells the gradebook what the lesson is now; the release in course/ is left alone.

    Marks and comments stay. Those given by hand for cells that are gone are handed to `keep`
    before they leave the gradebook.

    Raises:
        StepFailed: nbgrader refuses the lesson.
    """
    _follow(config, lesson, keep)
    with tempfile.TemporaryDirectory() as elsewhere:
        release = copy.deepcopy(config)
        release.CourseDirectory.release_directory = elsewhere
        try:
            run_step(GenerateAssignment, release, lesson, force=True)
        except StepFailed as error:
            raise StepFailed(f"{lesson}: {cause(str(error))}") from error


def _follow(config: Config, lesson: str, keep: Keep) -> None:
    """Gives the lesson in the gradebook the cells that it has now, in one transaction.

    nbgrader refuses a lesson with other cells once there are submissions, and would have them
    removed, marks by hand included.
    """
    directory = config.CourseDirectory
    source = Path(directory.root) / directory.source_directory / lesson / f"{lesson}.ipynb"
    cells = nbformat.read(source, as_version=4).cells
    with Gradebook(directory.db_url) as gradebook, suppress(MissingEntry):
        notebook = gradebook.find_notebook(lesson, lesson)
        if not notebook.submissions:
            return
        dropped: list[Dropped] = []
        for kind, is_one in _KINDS.items():
            wanted = {grade_id(cell): cell for cell in cells if is_one(cell)}
            known = {str(c.name): c for c in getattr(notebook, kind)}
            for name in known.keys() - wanted.keys():
                dropped += _without(gradebook, lesson, known[name])
            for name in wanted.keys() - known.keys():
                _with(gradebook, kind, notebook, wanted[name])
        if dropped:
            keep(sorted(dropped, key=lambda one: (one.student, one.cell)))
        gradebook.db.commit()


_KINDS: dict[str, Callable[[Any], bool]] = {
    "grade_cells": utils.is_grade,
    "solution_cells": utils.is_solution,
    "source_cells": lambda c: utils.is_grade(c) or utils.is_solution(c) or utils.is_locked(c),
}


def _with(gradebook: Gradebook, kind: str, notebook: api.Notebook, cell: Any) -> None:
    """Adds a cell to the lesson, and what nbgrader keeps of it for each submission."""
    name = grade_id(cell)
    if kind == "source_cells":
        gradebook.db.add(
            api.SourceCell(name=name, notebook=notebook, cell_type=cell.cell_type, locked=False)
        )
    elif kind == "grade_cells":
        points = float(cell.metadata.nbgrader.points)
        added: Any = api.GradeCell(
            name=name, notebook=notebook, max_score=points, cell_type=cell.cell_type
        )
        gradebook.db.add(added)
        gradebook.db.add_all(api.Grade(cell=added, notebook=n) for n in notebook.submissions)
    else:
        added = api.SolutionCell(name=name, notebook=notebook)
        gradebook.db.add(added)
        gradebook.db.add_all(api.Comment(cell=added, notebook=n) for n in notebook.submissions)


def _without(gradebook: Gradebook, lesson: str, cell: Any) -> Iterator[Dropped]:
    """Takes the cell out of the gradebook; what was given by hand for it comes back."""
    name = str(cell.name)
    for grade in list(getattr(cell, "grades", ())):
        if is_by_hand(grade):
            hand = grade.manual_score, grade.extra_credit
            yield Dropped(str(grade.student.id), lesson, name, *hand, "")
        gradebook.db.delete(grade)
    for comment in list(getattr(cell, "comments", ())):
        if comment.manual_comment:
            words = str(comment.manual_comment)
            yield Dropped(str(comment.student.id), lesson, name, None, None, words)
        gradebook.db.delete(comment)
    gradebook.db.delete(cell)


def points(config: Config, lesson: str) -> dict[str, float]:
    """The points of each check of the lesson; none where the gradebook does not know it."""
    with Gradebook(config.CourseDirectory.db_url) as gradebook, suppress(MissingEntry):
        cells = gradebook.find_notebook(lesson, lesson).grade_cells
        return {str(cell.name): float(cell.max_score) for cell in cells}
    return {}


# ---- submissions ----


def standing(config: Config, lesson: str, student: str) -> Standing:
    """What the gradebook has of the submission; nothing where it does not know it."""
    with Gradebook(config.CourseDirectory.db_url) as gradebook, suppress(MissingEntry):
        notebook: Any = gradebook.find_submission_notebook(lesson, lesson, student)
        marks = {str(grade.name): _mark(grade) for grade in notebook.grades}
        commented = {str(one.name) for one in notebook.comments if one.manual_comment}
        return Standing(marks, notebook.late_submission_penalty or 0.0, frozenset(commented))
    return Standing()


def _mark(grade: Any) -> Mark:
    return Mark(
        counts=float(grade.score),
        written=None if grade.auto_score is None else float(grade.auto_score),
        highest=float(grade.max_score),
        by_hand=is_by_hand(grade),
        needs_a_look=bool(grade.needs_manual_grade),
    )


def flag(config: Config, lesson: str, student: str, looks: Mapping[str, bool]) -> None:
    """Formgrader lists each of these checks as one to look at, or no longer does."""
    with Gradebook(config.CourseDirectory.db_url) as gradebook:
        for check, needed in looks.items():
            grade: Any = gradebook.find_grade(check, lesson, lesson, student)
            grade.needs_manual_grade = needed
        gradebook.db.commit()


def settle_penalty(config: Config, lesson: str, student: str, handed_in: str) -> None:
    """The late penalty is what the due date, the extension and the plug-in say now.

    `handed_in` is a time as nbgrader's exchange writes it; the one that is known stays if it is "".

    Raises:
        StepFailed: the plug-in does not succeed.
    """
    with Gradebook(config.CourseDirectory.db_url) as gradebook:
        submission: Any = gradebook.find_submission(lesson, student)
        if handed_in and submission.timestamp != utils.parse_utc(handed_in):
            submission.timestamp = utils.parse_utc(handed_in)
            gradebook.db.commit()
    run_preprocessor(AssignLatePenalties, config, lesson, student)


def answers(config: Config, lesson: str, student: str, names: Iterable[str]) -> dict[str, str]:
    """The cells of these names in the autograded notebook; none where there is no such notebook."""
    path = _folder(config, config.CourseDirectory.autograded_directory, lesson, student)
    path /= f"{lesson}.ipynb"
    if not path.is_file():
        return {}
    cells = nbformat.read(path, as_version=4).cells
    wanted: AbstractSet[str] = set(names)
    return {grade_id(cell): cell.source for cell in cells if grade_id(cell) in wanted}


def clear(config: Config, lesson: str, student: str) -> None:
    """Removes what an earlier grading wrote for the student to read."""
    directory = config.CourseDirectory
    for step in (directory.autograded_directory, directory.feedback_directory):
        shutil.rmtree(_folder(config, step, lesson, student), ignore_errors=True)


def _folder(config: Config, step: str, lesson: str, student: str) -> Path:
    return Path(config.CourseDirectory.root) / step / student / lesson


def cause(log: str) -> str:
    """The line of a log that names the error: the last one that ends a traceback."""
    lines = log.splitlines()
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(: |$)", line)]
    return (named or lines or ["nbgrader gave no reason"])[-1].strip()

"""The marks and lessons in the gradebook, and what nbgrader's folders hold of a submission."""

from __future__ import annotations

import copy
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import GenerateAssignment
from traitlets.config import Config

from graders.nbgrading.steps import StepFailed, run_step


@dataclass(frozen=True)
class Mark:
    """A mark of one check: the one that counts, the one that grading wrote, and the highest.

    The first two differ where an instructor has marked by hand.
    """

    counts: float
    written: float
    highest: float


def register(config: Config, lesson: str) -> None:
    """Tells the gradebook what the lesson is now; the release in course/ is left alone.

    Raises:
        StepFailed: nbgrader refuses the lesson.
    """
    with tempfile.TemporaryDirectory() as elsewhere:
        release = copy.deepcopy(config)
        release.CourseDirectory.release_directory = elsewhere
        try:
            run_step(GenerateAssignment, release, lesson, force=True)
        except StepFailed as error:
            remedy = "If its cells have changed since it was graded, move build/gradebook.db away"
            raise StepFailed(f"{lesson}: {cause(str(error))}. {remedy}.") from error


def clear(config: Config, lesson: str, student: str) -> None:
    """Removes what an earlier grading wrote for the student to read."""
    directory = config.CourseDirectory
    for step in (directory.autograded_directory, directory.feedback_directory):
        folder = Path(directory.root) / step / student / lesson
        shutil.rmtree(folder, ignore_errors=True)


def forget(config: Config, lesson: str, student: str) -> None:
    """Takes the marks of the submission out of the gradebook."""
    with Gradebook(config.CourseDirectory.db_url) as gradebook, suppress(MissingEntry):
        gradebook.remove_submission(lesson, student)


def marks(config: Config, lesson: str, student: str) -> dict[str, Mark]:
    """The marks of the submission, by check; none where it is not in the gradebook."""
    with Gradebook(config.CourseDirectory.db_url) as gradebook, suppress(MissingEntry):
        grades = gradebook.find_submission_notebook(lesson, lesson, student).grades
        return {
            str(g.name): Mark(float(g.score), float(g.auto_score or 0), float(g.max_score))
            for g in grades
        }
    return {}


def points(config: Config, lesson: str) -> dict[str, float]:
    """The points of each check of the lesson; none where the gradebook does not know it."""
    with Gradebook(config.CourseDirectory.db_url) as gradebook, suppress(MissingEntry):
        cells = gradebook.find_notebook(lesson, lesson).grade_cells
        return {str(cell.name): float(cell.max_score) for cell in cells}
    return {}


def cause(log: str) -> str:
    """The line of a log that names the error: the last one that ends a traceback."""
    lines = log.splitlines()
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(: |$)", line)]
    return (named or lines or ["nbgrader gave no reason"])[-1].strip()

"""Grades a class: nbgrader runs each submission by itself, and none keeps the others waiting."""

import glob
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from rich.progress import track
from traitlets.config import Config

from graders.author.build import build_sources
from graders.author.source import Lesson, SourceError
from graders.classroom import report, sample
from graders.classroom.results import FAILED, GRADED, UNREADABLE, Row, keep
from graders.classroom.submissions import SUBMITTED, Submission, Unreadable, submissions
from graders.nbgrader_tools import StepFailed, course_config, run_step


def main(
    root: Path, lessons: Sequence[str] = (), students: Sequence[str] = (), expect: bool = False
) -> int:
    """Grades, prints a table, writes marks and feedback pages.

    With `expect` it grades the sample class alone and compares its marks with the known ones.

    Returns:
        0; or 1 where grading broke down, or a mark is not the known one.
    """
    known = sample.known_marks(root) if expect else []
    students = list(students) or sorted({row.student for row in known})
    try:
        rows = grade(root, lessons, students)
    except (SourceError, StepFailed) as error:
        print(error, file=sys.stderr)
        return 1
    if not rows:
        print(f"There is nothing to grade in {SUBMITTED}/STUDENT/LESSON/.", file=sys.stderr)
        return 1
    present = [(s.student, s.lesson) for s in submissions(root, _lesson_names(root))]
    everything = keep(root, rows, present)
    report.write(root, everything)
    report.show(rows)
    differences = report.differences(rows, _asked(known, lessons)) if expect else []
    if expect:
        report.show_comparison(differences, len(rows))
    return int(bool(differences) or any(row.status == FAILED for row in rows))


def grade(root: Path, lessons: Sequence[str] = (), students: Sequence[str] = ()) -> list[Row]:
    """A row for each submission of these lessons by these students; all of them if left out.

    Raises:
        SourceError: a lesson cannot be built, or there is none of that name.
        StepFailed: nbgrader refused a lesson.
    """
    sources = {lesson.name: lesson for lesson in build_sources(root, lessons)}
    found = submissions(root, sources, students)
    config = course_config(root)
    for name in sorted({submission.lesson for submission in found}):
        _register(config, name)
    return [_row(config, s, sources[s.lesson]) for s in track(found, "Grading", transient=True)]


def _lesson_names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "build/source").glob("*"))


def _asked(known: Iterable[Row], lessons: Sequence[str]) -> list[Row]:
    return [row for row in known if not lessons or row.lesson in lessons]


def _register(config: Config, lesson: str) -> None:
    """Tells the gradebook what the lesson is now; the release in course/ is left alone."""
    with tempfile.TemporaryDirectory() as elsewhere:
        release = Config(config)
        release.CourseDirectory.release_directory = elsewhere
        try:
            run_step(GenerateAssignment, release, lesson, force=True)
        except StepFailed as error:
            mend = "If its cells have changed since it was graded, move build/gradebook.db away"
            raise StepFailed(f"{lesson}: {_cause(str(error))}. {mend}.") from error


def _row(config: Config, submission: Submission, lesson: Lesson) -> Row:
    """The marks of one submission, whatever it holds."""
    points = {str(cell.grade_id): float(cell.points or 0) for cell in lesson.checks}
    ungraded = Row(submission.student, submission.lesson, UNREADABLE, {}, points)
    _clear(config, submission)
    try:
        submission.check_readable()
        scores = _graded(config, submission)
        return replace(ungraded, status=GRADED, scores={check: scores[check] for check in points})
    except Unreadable as error:
        _forget(config, submission)
        return replace(ungraded, reason=str(error))
    except StepFailed as error:
        return replace(ungraded, status=FAILED, reason=_cause(str(error)))


def _clear(config: Config, submission: Submission) -> None:
    """Takes away what an earlier grading wrote for the student to read."""
    directory = config.CourseDirectory
    for step in (directory.autograded_directory, directory.feedback_directory):
        folder = Path(directory.root) / step / submission.student / submission.lesson
        shutil.rmtree(folder, ignore_errors=True)


def _forget(config: Config, submission: Submission) -> None:
    """Takes marks of an earlier, readable version out of the gradebook."""
    with Gradebook(config.CourseDirectory.db_url) as gradebook, suppress(MissingEntry):
        gradebook.remove_submission(submission.lesson, submission.student)


def _graded(config: Config, submission: Submission) -> dict[str, float]:
    for step in (Autograde, GenerateFeedback):
        run_step(step, config, submission.lesson, glob.escape(submission.student))
    with Gradebook(config.CourseDirectory.db_url) as gradebook:
        notebook = gradebook.find_submission_notebook(
            submission.lesson, submission.lesson, submission.student
        )
        return {str(grade.name): float(grade.score) for grade in notebook.grades}


def _cause(log: str) -> str:
    """The line of a log that names the error: the last one that ends a traceback."""
    lines = log.splitlines()
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(: |$)", line)]
    return (named or lines or ["nbgrader gave no reason"])[-1].strip()

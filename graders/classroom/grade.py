"""Grades a class: answers run in the sandbox, marks go into nbgrader's gradebook."""

import copy
import glob
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import GenerateAssignment, GenerateFeedback
from rich.progress import track
from traitlets.config import Config

from graders.author.build import SOURCE, build_sources
from graders.author.source import Lesson, SourceError
from graders.classroom import report, sample
from graders.classroom.results import FAILED, GRADED, UNREADABLE, Row, keep
from graders.classroom.submissions import SUBMITTED, Submission, Unreadable, submissions
from graders.grading import journal
from graders.grading.engine import Settings, examinations
from graders.grading.examiner import Examination
from graders.grading.journal import Journal
from graders.grading.record import record
from graders.nbgrader_tools import StepFailed, course_config, run_step
from graders.sandbox.bubblewrap import PACKAGE, Unavailable

NOT_SANDBOXED = "Graded without a sandbox: the answers ran with the rights of this account."


def main(
    root: Path,
    lessons: Sequence[str] = (),
    students: Sequence[str] = (),
    expect: bool = False,
    workers: int | None = None,
    sandboxed: bool = True,
) -> int:
    """Grades, prints a table, writes marks and feedback pages.

    With `expect` it grades the sample class alone and compares its marks with the known ones.

    Returns:
        0; or 1 where grading broke down, or a mark is not the known one.
    """
    known = sample.known_marks(root) if expect else []
    students = list(students) or sorted({row.student for row in known})
    settings = Settings(root, workers or os.cpu_count() or 1, sandboxed)
    try:
        rows = grade(settings, lessons, students)
    except (SourceError, StepFailed, Unavailable) as error:
        print(error, file=sys.stderr)
        return 1
    if not rows:
        print(f"There is nothing to grade in {SUBMITTED}/STUDENT/LESSON/.", file=sys.stderr)
        return 1
    present = [(s.student, s.lesson) for s in submissions(root, _lesson_names(root))]
    everything = keep(root, rows, present)
    report.write(root, everything)
    report.show(rows)
    if not sandboxed:
        print(NOT_SANDBOXED)
    differences = report.differences(rows, _asked(known, lessons)) if expect else []
    if expect:
        report.show_comparison(differences, len(rows))
    return int(bool(differences) or any(row.status == FAILED for row in rows))


def grade(
    settings: Settings, lessons: Sequence[str] = (), students: Sequence[str] = ()
) -> list[Row]:
    """A row for each submission of these lessons by these students; all of them if left out.

    What the journal knows of a submission, unchanged since, is not examined again.

    Raises:
        SourceError: a lesson cannot be built, or there is none of that name.
        StepFailed: nbgrader refused a lesson.
        Unavailable: no sandbox is to be had here.
    """
    sources = {lesson.name: lesson for lesson in build_sources(settings.root, lessons)}
    found = submissions(settings.root, sources, students)
    config = course_config(settings.root)
    for name in sorted({submission.lesson for submission in found}):
        _register(config, name)
    clerk = _Clerk(settings, config, sources)
    rows = [clerk.row(*one) for one in track(clerk.examined(found), "Grading", len(found))]
    return sorted(rows, key=lambda row: row.key)


class _Clerk:
    """Screens submissions, has them examined, and writes down what was found."""

    def __init__(self, settings: Settings, config: Config, lessons: Mapping[str, Lesson]) -> None:
        self.settings, self.config, self.lessons = settings, config, lessons
        self.journal = Journal(settings.root / journal.PATH)
        code = journal.code_digest([PACKAGE])
        self.digests = {
            name: journal.digest(code, _source(settings.root, name)) for name in lessons
        }

    def examined(
        self, found: Iterable[Submission]
    ) -> Iterator[tuple[Submission, Examination | Unreadable | str]]:
        """Each submission with what was found, or why nothing was."""
        waiting = []
        for submission in found:
            try:
                submission.check_readable()
            except Unreadable as error:
                yield submission, error
                continue
            if known := self.journal[self._digest(submission)]:
                yield submission, known
            else:
                waiting.append(submission)
        for submission, result in examinations(self.settings, waiting):
            if isinstance(result, Examination):
                named = submission.student, submission.lesson
                self.journal.add(self._digest(submission), *named, result)
            yield submission, result

    def _digest(self, submission: Submission) -> str:
        lesson = self.digests[submission.lesson].encode()
        return journal.digest(lesson, submission.notebook.read_bytes())

    def row(self, submission: Submission, found: Examination | Unreadable | str) -> Row:
        """The marks of one submission, which are in the gradebook now."""
        lesson = self.lessons[submission.lesson]
        points = {str(cell.grade_id): float(cell.points or 0) for cell in lesson.checks}
        ungraded = Row(submission.student, submission.lesson, UNREADABLE, {}, points)
        _clear(self.config, submission)
        if isinstance(found, Unreadable):
            _forget(self.config, submission)
            return replace(ungraded, reason=str(found))
        if isinstance(found, str):
            return replace(ungraded, status=FAILED, reason=found)
        try:
            scores = _recorded(self.config, submission, found)
        except StepFailed as error:
            return replace(ungraded, status=FAILED, reason=_cause(str(error)))
        return replace(ungraded, status=GRADED, scores={check: scores[check] for check in points})


def _source(root: Path, lesson: str) -> bytes:
    return (root / SOURCE / lesson / f"{lesson}.ipynb").read_bytes()


def _lesson_names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "build/source").glob("*"))


def _asked(known: Iterable[Row], lessons: Sequence[str]) -> list[Row]:
    return [row for row in known if not lessons or row.lesson in lessons]


def _register(config: Config, lesson: str) -> None:
    """Tells the gradebook what the lesson is now; the release in course/ is left alone."""
    with tempfile.TemporaryDirectory() as elsewhere:
        release = copy.deepcopy(config)
        release.CourseDirectory.release_directory = elsewhere
        try:
            run_step(GenerateAssignment, release, lesson, force=True)
        except StepFailed as error:
            mend = "If its cells have changed since it was graded, move build/gradebook.db away"
            raise StepFailed(f"{lesson}: {_cause(str(error))}. {mend}.") from error


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


def _recorded(config: Config, submission: Submission, found: Examination) -> dict[str, float]:
    """The scores that nbgrader makes of what was found."""
    student = glob.escape(submission.student)
    record(config, submission.lesson, student, found)
    run_step(GenerateFeedback, config, submission.lesson, student)
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

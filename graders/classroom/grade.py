"""Grades a class: answers run in the sandbox, marks go into nbgrader's gradebook."""

import copy
import glob
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import GenerateAssignment, GenerateFeedback
from rich.console import Console
from rich.progress import track
from traitlets.config import Config

from graders.author.build import read_lessons, write_sources
from graders.classroom import report
from graders.files import PACKAGE, digest
from graders.grading import journal
from graders.grading.engine import Scheduler, Settings, Task
from graders.grading.examiner import Examination
from graders.grading.journal import Entry, Journal
from graders.grading.record import record
from graders.grading.results import FAILED, GRADED, HELD, UNREADABLE, Change, Row, keep, kept
from graders.grading.submissions import SUBMITTED, Submission, Unreadable, submissions
from graders.lesson.source import Lesson, SourceError
from graders.nbgrading.steps import StepFailed, course_config, quick_steps, run_step
from graders.sample import sample
from graders.sandbox.bubblewrap import Unavailable

Result = Examination | Unreadable | str
"""What was found of a submission, why it cannot be read, or why its grading broke down."""

INTERRUPTED = "Ended. What has been examined is kept: the same command goes on from there."
NOT_SANDBOXED = "Graded without a sandbox: the answers ran with the rights of this account."


def main(
    root: Path,
    lessons: Sequence[str] = (),
    students: Sequence[str] = (),
    expect: bool = False,
    workers: int | None = None,
    sandboxed: bool = True,
    agreed: bool = False,
) -> int:
    """Grades, prints a table, writes marks and feedback pages.

    Marks that would change although their submissions have not are shown first, and written only
    where that is `agreed`, or agreed to at the terminal. With `expect` it grades the sample class
    alone and compares its marks with the known ones.

    Returns:
        0; or 1 where grading broke down, a mark is not the known one, or changes were not written.
    """
    known = sample.known_marks(root) if expect else []
    students = list(students) or sorted({row.student for row in known})
    settings = Settings(root, workers or os.cpu_count() or 1, sandboxed)
    agree = (lambda _: True) if agreed else report.agreed
    try:
        rows = grade(settings, lessons, students, agree)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
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
    unfinished = any(row.status in (FAILED, HELD) for row in rows)
    return int(bool(differences) or unfinished)


@quick_steps()
def grade(
    settings: Settings,
    lessons: Sequence[str] = (),
    students: Sequence[str] = (),
    agree: Callable[[Sequence[Change]], bool] = lambda _: True,
) -> list[Row]:
    """A row for each submission of these lessons by these students; all of them if left out.

    Of a submission that the journal knows, unchanged, only the checks that have changed since are
    examined again; where that changes its marks, `agree` is asked before any of those is written.

    Raises:
        SourceError: a lesson cannot be built, or there is none of that name.
        StepFailed: nbgrader refused a lesson.
        Unavailable: no sandbox is to be had here.
    """
    sources = {lesson.name: lesson for lesson in read_lessons(settings.root, lessons)}
    found = submissions(settings.root, sources, students)
    config = course_config(settings.root)
    clerk = _Clerk(settings, config, sources)
    screened, waiting = clerk.screened(found)
    rows, held = [], []
    with Scheduler(settings, sources, waiting) as scheduler:
        write_sources(settings.root, list(sources.values()))
        for name in sorted({submission.lesson for submission in found}):
            _register(config, name)
        results = chain(screened, clerk.noted(scheduler.results()))
        for submission, result in track(
            results, "Grading", len(found), console=Console(stderr=True)
        ):
            changes = clerk.changes(submission, result)
            if changes:
                held.append((submission, result, changes))
            else:
                rows.append(clerk.row(submission, result))
    write = bool(held) and agree([change for *_, changes in held for change in changes])
    for submission, result, changes in held:
        rows.append(
            clerk.row(submission, result) if write else clerk.unwritten(submission, changes)
        )
    return sorted(rows, key=lambda row: row.key)


class _Clerk:
    """Screens submissions, has them examined, and writes down what was found."""

    def __init__(self, settings: Settings, config: Config, lessons: Mapping[str, Lesson]) -> None:
        self.settings, self.config, self.lessons = settings, config, lessons
        self.journal = Journal(settings.root / journal.PATH)
        code = journal.code_digest(PACKAGE)
        self.checks = {name: journal.check_digests(code, one) for name, one in lessons.items()}
        self.written = {row.key: row for row in kept(settings.root) if row.total is not None}

    def screened(
        self, found: Iterable[Submission]
    ) -> tuple[list[tuple[Submission, Result]], list[Task]]:
        """What is known without an examination, and what has to be examined."""
        known: list[tuple[Submission, Result]] = []
        waiting = []
        for submission in found:
            try:
                submission.check_readable(self._cells(submission))
            except Unreadable as error:
                known.append((submission, error))
                continue
            entry, touched = self._known(submission)
            if entry and not touched:
                known.append((submission, entry.found))
            else:
                waiting.append(Task(submission, touched if entry else None))
        return known, waiting

    def noted(
        self, results: Iterable[tuple[Submission, Examination | str]]
    ) -> Iterator[tuple[Submission, Result]]:
        """The results, each once it stands in the journal."""
        for submission, result in results:
            yield submission, self._noted(submission, result)

    def _known(self, submission: Submission) -> tuple[Entry | None, frozenset[str]]:
        """What the journal has of this very notebook, and the checks that have changed since."""
        notebook = _digest(submission)
        known = self.journal.known(submission.student, submission.lesson, notebook)
        checks = self.checks[submission.lesson]
        return known, frozenset(known.touched(checks) if known else checks)

    def _noted(self, submission: Submission, result: Examination | str) -> Examination | str:
        """What was found, together with what was known of the checks that have not changed."""
        if isinstance(result, str):
            return result
        known, touched = self._known(submission)
        if known:
            untouched = {c: o for c, o in known.found.outcomes.items() if c not in touched}
            result = Examination(untouched | result.outcomes, known.found.said | result.said)
        entry = Entry(_digest(submission), self.checks[submission.lesson], result)
        self.journal.add(submission.student, submission.lesson, entry)
        return result

    def changes(self, submission: Submission, found: Result) -> list[Change]:
        """The marks that would be other ones although the submission has not changed."""
        before = self.written.get((submission.student, submission.lesson))
        if not isinstance(found, Examination) or not before:
            return []
        if before.notebook != _digest(submission):
            return []
        points, named = self._points(submission), (submission.student, submission.lesson)
        marks = {check: wrote for check, (_, wrote) in _marks(self.config, submission).items()}
        due = {check: points[check] * one.passed for check, one in found.outcomes.items()}
        return [
            Change(*named, check, marks[check], due[check])
            for check in points
            if check in marks and marks[check] != due[check]
        ]

    def _cells(self, submission: Submission) -> set[str]:
        return {str(c.grade_id) for c in self.lessons[submission.lesson].cells if c.grade_id}

    def _points(self, submission: Submission) -> dict[str, float]:
        checks = self.lessons[submission.lesson].checks
        return {str(cell.grade_id): float(cell.points or 0) for cell in checks}

    def unwritten(self, submission: Submission, changes: Sequence[Change]) -> Row:
        """The row of a submission whose marks stay as they are for now."""
        before = self.written[submission.student, submission.lesson]
        return replace(before, status=HELD, reason=f"{len(changes)} changed marks are not written")

    def row(self, submission: Submission, found: Result) -> Row:
        """The marks of one submission, which are in the gradebook now."""
        points = self._points(submission)
        ungraded = Row(submission.student, submission.lesson, UNREADABLE, {}, points)
        if isinstance(found, Unreadable):
            _clear(self.config, submission)
            _forget(self.config, submission)
            return replace(ungraded, reason=str(found))
        if isinstance(found, str):
            _clear(self.config, submission)
            return replace(ungraded, status=FAILED, reason=found)
        try:
            scores = self._recorded(submission, found)
        except StepFailed as error:
            return replace(ungraded, status=FAILED, reason=_cause(str(error)))
        return replace(
            ungraded,
            status=GRADED,
            scores={check: scores[check] for check in points},
            notebook=_digest(submission),
            kinds={check: one.kind for check, one in found.outcomes.items() if one.kind},
        )

    def _recorded(self, submission: Submission, found: Examination) -> dict[str, float]:
        """The marks that count, once nbgrader has been given what was found; it is given it once.

        The feedback page is written anew each time: an instructor may have marked since.
        """
        named = submission.student, submission.lesson
        student = glob.escape(submission.student)
        if not self.journal.is_recorded(*named) or not _marks(self.config, submission):
            _clear(self.config, submission)
            record(self.config, submission.lesson, student, found)
            self.journal.note_recorded(*named)
        run_step(GenerateFeedback, self.config, submission.lesson, student, force=True)
        return {check: counts for check, (counts, _) in _marks(self.config, submission).items()}


def _digest(submission: Submission) -> str:
    return digest(submission.notebook.read_bytes())


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


def _marks(config: Config, submission: Submission) -> dict[str, tuple[float, float]]:
    """By check: the mark that counts, and the one that grading wrote; they differ by hand."""
    asked = submission.lesson, submission.lesson, submission.student
    with Gradebook(config.CourseDirectory.db_url) as gradebook, suppress(MissingEntry):
        grades = gradebook.find_submission_notebook(*asked).grades
        return {str(g.name): (float(g.score), float(g.auto_score or 0)) for g in grades}
    return {}


def _cause(log: str) -> str:
    """The line of a log that names the error: the last one that ends a traceback."""
    lines = log.splitlines()
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(: |$)", line)]
    return (named or lines or ["nbgrader gave no reason"])[-1].strip()

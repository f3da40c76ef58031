"""Keeps what grading finds: in the journal as it comes, and in the gradebook once it counts."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial

from nbgrader.converters import GenerateFeedback
from traitlets.config import Config

from graders.files import PACKAGE, digest
from graders.grading import journal
from graders.grading.engine import Settings, Task
from graders.grading.examiner import Examination
from graders.grading.journal import Entry, Journal
from graders.grading.record import record
from graders.grading.results import FAILED, GRADED, HELD, UNREADABLE, Change, Row, kind
from graders.grading.submissions import Submission, Unreadable
from graders.lesson.cells import Lesson
from graders.nbgrading import gradebook
from graders.nbgrading.steps import StepFailed, run_step

Result = Examination | Unreadable | str
"""What was found of a submission, why it cannot be read, or why its grading broke down."""


class Recorder:
    """What is known of the submissions of a class, and how it gets there.

    An outcome is kept in the journal, a mark in the gradebook, and nothing anywhere else: a row of
    the report is read from these two.
    """

    def __init__(self, settings: Settings, config: Config, lessons: Mapping[str, Lesson]) -> None:
        self.config, self.lessons = config, lessons
        self.journal = Journal(settings.root / journal.PATH)
        code = journal.code_digest(PACKAGE)
        self.checks = {name: journal.check_digests(code, one) for name, one in lessons.items()}

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
        """The results, each once the journal has it."""
        for submission, result in results:
            yield submission, self._noted(submission, result)

    def _noted(self, submission: Submission, result: Examination | str) -> Examination | str:
        """What was found, together with what was known of the checks that have not changed."""
        if isinstance(result, str):
            return result
        known, touched = self._known(submission)
        if known:
            untouched = {c: o for c, o in known.found.outcomes.items() if c not in touched}
            result = Examination(untouched | result.outcomes, known.found.said | result.said)
        entry = Entry(_digest(submission), self.checks[submission.lesson], result)
        self.journal.add(submission.key, entry)
        return result

    def _known(self, submission: Submission) -> tuple[Entry | None, frozenset[str]]:
        """What the journal has of this very notebook, and the checks that have changed since."""
        known = self.journal.known(submission.key, _digest(submission))
        checks = self.checks[submission.lesson]
        return known, frozenset(known.touched(checks) if known else checks)

    def _cells(self, submission: Submission) -> set[str]:
        return {str(c.grade_id) for c in self.lessons[submission.lesson].cells if c.grade_id}

    def changes(self, submission: Submission, found: Result) -> list[Change]:
        """The marks that would be other ones although the submission has not changed."""
        before = self.journal.recorded.get(submission.key)
        if not isinstance(found, Examination) or not before:
            return []
        if before.notebook != _digest(submission):
            return []
        marks = gradebook.marks(self.config, submission.lesson, submission.student)
        due = {
            check: marks[check].highest * one.passed
            for check, one in found.outcomes.items()
            if check in marks
        }
        return [
            Change(*submission.key, check, marks[check].written, earned)
            for check, earned in due.items()
            if marks[check].written != earned
        ]

    def hold(self, submission: Submission, changes: Sequence[Change]) -> None:
        """The marks of the submission stay as they are for now."""
        reason = f"{len(changes)} changed marks are not written"
        self.journal.note(submission.key, HELD, reason)

    def write(self, submission: Submission, found: Result) -> None:
        """The gradebook and nbgrader's folders hold what was found."""
        key, named = submission.key, (self.config, submission.lesson, submission.student)
        if isinstance(found, Unreadable):
            gradebook.clear(*named)
            gradebook.forget(*named)
            self.journal.note(key, UNREADABLE, str(found))
        elif isinstance(found, str):
            gradebook.clear(*named)
            self.journal.note(key, FAILED, found)
        else:
            try:
                self._record(submission, found)
            except StepFailed as error:
                self.journal.note(key, FAILED, gradebook.cause(str(error)))
            else:
                self.journal.note(key, GRADED)

    def _record(self, submission: Submission, found: Examination) -> None:
        """Gives nbgrader what was found, once.

        The feedback page is written anew each time: an instructor may have marked since.
        """
        key, named = submission.key, (self.config, submission.lesson, submission.student)
        student = glob.escape(submission.student)
        if not self.journal.is_recorded(key) or not gradebook.marks(*named):
            gradebook.clear(*named)
            record(self.config, submission.lesson, student, found)
            self.journal.note_recorded(key)
        run_step(GenerateFeedback, self.config, submission.lesson, student, force=True)

    def rows(self, submissions: Iterable[Submission]) -> list[Row]:
        """A row for each of these submissions that has been graded, now or in an earlier run."""
        points = cache(partial(gradebook.points, self.config))
        rows = (self._row(one, points(one.lesson)) for one in submissions)
        return sorted(filter(None, rows), key=lambda row: row.key)

    def _row(self, submission: Submission, points: dict[str, float]) -> Row | None:
        key = submission.key
        status, entry = self.journal.statuses.get(key), self.journal.entries.get(key)
        if not status:
            return None
        row = Row(*key, status.status, {}, points, status.reason)
        if status.status not in (GRADED, HELD):
            return row
        marks = gradebook.marks(self.config, submission.lesson, submission.student)
        scores = {check: marks[check].counts for check in points if check in marks}
        graded = entry.found.outcomes if entry and status.status == GRADED else {}
        kinds = {check: kind(one) for check, one in graded.items() if kind(one)}
        return Row(*key, status.status, scores, points, status.reason, kinds) if scores else None


def _digest(submission: Submission) -> str:
    return digest(submission.notebook.read_bytes())
